"""Learning-rate schedules: pure functions of the step. Each config is the schedule itself.

`scale(step, total_steps)` multiplies the peak rate in optimizer step number `step`, counted from 0.
`cooldown_start(total_steps)` is the first step whose rate depends on `total_steps`: until then a run may be lengthened.
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


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def _progress(step: int, start: int, end: int) -> float:
    """0 at `start`, 1 at `end` and after."""
    return min(1.0, max(0.0, (step - start) / max(1, end - start)))


@dataclass
class CosineConfig:
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
class LinearConfig:
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
class WSDConfig:
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
