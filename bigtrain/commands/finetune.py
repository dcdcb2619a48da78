"""`bigtrain finetune`: a checkpoint and task data -> a model for new text (`causal`) or a classifier (`classify`)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.commands import train
from bigtrain.commands.train import show
from bigtrain.config import Loaded
from bigtrain.errors import UserError
from bigtrain.schema import FinetuneConfig

if TYPE_CHECKING:
    from bigtrain.commands.task import Task
    from bigtrain.data.rows import Rows
    from bigtrain.parallel.placement import Placement

__all__ = ["run", "show"]


def run(loaded: Loaded, *, dry_run: bool = False) -> dict[str, Any]:
    """Train, and return the content of result.json (with `dry_run`: what training would take)."""
    return train.run(loaded, build, dry_run=dry_run)


def build(loaded: Loaded, placement: Placement) -> Task:
    """What the objective asks for."""
    return _TASKS[loaded.config.objective.name](loaded, placement)


def continued_text(loaded: Loaded, placement: Placement) -> Task:
    """The checkpoint's model on new text, in the checkpoint's own tokens."""
    from bigtrain.commands.text import causal_task
    from bigtrain.data.pipeline import prepared
    from bigtrain.data.schema import AutoTokenizerConfig, DataConfig
    from bigtrain.models.decoder import Decoder
    from bigtrain.models.huggingface import read_folder
    from bigtrain.training.checkpoint import resolve

    config: FinetuneConfig = loaded.config
    DataConfig.check(config.data)
    _unused(loaded, "data.train", "data.validation", objective="causal", instead="data.files= or data.path=")
    folder = resolve(Path(config.init_from))
    source, tokenizer = read_folder(folder)
    data = placement.lead_first(lambda: prepared(config.data, AutoTokenizerConfig(), tokenizer))
    return causal_task(config, Decoder.on_meta(source.config), data, init_from=folder)


def classifier(loaded: Loaded, placement: Placement) -> Task:
    """The checkpoint's model with a head for the labels of the training rows."""
    from bigtrain.commands.task import Task, batch_rows, row_length
    from bigtrain.data.labelled import LabelledRows
    from bigtrain.models.decoder import Decoder
    from bigtrain.models.huggingface import read_folder
    from bigtrain.objectives.classify import Classify
    from bigtrain.training.checkpoint import resolve

    config: FinetuneConfig = loaded.config
    _unused(
        loaded,
        "data.files",
        "data.path",
        "data.builtin",
        objective="classify",
        instead="data.train= and data.validation=",
    )
    _unused(loaded, "train.sample_prompts", "train.isolate_documents", objective="classify")
    if not config.data.train:
        raise UserError(
            "objective=classify without data.train=", "a classifier learns from labelled rows", "give data.train=FILE"
        )
    folder = resolve(Path(config.init_from))
    source, tokenizer = read_folder(folder)
    rows = _read(config, config.data.train)
    checked = _read(config, config.data.validation) if config.data.validation else None
    # A classifier that learns on keeps the order of its labels: its head has a row for each.
    labels = source.labels if source.labels else sorted(set(rows.labels))
    if len(labels) < 2:
        raise UserError(
            f"one label in {config.data.train}: {labels}",
            "a classifier tells two labels or more apart",
            "give more rows",
        )
    model = Decoder.on_meta(source.config, n_labels=len(labels))
    seq_len = row_length(config.train, model)

    def labelled(part: Rows) -> LabelledRows:
        few_lengths = config.device.compile
        return LabelledRows(part.texts, part.numbers(labels), tokenizer, seq_len, few_lengths=few_lengths)

    validation = labelled(checked) if checked else None
    contents = [(part.texts, part.labels) for part in (rows, checked) if part]
    return Task(
        model=model,
        init_from=folder,
        objective=Classify(len(labels)),
        rows=labelled(rows),
        validation=lambda rows: validation.batches(rows) if validation else [],
        tokenizer=tokenizer,
        labels=labels,
        fingerprint=hashlib.sha256(repr(contents).encode()).hexdigest(),
        seq_len=seq_len,
        batch_rows=batch_rows(config.train, seq_len),
    )


def _read(config: FinetuneConfig, path: str) -> Rows:
    from bigtrain.data.rows import read_rows

    return read_rows(Path(path), config.data.text_field, config.data.label_field, config.data.pair_field)


def _unused(loaded: Loaded, *keys: str, objective: str, instead: str = "") -> None:
    """Refuse keys that this objective does not read: an option that changes nothing would mislead."""
    if named := [key for key in keys if key in loaded.named]:
        raise UserError(
            f"{named[0]}= with objective={objective}",
            f"objective={objective} does not read it",
            f"give {instead}" if instead else "leave it out",
        )


_TASKS = {"causal": continued_text, "classify": classifier}
