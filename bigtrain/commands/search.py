"""`-m` with `search.trials=`: runs one after the other, each with values that the results so far suggest.

Each trial is a run like any other, in a folder of its own below that of the search. `summary.json` there is all that
the search remembers: it is written before a trial begins and after it has ended.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain import config as configs
from bigtrain.commands.record import Record
from bigtrain.config import overrides, sweep
from bigtrain.config.space import (
    Dimension,
    Values,
    check_optuna,
    combinations,
    corners,
    dimension,
    propose,
)
from bigtrain.config.sweep import SEARCHES, Swept
from bigtrain.errors import DiskFull, RunBusy, Stopped, UserError, kind_of
from bigtrain.log import log
from bigtrain.runs import RunFolder
from bigtrain.storage import write_json

Trial = dict[str, Any]  # `number`, `settings`, `state`, `exit_code`, `value`, `seconds`, `folder`

_PLACE = "hydra.sweep.dir"
_BUDGET = "train.max_minutes"
_NO_TIME = 0.1  # seconds: no process starts in less
# What is one thing for the whole search.
_NOT_SEARCHED = ("search.", "run.", "resume.", "train.metric", _BUDGET)


@dataclass
class Search:
    """What is searched, and how long."""

    path: Path
    verb: str
    words: list[str]  # options of every trial's command
    lines: list[str]  # settings of every trial's command
    space: list[Dimension]
    trials: int
    minutes: float | None
    seed: int

    def described(self) -> dict[str, Any]:
        """What may not change when the search goes on."""
        searched = {one.typed.key: one.typed.text for one in self.space}
        return {"verb": self.verb, "settings": sorted(self.lines), "searched": searched, "seed": self.seed}

    def left(self, summary: dict[str, Any]) -> float | None:
        """Seconds, of the time of all trials together; None where it has no end."""
        spent = sum(one["seconds"] for one in summary["trials"])
        return None if self.minutes is None else 60 * self.minutes - spent

    def is_out_of_time(self, summary: dict[str, Any]) -> bool:
        """Whether nothing is left that a trial could use."""
        left = self.left(summary)
        return left is not None and left < _NO_TIME

    def command(self, values: Values) -> list[str]:
        """The words of one trial's command, without its folder."""
        return [self.verb, *self.words, *self.lines, *(f"{key}={text}" for key, text in values.items())]


def asked(verb: str, lines: Sequence[str], config_name: str | None, config_dir: Path | None) -> bool:
    """Whether a sweep is a search: `search.trials` is given, on the command line or in the config it starts from."""
    if verb not in SEARCHES:
        return False
    typed = [line.lstrip("+").partition("=")[2] for line in lines if line.lstrip("+").startswith("search.trials=")]
    if typed:
        return typed[-1] != "null"
    first = [line for line in lines if line.startswith("recipe=") and "," not in line]
    return configs.load(verb, first, config_name, config_dir).plain["search"]["trials"] is not None


def run(
    verb: str, lines: Sequence[str], config_name: str | None, config_dir: Path | None, options: Sequence[str]
) -> tuple[dict[str, Any], int]:
    """Search, and return the content of summary.json and the exit code: 1 where no trial has ended well.

    A search that is stopped or killed goes on with the same command. Raises UserError, Stopped, RunBusy, DiskFull.
    """
    search = _read(verb, lines, config_name, config_dir, options)
    with RunFolder.open(search.path, verb=verb) as folder:
        record = Record(folder, verb)
        with record.kept():
            found = _begun(search)
            if found is None:
                code, found = _measure(search)
                if code:
                    folder.abandon()  # the trial's error has been printed
                    return {}, code
            record.began = True
            record.write("running")
            log.info("search folder: %s", search.path)
            log.info("to continue it: the same command with %s=%s", _PLACE, shlex.quote(str(search.path)))
            summary = _all(search, found)
            record.write("done", exit_code=int(summary["best"] is None))
    return summary, int(summary["best"] is None)


def show(summary: dict[str, Any]) -> None:
    """A line for each trial, best first; below, the best one and the command that repeats it."""
    sign = -1 if summary["higher_is_better"] else 1
    trials = sorted(summary["trials"], key=lambda one: (one["value"] is None, sign * (one["value"] or 0)))
    rows: list[tuple[str, ...]] = [("trial", summary["metric"], "settings", "state", "folder")]
    for one in trials:
        value = "-" if one["value"] is None else f"{one['value']:.6g}"
        settings = " ".join(f"{key}={text}" for key, text in one["settings"].items())
        rows.append((str(one["number"]), value, settings, one["state"], one["folder"]))
    sweep.print_table(rows)
    if best := summary["best"]:
        print(f"\nbest: trial {best['number']}, {summary['metric']} {best['value']:.6g}\n{best['command']}")


def _read(
    verb: str, lines: Sequence[str], config_name: str | None, config_dir: Path | None, options: Sequence[str]
) -> Search:
    """Raises UserError for everything that can be known before data are read."""
    check_optuna()
    if "--dry-run" in options:
        raise UserError("--dry-run of a search", "it is about one run", "leave -m and search.trials= out")
    task = sweep.read(verb, lines, config_name, config_dir)
    place = _place(task)
    task = [one for one in task if one.typed.key != _PLACE]
    space = [found for one in task if (found := dimension(one)) is not None]
    searched = {one.typed.key for one in space}
    fixed = [one for one in task if one.typed.key not in searched]
    _check_space(space)
    first = [f"{key}={text}" for key, text in next(corners(space)).items()]

    def plain(settings: Sequence[Swept]) -> Any:
        return configs.load(verb, [*map(_line, settings), *first], config_name, config_dir).plain

    whole = plain(fixed)
    fixed = [one for one in fixed if not one.typed.key.startswith(("search.", _BUDGET))]
    kept = [_line(one) for one in fixed]
    rest = plain(fixed)  # of the YAML files
    if rest["search"]["trials"] is not None:
        kept.append("search.trials=null")
    if rest["train"]["max_minutes"] is not None:
        kept.append(f"{_BUDGET}=null")
    _check_limit(whole["train"])
    for values in corners(space):
        words = [*kept, *(f"{key}={text}" for key, text in values.items())]
        configs.load(verb, words, config_name, config_dir).config  # noqa: B018  # raises for what cannot be
    named = ["--config-name", config_name] if config_name else []
    named += ["--config-dir", str(config_dir)] if config_dir else []
    budget = whole["train"]["max_minutes"]
    return Search(
        place, verb, [*options, *named], kept, space, whole["search"]["trials"], budget, whole["search"]["seed"]
    )


def _line(one: Swept) -> str:
    return str(one.typed) if one.hint is None else overrides.from_hydra(one.hydra)


def _place(task: Sequence[Swept]) -> Path:
    for one in task:
        if sweep.is_hydras(one.typed.key) and one.typed.key != _PLACE:
            raise UserError(str(one.typed), f"of Hydra's own settings a search reads {_PLACE}", "leave it out")
    named = [one.typed.text for one in task if one.typed.key == _PLACE]
    if named and not named[-1]:
        raise UserError(f"{_PLACE}=", "it names the folder of the search", "give it a name, or leave it out")
    return Path(named[-1] if named else sweep.new_folder())


def _check_space(space: Sequence[Dimension]) -> None:
    if not space:
        rule = "a search tries values, and every key has one"
        raise UserError("search.trials", rule, "give optimizer.lr='tag(log,interval(1e-5,1e-2))', or what you look for")
    for one in space:
        if one.typed.key.startswith(_NOT_SEARCHED):
            raise UserError(str(one.typed), f"{one.typed.key} is one for the whole search", "give it one value")


def _check_limit(train: dict[str, Any]) -> None:
    """Raises UserError where only the clock would end a trial: what a trial learns must not depend on the others."""
    if all(train[name] is None for name in ("max_steps", "max_tokens", "max_epochs")):
        raise UserError(
            f"{_BUDGET}={train['max_minutes']} with search.trials" if train["max_minutes"] else "no limit",
            f"{_BUDGET} is the time of the whole search; a trial needs an end of its own",
            "give train.max_steps=, train.max_tokens= or train.max_epochs=",
        )


def _begun(search: Search) -> dict[str, Any] | None:
    """What the folder knows of this search; None where it is new. Raises UserError where it holds something else."""
    file, found = search.path / "summary.json", None
    if file.exists():
        remembers, remedy = "it is what the search remembers", "restore it, or delete it"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{file}: {error}", remembers, remedy) from None
        if not isinstance(found, dict | list):
            raise UserError(f"{file}: {kind_of(found)}", remembers, remedy)
    if isinstance(found, list) or any((search.path / name).exists() for name in ("multirun.yaml", "config.yaml")):
        raise UserError(f"{_PLACE}={search.path}", "it holds another sweep, or a run", "choose another folder")
    if found is None:
        return None
    for name, value in search.described().items():
        if found.get(name) != value:
            raise UserError(
                f"{name}: {found.get(name)} -> {value}",
                "a search goes on as it began: its trials would not be comparable",
                f"give what was given before (search.trials and {_BUDGET} may change), or another {_PLACE}=",
            )
    return dict(found)


def _measure(search: Search) -> tuple[int, dict[str, Any]]:
    """A dry run with the first values: what it refuses is refused before a trial, and it knows the metric."""
    command = [sys.executable, "-m", "bigtrain", *search.command(next(corners(search.space))), "--dry-run", "--json"]
    code, output = sweep.child(command)
    if code:
        return max(code, 1), {}
    needs = json.loads(output)
    if needs["metric"] is None:
        raise UserError(
            "search.trials without validation data",
            "trials are compared by train.metric, which is measured on validation data",
            "hold some out (data.validation_fraction=, data.validation=)",
        )
    follows = {name: needs[name] for name in ("metric", "higher_is_better")}
    return 0, {**search.described(), **follows, "trials": [], "stopped_by": None, "best": None}


def _all(search: Search, summary: dict[str, Any]) -> dict[str, Any]:
    """Trials until there are enough, or the time is over."""
    trials: list[Trial] = summary["trials"]
    every = combinations(search.space)
    words = "already complete"
    while True:
        unfinished = next((one for one in trials if one["state"] == "unfinished"), None)
        if unfinished is None and len(trials) >= search.trials:
            summary["stopped_by"] = "trials"
        elif unfinished is None and len(trials) == every:
            summary["stopped_by"] = "combinations"
        elif search.is_out_of_time(summary):
            summary["stopped_by"] = "max_minutes"
        else:
            if unfinished is None:
                unfinished = _new(search, summary)
            summary["stopped_by"], words = None, "complete"
            _try(search, summary, unfinished)
            continue
        _write(search, summary)
        log.info("%s: %s, %d trials (%s)", words, search.path, len(trials), summary["stopped_by"])
        return summary


def _new(search: Search, summary: dict[str, Any]) -> Trial:
    before = [(one["settings"], one["value"]) for one in summary["trials"]]
    values = propose(search.space, before, search.seed, higher_is_better=summary["higher_is_better"])
    number = len(before)
    trial = {"number": number, "settings": values, "state": "unfinished", "exit_code": None, "value": None}
    trial |= {"seconds": 0.0, "folder": str(search.path / str(number))}
    summary["trials"].append(trial)
    return trial


def _try(search: Search, summary: dict[str, Any], trial: Trial) -> None:
    """One trial, to its end or to that of the time. Raises Stopped, RunBusy, DiskFull: then it stays unfinished."""
    _write(search, summary)
    number, metric = trial["number"], summary["metric"]
    log.info("trial %d: %s", number, " ".join(f"{key}={text}" for key, text in trial["settings"].items()))
    command = [*search.command(trial["settings"]), "--json", f"run.dir={trial['folder']}"]
    code, output = _child(search, summary, trial, command)
    if code < 0:
        log.warning("trial %d was killed by signal %d: it continues, once", number, -code)
        code, output = _child(search, summary, trial, command)
    if code == Stopped.exit_code:
        if search.is_out_of_time(summary):
            log.info("trial %d: the time of the search is over", number)
            return
        raise Stopped(f"trial {number} was stopped: the same command again goes on from here")
    if code == RunBusy.exit_code:
        raise RunBusy(f"trial {number} of the search is in use by another process: wait for it, or stop it")
    if code == DiskFull.exit_code:
        raise DiskFull(f"no space left for trial {number}: free some and run the same command again")
    result = json.loads(output) if code == 0 else {}
    value = result.get(f"best_{metric}", result.get(f"best_val_{metric}"))
    trial |= {"exit_code": code, "value": value, "state": "failed" if value is None else "done"}
    _write(search, summary)
    log.info("trial %d: %s", number, "failed" if value is None else f"{metric}={value:.6g}")


def _child(search: Search, summary: dict[str, Any], trial: Trial, command: list[str]) -> tuple[int, str]:
    """Exit code and output of a trial's process; however it ends, its seconds are counted."""
    began = time.monotonic()
    try:
        return sweep.child([sys.executable, "-m", "bigtrain", *command], search.left(summary))
    finally:
        trial["seconds"] = round(trial["seconds"] + time.monotonic() - began, 3)
        _write(search, summary)


def _write(search: Search, summary: dict[str, Any]) -> None:
    """Find the best trial, the first of equals, and write it all."""
    done = [one for one in summary["trials"] if one["state"] == "done"]
    summary["best"] = None
    if done:
        sign = -1 if summary["higher_is_better"] else 1
        best = min(done, key=lambda one: sign * one["value"])
        words = [word for word in search.command(best["settings"]) if word != "--quiet"]
        summary["best"] = {**best, "command": shlex.join(["bigtrain", *words])}
    write_json(search.path / "summary.json", summary)
