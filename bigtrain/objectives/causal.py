"""Next-token prediction."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bigtrain.data.loader import IGNORED, Batch
from bigtrain.models.base import Model
from bigtrain.objectives.base import summed_cross_entropy


class Causal:
    """Predict each token from those before it.

    `token_bytes` (V,): UTF-8 bytes that each token stands for. With it evaluation gives bits per byte, the measure
    that survives a change of tokenizer.
    """

    higher_is_better = frozenset({"token_accuracy"})
    per_row: frozenset[str] = frozenset()

    def __init__(self, *, compile: bool = False, token_bytes: np.ndarray | None = None) -> None:
        self.loss = torch.compile(summed_cross_entropy, dynamic=False) if compile else summed_cross_entropy
        bits = [] if token_bytes is None else ["bits_per_byte"]
        self.metric_names: tuple[str, ...] = ("loss", "perplexity", *bits, "token_accuracy")
        self.token_bytes = None if token_bytes is None else torch.from_numpy(token_bytes.astype(np.float64))

    def weight(self, batch: Batch) -> float:
        """Tokens that are scored."""
        return float((batch["targets"] != IGNORED).sum())

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """Cross entropy in nats, compiled where asked."""
        hidden = model(batch["tokens"], documents=batch.get("documents"), keys=batch.get("keys"))
        return self.loss(model, hidden, batch["targets"])

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Nats, tokens, those predicted rightly, and the bytes they stand for."""
        targets = batch["targets"].flatten()
        scored = targets != IGNORED
        hidden = model(batch["tokens"], documents=batch.get("documents"))
        logits = model.logits(hidden).flatten(0, -2)
        sums = {
            "loss": F.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum"),
            "weight": scored.sum(),
            "correct": (logits.argmax(-1) == targets).sum(),  # an ignored target is no token
        }
        if self.token_bytes is not None:
            self.token_bytes = self.token_bytes.to(targets.device)
            sums["bytes"] = (self.token_bytes[targets.clamp(min=0)] * scored).sum()
        return sums

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Means over tokens; bits per byte over the text, where the bytes are known."""
        loss = float(sums["loss"] / sums["weight"])
        metrics = {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "token_accuracy": float(sums["correct"] / sums["weight"]),
        }
        if sums.get("bytes", 0) > 0:
            metrics["bits_per_byte"] = float(sums["loss"] / sums["bytes"]) / math.log(2)
        return metrics
