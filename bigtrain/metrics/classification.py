"""One label for each row: shares of right answers, F1 in all its means, ranking, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bigtrain.metrics import ranking

CALIBRATION_BINS = 15  # of Guo et al. 2017


def classification(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All metrics of one label for each row, from 0 to 1 (MCC from -1).

    probabilities: (N, C) float, rows that sum to one; labels: (N,) int below C; N is at least 1. The metrics of
    `count_scores`, and `ece`, `roc_auc` and `pr_auc`: those of the second of two labels; of more labels the mean of
    each against the rest, left out where a label has no row.
    """
    labels, n_labels = np.asarray(labels), probabilities.shape[1]
    found = count_scores(label_counts(labels, probabilities.argmax(1), n_labels))
    found["ece"] = calibration_error(*best_guess(probabilities, labels))
    first = 1 if n_labels == 2 else 0
    return found | ranking.macro(probabilities[:, first:], labels[:, None] == np.arange(first, n_labels))


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, n_labels: int) -> np.ndarray:
    """How often each label (rows) was predicted as each (columns): (C, C) int. Both given as (N,) int below C.

    For few labels: the metrics get by with `label_counts`, and what is taken for what with `confused`.
    """
    pairs = np.asarray(labels, np.int64) * n_labels + np.asarray(predictions, np.int64)
    return np.bincount(pairs, minlength=n_labels**2).reshape(n_labels, n_labels)


def confused(labels: np.ndarray, predictions: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the confusion matrix is above 0, row by row: truth, prediction and count, (K,) each."""
    pairs = np.asarray(labels, np.int64) * n_labels + np.asarray(predictions, np.int64)
    found, counts = np.unique(pairs, return_counts=True)
    return found // n_labels, found % n_labels, counts


class Counts(NamedTuple):
    """Of each label how often it was rightly predicted, predicted, and true: (C,) int each."""

    right: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray


def label_counts(labels: np.ndarray, predictions: np.ndarray, n_labels: int) -> Counts:
    """The diagonal of the confusion matrix and its sums, without the matrix. Both given as (N,) int below C."""
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    each = (labels[labels == predictions], predictions, labels)
    return Counts(*(np.bincount(values, minlength=n_labels) for values in each))


def count_scores(counts: Counts) -> dict[str, float]:
    """The metrics that counts suffice for, of which at least one is above 0.

    `accuracy`; `balanced_accuracy`, the mean recall of the labels that occur as truth; `macro_`, `micro_` and
    `weighted_` `precision`, `recall` and `f1`; `mcc` (Gorodkin 2004). Macro means are over the labels that occur as
    truth or as prediction. A quotient without a denominator is 0. All as scikit-learn with `zero_division=0`.
    """
    right, predicted, truth = (np.asarray(count, np.float64) for count in counts)
    recall = quotient(right, truth)
    occurs = truth + predicted > 0
    found = {
        "accuracy": float(right.sum() / truth.sum()),
        "balanced_accuracy": float(recall[truth > 0].mean()),
        **averages(right[occurs], predicted[occurs], truth[occurs]),
    }
    found["mcc"] = _correlation(right.sum(), truth, predicted)
    return found


def averages(right: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 of several labels, as `macro_`, `micro_` and `weighted_` means. Counts: (C,) each."""
    found = {}
    by_label = _precision_recall_f1(right, predicted, truth)
    over_all = _precision_recall_f1(right.sum(), predicted.sum(), truth.sum())
    for name, values, whole in zip(("precision", "recall", "f1"), by_label, over_all, strict=True):
        found[f"macro_{name}"] = float(values.mean())
        found[f"micro_{name}"] = float(whole)
        found[f"weighted_{name}"] = float(quotient((values * truth).sum(), truth.sum()))
    return found


def per_class(counts: Counts) -> dict[str, np.ndarray]:
    """`precision`, `recall`, `f1` and `support` (rows whose truth it is) of each label: (C,) each."""
    precision, recall, f1 = _precision_recall_f1(*counts)
    return {"precision": precision, "recall": recall, "f1": f1, "support": counts.truth}


def label_tables(names: Sequence[str], labels: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    """`per_class`: LABEL -> its four numbers; `confusion`: truth -> prediction -> rows, where there are any.

    names: of the labels; both others: (N,) int below C.
    """
    taken: dict[str, dict[str, int]] = {name: {} for name in names}
    for truth, prediction, count in np.stack(confused(labels, predictions, len(names)), 1).tolist():
        taken[names[truth]][names[prediction]] = count
    scores = per_class(label_counts(labels, predictions, len(names)))
    return {"per_class": by_label(names, scores), "confusion": taken}


def by_label(labels: Sequence[str], scores: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Scores of (C,) labels as LABEL -> score -> number."""
    return {label: {name: value[row].item() for name, value in scores.items()} for row, label in enumerate(labels)}


@dataclass(frozen=True)
class Reliability:
    """Rows by the confidence of their prediction, in bins of equal width; (B,) each, nan in the means of an empty bin.

    Bin i holds confidences above i / B up to (i + 1) / B.
    """

    rows: np.ndarray
    confidence: np.ndarray  # mean of the bin
    accuracy: np.ndarray


def best_guess(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) each: probability of the likeliest label, whether it is right. Given (N, C) float, and (N,) int below C."""
    return probabilities.max(1), probabilities.argmax(1) == labels


def reliability(confidence: np.ndarray, right: np.ndarray) -> Reliability:
    """Confidence against accuracy in 15 bins. confidence: (N,) float, from 0 to 1; right: (N,) bool."""
    confidence = np.asarray(confidence, np.float64)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, CALIBRATION_BINS - 1)
    rows = np.bincount(bins, minlength=CALIBRATION_BINS)
    sums = (np.bincount(bins, weights=values, minlength=CALIBRATION_BINS) for values in (confidence, right))
    empty = np.full(CALIBRATION_BINS, np.nan)
    return Reliability(rows, *(np.divide(total, rows, out=empty.copy(), where=rows > 0) for total in sums))


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """How far confidence is from accuracy, in the mean over rows: the expected calibration error of Guo et al. 2017."""
    found = reliability(confidence, right)
    gaps = np.nan_to_num(np.abs(found.accuracy - found.confidence))
    return float((gaps * found.rows).sum() / found.rows.sum())


def quotient(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.asarray(np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0))


def _precision_recall_f1(
    right: np.ndarray, predicted: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return quotient(right, predicted), quotient(right, truth), quotient(2 * right, predicted + truth)


def _correlation(right: float, truth: np.ndarray, predicted: np.ndarray) -> float:
    """Matthews' correlation coefficient; 0 where one side knows a single label, as scikit-learn."""
    rows = truth.sum()
    spread = (rows**2 - (truth**2).sum()) * (rows**2 - (predicted**2).sum())
    return float((right * rows - (truth * predicted).sum()) / np.sqrt(spread)) if spread > 0 else 0.0
