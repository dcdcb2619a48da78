"""What tasks share that say something of a row as a whole: reading, holding out, encoding, batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.commands.tasks.base import Task, batch_rows, refuse_unread, row_length, window_length
from bigtrain.commands.tasks.masked import frame_of
from bigtrain.commands.tasks.rows import (
    check_rows,
    fingerprint,
    measured_files,
    none_held,
    rows_at_once,
    say_segments,
    validation_file,
    warn_of_leaks,
)
from bigtrain.config import Loaded
from bigtrain.data.tasks.augment import Augmenter
from bigtrain.data.tasks.augmented import AugmentedTexts
from bigtrain.data.tasks.encoding import PairFrame, RowEncoder
from bigtrain.data.tasks.held_out import held_out
from bigtrain.data.tasks.labelled import LabelledRows, encode
from bigtrain.data.tasks.rows import Rows, read_rows
from bigtrain.evaluation.evaluator import Part
from bigtrain.log import log
from bigtrain.models.encoder_schema import EncoderConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bigtrain.models.base import Model, ModelConfig
    from bigtrain.models.huggingface import ModelFolder
    from bigtrain.objectives.base import Objective
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig, FinetuneConfig
    from bigtrain.tokenizer import Tokenizer

Parts = tuple[Rows, Rows | None]  # training and validation rows


def read_parts(loaded: Loaded, labels: Callable[[Rows], Sequence[Sequence[str]]]) -> Parts:
    """Training and validation rows: of two files, or of one, of which a share is held out.

    labels: those of each row, of every one of which the same share is held out.
    """
    config: FinetuneConfig = loaded.config
    check_rows(loaded)
    given = f"objective={config.objective.name}"
    refuse_unread(loaded, ["train.sample_prompts"], given, "such a model writes no text")
    data = config.data
    assert data.train
    rows = _read(data, Path(data.train))
    if path := validation_file(loaded):
        return rows, _read(data, Path(path))
    return _split(loaded, rows, labels(rows))


def _read(data: Any, path: Path) -> Rows:
    """data: FinetuneDataConfig or EvaluateDataConfig."""
    return read_rows(path, data.text_field, data.label_field, data.pair_field, data.columns)


def _split(loaded: Loaded, rows: Rows, labels: Sequence[Sequence[str]]) -> Parts:
    fraction = loaded.config.data.validation_fraction
    held = held_out([rows.whole(row) for row in range(len(rows))], labels, fraction)
    if not held.any():
        none_held(loaded, len(rows), "rows")
        return rows, None
    said = "no data.validation=: %d of %d rows are held out, %g of each label, by a hash of their text"
    log.info(said, held.sum(), len(rows), fraction)
    return rows.taken((~held).nonzero()[0].tolist()), rows.taken(held.nonzero()[0].tolist())


def measured_rows(loaded: Loaded, source: ModelFolder) -> list[Rows]:
    """The rows of the files that a checkpoint is measured on; `evals.max_tokens` of them at most."""
    config: EvaluateConfig = loaded.config
    found, most = [], config.evals.max_tokens
    for path in measured_files(loaded, source):
        rows = _read(config.data, path)
        if most is not None:
            rows = rows.taken(range(min(most, len(rows))))
            most -= len(rows)
        found.append(rows)
    return [rows for rows in found if len(rows)]


def row_encoder(config: ModelConfig, tokenizer: Tokenizer, given: str, seq_len: int, *, paired: bool) -> RowEncoder:
    """How a model reads texts, or pairs of them. given: what the length was given as."""
    frame = frame_of(config, tokenizer, given, seq_len)
    if not isinstance(config, EncoderConfig):
        return RowEncoder(tokenizer, seq_len, frame)
    assert config.n_segments is not None
    pair_frame = PairFrame.of(tokenizer) if paired else None
    return RowEncoder(tokenizer, seq_len, frame, pair_frame, segments=config.n_segments > 1)


def labelled_task(
    loaded: Loaded,
    placement: Placement,
    folder: Path,
    tokenizer: Tokenizer,
    model: Model,
    objective: Objective,
    parts: Parts,
    labels: tuple[NDArray[Any], NDArray[Any] | None],
    sections: Callable[[dict[str, NDArray[Any]]], list[str]],
) -> Task:
    """The task of learning (N, ...) labels of training rows, with validation rows and theirs; see `Task.sections`."""
    config: FinetuneConfig = loaded.config
    (training, checked), augment = parts, config.data.augment
    seq_len = row_length(config.train, model)
    n_rows = batch_rows(config.train, seq_len)
    encoder = row_encoder(model.config, tokenizer, f"train.seq_len={seq_len}", seq_len, paired=bool(training.pairs))
    if encoder.pair_frame and encoder.segments:
        say_segments(tokenizer)
    drawn = AugmentedTexts(augment, config.seed, encoder, training.texts, training.pairs) if augment.on else None
    rows = LabelledRows(
        encode(encoder, training.texts, training.pairs),
        labels[0],
        tokenizer.pad_id,
        batch_rows=n_rows,
        drawn=drawn,
        longest=seq_len,
    )
    validation = None
    if checked is not None and labels[1] is not None:
        validation = LabelledRows(encode(encoder, checked.texts, checked.pairs), labels[1], tokenizer.pad_id)
    before = None
    if placement.leads:
        log.info(
            "%.1f %% of the tokens are padding in batches of %d rows", 100 * rows.padding(config.seed, n_rows), n_rows
        )
        before = warn_of_leaks(_places(training), _places(checked), "rows")
    return Task(
        model=model,
        init_from=folder,
        objective=objective,
        rows=rows,
        validation=lambda rows: [Part(validation.batches(rows))] if validation else [],
        tokenizer=tokenizer,
        fingerprint=fingerprint(
            *[(part.texts, part.pairs, part.values) for part in (training, checked) if part],
            *(_changes(drawn.augmenter) if drawn else []),
        ),
        seq_len=seq_len,
        batch_rows=n_rows,
        before=before,
        examples=drawn.examples if drawn else None,
        sections=sections,
    )


def _changes(augmenter: Augmenter) -> list[Any]:
    """What decides how texts are changed: the settings, and of the files what is in them, wherever they lie."""
    return [dataclasses.replace(augmenter.config, synonyms=None, paraphrases=None), augmenter.fingerprint]


def _places(rows: Rows | None) -> list[tuple[str, str]]:
    return [(rows.whole(row), rows.where(row)) for row in range(len(rows))] if rows else []


class MeasuredRows:
    """What an evaluation computes: the batches of the rows of files, whose labels are (N, ...)."""

    def __init__(
        self,
        config: EvaluateConfig,
        source: ModelFolder,
        tokenizer: Tokenizer,
        files: Sequence[Rows],
        labels: NDArray[Any],
    ) -> None:
        seq_len, paired = window_length(config, source), config.data.pair_field is not None
        encoder = row_encoder(source.config, tokenizer, f"evals.seq_len={seq_len}", seq_len, paired=paired)
        texts, pairs = [text for rows in files for text in rows.texts], [text for rows in files for text in rows.pairs]
        rows = LabelledRows(encode(encoder, texts, pairs), labels, tokenizer.pad_id)
        self.batches = rows.batches(rows_at_once(config, int(rows.lengths.max())))
        self.size = {"rows": len(rows)}
