"""Hidden tokens of prepared text, for an encoder: the same for `pretrain`, `finetune` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.commands.tasks.base import (
    TOKENS_AT_ONCE,
    Measurement,
    Task,
    batch_rows,
    row_length,
    window_length,
)
from bigtrain.commands.tasks.text import check_vocabulary, measured_split, validation_parts
from bigtrain.data.frame import Frame
from bigtrain.data.masked_rows import MaskedRows
from bigtrain.data.masking import Masker
from bigtrain.errors import UserError
from bigtrain.evaluation.masked_windows import MaskedWindows
from bigtrain.objectives.masked import Masked
from bigtrain.objectives.schema import MaskUnit

if TYPE_CHECKING:
    from bigtrain.config import Loaded
    from bigtrain.data.mixture import PreparedSets
    from bigtrain.models.base import Model, ModelConfig
    from bigtrain.models.huggingface import ModelFolder
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig
    from bigtrain.tokenizer import Tokenizer


def masked_task(config: Any, model: Model, data: PreparedSets, *, init_from: Path | None) -> Task:
    """Windows of the training tokens with hidden ones, windows of the first validation tokens of each set."""
    tokenizer, train, objective = data.tokenizer(), config.train, config.objective
    if model.causal:
        raise UserError(
            f"objective=masked with a model of architecture {model.config.architecture}",
            "hidden tokens are guessed from both sides, which an encoder sees",
            "give model=bert-tiny or another encoder, or objective=causal",
        )
    check_vocabulary(model, tokenizer)
    if train.sample_prompts:
        raise UserError(
            f"train.sample_prompts={train.sample_prompts}",
            "an encoder continues no text",
            "leave train.sample_prompts out",
        )
    seq_len = row_length(train, model)
    frame = frame_of(model.config, tokenizer, f"train.seq_len={seq_len}", seq_len)
    words = objective.unit is not MaskUnit.tokens
    rows = data.rows(seq_len - len(frame), seed=config.seed, isolate_documents=train.isolate_documents, words=words)
    masker = Masker(tokenizer, objective.unit, objective.fraction)
    return Task(
        model=model,
        init_from=init_from,
        objective=Masked(compile=config.device.compile),
        rows=MaskedRows(rows, frame, masker, seed=config.seed),
        validation=lambda rows: validation_parts(
            data,
            train,
            lambda tokens, starts: MaskedWindows(
                tokens,
                seq_len,
                rows,
                frame,
                Masker(tokenizer),
                document_starts=starts if train.isolate_documents else None,
            ),
        ),
        tokenizer=tokenizer,
        fingerprint=data.fingerprint,
        seq_len=seq_len,
        batch_rows=batch_rows(train, seq_len),
    )


def frame_of(config: ModelConfig, tokenizer: Tokenizer, given: str, seq_len: int) -> Frame:
    """The special tokens around a row of `seq_len` tokens of a model; a decoder has none.

    given: what the length was given as. Raises UserError where they leave no room.
    """
    from bigtrain.models.encoder_schema import EncoderConfig

    frame = Frame.of(tokenizer) if isinstance(config, EncoderConfig) else Frame()
    if seq_len <= len(frame):
        raise UserError(
            given, f"a row holds {len(frame)} special tokens and text", f"choose {len(frame) + 1} tokens or more"
        )
    return frame


def masked_measurement(loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> Measurement:
    """Windows with hidden tokens, and some of the tokens hidden one at a time."""
    config: EvaluateConfig = loaded.config
    _, split = measured_split(loaded, tokenizer, placement)
    tokens, seq_len = split.tokens[: config.evals.max_tokens], window_length(config, source)
    rows = config.evals.batch_rows or max(1, TOKENS_AT_ONCE // seq_len)
    frame = frame_of(source.config, tokenizer, f"evals.seq_len={seq_len}", seq_len)
    windows = MaskedWindows(tokens, seq_len, rows, frame, Masker(tokenizer), alone=config.evals.alone_tokens)
    return Measurement(Masked(alone=windows.n_alone > 0), windows, {"tokens": len(tokens)})
