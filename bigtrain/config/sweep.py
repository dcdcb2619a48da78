"""`--multirun`: Hydra's sweeper and launcher, with one child process of bigtrain per job.

`Hydra.multirun` is what `hydra.main` calls underneath. Called directly it needs no second parser of the command line
and gives back what each job returned.
"""

from __future__ import annotations

import functools
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bigtrain.config import folders, overrides
from bigtrain.config.compose import compose, register_packaged
from bigtrain.config.loading import check_option, check_recipe, key_type
from bigtrain.config.overrides import Override
from bigtrain.errors import GateMissed, Stopped, UserError
from bigtrain.log import log
from bigtrain.storage import write_json

Job = dict[str, Any]  # `overrides`, `folder`, `exit_code`, `result` (None where it failed)

# The key that gives a job its folder; one job of `generate` prints its text.
_PLACE = {"prepare": "output", "pretrain": "run.dir", "finetune": "run.dir", "evaluate": "output"}


def sweep(
    verb: str,
    lines: Sequence[str],
    config_name: str | None = None,
    config_dir: str | Path | None = None,
    options: Sequence[str] = (),
) -> list[Job]:
    """Run a verb once for each combination of the swept values; options are handed on to each job.

    Raises UserError, and Stopped after the running job has been told to stop.
    """
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    searched, name = folders.search(config_dir), config_name or verb
    if folders.find(searched, name) is None:
        raise folders.unknown_config(searched, name)
    task = _task(verb, name, [overrides.split(line) for line in lines], searched)
    ours = [
        "hydra.mode=MULTIRUN",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
        "hydra.job.chdir=false",
        "hydra.output_subdir=null",  # a job writes its own config
        f"hydra.sweep.dir={_new_folder()}",
    ]
    places = ["--config-name", name, *(["--config-dir", str(config_dir)] if config_dir else [])]
    job = functools.partial(_job, verb, [*options, *places])
    register_packaged()
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("bigtrain", create_config_search_path(str(searched[0])))
    try:
        batches = hydra.multirun(config_name=name, task_function=job, overrides=[*ours, *task])
    except HydraException as error:
        rule = str(error).splitlines()[0]
        raise UserError(f"bigtrain {verb} -m {' '.join(lines)}", rule, "look at the values that are swept") from error
    except KeyboardInterrupt:
        raise Stopped("stopped during a sweep") from None
    finally:
        GlobalHydra.instance().clear()
    return [done.return_value for batch in batches for done in batch]


def _new_folder() -> str:
    """A folder of its own for each sweep, also for two that start in one second."""
    stem = f"sweeps/{datetime.now():%Y%m%d-%H%M%S}"
    numbered = (stem if number == 1 else f"{stem}-{number}" for number in range(1, sys.maxsize))
    return next(folder for folder in numbered if not Path(folder).exists())


def _task(verb: str, name: str, lines: list[Override], searched: list[Path]) -> list[str]:
    """The overrides in Hydra's grammar, checked as far as can be before the values are told apart."""
    start = compose(name, {}, searched)
    groups = {line.key: line.text for line in lines if line.key in start.choices}
    first: dict[str, str | None] = {}
    for group, text in groups.items():
        options = [check_option(group, option, searched) for option in _plain_choices(text)]
        if any(option is not None for option in options) or start.choices[group] is not None:
            first[group] = options[0]
    check_recipe(verb, first.get("recipe"), searched)
    tree = compose(name, first, searched).tree
    task = [f"{group}={text}" for group, text in groups.items() if group in first]
    for line in lines:
        if line.key.startswith(("hydra.", "hydra/")):
            task.append(str(line))
        elif line.key not in groups:
            if line.key == _PLACE.get(verb):
                rule = "each job of a sweep has a folder of its own"
                raise UserError(str(line), rule, "give hydra.sweep.dir=DIR, which holds them all")
            task.append(overrides.to_hydra(*key_type(verb, tree, line)))
    return task


def _plain_choices(text: str) -> list[str]:
    inner = text.removeprefix("choice(").removesuffix(")") if text.startswith("choice(") else text
    return [option.strip() for option in inner.split(",")]


def _job(verb: str, options: list[str], config: Any) -> Job:
    """One job of the sweep. A stop is raised as KeyboardInterrupt: Hydra takes an Exception for a failed job."""
    from hydra.core.hydra_config import HydraConfig

    try:
        hydra = HydraConfig.get()
        folder = str(hydra.runtime.output_dir)
        lines = [overrides.from_hydra(line) for line in hydra.overrides.task]
        log.info("job %s: %s", hydra.job.num, " ".join(lines))
        command = [sys.executable, "-m", "bigtrain", verb, "--json", *options, *lines]
        command += [f"{_PLACE[verb]}={folder}"] if verb in _PLACE else []
        exit_code, output = _child(command)
    except Stopped:
        raise KeyboardInterrupt from None
    result = json.loads(output) if output and exit_code in (0, GateMissed.exit_code) else None
    return {"overrides": lines, "folder": folder, "exit_code": exit_code, "result": result}


def _child(command: list[str]) -> tuple[int, str]:
    """A process of its own for each job: it starts clean, and cannot take the sweep down with it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as child:
        try:
            output, _ = child.communicate()
        except Stopped:
            child.terminate()  # it saves and leaves; the end of this block waits for that
            raise
    return child.returncode, output


def over_seeds(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Metrics in the mean over seeds, for each setting of the other keys; nothing where no setting has two results.

    Each has its `overrides`, the `seeds` with a result, the number of `failed` ones, and `metrics`: of every number in
    the results, by name, the `mean`, the sample standard `deviation` (n - 1; None for one value) and the number of
    `runs` that have it.
    """
    settings: dict[tuple[str, ...], dict[str, Job]] = {}
    for job in jobs:
        seed = next((line for line in job["overrides"] if line.startswith("seed=")), None)
        if seed is not None:
            others = tuple(line for line in job["overrides"] if line != seed)
            settings.setdefault(others, {})[seed.removeprefix("seed=")] = job
    found = [_setting(others, by_seed) for others, by_seed in settings.items()]
    return found if any(len(one["seeds"]) > 1 for one in found) else []


def write_summary(jobs: Sequence[Job], summary: Sequence[dict[str, Any]]) -> None:
    """Write what `over_seeds` found into the folder of the sweep, which holds those of its jobs."""
    write_json(Path(os.path.commonpath([job["folder"] for job in jobs])) / "summary.json", summary)


def _setting(others: tuple[str, ...], by_seed: dict[str, Job]) -> dict[str, Any]:
    results = {seed: job["result"] for seed, job in by_seed.items() if job["result"]}
    names = dict.fromkeys(name for result in results.values() for name in result)
    columns = {name: [result[name] for result in results.values() if _is_number(result.get(name))] for name in names}
    return {
        "overrides": list(others),
        "seeds": list(results),
        "failed": len(by_seed) - len(results),
        "metrics": {name: _described(values) for name, values in columns.items() if values},
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _described(values: list[float]) -> dict[str, float | int | None]:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "runs": len(values)}


def show(jobs: Sequence[Job], summary: Sequence[dict[str, Any]] = ()) -> None:
    """One line a job: exit code, the first metric, what is not the same in all jobs. Below, what `over_seeds` found."""
    everywhere = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    rows: list[tuple[str, ...]] = [("exit", "result", "settings", "folder")]
    for job in jobs:
        settings = " ".join(line for line in job["overrides"] if line not in everywhere)
        rows.append((str(job["exit_code"]), _headline(job["result"] or {}), settings, job["folder"]))
    _print(rows)
    if summary:
        print()
        rows = [("metric", "mean", "deviation", "runs", "settings")]
        for one in summary:
            settings = " ".join(line for line in one["overrides"] if line not in everywhere)
            for name, found in one["metrics"].items():
                deviation = "-" if found["deviation"] is None else f"{found['deviation']:.3g}"
                rows.append((name, f"{found['mean']:.6g}", deviation, str(found["runs"]), settings))
        _print(rows)


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _headline(result: dict[str, Any]) -> str:
    if "completion" in result:
        return json.dumps(result["completion"][:60], ensure_ascii=False)
    names = [name for name, value in result.items() if isinstance(value, float)]
    name = "val_loss" if "val_loss" in names else next(iter(names), None)
    return "-" if name is None else f"{name}={result[name]:.6g}"
