"""Metrics as quotients of sums over a whole evaluation: right at ragged ends, the same on any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from bigtrain.data.loader import Batch
from bigtrain.errors import UserError
from bigtrain.models.base import Model
from bigtrain.objectives.base import Objective
from bigtrain.parallel.placement import Placement


class Batches(Protocol):
    """A fixed sequence of batches, any of which can be made at any time."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Batch: ...


class RowBatches(Batches, Protocol):
    """Batches that say in `rows` (N,) which of so many rows they hold, each row once."""

    n_rows: int


@dataclass(frozen=True)
class Part:
    """The data of one of several sets; `weight` multiplies its sums where all parts are measured together."""

    batches: Batches
    name: str = ""  # of the set, where it is one of several
    weight: float = 1.0


def evaluate_parts(
    model: Model,
    objective: Objective,
    parts: Sequence[Part],
    placement: Placement,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, dict[str, float]] | None:
    """Metrics of every part that has a name, and without a name those of all parts together; None when stopped."""
    found: dict[str, dict[str, float]] = {"": {}}
    whole: dict[str, Any] = {}
    for part in parts:
        sums = totals(model, objective, part.batches, placement, should_stop)
        if sums is None:
            return None
        if part.name:
            found[part.name] = objective.metrics(sums)
        for name, value in sums.items():
            if name in objective.per_row:
                whole[name] = np.concatenate([whole[name], value]) if name in whole else value
            else:
                whole[name] = whole.get(name, 0.0) + part.weight * value
    found[""] = objective.metrics(whole)
    return found


def totals(
    model: Model,
    objective: Objective,
    batches: Batches,
    placement: Placement,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, np.ndarray] | None:
    """Sums of an objective's statistics over `batches`; batch i is computed by process i modulo their number.

    Sums of whole numbers are exact in any order. Sums of real numbers are kept apart, a row of a table per batch, and
    added in the order of the batches: the bits do not depend on who computed which. Statistics of single rows
    (`Objective.per_row`) become tables (rows, ...).

    `should_stop` is asked by all processes between two rounds of batches, and must answer the same on all of them:
    yes ends the evaluation with None.
    """
    if not len(batches):
        raise UserError("an evaluation without data", "metrics need at least one target", "name data that is not empty")
    n_rows = cast("RowBatches", batches).n_rows if objective.per_row else 0
    sums = _Sums(len(batches), n_rows, objective.per_row, placement)
    training = model.training
    model.eval()
    try:
        for first in range(0, len(batches), placement.world_size):
            if first and should_stop is not None and should_stop():
                return None
            number = first + placement.rank
            if number >= len(batches) and sums.started:
                break  # the last round has no batch for this process
            # One without any batch computes one all the same, to learn the shapes of the sums.
            batch = placement.to_device(batches[number % len(batches)])
            with torch.no_grad(), placement.autocast():
                sums.add(number, objective.statistics(model, batch), batch.get("rows"))
    finally:
        model.train(training)
    return sums.total()


class _Sums:
    """Statistics of batches on their way to totals. Nothing here waits for the device before `total`."""

    def __init__(self, n_batches: int, n_rows: int, per_row: frozenset[str], placement: Placement) -> None:
        self.n_batches, self.n_rows, self.per_row, self.placement = n_batches, n_rows, per_row, placement
        self.started = False

    def add(self, number: int, statistics: dict[str, Tensor], rows: Tensor | None) -> None:
        """Take the sums of batch `number`; of a batch that does not exist only names and shapes are kept."""
        values = {name: value.to(self.placement.device) for name, value in statistics.items()}
        of_rows = {name: values.pop(name) for name in sorted(self.per_row)}
        real = {name: value for name, value in values.items() if value.is_floating_point()}
        whole = {name: value for name, value in values.items() if not value.is_floating_point()}
        if not self.started:
            self.started = True
            self.shapes = {name: value.shape for name, value in [*real.items(), *whole.items()]}
            self.table = _flat(real, self.placement).new_zeros(self.n_batches, sum(v.numel() for v in real.values()))
            self.counts = torch.zeros_like(_flat(whole, self.placement))
            self.rows = {
                name: value.new_zeros(self.n_rows, *value.shape[1:], dtype=torch.float64)
                for name, value in of_rows.items()
            }
        if number < self.n_batches:
            self.table[number] = _flat(real, self.placement)
            self.counts += _flat(whole, self.placement)
            for name, value in of_rows.items():
                self.rows[name][rows] = value.to(torch.float64)

    def total(self) -> dict[str, np.ndarray]:
        """The sums over all batches and processes, in float64, and the tables of rows."""
        # Every row of a table is zero on all processes but one: adding zeros is exact.
        flat = self.placement.all_reduce_sum(torch.cat([self.table.flatten(), self.counts])).cpu().numpy()
        tables = {name: self.placement.all_reduce_sum(table).cpu().numpy() for name, table in self.rows.items()}
        table, counts = np.split(flat, [self.table.numel()])
        real = np.zeros(self.table.shape[1])
        for row in table.reshape(self.table.shape):
            real += row
        sizes = np.cumsum([shape.numel() for shape in self.shapes.values()])
        parts = np.split(np.concatenate([real, counts]), sizes[:-1])
        sums = {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        return sums | tables


def _flat(values: dict[str, Tensor], placement: Placement) -> Tensor:
    """One float64 vector, which holds whole numbers up to 2^53 exactly."""
    empty = torch.empty(0, dtype=torch.float64, device=placement.device)
    return torch.cat([empty, *(value.to(torch.float64).flatten() for value in values.values())])
