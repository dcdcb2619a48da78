"""A number for each row."""

from __future__ import annotations

import numpy as np

from bigtrain.metrics.ranking import ranks


def regression(predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """`mse`, `mae`, `r2`, `pearson` and `spearman` (ties share the mean of their ranks).

    Both: (N,) float, N at least 1. What is not defined is left out: `r2` where all targets are equal, the correlations
    where either side is constant. As scikit-learn and scipy.
    """
    predictions, targets = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
    error = predictions - targets
    found = {"mse": float((error**2).mean()), "mae": float(np.abs(error).mean())}
    if np.ptp(targets) == 0:
        return found
    found["r2"] = float(1 - (error**2).sum() / ((targets - targets.mean()) ** 2).sum())
    if np.ptp(predictions) > 0:
        found["pearson"] = _correlation(predictions, targets)
        found["spearman"] = _correlation(ranks(predictions), ranks(targets))
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()), -1, 1))
