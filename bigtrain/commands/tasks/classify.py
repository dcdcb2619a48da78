"""A label of a row of text: from tables and JSON Lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bigtrain.commands.tasks.base import Measurement, Task, batch_rows, refuse_unread, row_length, window_length
from bigtrain.commands.tasks.masked import frame_of
from bigtrain.commands.tasks.rows import check_rows, fingerprint, measured_files, rows_at_once
from bigtrain.config import Loaded
from bigtrain.data.tasks.labelled import LabelledRows
from bigtrain.data.tasks.rows import Rows, read_rows
from bigtrain.errors import UserError
from bigtrain.evaluation.evaluator import Part
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, read_folder
from bigtrain.models.output import Output, OutputKind
from bigtrain.models.vocabulary import resized
from bigtrain.objectives.classify import Classify

if TYPE_CHECKING:
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig, FinetuneConfig, FinetuneDataConfig
    from bigtrain.tokenizer import Tokenizer


def classify_task(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's model with a head for the labels of the training rows."""
    config: FinetuneConfig = loaded.config
    check_rows(loaded)
    refuse_unread(loaded, ["train.sample_prompts"], "objective=classify", "a classifier writes no text")
    source, tokenizer = read_folder(folder, resize_vocab=config.model.resize_vocab)
    assert config.data.train
    rows = _read(config.data, config.data.train)
    checked = _read(config.data, config.data.validation) if config.data.validation else None
    # A classifier that learns on keeps the order of its labels: its head has a row for each.
    learned = source.output.kind is OutputKind.label
    labels = source.output.labels if learned else tuple(sorted(set(rows.labels)))
    if len(labels) < 2:
        raise UserError(
            f"one label in {config.data.train}: {', '.join(labels)}",
            "a classifier tells two labels or more apart",
            "give more rows",
        )
    shape = resized(source.config, tokenizer) if config.model.resize_vocab else source.config
    model = on_meta(shape, Output(OutputKind.label, labels))
    seq_len = row_length(config.train, model)
    frame = frame_of(model.config, tokenizer, f"train.seq_len={seq_len}", seq_len)

    def labelled(part: Rows) -> LabelledRows:
        few_lengths = config.device.compile
        return LabelledRows(part.texts, part.numbers(labels), tokenizer, seq_len, frame=frame, few_lengths=few_lengths)

    validation = labelled(checked) if checked else None
    return Task(
        model=model,
        init_from=folder,
        objective=Classify(),
        rows=labelled(rows),
        validation=lambda rows: [Part(validation.batches(rows))] if validation else [],
        tokenizer=tokenizer,
        fingerprint=fingerprint(*[(part.texts, part.labels) for part in (rows, checked) if part]),
        seq_len=seq_len,
        batch_rows=batch_rows(config.train, seq_len),
    )


def classify_measurement(
    loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement
) -> Measurement:
    """The rows of csv, tsv or jsonl files, whose labels must be among those of the checkpoint."""
    config: EvaluateConfig = loaded.config
    texts: list[str] = []
    labels: list[int] = []
    for path in measured_files(loaded, source):
        read = read_rows(path, config.data.text_field, config.data.label_field, config.data.pair_field)
        texts += read.texts
        labels += read.numbers(source.output.labels)
    most = config.evals.max_tokens
    seq_len = window_length(config, source)
    labelled = LabelledRows(
        texts[:most],
        labels[:most],
        tokenizer,
        seq_len,
        frame=frame_of(source.config, tokenizer, f"evals.seq_len={seq_len}", seq_len),
        few_lengths=config.device.compile,
    )
    rows = rows_at_once(config, max(len(ids) for ids in labelled.ids))
    return Measurement(Classify(), labelled.batches(rows), {"rows": len(labelled)})


def _read(data: FinetuneDataConfig, path: str) -> Rows:
    return read_rows(Path(path), data.text_field, data.label_field, data.pair_field)
