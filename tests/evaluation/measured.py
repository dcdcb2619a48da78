"""Metrics over batches, as the loop and `evaluate` compute them."""

from bigtrain.evaluation.evaluator import totals


def evaluate(model, objective, batches, placement, should_stop=None):
    """None when stopped."""
    sums = totals(model, objective, batches, placement, should_stop)
    return None if sums is None else objective.metrics(sums)
