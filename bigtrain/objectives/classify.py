"""One label per row."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bigtrain.data.loader import Batch
from bigtrain.models.base import Model


class Classify:
    """Predict a row's label from one hidden state, as transformers' ForSequenceClassification.

    That of its last token, which has seen all others, or of an encoder's first.
    """

    metric_names: tuple[str, ...] = ("loss", "accuracy", "macro_f1")
    higher_is_better = frozenset({"accuracy", "macro_f1"})

    def __init__(self, n_labels: int) -> None:
        self.n_labels = n_labels

    def weight(self, batch: Batch) -> float:
        """Rows: a long text counts as much as a short one."""
        return float(len(batch["labels"]))

    def _logits(self, model: Model, batch: Batch, keys: Tensor | None = None) -> Tensor:
        tokens, lengths = batch["tokens"], batch["lengths"]
        if model.causal:
            hidden = model(tokens, keys=keys)  # (B, T, D)
            rows = torch.arange(len(hidden), device=hidden.device)
            return model.logits(hidden[rows, lengths - 1]).float()  # (B, n_labels)
        padding = torch.arange(tokens.shape[1], device=tokens.device) >= lengths[:, None]
        hidden = model(tokens, documents=padding.int(), keys=keys)  # no token sees the padding
        return model.logits(hidden[:, 0]).float()

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """Cross entropy in nats."""
        return F.cross_entropy(self._logits(model, batch, batch.get("keys")), batch["labels"], reduction="sum")

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Nats, rows, and how often each label (rows) was predicted as each (columns)."""
        logits, labels = self._logits(model, batch), batch["labels"]
        pairs = labels * self.n_labels + logits.argmax(-1)
        return {
            "loss": F.cross_entropy(logits, labels, reduction="sum"),
            "weight": torch.tensor(len(labels)),
            "confusion": torch.bincount(pairs, minlength=self.n_labels**2).view(self.n_labels, self.n_labels),
        }

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The mean loss, and `scores` of the confusion matrix."""
        return {"loss": float(sums["loss"] / sums["weight"]), **scores(sums["confusion"])}


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1 from counts (truth, prediction).

    Macro F1 is the mean over the labels that occur as truth or as prediction, 0 for one never predicted rightly: what
    scikit-learn computes with `average="macro", zero_division=0`.
    """
    right = np.diag(confusion)
    total = confusion.sum(0) + confusion.sum(1)  # 2 TP + FP + FN
    f1 = 2 * right[total > 0] / total[total > 0]
    return {"accuracy": float(right.sum() / confusion.sum()), "macro_f1": float(f1.mean())}
