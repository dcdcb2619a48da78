"""`--dry-run`: build everything on the meta device and say what the run would take. No run folder is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bigtrain.commands.record import as_continued, require_all
from bigtrain.commands.tasks.base import (
    Build,
    check_measured,
    check_metric,
    check_plateau,
    identity_of,
    micro_batch,
    rows_of_a_part,
)
from bigtrain.commands.unread import refuse_unread_of_training
from bigtrain.config import Loaded
from bigtrain.data.loader import Loader
from bigtrain.data.pipeline import kept_nowhere
from bigtrain.errors import BigtrainError, UserError
from bigtrain.identity import check_identity
from bigtrain.log import log
from bigtrain.models.adapters import freeze
from bigtrain.models.base import n_parameters, n_trained, training_flops
from bigtrain.parallel.hardware import peak_flops
from bigtrain.parallel.memory import activation_bytes, free_bytes, require_memory, saved_bytes, state_bytes
from bigtrain.parallel.placement import Placement
from bigtrain.training.checkpoint import Checkpoint, newest, require_space, space
from bigtrain.training.plan import UNPLANNED, Plan, State


def describe(loaded: Loaded, build: Build) -> dict[str, Any]:
    """Parameters, data, steps, memory per device, disk and arithmetic of the run that `loaded` describes or continues.

    Raw text that the cache has not is prepared into a temporary folder. What the run would be refused for once it is
    built, for lack of memory or disk, is in the list `refused`.
    """
    loaded = as_continued(loaded)
    require_all(loaded)
    refuse_unread_of_training(loaded)
    config = loaded.config
    checkpoints = Path(config.run.dir or "runs/new") / "checkpoints"
    with kept_nowhere():
        placement = Placement.join().configured(config.device, config.parallel)
        start = placement.from_lead(newest(checkpoints, only_look=True) if placement.leads else None)
        task = build(loaded, placement, start.model if start else None)
        model, state = task.model, State(**start.counters()) if start else State()
        freeze(model, config.train.freeze)
        check_metric(config.train.metric, task.objective.metric_names)
        part = rows_of_a_part(task, config, placement)
        if start:
            now = identity_of(loaded.plain, task, placement)
            check_identity(start.manifest["identity"], now, config.resume.allow)
        loader = Loader(task.rows, task.batch_rows, config.seed)
        plan = Plan(config.train, loader, config.schedule, state)
        micro = micro_batch(part, model, task, config, state, placement)
        evaluation = task.validation(micro)
        check_measured(config.train, evaluation)
        check_plateau(config.train, config.schedule, evaluation)
        steps = None if plan.total() == UNPLANNED else plan.total()
        tokens_per_step = round(task.batch_rows * task.rows.tokens_per_row)
        flops = training_flops(model, task.seq_len)
        activations = activation_bytes(model, placement.precision, compiled=config.device.compile)
        need, free = state_bytes(model) + micro * task.row_tokens * activations, free_bytes(placement)
        disk, free_disk = space(checkpoints, saved_bytes(model), config.train.keep_last)
        refused = _refusals(
            lambda: require_memory(model, placement),
            lambda: require_space(checkpoints, saved_bytes(model), config.train.keep_last),
        )
        if need > free and not refused:
            log.warning("about %.1f GB of memory are needed, %.1f GB are free: it may not fit", need / 1e9, free / 1e9)
        peak = peak_flops(placement.device, placement.precision)
        shown = task.examples() if task.examples else []
        return {
            **_continues(start),
            "parameters": n_parameters(model),
            "trained_parameters": n_trained(model),
            "device": str(placement.device),
            "train_rows": len(task.rows),
            "train_tokens": round(len(task.rows) * task.rows.tokens_per_row),
            "tokens_per_step": tokens_per_step,
            "micro_batch_rows": micro,
            "metric": config.train.metric if len(evaluation) else None,
            "higher_is_better": config.train.metric in task.objective.higher_is_better,
            "steps": steps,
            "tokens": steps and steps * tokens_per_step,
            **(loader.epochs(steps) if steps else {"epochs": None}),
            "memory_per_device_gb": round(need / 1e9, 3),
            "free_memory_gb": round(free / 1e9, 3),
            "disk_needed_gb": round(disk / 1e9, 3),
            "free_disk_gb": round(free_disk / 1e9, 3),
            "flops_per_token": flops,
            "flops": steps and steps * tokens_per_step * flops,
            "hours_at_40_percent_of_peak": peak
            and steps
            and round(steps * tokens_per_step * flops / (0.4 * peak * placement.world_size) / 3600, 3),
            "refused": refused,
            **({"examples": [dict(zip(("before", "after"), p, strict=True)) for p in shown]} if shown else {}),
        }


def verdict(needs: dict[str, Any]) -> None:
    """To be called once the figures are out. Raises UserError where the run would be refused."""
    if needs.get("refused"):
        rule = "; ".join(needs["refused"])
        raise UserError("a run that does not fit", rule, "choose a smaller model, or a machine that has what is needed")


def _refusals(*requirements: Callable[[], None]) -> list[str]:
    found = []
    for require in requirements:
        try:
            require()
        except UserError as error:
            found.append(f"{error.given}: {error.rule}")
        except BigtrainError as error:
            found.append(str(error))
    return found


def _continues(start: Checkpoint | None) -> dict[str, Any]:
    return {"continues": str(start.path), "step": start.counters()["step"]} if start else {}
