"""One label per row, or any number of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bigtrain.data.loader import Batch
from bigtrain.metrics.classification import classification
from bigtrain.metrics.multi_label import multi_label, tuned_thresholds
from bigtrain.models.base import Model
from bigtrain.objectives.base import row_logits

_MEANS = tuple(f"{kind}_{name}" for name in ("f1", "precision", "recall") for kind in ("macro", "micro", "weighted"))
_RANKED = ("roc_auc", "pr_auc")


def balanced_weights(labels: np.ndarray, n_labels: int) -> Tensor:
    """(C,): rows / (labels * rows of a label), as scikit-learn's `class_weight="balanced"`; 1 for one without rows."""
    counts = np.bincount(labels, minlength=n_labels)
    return torch.tensor(np.where(counts > 0, counts.sum() / (n_labels * np.maximum(counts, 1)), 1.0), dtype=torch.float)


def balanced_positives(flags: np.ndarray) -> Tensor:
    """(C,): rows without a label for each row with it; 1 for a label that no row or every row has."""
    positive = flags.sum(0)
    negative = len(flags) - positive
    mixed = (positive > 0) & (negative > 0)
    return torch.tensor(np.where(mixed, negative / np.maximum(positive, 1), 1.0), dtype=torch.float)


class Classify:
    """Predict the one label of a row."""

    per_row = frozenset({"logits", "labels"})

    def __init__(
        self, class_weights: Tensor | None = None, label_smoothing: float = 0.0, *, every_label: bool = True
    ) -> None:
        """class_weights: (C,), of the rows of each label. label_smoothing: share of the truth that goes to all labels.

        Both are of training alone. every_label: whether all labels occur in what is measured; areas under curves are
        not defined else.
        """
        self.class_weights, self.label_smoothing = class_weights, label_smoothing
        names = ("accuracy", "balanced_accuracy", *_MEANS, "mcc", *(_RANKED if every_label else ()))
        self.metric_names: tuple[str, ...] = ("loss", *names, "ece")
        self.higher_is_better = frozenset(names)

    def weight(self, batch: Batch) -> float:
        """Rows: a long text counts as much as a short one; with class weights their sum."""
        labels = batch["labels"]
        if self.class_weights is None:
            return float(len(labels))
        return float(self.class_weights[labels.cpu()].sum())

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """Cross entropy in nats."""
        logits = row_logits(model, batch, batch.get("keys"))
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return F.cross_entropy(logits, batch["labels"], weights, reduction="sum", label_smoothing=self.label_smoothing)

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Nats and rows, without weights and smoothing; of each row its logits and its label."""
        logits, labels = row_logits(model, batch), batch["labels"]
        return {
            "loss": F.cross_entropy(logits, labels, reduction="sum"),
            "weight": torch.tensor(len(labels)),
            "logits": logits,
            "labels": labels,
        }

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The mean loss, and `metrics.classification` of what was predicted."""
        found = classification(probabilities(sums), sums["labels"].astype(np.int64))
        return {"loss": float(sums["loss"] / sums["weight"]), **found}


def probabilities(sums: dict[str, np.ndarray]) -> np.ndarray:
    """(N, C): of each label, which add up to one in a row."""
    logits = sums["logits"].astype(np.float64)
    powers: np.ndarray = np.exp(logits - logits.max(1, keepdims=True))
    found: np.ndarray = powers / powers.sum(1, keepdims=True)
    return found


class MultiLabel:
    """Predict which labels a row has: each by itself, from a threshold of its own."""

    per_row = frozenset({"logits", "labels"})

    def __init__(
        self,
        thresholds: Sequence[float] | None = None,
        positive_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        *,
        every_label: bool = True,
        tuned: Callable[[tuple[float, ...]], None] | None = None,
    ) -> None:
        """thresholds: (C,), those to measure with; without them each evaluation finds the best, and tells `tuned`.

        positive_weights: (C,), of the rows that have a label. label_smoothing: how far the truth is drawn to one half.
        Both are of training alone. every_label: whether each label has rows with and without it in what is measured.
        """
        self.thresholds, self.positive_weights, self.label_smoothing = thresholds, positive_weights, label_smoothing
        self.tuned = tuned
        names = ("subset_accuracy", *_MEANS, "mcc", *(_RANKED if every_label else ()))
        self.metric_names: tuple[str, ...] = ("loss", *names, "ece")
        self.higher_is_better = frozenset(names)

    def weight(self, batch: Batch) -> float:
        """Decisions: rows times labels."""
        return float(batch["labels"].numel())

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """Binary cross entropy in nats."""
        logits = row_logits(model, batch, batch.get("keys"))
        labels = batch["labels"] * (1 - self.label_smoothing) + self.label_smoothing / 2
        weights = None if self.positive_weights is None else self.positive_weights.to(logits.device)
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum", pos_weight=weights)

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Nats and decisions, without weights and smoothing; of each row its logits and its labels."""
        logits, labels = row_logits(model, batch), batch["labels"]
        return {
            "loss": F.binary_cross_entropy_with_logits(logits, labels, reduction="sum"),
            "weight": torch.tensor(labels.numel()),
            "logits": logits,
            "labels": labels,
        }

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The mean loss, and `metrics.multi_label` of what was predicted."""
        found, labels = sigmoid(sums["logits"]), sums["labels"] > 0
        thresholds = self.thresholds
        if thresholds is None:
            thresholds = tuple(tuned_thresholds(found, labels).tolist())
            if self.tuned:
                self.tuned(thresholds)
        measured = multi_label(found, labels, np.asarray(thresholds))
        return {"loss": float(sums["loss"] / sums["weight"]), **measured}


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in float64, without overflow."""
    found: np.ndarray = np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))
    return found
