"""Prepared text and next-token prediction on it: the same for `pretrain`, `finetune` and `evaluate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bigtrain.commands.tasks.base import (
    TOKENS_AT_ONCE,
    Measurement,
    Task,
    batch_rows,
    named_fields,
    refuse_raw_settings,
    refuse_unread,
    row_length,
    window_length,
)
from bigtrain.config import Loaded
from bigtrain.data.mixture import PreparedSets
from bigtrain.data.pipeline import prepared
from bigtrain.data.schema import AutoTokenizerConfig, LabelsConfig, SplitBy
from bigtrain.data.split import PARTS
from bigtrain.errors import UserError
from bigtrain.evaluation.evaluator import Batches, Part
from bigtrain.evaluation.windows import Windows
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, read_folder
from bigtrain.models.starting import starting_shape
from bigtrain.objectives.causal import Causal

if TYPE_CHECKING:
    from bigtrain.data.schema import DataConfig, TokenizerConfig
    from bigtrain.data.shards import PreparedSet, TokenSplit
    from bigtrain.models.base import Model
    from bigtrain.models.schema import StartConfig
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig
    from bigtrain.tokenizer import Tokenizer
    from bigtrain.training.schema import TrainConfig


TextTask = Callable[..., Task]  # (config, model, data, *, init_from)


def prepared_sets(data: DataConfig, config: TokenizerConfig, tokenizer: Tokenizer | None = None) -> PreparedSets:
    """The sets of `data.sets`, else the one set of the other sources; see `pipeline.prepared`."""
    if not data.sets:
        return PreparedSets.alone(prepared(data, config, tokenizer))
    one = dataclasses.replace(data, sets={})
    return PreparedSets.mixed(data.sets, lambda path: prepared(dataclasses.replace(one, path=path), config, tokenizer))


def continued_task(
    config: Any,
    start: StartConfig,
    tokenizer_config: TokenizerConfig,
    placement: Placement,
    folder: Path,
    task: TextTask,
) -> Task:
    """The model of a folder on text in its own tokens, or with `model.resize_vocab` in those of the data.

    start: what changes in the model.
    folder: `init_from`, or the checkpoint that a run continues from, which has the data's tokens already.
    """
    resize, auto = start.resize_vocab, isinstance(tokenizer_config, AutoTokenizerConfig)
    if not (auto or resize):
        raise UserError(
            f"tokenizer={tokenizer_config.name} with init_from={config.init_from}",
            "a model that starts from another has its tokenizer",
            "leave tokenizer= out, or give model.resize_vocab=true",
        )
    source, own = read_folder(folder, resize_vocab=resize)
    other = resize and bool(config.data.path or config.data.sets or not auto)
    data = placement.lead_first(lambda: prepared_sets(config.data, tokenizer_config, None if other else own))
    shape = starting_shape(source.config, data.tokenizer(), start)
    if not source.output.language:
        raise UserError(
            f"objective={config.objective.name} with init_from={config.init_from}, {source.output}",
            "its head gives no tokens",
            "start from the model that it was made of",
        )
    return task(config, on_meta(shape), data, init_from=folder)


def causal_task(config: Any, model: Model, data: PreparedSets, *, init_from: Path | None) -> Task:
    """Windows of the training tokens, non-overlapping windows of the first validation tokens of each set."""
    tokenizer, train = data.tokenizer(), config.train
    if not model.causal:
        raise UserError(
            f"objective=causal with a model of architecture {model.config.architecture}",
            "an encoder sees the token that it would predict",
            "give objective=masked, or a decoder such as model=tiny",
        )
    check_vocabulary(model, tokenizer)
    seq_len = row_length(train, model)
    check_samples(train.sample_prompts, tokenizer, model.config.max_seq_len)
    return Task(
        model=model,
        init_from=init_from,
        objective=Causal(compile=config.device.compile, token_bytes=token_bytes(tokenizer, data.splits("validation"))),
        rows=data.rows(seq_len, seed=config.seed, isolate_documents=train.isolate_documents, before=model.carried),
        validation=lambda rows: validation_parts(
            data,
            train,
            lambda split: Windows(split, model.carried + seq_len, seq_len, rows, isolate=train.isolate_documents),
        ),
        tokenizer=tokenizer,
        fingerprint=data.fingerprint,
        seq_len=seq_len,
        batch_rows=batch_rows(train, seq_len),
    )


def check_vocabulary(model: Model, tokenizer: Tokenizer) -> None:
    """Raises UserError where a token has no row."""
    vocab_size = model.config.vocab_size
    assert vocab_size is not None
    if tokenizer.vocab_size > vocab_size:
        raise UserError(
            f"model.vocab_size={vocab_size} with a tokenizer of {tokenizer.vocab_size} entries",
            "the model needs a row for every token",
            f"choose model.vocab_size={tokenizer.vocab_size} or more, or null to follow the tokenizer",
        )


def validation_parts(data: PreparedSets, train: TrainConfig, windows: Callable[[TokenSplit], Batches]) -> list[Part]:
    """The first validation tokens of every set that has some, equally many of each as far as they go.

    windows: what is made of these tokens. Measured together, a set counts as much as its weight says, however many of
    its tokens are measured.
    """
    most = None if train.eval_tokens is None else train.eval_tokens // len(data.sets) + 1
    parts = []
    for name, one in data.sets.items():
        split = one.split("validation").first(most)
        n_targets = split.n_targets()
        if not n_targets:
            continue
        weight = data.slots[name] / n_targets if len(data.sets) > 1 else 1.0
        parts.append(Part(windows(split), name, weight))
        if train.eval_train_tokens:
            part = one.split("train").first(train.eval_train_tokens + 1)
            if part.n_targets():  # a loss mask may leave out all of them
                parts.append(Part(windows(part), f"{name}_train".lstrip("_"), weight=0.0))
    return parts


def check_samples(prompts: list[str], tokenizer: Tokenizer, longest: int) -> None:
    """Refuse before the first step what `generate` would refuse at the first evaluation."""
    for prompt in prompts:
        n_tokens = len(tokenizer.encode_prompt(prompt))
        if not 1 <= n_tokens <= longest:
            raise UserError(
                f"train.sample_prompts={prompt!r}: {n_tokens} tokens",
                f"a sample continues 1 to {longest} tokens, for model.max_seq_len={longest}",
                "shorten the prompt" if n_tokens else "give it some text, or leave it out",
            )


def token_bytes(tokenizer: Tokenizer, splits: Sequence[TokenSplit]) -> np.ndarray:
    """UTF-8 bytes of each token; where a tokenizer cannot say, the average of the splits."""
    exact = tokenizer.token_bytes()
    if exact is not None:
        return exact
    return np.full(tokenizer.vocab_size, sum(split.n_bytes for split in splits) / max(1, sum(map(len, splits))))


def measured_split(loaded: Loaded, tokenizer: Tokenizer, placement: Placement) -> tuple[PreparedSet, TokenSplit]:
    """The text that a language model is measured on: raw files as a whole, or a part of a prepared set."""
    config: EvaluateConfig = loaded.config
    kind = "checkpoint= of a language model"
    refuse_unread(loaded, named_fields(loaded, LabelsConfig), kind, "it has no labels")
    data, part = config.data, config.data.split
    if part not in PARTS:
        raise UserError(f"data.split={part}", f"a prepared set has the parts {', '.join(PARTS)}", "name one of them")
    refuse_raw_settings(loaded)
    if data.files or data.sources:
        keys = [f"data.{name}" for name in ("split", "validation_fraction", "test_fraction", "split_by", "group_field")]
        keys += [f"data.sources.{name}.weight" for name in data.sources]
        refuse_unread(loaded, keys, "raw text", "all of it is measured, once")
        data = dataclasses.replace(data, validation_fraction=0.0, test_fraction=0.0, split_by=SplitBy.document)
        part = "train"
    found = placement.lead_first(lambda: prepared(data, AutoTokenizerConfig(), tokenizer))
    split, most = found.split(part), config.evals.max_tokens
    if not split.first(most and most + 1).n_targets():
        beginning = f" in the first {most} (evals.max_tokens)" if most else ""
        where = data.path or data.builtin or ", ".join([*data.files, *data.sources])
        raise UserError(
            f"the {part} part (data.split={part}) of {where}: {len(split)} tokens, 0 to be predicted{beginning}",
            "one token predicts the next, unless a loss mask leaves it out",
            "name more text, or another part",
        )
    return found, split


def text_measurement(loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> Measurement:
    """Windows that overlap, so that every token is predicted once."""
    config: EvaluateConfig = loaded.config
    found, split = measured_split(loaded, tokenizer, placement)
    n_bytes = token_bytes(found.tokenizer(), [split])  # on average those of all the text, of which all bytes are known
    if config.evals.max_tokens is not None:
        split = split.first(config.evals.max_tokens + 1)
    seq_len = window_length(config, source)
    rows = config.evals.batch_rows or max(1, TOKENS_AT_ONCE // seq_len)
    windows = Windows(split, seq_len, config.evals.stride or max(1, seq_len // 2), rows)
    return Measurement(Causal(token_bytes=n_bytes), windows, {"tokens": split.n_targets()})
