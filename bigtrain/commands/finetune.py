"""`bigtrain finetune`: a checkpoint and task data -> a model for new text (`causal`, `masked`) or a classifier."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.commands import train
from bigtrain.commands.task import refuse_raw_settings, refuse_unread
from bigtrain.commands.train import show
from bigtrain.config import Loaded
from bigtrain.errors import UserError
from bigtrain.schema import FinetuneConfig

if TYPE_CHECKING:
    from bigtrain.commands.task import Task
    from bigtrain.data.tasks.rows import Rows
    from bigtrain.parallel.placement import Placement

__all__ = ["run", "show"]


def run(loaded: Loaded, *, dry_run: bool = False) -> dict[str, Any]:
    """Train, and return the content of result.json (with `dry_run`: what training would take)."""
    return train.run(loaded, build, dry_run=dry_run)


def build(loaded: Loaded, placement: Placement, begun: Path | None) -> Task:
    """What the objective asks for."""
    from bigtrain.training.checkpoint import resolve

    folder = begun or resolve(Path(loaded.config.init_from))
    return _TASKS[loaded.config.objective.name](loaded, placement, folder)


def continued_text(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's model on new text."""
    from bigtrain.commands.masked import masked_task
    from bigtrain.commands.text import causal_task, continued_task
    from bigtrain.data.schema import AutoTokenizerConfig, DataConfig

    config: FinetuneConfig = loaded.config
    DataConfig.check(config.data)
    refuse_raw_settings(loaded)
    given = f"objective={config.objective.name}"
    refuse_unread(loaded, ["data.train", "data.validation"], given, f"{given} reads text", "data.files= or data.path=")
    task = {"causal": causal_task, "masked": masked_task}[config.objective.name]
    return continued_task(config, AutoTokenizerConfig(), placement, folder, task)


def classifier(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's model with a head for the labels of the training rows."""
    from bigtrain.commands.masked import frame_of
    from bigtrain.commands.task import Task, batch_rows, row_length
    from bigtrain.data.tasks.labelled import LabelledRows
    from bigtrain.evaluation.evaluator import Part
    from bigtrain.models.families import on_meta
    from bigtrain.models.huggingface import read_folder
    from bigtrain.models.vocabulary import resized
    from bigtrain.objectives.classify import Classify

    config: FinetuneConfig = loaded.config
    given, rule = "objective=classify", "a classifier reads labelled rows"
    raw = ["data.files", "data.path", "data.builtin"]
    raw += sorted(key for key in loaded.named if key.startswith(("data.sets.", "data.sources.")))
    refuse_unread(loaded, raw, given, rule, "data.train= and data.validation=")
    refuse_unread(loaded, ["train.sample_prompts", "train.isolate_documents"], given, rule)
    if not config.data.train:
        raise UserError(
            "objective=classify without data.train=", "a classifier learns from labelled rows", "give data.train=FILE"
        )
    source, tokenizer = read_folder(folder, resize_vocab=config.model.resize_vocab)
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
    shape = resized(source.config, tokenizer) if config.model.resize_vocab else source.config
    model = on_meta(shape, n_labels=len(labels))
    seq_len = row_length(config.train, model)
    frame = frame_of(model.config, tokenizer, f"train.seq_len={seq_len}", seq_len)

    def labelled(part: Rows) -> LabelledRows:
        few_lengths = config.device.compile
        return LabelledRows(part.texts, part.numbers(labels), tokenizer, seq_len, frame=frame, few_lengths=few_lengths)

    validation = labelled(checked) if checked else None
    contents = [(part.texts, part.labels) for part in (rows, checked) if part]
    return Task(
        model=model,
        init_from=folder,
        objective=Classify(len(labels)),
        rows=labelled(rows),
        validation=lambda rows: [Part(validation.batches(rows))] if validation else [],
        tokenizer=tokenizer,
        labels=labels,
        fingerprint=hashlib.sha256(repr(contents).encode()).hexdigest(),
        seq_len=seq_len,
        batch_rows=batch_rows(config.train, seq_len),
    )


def _read(config: FinetuneConfig, path: str) -> Rows:
    from bigtrain.data.tasks.rows import read_rows

    return read_rows(Path(path), config.data.text_field, config.data.label_field, config.data.pair_field)


_TASKS = {"causal": continued_text, "masked": continued_text, "classify": classifier}
