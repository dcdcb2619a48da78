"""What the order of scores says, whatever their size: areas under curves, and the ranks that they rest on."""

from __future__ import annotations

import numpy as np


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value, from 1; equal values share the mean of their ranks. values: (N,); returns (N,) float."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[group])


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """How often a positive row has a higher score than a negative one, a tie counting half; None without both kinds.

    scores: (N,) real; positive: (N,) of 0 and 1. That is the area under the ROC curve (Mann and Whitney's U).
    """
    positive = positive.astype(bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return None
    above = ranks(scores)[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Precision at each distinct score, weighted by the recall gained there; None without a positive or a negative row.

    scores: (N,) real; positive: (N,) of 0 and 1. As scikit-learn's `average_precision_score`: the area under the
    precision-recall curve without interpolation.
    """
    n_positive = int(positive.sum())
    if not n_positive or n_positive == len(positive):
        return None
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # equal scores are accepted together
    found = np.cumsum(positive[order].astype(np.int64))[ends]
    return float((np.diff(found, prepend=0) * found / (ends + 1)).sum() / n_positive)


def macro(scores: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """`roc_auc` and `pr_auc`, means over columns; left out where a column has no positive or no negative row.

    scores: (N, C) real; positive: (N, C) of 0 and 1.
    """
    found = {}
    for name, area in (("roc_auc", roc_auc), ("pr_auc", average_precision)):
        areas = [area(*column) for column in zip(scores.T, positive.T, strict=True)]
        known = [one for one in areas if one is not None]
        if known and len(known) == len(areas):
            found[name] = float(np.mean(known))
    return found
