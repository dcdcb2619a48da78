"""What `evaluate` takes from the run that a checkpoint lies in: its settings, where the command gives none."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

from bigtrain.config import Loaded
from bigtrain.data.schema import LabelsConfig, TagsConfig
from bigtrain.log import log
from bigtrain.models.huggingface import ModelFolder
from bigtrain.runs import read_yaml

_LENGTH = {"evals.seq_len": "train.seq_len"}
_OF_ROWS = {
    "evals.overlap": "objective.overlap",
    "evals.max_answer_tokens": "objective.max_answer_tokens",
    "data.text_field": "data.text_field",
    **{
        key: key
        for kind in (LabelsConfig, TagsConfig)
        for key in (f"data.{one.name}" for one in dataclasses.fields(kind))
    },
}
_OF_FORMS = {key: key for key in ("data.form", "data.prompt_field", "data.answer_field")}
_OF_CHATS = {  # by the run's objective
    "sft": {**_OF_FORMS, "data.columns": "data.columns", "evals.max_new_tokens": "objective.max_new_tokens"},
    "preference": {key: key for key in ("data.form", "data.prompt_field")},
}
# Files of another format have no such columns and fields.
_OF_FORMAT = {"data.columns", "data.words_field", "data.tags_field", *_OF_FORMS}


def run_of(folder: Path) -> Path | None:
    """The run that a model folder lies in: RUN/checkpoints/step-N/model, or RUN/merged."""
    return next((path for path in folder.resolve().parents[:3] if (path / "config.yaml").is_file()), None)


def config_of(run: Path, remedy: str) -> dict[str, Any]:
    """The config of a run. Raises UserError where it cannot be read."""
    said = read_yaml(run / "config.yaml", remedy)
    return said if isinstance(said, dict) else {}


def as_in_run(loaded: Loaded, source: ModelFolder) -> Loaded:
    """The config with what the checkpoint's run says of rows and their length, for what this command leaves open.

    So the metrics of the same rows are those of the run.
    """
    run = run_of(source.folder)
    if run is None:
        return loaded
    said, plain, taken = config_of(run, "restore the file"), copy.deepcopy(loaded.plain), []
    for key, theirs in _taken_of(loaded, source, _at(said, "objective.name")).items():
        section, name = key.split(".")
        value = _at(said, theirs)
        if key in loaded.named or value is None or value == plain[section][name]:
            continue
        if key in _OF_FORMAT and _formats(plain["data"]["files"]) != _formats([_at(said, "data.train")]):
            continue
        plain[section][name] = value
        taken.append(f"{key}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    if not taken:
        return loaded
    log.info("as in the run %s: %s", run, " ".join(taken))
    return dataclasses.replace(loaded, plain=plain)


def _taken_of(loaded: Loaded, source: ModelFolder, objective: str) -> dict[str, str]:
    """The keys of `evaluate` that are taken, and those of the run that they are taken from."""
    if not source.output.language:
        return _LENGTH | _OF_ROWS
    evals, data = loaded.config.evals, loaded.config.data
    if objective != ("sft" if evals.answers else "preference" if evals.pairs else None):
        return _LENGTH
    said = data.answers or _OF_FORMS.keys() & loaded.named  # how these rows are read, or that they are lines
    left = {key: theirs for key, theirs in _OF_CHATS[objective].items() if not (said and key in _OF_FORMS)}
    return _LENGTH | left


def _at(config: dict[str, Any], key: str) -> Any:
    section, name = key.split(".")
    found = config.get(section)
    return found.get(name) if isinstance(found, dict) else None


def _formats(files: list[Any]) -> set[str]:
    return {Path(str(file)).suffix for file in files}
