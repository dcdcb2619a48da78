"""Metrics as sums and weights, evaluation runs, the report."""
