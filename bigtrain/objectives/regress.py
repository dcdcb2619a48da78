"""A number for each row."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bigtrain.data.loader import Batch
from bigtrain.metrics.regression import regression
from bigtrain.models.base import Model
from bigtrain.objectives.base import row_logits

_DEFINED = ("r2", "pearson", "spearman")  # where not all targets are equal


class Regress:
    """Predict the score of a row."""

    per_row = frozenset({"scores", "labels"})

    def __init__(self, *, varied: bool = True) -> None:
        """varied: whether the targets that are measured differ from each other."""
        self.varied = varied
        self.metric_names: tuple[str, ...] = ("loss", "mse", "mae", *(_DEFINED if varied else ()))
        self.higher_is_better = frozenset(_DEFINED)

    def weight(self, batch: Batch) -> float:
        """Rows."""
        return float(len(batch["labels"]))

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """The squared error."""
        return ((row_logits(model, batch, batch.get("keys"))[:, 0] - batch["labels"]) ** 2).sum()

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Squared error and rows; of each row its score and its target."""
        scores, labels = row_logits(model, batch)[:, 0], batch["labels"]
        return {
            "loss": ((scores - labels) ** 2).sum(),
            "weight": torch.tensor(len(labels)),
            "scores": scores,
            "labels": labels,
        }

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The mean squared error, which is the loss, and `metrics.regression`.

        Correlations are 0 where the model gives every row the same score.
        """
        found = regression(sums["scores"], sums["labels"])
        if self.varied:
            found = {"pearson": 0.0, "spearman": 0.0, **found}
        return {"loss": float(sums["loss"] / sums["weight"]), **found}
