"""`--multirun`: Hydra's sweeper and launcher, with one child process of bigtrain per job.

`Hydra.multirun` is what `hydra.main` calls underneath. Called directly it needs no second parser of the command line
and gives back what each job returned.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bigtrain.config import folders, overrides
from bigtrain.config.compose import compose, register_packaged
from bigtrain.config.fields import without_none
from bigtrain.config.loading import check_option, key_type
from bigtrain.config.overrides import Override
from bigtrain.config.recipes import check_recipe
from bigtrain.errors import GateMissed, Stopped, UserError
from bigtrain.log import log
from bigtrain.storage import write_json

Job = dict[str, Any]  # `overrides`, `folder`, `exit_code`, `result` (None where it failed)


@dataclass(frozen=True)
class Swept:
    """One setting of a sweep, which may have several values."""

    typed: Override  # without a needless `+`
    hydra: str  # the same in Hydra's grammar
    hint: Any = None  # the type of the key; None for a group, and for Hydra's own


# The key that gives a job its folder; one job of `generate` prints its text.
SEARCHES = ("pretrain", "finetune")  # the verbs that measure what they make
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
    task = read(verb, lines, config_name, config_dir)
    _refuse_intervals(verb, task)
    ours = [
        "hydra.mode=MULTIRUN",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
        "hydra.job.chdir=false",
        "hydra.output_subdir=null",  # a job writes its own config
        f"hydra.sweep.dir={new_folder()}",
    ]
    places = ["--config-name", name, *(["--config-dir", str(config_dir)] if config_dir else [])]
    job = functools.partial(_job, verb, [*options, *places])
    register_packaged()
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("bigtrain", create_config_search_path(str(searched[0])))
    try:
        batches = hydra.multirun(config_name=name, task_function=job, overrides=[*ours, *(one.hydra for one in task)])
    except HydraException as error:
        rule = str(error).splitlines()[0]
        raise UserError(f"bigtrain {verb} -m {' '.join(lines)}", rule, "look at the values that are swept") from error
    except Stopped:
        raise Stopped("stopped during a sweep") from None
    finally:
        GlobalHydra.instance().clear()
    return [done.return_value for batch in batches for done in batch]


def new_folder() -> str:
    """A folder of its own for each sweep, also for two that start in one second."""
    stem = f"sweeps/{datetime.now():%Y%m%d-%H%M%S}"
    numbered = (stem if number == 1 else f"{stem}-{number}" for number in range(1, sys.maxsize))
    return next(folder for folder in numbered if not Path(folder).exists())


def read(
    verb: str, lines: Sequence[str], config_name: str | None = None, config_dir: str | Path | None = None
) -> list[Swept]:
    """The settings of a sweep, checked as far as can be before the values are told apart. Raises UserError."""
    searched, name = folders.search(config_dir), config_name or verb
    if folders.find(searched, name) is None:
        raise folders.unknown_config(searched, name)
    typed = [overrides.split(line) for line in lines]
    start = compose(name, {}, searched)
    groups = {line.key: line.text for line in typed if line.key in start.choices}
    first: dict[str, str | None] = {}
    for group, text in groups.items():
        options = [check_option(group, option, searched) for option in plain_choices(text)]
        if any(option is not None for option in options) or start.choices[group] is not None:
            first[group] = options[0]
    check_recipe(verb, first.get("recipe"), searched)
    tree = compose(name, first, searched).tree
    task = [Swept(Override(group, text), f"{group}={text}") for group, text in groups.items() if group in first]
    for line in typed:
        if is_hydras(line.key):
            task.append(Swept(line, str(line)))
        elif line.key not in groups:
            if line.key == _PLACE.get(verb):
                rule = "each job of a sweep has a folder of its own"
                raise UserError(str(line), rule, "give hydra.sweep.dir=DIR, which holds them all")
            plain, hint = key_type(verb, tree, line)
            task.append(Swept(plain, overrides.to_hydra(plain, hint), hint))
            _check_range(task[-1])
    return task


def is_hydras(key: str) -> bool:
    """Whether a key is one of Hydra's own settings."""
    return key.startswith(("hydra.", "hydra/"))


def _refuse_intervals(verb: str, task: Sequence[Swept]) -> None:
    for one in task:
        if one.hint is not None and re.search(r"\binterval\(", one.typed.text) and not overrides.is_verbatim(one.hint):
            rule = "an interval has no end of values to run through"
            remedy = "give search.trials=N to search it" if verb in SEARCHES else "list the values"
            raise UserError(str(one.typed), rule, remedy)


def _check_range(one: Swept) -> None:
    """Raises UserError where the numbers of a range have no end, or are not whole where the key wants such."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import RangeSweep
    from hydra.errors import HydraException

    if "range(" not in one.hydra:
        return
    try:
        swept = OverridesParser.create().parse_override(one.hydra).value()
    except HydraException:  # Hydra's sweeper, or the search, says so with what each knows
        return
    if not isinstance(swept, RangeSweep):
        return
    numbers: tuple[Any, ...] = (swept.start, swept.stop, swept.step)
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers) or not swept.step:
        rule = "a range goes from one number to another in steps that are not 0"
        raise UserError(str(one.typed), rule, "give range(START,STOP,STEP) with such numbers")
    if without_none(one.hint)[0] is int and not all(isinstance(number, int) for number in numbers):
        raise UserError(str(one.typed), f"{one.typed.key} is a whole number", "give whole numbers in the range")


def plain_choices(text: str) -> list[str]:
    """The options that a group is swept over."""
    inner = text.removeprefix("choice(").removesuffix(")") if text.startswith("choice(") else text
    return [option.strip() for option in inner.split(",")]


def _job(verb: str, options: list[str], config: Any) -> Job:
    """One job of the sweep."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder = str(hydra.runtime.output_dir)
    lines = [overrides.from_hydra(line) for line in hydra.overrides.task]
    log.info("job %s: %s", hydra.job.num, " ".join(lines))
    command = [sys.executable, "-m", "bigtrain", verb, "--json", *options, *lines]
    command += [f"{_PLACE[verb]}={folder}"] if verb in _PLACE else []
    exit_code, output = child(command)
    result = json.loads(output) if output and exit_code in (0, GateMissed.exit_code) else None
    return {"overrides": lines, "folder": folder, "exit_code": exit_code, "result": result}


def child(command: Sequence[str], seconds: float | None = None) -> tuple[int, str]:
    """A process of its own for each job: it starts clean, and cannot take the sweep down with it.

    seconds: after which it is told to stop.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as started:
        try:
            output, _ = started.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            started.terminate()
            output, _ = started.communicate()
        except Stopped:
            started.terminate()  # it saves and leaves; the end of this block waits for that
            raise
    return started.returncode, output


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
    print_table(rows)
    if summary:
        print()
        rows = [("metric", "mean", "deviation", "runs", "settings")]
        for one in summary:
            settings = " ".join(line for line in one["overrides"] if line not in everywhere)
            for name, found in one["metrics"].items():
                deviation = "-" if found["deviation"] is None else f"{found['deviation']:.3g}"
                rows.append((name, f"{found['mean']:.6g}", deviation, str(found["runs"]), settings))
        print_table(rows)


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns as wide as what is in them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _headline(result: dict[str, Any]) -> str:
    if "completion" in result:
        return json.dumps(result["completion"][:60], ensure_ascii=False)
    names = [name for name, value in result.items() if isinstance(value, float)]
    name = "val_loss" if "val_loss" in names else next(iter(names), None)
    return "-" if name is None else f"{name}={result[name]:.6g}"
