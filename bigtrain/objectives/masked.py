"""Guessing hidden tokens from those on both sides."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigtrain.data.loader import IGNORED, Batch
from bigtrain.models.base import Model
from bigtrain.objectives.base import summed_cross_entropy


class Masked:
    """Predict the hidden tokens of a row; the head is asked about these alone.

    alone: evaluation also hides tokens one at a time, which gives pseudo-perplexity, the exponential of the mean nats
    of a token that all others are seen with (Salazar et al. 2020, "Masked Language Model Scoring", arXiv 1910.14659).
    next_sentence: rows are pairs of texts, and the model also says whether the second strays; the loss is the sum of
    both means, as that of transformers' BertForPreTraining.
    """

    higher_is_better = frozenset({"masked_accuracy", "next_sentence_accuracy"})
    per_row: frozenset[str] = frozenset()

    def __init__(self, *, compile: bool = False, alone: bool = False, next_sentence: bool = False) -> None:
        self.loss = torch.compile(summed_cross_entropy, dynamic=False) if compile else summed_cross_entropy
        self.next_sentence = next_sentence
        self.metric_names: tuple[str, ...] = ("loss", "masked_accuracy", *(["pseudo_perplexity"] if alone else []))
        if next_sentence:
            self.metric_names += ("masked_loss", "next_sentence_loss", "next_sentence_accuracy")

    def weight(self, batch: Batch) -> float:
        """Tokens that are asked for."""
        return float((batch["targets"] != IGNORED).sum())

    def _hidden(self, model: Model, batch: Batch, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Hidden states of the tokens that are asked for (N, P, D), and of the first ones (N, D)."""
        more = {"segments": batch["segments"]} if "segments" in batch else {}
        hidden = model(batch["tokens"], documents=batch.get("documents"), keys=keys, **more)
        return hidden.gather(1, batch["positions"][..., None].expand(-1, -1, hidden.shape[-1])), hidden[:, 0]

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """Cross entropy in nats, compiled where asked."""
        asked, first = self._hidden(model, batch, batch.get("keys"))
        loss = self.loss(model, asked, batch["targets"])
        if self.next_sentence:  # a row counts as much as the tokens that are asked for in it
            n_asked = (batch["targets"] != IGNORED).sum(1)
            loss = loss + (n_asked * _pair_losses(_said(model, first), batch["strays"])).sum()
        return loss

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Nats, tokens, and those guessed rightly; nats and tokens of those that are hidden one at a time; of pairs."""
        one_at_a_time = "alone" in batch
        targets = batch["alone" if one_at_a_time else "targets"].flatten()
        asked, first = self._hidden(model, batch)
        logits = model.logits(asked).flatten(0, -2)
        sums = {
            "loss": F.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum"),
            "weight": (targets != IGNORED).sum(),
            "correct": (logits.argmax(-1) == targets).sum(),  # an ignored target is no token
        }
        none = {name: torch.zeros_like(value) for name, value in sums.items()}
        masked, alone = (none, sums) if one_at_a_time else (sums, none)
        sums = {**masked, "alone_loss": alone["loss"], "alone_weight": alone["weight"]}
        if self.next_sentence:
            strays = torch.full_like(first[:, 0], IGNORED, dtype=torch.int64) if one_at_a_time else batch["strays"]
            said = _said(model, first)
            sums |= {"pair_loss": _pair_losses(said, strays).sum(), "pairs": (strays != IGNORED).sum()}
            sums["pairs_right"] = (said.argmax(-1) == strays).sum()
        return sums

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Means over tokens."""
        metrics = {
            "loss": float(sums["loss"] / sums["weight"]),
            "masked_accuracy": float(sums["correct"] / sums["weight"]),
        }
        if self.next_sentence:
            loss = float(sums["pair_loss"] / sums["pairs"])
            metrics |= {"masked_loss": metrics["loss"], "next_sentence_loss": loss, "loss": metrics["loss"] + loss}
            metrics["next_sentence_accuracy"] = float(sums["pairs_right"] / sums["pairs"])
        if sums["alone_weight"] > 0:
            metrics["pseudo_perplexity"] = math.exp(min(float(sums["alone_loss"] / sums["alone_weight"]), 700.0))
        return metrics


def _said(model: Model, first: Tensor) -> Tensor:
    """(N, 2): what rows are by their first hidden states (N, D): pairs that follow each other, or not."""
    return cast("Tensor", cast("nn.Module", model.next_sentence)(first))


def _pair_losses(said: Tensor, strays: Tensor) -> Tensor:
    """Nats (N,) of what is said of pairs (N, 2); 0 where a row is none."""
    return F.cross_entropy(said.float(), strays, ignore_index=IGNORED, reduction="none")
