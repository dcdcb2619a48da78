"""Predictions of an evaluation of labelled rows, and the sections of its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bigtrain.data.tasks.rows import Rows
from bigtrain.evaluation.page import Number, section, table
from bigtrain.evaluation.task_report import (
    MOST_WRONG,
    calibration_section,
    labels_section,
    wrong_rows_section,
)
from bigtrain.metrics.classification import best_guess, by_label, label_tables
from bigtrain.metrics.multi_label import decisions, per_label
from bigtrain.objectives.classify import probabilities, sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

Sums = dict[str, "NDArray[Any]"]

_COUNTS = {
    "true_positives": "found",
    "false_negatives": "missed",
    "false_positives": "wrongly found",
    "true_negatives": "rightly not found",
}


class _Report:
    """Of the rows of files, in their order."""

    def __init__(self, files: Sequence[Rows]) -> None:
        self.files = files

    def given(self) -> Iterator[dict[str, Any]]:
        """What was read of each row, and where it stands."""
        for rows in self.files:
            for row, text in enumerate(rows.texts):
                pair = {"pair": rows.pairs[row]} if rows.pairs else {}
                yield {"text": text, **pair, "where": rows.where(row)}


class OneLabel(_Report):
    """A classifier's."""

    def __init__(self, labels: Sequence[str], files: Sequence[Rows]) -> None:
        super().__init__(files)
        self.labels = labels

    def predictions(self, sums: Sums) -> Iterator[dict[str, Any]]:
        """Label, prediction and its probability of each row."""
        found, truth = probabilities(sums), sums["labels"].astype(np.int64)
        best = found.argmax(1)
        for row, given in enumerate(self.given()):
            predicted = int(best[row])
            yield {
                **given,
                "label": self.labels[truth[row]],
                "predicted": self.labels[predicted],
                "confidence": round(float(found[row, predicted]), 6),
            }

    def tables(self, sums: Sums) -> dict[str, Any]:
        """What the report shows of the labels, as data."""
        found, truth = probabilities(sums), sums["labels"].astype(np.int64)
        return label_tables(self.labels, truth, found.argmax(1))

    def sections(self, sums: Sums) -> list[str]:
        """Labels, calibration, and what is wrong with most confidence."""
        found, truth = probabilities(sums), sums["labels"].astype(np.int64)
        return [
            labels_section(self.labels, truth, found.argmax(1)),
            calibration_section(*best_guess(found, truth)),
            wrong_rows_section(self.predictions(sums)),
        ]


class SeveralLabels(_Report):
    """A multi-label classifier's."""

    def __init__(self, labels: Sequence[str], thresholds: NDArray[np.float64], files: Sequence[Rows]) -> None:
        super().__init__(files)
        self.labels, self.thresholds = labels, thresholds

    def predictions(self, sums: Sums) -> Iterator[dict[str, Any]]:
        """Labels, predicted labels, and the probability of every label of each row."""
        found, truth = sigmoid(sums["logits"]), sums["labels"] > 0
        for row, given in enumerate(self.given()):
            named = zip(self.labels, found[row].tolist(), strict=True)
            yield {
                **given,
                "label": self._names(truth[row]),
                "predicted": self._names(found[row] >= self.thresholds),
                "probabilities": {label: round(probability, 6) for label, probability in named},
            }

    def tables(self, sums: Sums) -> dict[str, Any]:
        """What the report shows of the labels, as data."""
        scores = per_label(sigmoid(sums["logits"]), sums["labels"] > 0, self.thresholds)
        return {"per_class": by_label(self.labels, scores)}

    def sections(self, sums: Sums) -> list[str]:
        """Labels, calibration over all decisions, and those that are wrong with most confidence."""
        found, truth = sigmoid(sums["logits"]), sums["labels"] > 0
        return [
            section("Labels", self._labels(self.tables(sums)["per_class"])),
            calibration_section(*decisions(found, truth)),
            wrong_rows_section(self._wrong(found, truth)),
        ]

    def _labels(self, per_class: dict[str, dict[str, Any]]) -> str:
        """Scores of each label, and its decisions."""
        scores, counts = ("threshold", "precision", "recall", "f1"), tuple(_COUNTS)
        rows = [
            (label, *(Number(f"{row[name]:.3f}") for name in scores), row["support"])
            for label, row in per_class.items()
        ]
        four = [(label, *(row[name] for name in counts)) for label, row in per_class.items()]
        shown = table(("label", "threshold", "precision", "recall", "F1", "rows"), rows)
        return f"{shown}<h3>Decisions</h3>{table(('label', *_COUNTS.values()), four)}"

    def _wrong(self, found: NDArray[np.float64], truth: NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
        """The most confidently wrong decisions, a row and a label each."""
        predicted = found >= self.thresholds
        confidence = np.where(predicted, found, 1 - found)
        wrong = np.flatnonzero(predicted != truth)
        worst = wrong[np.argsort(-confidence.flat[wrong], kind="stable")][:MOST_WRONG]
        given = list(self.given())
        for row, place in zip(*np.unravel_index(worst, truth.shape), strict=True):
            names = (f"not {self.labels[place]}", self.labels[place])
            said = {"label": names[int(truth[row, place])], "predicted": names[int(predicted[row, place])]}
            yield {**given[row], **said, "confidence": float(confidence[row, place])}

    def _names(self, flags: NDArray[np.bool_]) -> list[str]:
        return [self.labels[place] for place in np.flatnonzero(flags).tolist()]


class Scores(_Report):
    """That of a model which gives scores."""

    def predictions(self, sums: Sums) -> Iterator[dict[str, Any]]:
        """Target and score of each row."""
        for row, given in enumerate(self.given()):
            target, score = float(sums["labels"][row]), float(sums["scores"][row])
            yield {**given, "label": round(target, 6), "predicted": round(score, 6)}

    def sections(self, sums: Sums) -> list[str]:
        """The rows that are farthest from their targets."""
        told = sorted(self.predictions(sums), key=lambda row: -abs(row["predicted"] - row["label"]))[:MOST_WRONG]
        rows = [
            (row["where"], Number(f"{row['label']:.4g}"), Number(f"{row['predicted']:.4g}"), row["text"])
            for row in told
        ]
        return [section("Largest errors", table(("row", "target", "score", "text"), rows))]
