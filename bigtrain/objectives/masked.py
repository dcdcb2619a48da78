"""Guessing hidden tokens from those on both sides."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bigtrain.data.loader import IGNORED, Batch
from bigtrain.models.base import Model
from bigtrain.objectives.base import summed_cross_entropy


class Masked:
    """Predict the hidden tokens of a row; the head is asked about these alone.

    alone: evaluation also hides tokens one at a time, which gives pseudo-perplexity, the exponential of the mean nats
    of a token that all others are seen with (Salazar et al. 2020, "Masked Language Model Scoring", arXiv 1910.14659).
    """

    higher_is_better = frozenset({"masked_accuracy"})
    per_row: frozenset[str] = frozenset()

    def __init__(self, *, compile: bool = False, alone: bool = False) -> None:
        self.loss = torch.compile(summed_cross_entropy, dynamic=False) if compile else summed_cross_entropy
        self.metric_names: tuple[str, ...] = ("loss", "masked_accuracy", *(["pseudo_perplexity"] if alone else []))

    def weight(self, batch: Batch) -> float:
        """Tokens that are asked for."""
        return float((batch["targets"] != IGNORED).sum())

    def _asked(self, model: Model, batch: Batch, keys: Tensor | None = None) -> Tensor:
        """(N, P, D): hidden states of the tokens that are asked for."""
        hidden = model(batch["tokens"], documents=batch.get("documents"), keys=keys)
        asked: Tensor = hidden.gather(1, batch["positions"][..., None].expand(-1, -1, hidden.shape[-1]))
        return asked

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """Cross entropy in nats, compiled where asked."""
        return self.loss(model, self._asked(model, batch, batch.get("keys")), batch["targets"])

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Nats, tokens, and those guessed rightly; nats and tokens of those that are hidden one at a time."""
        one_at_a_time = "alone" in batch
        targets = batch["alone" if one_at_a_time else "targets"].flatten()
        logits = model.logits(self._asked(model, batch)).flatten(0, -2)
        sums = {
            "loss": F.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum"),
            "weight": (targets != IGNORED).sum(),
            "correct": (logits.argmax(-1) == targets).sum(),  # an ignored target is no token
        }
        none = {name: torch.zeros_like(value) for name, value in sums.items()}
        masked, alone = (none, sums) if one_at_a_time else (sums, none)
        return {**masked, "alone_loss": alone["loss"], "alone_weight": alone["weight"]}

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Means over tokens."""
        metrics = {
            "loss": float(sums["loss"] / sums["weight"]),
            "masked_accuracy": float(sums["correct"] / sums["weight"]),
        }
        if sums["alone_weight"] > 0:
            metrics["pseudo_perplexity"] = math.exp(min(float(sums["alone_loss"] / sums["alone_weight"]), 700.0))
        return metrics
