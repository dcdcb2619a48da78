"""One label per row."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bigtrain.data.loader import Batch
from bigtrain.models.base import Model


def row_logits(model: Model, batch: Batch, keys: Tensor | None = None) -> Tensor:
    """(N, outputs), fp32: what a model says of rows as a whole, as transformers' ForSequenceClassification.

    From the hidden state of a row's last token, which has seen all others, or of an encoder's first.
    """
    tokens, lengths = batch["tokens"], batch["lengths"]
    if model.causal:
        hidden = model(tokens, keys=keys)  # (N, T, D)
        rows = torch.arange(len(hidden), device=hidden.device)
        return model.logits(hidden[rows, lengths - 1]).float()
    padding = torch.arange(tokens.shape[1], device=tokens.device) >= lengths[:, None]
    hidden = model(tokens, documents=padding.int(), keys=keys)  # no token sees the padding
    return model.logits(hidden[:, 0]).float()


class Classify:
    """Predict the one label of a row."""

    metric_names: tuple[str, ...] = ("loss", "accuracy", "macro_f1")
    higher_is_better = frozenset({"accuracy", "macro_f1"})
    per_row = frozenset({"logits", "labels"})

    def weight(self, batch: Batch) -> float:
        """Rows: a long text counts as much as a short one."""
        return float(len(batch["labels"]))

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """Cross entropy in nats."""
        return F.cross_entropy(row_logits(model, batch, batch.get("keys")), batch["labels"], reduction="sum")

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Nats and rows; of each row its logits and its label."""
        logits, labels = row_logits(model, batch), batch["labels"]
        return {
            "loss": F.cross_entropy(logits, labels, reduction="sum"),
            "weight": torch.tensor(len(labels)),
            "logits": logits,
            "labels": labels,
        }

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The mean loss, and `scores` of what was predicted."""
        logits, labels = sums["logits"], sums["labels"].astype(np.int64)
        n_labels = logits.shape[1]
        pairs = np.bincount(labels * n_labels + logits.argmax(-1), minlength=n_labels**2)
        return {"loss": float(sums["loss"] / sums["weight"]), **scores(pairs.reshape(n_labels, n_labels))}


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1 from counts (truth, prediction).

    Macro F1 is the mean over the labels that occur as truth or as prediction, 0 for one never predicted rightly: what
    scikit-learn computes with `average="macro", zero_division=0`.
    """
    right = np.diag(confusion)
    total = confusion.sum(0) + confusion.sum(1)  # 2 TP + FP + FN
    f1 = 2 * right[total > 0] / total[total > 0]
    return {"accuracy": float(right.sum() / confusion.sum()), "macro_f1": float(f1.mean())}
