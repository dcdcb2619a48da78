"""Metrics of predictions: pure functions of numpy arrays and of texts. docs/metrics.md has one table of all of them."""
