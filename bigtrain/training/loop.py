"""The training loop: one for every objective, model and number of processes.

Read `Loop.run` from top to bottom: it is the life of a step. Everything it needs comes in built; everything it writes
goes through `save`, `metrics` and `samples`. What a step does depends on (seed, step) and the weights alone, so a run
that was stopped, killed or moved goes on with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bigtrain.data.loader import Batch, Loader, n_tokens
from bigtrain.data.prefetch import Prefetch
from bigtrain.errors import Diverged, Stopped
from bigtrain.evaluation.evaluator import Part, evaluate_parts
from bigtrain.models.base import Model
from bigtrain.objectives.base import Objective
from bigtrain.parallel.placement import Placement
from bigtrain.parallel.reduction import Tree, all_reduce, gradients, total_norm
from bigtrain.parallel.schema import ParallelConfig, Reduction
from bigtrain.parallel.watchdog import Watchdog
from bigtrain.storage import JsonLines
from bigtrain.training.optimizers import OptimizerSet
from bigtrain.training.plan import Plan, Rounds, State, follow_metric, judge, out_of_patience
from bigtrain.training.progress import Progress
from bigtrain.training.schedules import Schedule
from bigtrain.training.schema import TrainConfig
from bigtrain.training.signals import StopFlag


def _diverged(what: str, step: int) -> Diverged:
    return Diverged(
        f"{what} not finite in step {step}: nothing of it was saved, the last checkpoint is intact\n"
        "  remedy: lower optimizer.lr, lengthen schedule.warmup_steps, or look at the data of that step"
    )


class Loop:
    """One run, from `state.step` to its end."""

    def __init__(
        self,
        *,
        model: Model,
        objective: Objective,
        optimizer: OptimizerSet,
        schedule: Schedule,
        loader: Loader,
        evaluation: Sequence[Part],  # validation data; empty: none
        config: TrainConfig,
        parallel: ParallelConfig,
        placement: Placement,
        plan: Plan,
        state: State,
        save: Callable[[], None],  # writes a checkpoint of `state`
        sample: Callable[[], list[dict[str, str]]],
        metrics: JsonLines,
        samples: JsonLines,
        progress: Progress,
        watch: Watchdog,
        flops_per_token: float,
        peak_flops: float | None,
    ) -> None:
        self.model, self.objective, self.optimizer, self.schedule = model, objective, optimizer, schedule
        self.loader, self.evaluation, self.config, self.placement = loader, evaluation, config, placement
        self.plan, self.state, self.save, self.sample = plan, state, save, sample
        self.metrics, self.samples, self.progress, self.watch = metrics, samples, progress, watch
        self.flops_per_token, self.peak_flops = flops_per_token, peak_flops
        self.parameters, self.on_gpu = optimizer.parameters(), placement.device.type == "cuda"
        self.exact = parallel.reduction is Reduction.exact
        # Parts of the global batch that this process computes one after the other: (first row, row behind the last).
        n_parts = parallel.shards if self.exact else placement.world_size
        size, mine = loader.batch_rows // n_parts, n_parts // placement.world_size
        parts = [((placement.rank * mine + i) * size, (placement.rank * mine + i + 1) * size) for i in range(mine)]
        self.prefetch = Prefetch(loader, parts, state.micro_batch_rows, pin=self.on_gpu)
        self.stop = StopFlag(alone=placement.world_size == 1)
        self.saved_step = state.step
        self.first_bad = torch.full((), -1, device=placement.device)  # step whose loss or gradient was not finite
        self.paused = 0.0  # seconds of evaluations and saves
        self.spent_before, self.started = state.seconds, time.perf_counter()

    def run(self) -> State:
        """Train to the end. Raises Stopped after a signal, Diverged when numbers stop being finite; see `State`."""
        state, config = self.state, self.config
        self._begin_interval()
        follow_metric(state, config.metric)
        with self.stop, self.prefetch, self.watch:
            while True:
                state.total_steps = self.plan.total()
                ended = self._ended()
                better = False
                due = self._due(config.eval_every_steps, ended) and state.evaluated_step < state.step
                if due and len(self.evaluation):
                    better = self._evaluate()
                    ended = self._ended()
                stopping = self._stopping()
                if self._due(config.save_every_steps, ended) or better or stopping:
                    self._save(better, None if stopping else ended)
                if stopping:
                    raise Stopped(
                        f"stopped by {self.stop.raised or 'a signal'} at step {state.step}: the same command continues"
                    )
                if ended:
                    return state
                done = self._step()
                if done is not None:  # else a signal interrupted the step, which then never happened
                    loss, norm = done
                    if self._due(config.log_every_steps, state.step >= self.plan.total()):
                        self._log(loss, norm)
                    self._plan_if_measuring()

    # The parts of a step ---------------------------------------------------------------------------------------------

    def _step(self) -> tuple[Tensor, Tensor] | None:
        """Gradient of the global batch, clipping, update. Returns loss and gradient norm, still on the device."""
        state = self.state
        parts = self.prefetch.batches(state.step)
        micro_batches = [batch for part in parts for batch in part]
        weight, tokens = self.placement.sum(
            sum(self.objective.weight(batch) for batch in micro_batches),
            sum(n_tokens(batch) for batch in micro_batches),
        )
        loss = self._gradient(parts, weight or 1.0)  # a loss mask may leave out all of a batch
        if loss is None:
            return None
        norm = total_norm(gradients(self.parameters))
        self.first_bad = torch.where(
            (self.first_bad < 0) & ~torch.isfinite(loss + norm), state.step + 1, self.first_bad
        )
        if not self.on_gpu:
            self._check_finite()  # on a GPU reading it would wait for the device: done when logging and saving
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.config.clip_norm, norm)
        self.optimizer.set_scale(self.schedule.scale(state.step, self.plan.total()) * state.rate_ratio)
        self.optimizer.step()
        state.step += 1
        state.tokens += int(tokens)
        self.stop.nothing_to_save = False
        return loss, norm

    def _gradient(self, parts: list[list[Batch]], weight: float) -> Tensor | None:
        """Leave the gradient of the mean loss over the global batch in `.grad`; None when a signal came in between."""
        tree, total = Tree(), torch.zeros((), device=self.placement.device)
        for part in parts:
            for batch in part:
                # Between micro-batches only where asking is cheap: on GPUs processes would wait for each other.
                if len(part) > 1 and (self.placement.world_size == 1 or not self.on_gpu) and self._stopping():
                    self.optimizer.zero_grad()
                    return None
                with self.placement.autocast():
                    loss = self.objective(self.model, self.placement.to_device(batch)) / weight
                loss.backward()
                total = total + loss.detach()
            if self.exact:
                tree.push([*gradients(self.parameters), total])
                self.optimizer.zero_grad()
                total = torch.zeros_like(total)
        if not self.exact:
            all_reduce([*gradients(self.parameters), total], self.placement)
            return total
        *summed, total = tree.root(self.placement)
        for parameter, gradient in zip(self.parameters, summed, strict=True):
            parameter.grad = gradient
        return total

    # Between steps ---------------------------------------------------------------------------------------------------

    def _due(self, every: int | None, ended: str | bool | None) -> bool:
        return bool(ended) or (every is not None and self.state.step % every == 0)

    def _stopping(self) -> bool:
        """Whether any process was told to stop: agreed, so that all leave at the same step."""
        self.watch.beat()
        return self.placement.any(self.stop.raised is not None)

    def _spent(self) -> float:
        return self.spent_before + time.perf_counter() - self.started

    def _ended(self) -> str | None:
        """The limit that is reached, if one is."""
        if self.state.step >= self.plan.total():
            return self.plan.name()
        limit = self.config.max_minutes
        if limit is not None and self.placement.any(self._spent() > 1.1 * 60 * limit):
            return "max_minutes"
        return "patience" if out_of_patience(self.state, self.config) else None

    def _evaluate(self) -> bool:
        """Measure the validation data and write samples; whether the metric is the best so far."""
        self._check_finite()
        state, began, rounds = self.state, time.perf_counter(), Rounds(self._stopping)
        found = evaluate_parts(self.model, self.objective, self.evaluation, self.placement, rounds)
        if found is None:
            return False
        values = {
            f"{part}_{name}" if part else name: value
            for part, metrics in found.items()
            for name, value in metrics.items()
        }
        if not all(map(math.isfinite, values.values())):
            raise _diverged("the validation loss is", state.step)
        state.evaluated_step, state.last_metrics = state.step, values
        at, spent = {"step": state.step, "tokens": state.tokens}, self._spent()
        for part, metrics in found.items():
            record = {**at, "split": f"val_{part}" if part else "validation", **metrics, "seconds": spent}
            if self.placement.leads:
                self.metrics.append(record)
            self.progress.evaluation(record)
        if self.placement.leads:
            for sample in self.sample():
                self.samples.append({"step": state.step, **sample})
        state.eval_seconds = rounds.seconds(began, len(self.evaluation))
        self.paused += time.perf_counter() - began
        if state.step == 0:
            return False
        better = judge(state, higher_is_better=self.config.metric in self.objective.higher_is_better)
        state.rate_ratio = self.schedule.reduced(state.rate_ratio, state.evals_since_best)
        return better

    def _save(self, better: bool, ended: str | None) -> None:
        """Write a checkpoint; one that is there already only where its step has just been measured as the best."""
        self._check_finite()
        self.state.stopped_by = ended
        if self.state.step == self.saved_step and not better:
            return
        self._check_state()
        began = time.perf_counter()
        self.state.seconds = self._spent()
        if self.placement.leads:
            self.state.metrics_bytes, self.state.samples_bytes = self.metrics.sync(), self.samples.sync()
            self.save()
        self.placement.wait()
        self.saved_step = self.state.step
        self.paused += time.perf_counter() - began

    def _check_finite(self) -> None:
        """Raises Diverged. Waits for the device."""
        if (step := int(self.first_bad)) >= 0:
            raise _diverged("the loss or its gradient is", step)

    @torch.no_grad()
    def _check_state(self) -> None:
        """Raises Diverged where a checkpoint would hold a number that is not finite: the update itself can make one."""
        tensors = [*self.parameters, *self.optimizer.tensors().values()]
        if not torch.isfinite(torch.nn.utils.get_total_norm(tensors, math.inf)):
            raise _diverged("a weight or the optimizer's state is", self.state.step)

    def _begin_interval(self) -> None:
        """From here to the next line of metrics; evaluations and saves in between are not training."""
        self.interval = self._training_clock(), self.state.tokens

    def _training_clock(self) -> float:
        return time.perf_counter() - self.paused

    def _log(self, loss: Tensor, norm: Tensor) -> None:
        """Write a line of metrics: the one place that waits for the device."""
        state = self.state
        self._check_finite()
        began, tokens = self.interval
        rate = (state.tokens - tokens) / max(1e-9, self._training_clock() - began)
        peak = self.peak_flops and self.peak_flops * self.placement.world_size
        record = {
            "step": state.step,
            "tokens": state.tokens,
            "split": "train",
            "loss": float(loss),
            "lr": self.optimizer.lr,
            "grad_norm": float(norm),
            "tokens_per_second": round(rate, 1),
            "mfu": round(rate * self.flops_per_token / peak, 4) if peak else None,
            **self.loader.epochs(state.step),
            "seconds": self._spent(),
        }
        if self.placement.leads:
            self.metrics.append(record)
        self.progress.train(record)
        self._begin_interval()

    def _plan_if_measuring(self) -> None:
        """With `max_minutes`: time the first steps, then fix the number of steps, on the leading process's clock."""
        if not self.plan.measuring():
            return
        self.placement.synchronise()
        # A checkpoint holds weights and optimizer, 16 bytes a parameter at most, written and hashed at about 300 MB/s.
        save_seconds = sum(p.numel() for p in self.parameters) * 16 / 3e8
        planned = self.plan.measure(self._training_clock(), self._spent(), self.state.eval_seconds, save_seconds)
        if planned:
            self.state.planned_steps, self.state.seconds_per_step = self.placement.from_lead(
                (self.state.planned_steps, self.state.seconds_per_step)
            )
            self.progress.total(self.plan.total())
            self.progress.message(
                f"planned {self.plan.total()} steps: {self.state.seconds_per_step:.3g} s a step, "
                f"{self.config.max_minutes} minutes"
            )
