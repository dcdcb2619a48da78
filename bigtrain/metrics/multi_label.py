"""Any number of labels for each row, each accepted from a threshold of its own."""

from __future__ import annotations

import numpy as np

from bigtrain.metrics import ranking
from bigtrain.metrics.classification import (
    averages,
    calibration_error,
    count_scores,
    label_counts,
    quotient,
)

DEFAULT_THRESHOLD = 0.5


def multi_label(probabilities: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    """All metrics of several labels for each row, from 0 to 1.

    probabilities: (N, C) float; labels: (N, C) of 0 and 1; thresholds: (C,), a label is predicted from its threshold
    on; N is at least 1. `subset_accuracy` is the share of rows with all labels right. `macro_`, `micro_` and
    `weighted_` `precision`, `recall` and `f1` are over all labels, 0 for a label without a denominator. `roc_auc` and
    `pr_auc` are means over labels, left out where a label has no positive or no negative row. `mcc` and `ece` are over
    all decisions, a row and a label each: with the thresholds, and of the probabilities. All as scikit-learn.
    """
    truth, predicted = np.asarray(labels).astype(bool), probabilities >= thresholds
    right = (truth & predicted).sum(0)
    return {
        "subset_accuracy": float((truth == predicted).all(1).mean()),
        **averages(right, predicted.sum(0), truth.sum(0)),
        "mcc": count_scores(label_counts(truth.ravel(), predicted.ravel(), 2))["mcc"],
        "ece": calibration_error(*decisions(probabilities, truth)),
        **ranking.macro(probabilities, truth),
    }


def decisions(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether a row has a label, as a guess of two: its probability and whether it is right, (N C,) each.

    probabilities: (N, C) float; labels: (N, C) of 0 and 1.
    """
    found, truth = probabilities.ravel(), np.asarray(labels).astype(bool).ravel()
    without = 1 - found
    return np.maximum(found, without), (found > without) == truth


def per_label(probabilities: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> dict[str, np.ndarray]:
    """`threshold`, `precision`, `recall`, `f1` and `support` (rows that have it) of each label: (C,) each.

    And its decisions: `true_positives`, `false_negatives`, `false_positives` and `true_negatives`.
    """
    truth, predicted = np.asarray(labels).astype(bool), probabilities >= thresholds
    right, n_true, n_predicted = (truth & predicted).sum(0), truth.sum(0), predicted.sum(0)
    return {
        "threshold": thresholds,
        "precision": quotient(right, n_predicted),
        "recall": quotient(right, n_true),
        "f1": quotient(2 * right, n_true + n_predicted),
        "support": n_true,
        "true_positives": right,
        "false_negatives": n_true - right,
        "false_positives": n_predicted - right,
        "true_negatives": (~truth & ~predicted).sum(0),
    }


def tuned_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The threshold of the best F1 for each label, to be chosen on validation rows: (C,) float.

    probabilities: (N, C) float; labels: (N, C) of 0 and 1. A threshold lies halfway between two neighbouring
    probabilities. One half stands where nothing is better, as for a label without a positive row; else of equally good
    ones the nearest to one half, then the lower.
    """
    columns = zip(np.asarray(probabilities, np.float64).T, np.asarray(labels).T, strict=True)
    return np.array([_tuned(scores, positive.astype(bool)) for scores, positive in columns])


def _tuned(scores: np.ndarray, positive: np.ndarray) -> float:
    distinct = np.unique(scores)
    below = np.concatenate([[0.0], distinct[:-1]])
    halfway = (below + distinct) / 2
    halfway = np.where(halfway > below, halfway, distinct)  # neighbours without a number between them
    candidates = np.append(halfway, DEFAULT_THRESHOLD)
    ascending, ascending_positive = np.sort(scores), np.sort(scores[positive])
    predicted = len(scores) - np.searchsorted(ascending, candidates)
    right = len(ascending_positive) - np.searchsorted(ascending_positive, candidates)
    f1 = 2 * right / np.maximum(predicted + len(ascending_positive), 1)
    best = candidates[f1 == f1.max()]
    return float(min(best, key=lambda threshold: (abs(threshold - DEFAULT_THRESHOLD), threshold)))
