"""`--dry-run`: build everything on the meta device and say what the run would take. No run folder is made."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bigtrain.commands.tasks.base import Build, check_metric, check_patience, check_plateau, rows_of_a_part
from bigtrain.config import Loaded
from bigtrain.data.loader import Loader
from bigtrain.models.adapters import freeze
from bigtrain.models.base import n_parameters, n_trained, training_flops
from bigtrain.parallel.hardware import peak_flops
from bigtrain.parallel.memory import activation_bytes, choose_micro_batch, free_bytes, saved_bytes, state_bytes
from bigtrain.parallel.placement import Placement
from bigtrain.training.plan import UNPLANNED, Plan, State


def describe(loaded: Loaded, build: Build) -> dict[str, Any]:
    """Parameters, data, steps, memory per device, disk and arithmetic of the run that `loaded` describes.

    Raw text is prepared into a temporary cache, which vanishes again.
    """
    config = loaded.config
    with tempfile.TemporaryDirectory(prefix="bigtrain-") as scratch:
        os.environ["BIGTRAIN_CACHE"] = scratch
        placement = Placement.join().configured(config.device, config.parallel)
        task = build(loaded, placement, None)
        freeze(task.model, config.train.freeze)
        check_metric(config.train.metric, task.objective.metric_names)
        part, model, state = rows_of_a_part(task, config, placement), task.model, State()
        loader = Loader(task.rows, task.batch_rows, config.seed)
        plan = Plan(config.train, loader, config.schedule, state)
        micro = config.train.micro_batch_rows or choose_micro_batch(
            model, part, task.row_tokens, placement, compiled=config.device.compile
        )
        evaluation = task.validation(micro)
        check_patience(config.train, evaluation)
        check_plateau(config.train, config.schedule, evaluation)
        steps = None if plan.total() == UNPLANNED else plan.total()
        tokens_per_step = round(task.batch_rows * task.rows.tokens_per_row)
        parameters, flops = n_parameters(model), training_flops(model, task.seq_len)
        activations = activation_bytes(model, placement.precision, compiled=config.device.compile)
        peak = peak_flops(placement.device, placement.precision)
        where = Path(config.run.dir or "runs")
        while not where.exists():
            where = where.parent
        shown = task.examples() if task.examples else []
        return {
            "parameters": parameters,
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
            "memory_per_device_gb": round((state_bytes(model) + micro * task.row_tokens * activations) / 1e9, 3),
            "free_memory_gb": round(free_bytes(placement) / 1e9, 3),
            "disk_needed_gb": round((config.train.keep_last + 2) * saved_bytes(model) / 1e9, 3),
            "free_disk_gb": round(shutil.disk_usage(where).free / 1e9, 3),
            "flops_per_token": flops,
            "flops": steps and steps * tokens_per_step * flops,
            "hours_at_40_percent_of_peak": peak
            and steps
            and round(steps * tokens_per_step * flops / (0.4 * peak * placement.world_size) / 3600, 3),
            **({"examples": [dict(zip(("before", "after"), p, strict=True)) for p in shown]} if shown else {}),
        }
