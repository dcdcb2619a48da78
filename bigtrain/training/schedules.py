"""Learning-rate schedules: pure functions of the step, and of what evaluations have found. Each config is the schedule.

`scale(step, total_steps)` multiplies the peak rate in optimizer step number `step`, counted from 0.
`cooldown_start(total_steps)` is the first step whose rate depends on `total_steps`: until then a run may be lengthened.
`reduced(ratio, evals_since_best)` is what multiplies the rate beside it, from an evaluation on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from bigtrain.options import option


class Schedule(Protocol):
    """What the loop asks of a schedule."""

    warmup_steps: int

    def scale(self, step: int, total_steps: int) -> float:
        """Share of the peak rate in step number `step`, counted from 0."""
        ...

    def cooldown_start(self, total_steps: int) -> int:
        """The first step whose rate depends on `total_steps`."""
        ...

    def reduced(self, ratio: float, evals_since_best: int) -> float:
        """What multiplies the rate after an evaluation; `ratio` did before it, 1 at first.

        evals_since_best: how many evaluations in a row, this one counted, have brought no better metric.
        """
        return ratio


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def _progress(step: int, start: int, end: int) -> float:
    """0 at `start`, 1 at `end` and after."""
    return min(1.0, max(0.0, (step - start) / max(1, end - start)))


@dataclass
class ConstantConfig(Schedule):
    """Warm-up, then the peak to the end: a run of any length."""

    name: str = option("constant", "the schedule")
    warmup_steps: int = option(100, "steps of linear warm-up", at_least=0)

    def scale(self, step: int, total_steps: int) -> float:
        """1 after the warm-up."""
        return _warmup(step, self.warmup_steps)

    def cooldown_start(self, total_steps: int) -> int:
        """Never: the end."""
        return total_steps


@dataclass
class CosineConfig(Schedule):
    """Warm-up, then half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983)."""

    name: str = option("cosine", "the schedule")
    warmup_steps: int = option(100, "steps of linear warm-up", at_least=0)
    final_ratio: float = option(0.1, "rate at the end, as a share of the peak", at_least=0, at_most=1)

    def scale(self, step: int, total_steps: int) -> float:
        """1 after the warm-up, `final_ratio` at the end, a half cosine between."""
        part = _progress(step, self.warmup_steps, total_steps)
        return _warmup(step, self.warmup_steps) * (
            self.final_ratio + (1 - self.final_ratio) * 0.5 * (1 + math.cos(math.pi * part))
        )

    def cooldown_start(self, total_steps: int) -> int:
        """Right after the warm-up."""
        return min(self.warmup_steps, total_steps)


@dataclass
class LinearConfig(Schedule):
    """Warm-up, then a straight line down."""

    name: str = option("linear", "the schedule")
    warmup_steps: int = option(100, "steps of linear warm-up", at_least=0)
    final_ratio: float = option(0.0, "rate at the end, as a share of the peak", at_least=0, at_most=1)

    def scale(self, step: int, total_steps: int) -> float:
        """1 after the warm-up, `final_ratio` at the end, a line between."""
        part = _progress(step, self.warmup_steps, total_steps)
        return _warmup(step, self.warmup_steps) * (1 - (1 - self.final_ratio) * part)

    def cooldown_start(self, total_steps: int) -> int:
        """Right after the warm-up."""
        return min(self.warmup_steps, total_steps)


@dataclass
class WSDConfig(Schedule):
    """Warm-up, stable, decay (Hu et al. 2024, arXiv 2404.06395): a run may be lengthened until it cools down."""

    name: str = option("wsd", "the schedule")
    warmup_steps: int = option(100, "steps of linear warm-up", at_least=0)
    cooldown_fraction: float = option(0.2, "share of the steps in which the rate falls linearly", above=0, at_most=1)
    final_ratio: float = option(0.0, "rate at the end, as a share of the peak", at_least=0, at_most=1)

    def scale(self, step: int, total_steps: int) -> float:
        """1 from the warm-up to the cool-down, then a line to `final_ratio`."""
        part = _progress(step, self.cooldown_start(total_steps), total_steps)
        return _warmup(step, self.warmup_steps) * (1 - (1 - self.final_ratio) * part)

    def cooldown_start(self, total_steps: int) -> int:
        """Where the last `cooldown_fraction` of the steps begins."""
        return total_steps - math.ceil(total_steps * self.cooldown_fraction)


@dataclass
class PlateauConfig(ConstantConfig):
    """Warm-up, then the peak, reduced whenever `train.metric` stops getting better.

    That of torch's ReduceLROnPlateau with threshold=0, cooldown=0 and patience=patience_evals - 1.
    """

    name: str = option("plateau", "the schedule")
    factor: float = option(0.5, "what a reduction multiplies the rate by", above=0, below=1)
    patience_evals: int = option(2, "reduce when this many evaluations bring no better train.metric", at_least=1)
    min_ratio: float = option(0.01, "least rate, as a share of the peak", at_least=0, at_most=1)

    def reduced(self, ratio: float, evals_since_best: int) -> float:
        """Less by `factor` after every `patience_evals` evaluations in a row without a better metric."""
        fires = evals_since_best > 0 and evals_since_best % self.patience_evals == 0
        return max(ratio * self.factor, self.min_ratio) if fires else ratio
