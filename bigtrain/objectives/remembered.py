"""What an evaluation added up, kept for the report of the run."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from bigtrain.data.loader import Batch
from bigtrain.models.base import Model
from bigtrain.objectives.base import Objective


class Remembered:
    """Another objective, with the sums of its last evaluation."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.metric_names, self.per_row = objective.metric_names, objective.per_row
        self.higher_is_better = objective.higher_is_better
        self.sums: dict[str, np.ndarray] = {}  # none before the first evaluation of this process

    def weight(self, batch: Batch) -> float:
        """As the other says."""
        return self.objective.weight(batch)

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """As the other says."""
        return self.objective(model, batch)

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """As the other says."""
        return self.objective.statistics(model, batch)

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """As the other says."""
        self.sums = sums
        return self.objective.metrics(sums)
