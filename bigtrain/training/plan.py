"""How long a run is: limits in steps, and the plan that `train.max_minutes` makes from the measured rate."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bigtrain.data.loader import Loader
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.training.schedules import Schedule
from bigtrain.training.schema import TrainConfig

UNPLANNED = 1 << 40  # stands for the total while a plan waits for its measurement: every schedule is warming up then
MEASURED_STEPS = (5, 15)  # of a segment: the first ones compile and warm caches


@dataclass
class State:
    """All that a resumed run needs beside weights, optimizer and config. Stored as JSON in every checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # of the loop, over all segments
    micro_batch_rows: int = 0
    threads: int = 0
    total_steps: int | None = None
    planned_steps: int | None = None
    planned_minutes: float | None = None
    seconds_per_step: float | None = None
    eval_seconds: float = 0.0  # of the last evaluation
    metric: str | None = None  # what `best` is a value of
    evaluated_step: int = -1
    best: float | None = None
    best_step: int | None = None
    evals_since_best: int = 0
    rate_ratio: float = 1.0  # multiplies the schedule: what `reduced` made of the evaluations so far
    last_metrics: dict[str, float] = field(default_factory=dict)
    best_metrics: dict[str, float] = field(default_factory=dict)
    stopped_by: str | None = None
    metrics_bytes: int = 0
    samples_bytes: int = 0
    allowed: list[str] = field(default_factory=list)  # differences of identity that `resume.allow` let pass


class Plan:
    """The number of steps of a run, and what sets it."""

    def __init__(self, config: TrainConfig, loader: Loader, schedule: Schedule, state: State) -> None:
        self.config, self.schedule, self.state = config, schedule, state
        tokens_per_step = loader.batch_rows * loader.rows.tokens_per_row
        self.limits: dict[str, int] = {}
        if config.max_steps is not None:
            self.limits["max_steps"] = config.max_steps
        if config.max_tokens is not None:
            self.limits["max_tokens"] = max(1, round(config.max_tokens / tokens_per_step))
        if config.max_epochs is not None:
            self.limits["max_epochs"] = loader.steps(config.max_epochs)
        if config.max_minutes is not None and schedule.warmup_steps <= MEASURED_STEPS[1]:
            raise UserError(
                f"schedule.warmup_steps={schedule.warmup_steps} with train.max_minutes={config.max_minutes}",
                f"the rate is measured up to step {MEASURED_STEPS[1]}, inside the warm-up, which needs no total",
                f"give schedule.warmup_steps={MEASURED_STEPS[1] + 1} or more",
            )
        if config.max_minutes != state.planned_minutes:
            self._forget()
        self._refuse_late_change()
        self.marks: list[float] = []
        if self.total() < schedule.warmup_steps:
            told = schedule.warmup_steps, self.total()
            log.warning("schedule.warmup_steps=%d and a run of %d steps: it never gets to optimizer.lr", *told)

    def total(self) -> int:
        """Optimizer steps of the whole run; UNPLANNED while the rate is being measured."""
        limits = list(self.limits.values())
        if self.config.max_minutes is not None:
            limits.append(self.state.planned_steps or UNPLANNED)
        return min(limits)

    def name(self) -> str:
        """The limit that ends the run."""
        total = self.total()
        return next((name for name, limit in self.limits.items() if limit == total), "max_minutes")

    def describe(self) -> str:
        """How long the run is, in words."""
        total = self.total()
        return f"until {self.config.max_minutes} minutes" if total == UNPLANNED else f"{total} steps ({self.name()})"

    def measuring(self) -> bool:
        """Whether steps are to be timed."""
        return self.config.max_minutes is not None and self.state.planned_steps is None

    def measure(self, now: float, spent: float, eval_seconds: float, save_seconds: float) -> bool:
        """Note the end of a step of this segment; True when the steps have been planned.

        now, spent: seconds on any clock, and of the run so far. eval_seconds, save_seconds: what one of each costs.
        """
        self.marks.append(now)
        first, last = MEASURED_STEPS
        if len(self.marks) < last:
            return False
        marks = self.marks[first - 1 : last]
        rate = statistics.median(b - a for a, b in itertools.pairwise(marks))
        self._plan(rate, spent, eval_seconds, save_seconds)
        return True

    def _plan(self, rate: float, spent: float, eval_seconds: float, save_seconds: float) -> None:
        config, state = self.config, self.state
        assert config.max_minutes is not None
        remaining = 0.9 * (60 * config.max_minutes - spent) - eval_seconds - save_seconds
        extra = eval_seconds / (config.eval_every_steps or UNPLANNED) + save_seconds / (
            config.save_every_steps or UNPLANNED
        )
        steps = max(0, int(remaining / (rate + extra)))
        state.planned_steps = max(state.step + steps, self.schedule.warmup_steps + 1)
        state.planned_minutes, state.seconds_per_step = config.max_minutes, rate

    def _forget(self) -> None:
        """Another `max_minutes` than planned: plan anew, from the known rate where there is one."""
        state = self.state
        state.planned_steps, state.planned_minutes = None, self.config.max_minutes
        if self.config.max_minutes is not None and state.seconds_per_step:
            self._plan(state.seconds_per_step, state.seconds, state.eval_seconds, 0.0)

    def _refuse_late_change(self) -> None:
        """A run may be given another length only before its schedule has begun to cool down."""
        state, total = self.state, self.total()
        if state.total_steps in (None, total) or total == UNPLANNED:
            return
        assert state.total_steps is not None
        began = min(self.schedule.cooldown_start(state.total_steps), self.schedule.cooldown_start(total))
        if state.step > began:
            raise UserError(
                f"a run of {total} steps, at step {state.step} of one planned for {state.total_steps}",
                f"the learning rate depends on the length, and it began to cool down at step {began}",
                "keep the limits of the run; or start a new one with init_from= (schedule=wsd stays flat for longest)",
            )


class Rounds:
    """Asks between two rounds of batches of an evaluation whether to stop, and so learns what a round takes."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self.should_stop = should_stop
        self.first, self.asked = 0.0, 0

    def __call__(self) -> bool:
        """To be asked between two rounds."""
        self.first = self.first or time.perf_counter()
        self.asked += 1
        return self.should_stop()

    def seconds(self, began: float, n_parts: int) -> float:
        """Of an evaluation that ends now, had its first round, which compiles, taken as long as the others."""
        now = time.perf_counter()
        return (now - self.first) / self.asked * (self.asked + n_parts) if self.asked else now - began


def follow_metric(state: State, metric: str) -> None:
    """Let `metric` decide from now on: the best of one is not the best of another."""
    if state.metric != metric:
        state.metric, state.best, state.best_step = metric, None, None
        state.best_metrics, state.evals_since_best = {}, 0


def judge(state: State, *, higher_is_better: bool) -> bool:
    """Whether the metrics just measured are the best so far, which is noted."""
    assert state.metric is not None
    value, sign = state.last_metrics[state.metric], -1 if higher_is_better else 1
    better = state.best is None or sign * value < sign * state.best
    state.evals_since_best = 0 if better else state.evals_since_best + 1
    if better:
        state.best, state.best_step, state.best_metrics = value, state.step, state.last_metrics
    return better


def out_of_patience(state: State, config: TrainConfig) -> bool:
    """Whether `patience_evals` evaluations, the last of them at this very step, have brought nothing better."""
    patience = config.patience_evals
    return patience is not None and state.evaluated_step == state.step and state.evals_since_best >= patience


def is_over(state: State, plan: Plan) -> bool:
    """Whether a run in this state has reached one of its limits."""
    limit = plan.config.max_minutes
    out_of_time = limit is not None and state.seconds > 1.1 * 60 * limit
    return state.step >= plan.total() or out_of_time or out_of_patience(state, plan.config)
