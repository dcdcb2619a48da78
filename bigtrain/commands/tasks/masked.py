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
from bigtrain.data.sentence_pairs import SentencePairs
from bigtrain.errors import UserError
from bigtrain.evaluation.masked_windows import MaskedWindows
from bigtrain.models.adapter_schema import LoraConfig
from bigtrain.models.encoder_schema import EncoderArchitecture, EncoderConfig
from bigtrain.models.families import on_meta
from bigtrain.models.output import Output
from bigtrain.objectives.masked import Masked
from bigtrain.objectives.schema import MaskUnit

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    _refuse_loss_mask(any(split.learned is not None for split in data.splits("train")))
    if objective.next_sentence:
        model = _telling_pairs(config, model)
    if train.sample_prompts:
        raise UserError(
            f"train.sample_prompts={train.sample_prompts}",
            "an encoder continues no text",
            "leave train.sample_prompts out",
        )
    seq_len = row_length(train, model)
    n_texts = 2 if objective.next_sentence else 1
    frame = frame_of(model.config, tokenizer, f"train.seq_len={seq_len}", seq_len, n_texts)
    words, text_len = objective.unit is not MaskUnit.tokens, seq_len - frame.size(n_texts)
    rows = data.rows(text_len, seed=config.seed, isolate_documents=train.isolate_documents, words=words)
    if objective.next_sentence:
        if len(rows) < 2:
            rule = "a second text that does not follow the first is from another row"
            raise UserError("objective.next_sentence=true with one row of text", rule, "give more text")
        rows = SentencePairs(rows, seed=config.seed)
    masker = Masker(tokenizer, objective.unit, objective.fraction)
    return Task(
        model=model,
        init_from=init_from,
        objective=Masked(compile=config.device.compile, next_sentence=objective.next_sentence),
        rows=MaskedRows(rows, frame, masker, seed=config.seed),
        validation=lambda rows: validation_parts(
            data,
            train,
            lambda split: MaskedWindows(
                _known(split.tokens, masker, "the first validation or training tokens"),
                seq_len,
                rows,
                frame,
                Masker(tokenizer),
                document_starts=split.document_starts if train.isolate_documents else None,
                pairs=objective.next_sentence,
            ),
        ),
        tokenizer=tokenizer,
        fingerprint=data.fingerprint,
        seq_len=seq_len,
        batch_rows=batch_rows(train, seq_len),
    )


def _known(tokens: NDArray[Any], masker: Masker, what: str) -> NDArray[Any]:
    """The tokens (N,). Raises UserError where none is an ordinary one: there would be nothing to guess."""
    if not masker.is_text[tokens].any():
        raise UserError(
            f"{what}: {len(tokens)} tokens, all of them special or unknown to the tokenizer",
            "what is guessed are tokens of its vocabulary",
            "give text in the language that the model has read, or begin with another model",
        )
    return tokens


def _refuse_loss_mask(there: bool) -> None:
    if there:
        raise UserError(
            "an encoder with text that has a loss mask (data.loss_between)",
            "it guesses hidden tokens wherever they are",
            "prepare the text without data.loss_between, or give objective=causal",
        )


def _telling_pairs(config: Any, model: Model) -> Model:
    """The same model, with a head for the next sentence. Raises UserError where there can be none."""
    given = "objective.next_sentence=true"
    if model.config.architecture is not EncoderArchitecture.bert:
        rule = "BERT alone has a head for it, and two kinds of segments"
        raise UserError(
            f"{given} with a model of architecture {model.config.architecture}", rule, "give model=bert-tiny"
        )
    if config.train.isolate_documents:
        rule = "the two texts of a row see each other, whatever document they are from"
        raise UserError(f"{given} with train.isolate_documents=true", rule, "leave one of them out")
    if isinstance(getattr(config, "adapter", None), LoraConfig):
        raise UserError(
            f"{given} with adapter=lora", "the head for it is trained with all the rest", "leave one of them out"
        )
    return on_meta(model.config, Output(next_sentence=True))


def frame_of(config: ModelConfig, tokenizer: Tokenizer, given: str, seq_len: int, n_texts: int = 1) -> Frame:
    """The special tokens around a row of `seq_len` tokens of a model.

    given: what the length was given as. Raises UserError where they leave no room for so many texts.
    """
    frame = (Frame.of if isinstance(config, EncoderConfig) else Frame.given)(tokenizer)
    n_special = frame.size(n_texts)
    if seq_len < n_special + n_texts:
        rule = f"a row holds {n_special} special tokens and {'text' if n_texts == 1 else 'two texts'}"
        raise UserError(given, rule, f"choose {n_special + n_texts} tokens or more")
    return frame


def require_masked_head(checkpoint: str, source: ModelFolder) -> None:
    """Raises UserError for a bare encoder, whose head would be drawn at random."""
    from bigtrain.models.huggingface import lacks_head

    if lacks_head(source.folder):
        raise UserError(
            f"checkpoint={checkpoint}: no head for masked tokens",
            "a bare encoder guesses none until it has learned to",
            f"bigtrain finetune init_from={checkpoint} objective=masked data.files=TEXT",
        )


def masked_measurement(loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> Measurement:
    """Windows with hidden tokens, and some of the tokens hidden one at a time."""
    config: EvaluateConfig = loaded.config
    require_masked_head(config.checkpoint, source)
    _, split = measured_split(loaded, tokenizer, placement)
    _refuse_loss_mask(split.learned is not None)
    tokens, seq_len = split.tokens[: config.evals.max_tokens], window_length(config, source)
    rows = config.evals.batch_rows or max(1, TOKENS_AT_ONCE // seq_len)
    alone, pairs = config.evals.alone_tokens, source.output.next_sentence
    frame = frame_of(source.config, tokenizer, f"evals.seq_len={seq_len}", seq_len, 2 if pairs else 1)
    masker = Masker(tokenizer)
    tokens = _known(tokens, masker, "the text, as far as it is measured")
    windows = MaskedWindows(tokens, seq_len, rows, frame, masker, alone=alone, pairs=pairs)
    return Measurement(Masked(alone=windows.n_alone > 0, next_sentence=pairs), windows, {"tokens": len(tokens)})
