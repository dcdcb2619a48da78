"""Tags of words: names of people and places, parts of speech."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bigtrain.commands.tasks.base import Measurement, Task, batch_rows, refuse_unread, row_length, window_length
from bigtrain.commands.tasks.masked import frame_of
from bigtrain.commands.tasks.rows import (
    apart,
    check_rows,
    fingerprint,
    given_labels,
    head_labels,
    measured_files,
    rows_at_once,
    validation_file,
    warn_of_leaks,
)
from bigtrain.commands.tasks.tag_report import TagReport
from bigtrain.config import Loaded
from bigtrain.data.schema import LabelsConfig
from bigtrain.data.tasks.forms_schema import MeasuredFormsConfig
from bigtrain.data.tasks.sentences import Sentence, read_sentences
from bigtrain.data.tasks.tagged import TaggedRows
from bigtrain.evaluation.evaluator import Part
from bigtrain.log import log
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, read_folder
from bigtrain.models.output import Output, OutputKind
from bigtrain.models.starting import starting_shape
from bigtrain.objectives.tag import Tag

if TYPE_CHECKING:
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig, FinetuneConfig
    from bigtrain.tokenizer import Tokenizer

_OTHERS = (LabelsConfig, MeasuredFormsConfig)  # what rows of other kinds are called
_UNREAD = sorted({"data.text_field", *(f"data.{field.name}" for kind in _OTHERS for field in dataclasses.fields(kind))})
_RULE = "words and tags have fields of their own: data.words_field= and data.tags_field="


def tag_task(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's model with a head for the tags of the training sentences."""
    config: FinetuneConfig = loaded.config
    source, tokenizer = read_folder(folder, resize_vocab=config.model.resize_vocab)
    training, checked = _read_parts(loaded, source)
    seen = training if config.data.validation else [*training, *checked]
    found = tuple(sorted({tag for sentence in seen for tag in sentence.tags}))
    labels = head_labels(config, source, OutputKind.tags, found)
    shape = starting_shape(source.config, tokenizer, config.model)
    model = on_meta(shape, Output(OutputKind.tags, labels))
    seq_len = row_length(config.train, model)
    n_rows = batch_rows(config.train, seq_len)
    frame = frame_of(model.config, tokenizer, f"train.seq_len={seq_len}", seq_len)
    with given_labels(config, source, labels):
        rows = TaggedRows(training, tokenizer, labels, seq_len, frame, batch_rows=n_rows)
        validation = TaggedRows(checked, tokenizer, labels, seq_len, frame) if checked else None
    before = None
    if placement.leads:
        said = "%d sentences in %d rows; %.1f %% of the tokens are padding in batches of %d rows"
        log.info(said, len(training), len(rows), 100 * rows.padding(config.seed, n_rows), n_rows)
        _say_cut(rows, seq_len)
        before = warn_of_leaks(_places(training), _places(checked), "sentences")
    objective = Tag(labels, validation)
    report = TagReport(objective)
    return Task(
        model=model,
        init_from=folder,
        objective=objective,
        rows=rows,
        validation=lambda rows: [Part(validation.batches(rows))] if validation else [],
        tokenizer=tokenizer,
        fingerprint=fingerprint(*([(one.words, one.tags) for one in part] for part in (training, checked))),
        seq_len=seq_len,
        batch_rows=n_rows,
        new_head=config.objective.new_head,
        before=before,
        sections=report.sections,
        tables=report.tables,
    )


def _read_parts(loaded: Loaded, source: ModelFolder) -> tuple[list[Sentence], list[Sentence]]:
    """Training and validation sentences: of two files, or of one, of which a share is held out."""
    config: FinetuneConfig = loaded.config
    check_rows(loaded)
    refuse_unread(loaded, _UNREAD, "objective=tag", _RULE)
    augment = sorted(key for key in loaded.named if key.startswith("data.augment."))
    refuse_unread(loaded, augment, "objective=tag", "tags belong to the words as they stand in a sentence")
    refuse_unread(loaded, ["train.sample_prompts"], "objective=tag", "such a model writes no text")
    data = config.data
    assert data.train
    goes_on = source.output.kind is OutputKind.tags and not config.objective.new_head
    own = source.output.labels if goes_on else ()
    given = config.objective.labels

    def read(path: str) -> list[Sentence]:
        return read_sentences(Path(path), data.words_field, data.tags_field, given or own, warn=not given)

    training = read(data.train)
    if path := validation_file(loaded):
        return training, read(path)
    texts = [sentence.text for sentence in training]
    return apart(loaded, training, texts, "sentences", "words")


def _places(sentences: Sequence[Sentence]) -> list[tuple[str, str]]:
    return [(sentence.text, sentence.where()) for sentence in sentences]


def _say_cut(rows: TaggedRows, seq_len: int) -> None:
    if rows.n_cut:
        said = "%d of %d sentences do not fit into %d tokens and go on in further rows"
        log.info(said, rows.n_cut, len(rows.sentences), seq_len)


def tag_measurement(loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> Measurement:
    """The sentences of files, whose tags must be among those of the checkpoint."""
    config: EvaluateConfig = loaded.config
    data, labels = config.data, source.output.labels
    refuse_unread(loaded, _UNREAD, f"checkpoint= of {source.output}", _RULE)
    sentences: Sequence[Sentence] = [
        sentence
        for path in measured_files(loaded, source)
        for sentence in read_sentences(path, data.words_field, data.tags_field, labels, warn=True)
    ][: config.evals.max_tokens]
    seq_len = window_length(config, source)
    frame = frame_of(source.config, tokenizer, f"evals.seq_len={seq_len}", seq_len)
    rows = TaggedRows(sentences, tokenizer, labels, seq_len, frame)
    _say_cut(rows, seq_len)
    report = TagReport(objective := Tag(labels, rows))
    size = {"sentences": len(sentences), "words": len(rows.tags)}
    batches = rows.batches(rows_at_once(config, int(rows.lengths.max())))
    return Measurement(
        objective, batches, size, report.predictions, report.sections, report.tables, labels=report.kinds
    )
