"""The contract of an objective: what the loop and evaluation ask for, in sums and weights."""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bigtrain.data.loader import IGNORED, Batch
from bigtrain.models.base import Model


def summed_cross_entropy(model: Model, hidden: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy in nats of the head's logits for hidden (..., D) against targets (...), summed in fp32."""
    logits = model.logits(hidden).flatten(0, -2).float()
    return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")


def hidden_states(model: Model, batch: Batch, keys: Tensor | None = None, *, first: bool = False) -> Tensor:
    """(N, T, D) of rows that are padded on the right; no token sees the padding.

    first: of an encoder only those of the first tokens, (N, 1, D).
    """
    tokens, lengths = batch["tokens"], batch["lengths"]
    if model.causal:
        return cast("Tensor", model(tokens, keys=keys))
    padding = torch.arange(tokens.shape[1], device=tokens.device) >= lengths[:, None]
    more: dict[str, Any] = {"segments": batch["segments"]} if "segments" in batch else {}
    if first:
        more["n"] = 1
    return cast("Tensor", model(tokens, documents=padding.int(), keys=keys, **more))


def row_logits(model: Model, batch: Batch, keys: Tensor | None = None) -> Tensor:
    """(N, outputs), fp32: what a model says of rows as a whole, as transformers' ForSequenceClassification.

    From the hidden state of a row's last token, which has seen all others, or of an encoder's first.
    """
    hidden = hidden_states(model, batch, keys, first=True)
    if model.causal:
        rows = torch.arange(len(hidden), device=hidden.device)
        return model.logits(hidden[rows, batch["lengths"] - 1]).float()
    return model.logits(hidden[:, 0]).float()


class Objective(Protocol):
    """What is learned. Losses are sums; the loop divides by the weight of the global batch once.

    So the gradient is the same, up to rounding, at any micro-batch and any number of processes, and evaluation is
    right at ragged ends.
    """

    metric_names: tuple[str, ...]  # what `metrics` gives
    higher_is_better: frozenset[str]  # those of them of which more is better
    per_row: frozenset[str]  # statistics that are no sums but say something of each row; most have none

    def weight(self, batch: Batch) -> float:
        """Number of targets, from the labels alone: known before the forward pass."""
        ...

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """The loss summed over the targets, a scalar with a gradient."""
        ...

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Sums of any shape that evaluation adds up over batches.

        Those of `per_row` are (N, ...) of any length; evaluation puts them where `batch["rows"]` (N,) says.
        """
        ...

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Metrics by name from the sums over a whole evaluation, and the tables of `per_row`; `loss` is one of them."""
        ...
