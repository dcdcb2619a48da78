"""Next-token prediction on a prepared set: the same for `pretrain` and `finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bigtrain.commands.task import Task, batch_rows, row_length
from bigtrain.data.loader import Windows
from bigtrain.errors import UserError
from bigtrain.evaluation.windows import Windows as EvaluationWindows
from bigtrain.objectives.causal import Causal

if TYPE_CHECKING:
    from bigtrain.data.shards import PreparedSet
    from bigtrain.models.base import Model
    from bigtrain.tokenizer import Tokenizer


def causal_task(config: Any, model: Model, data: PreparedSet, *, init_from: Path | None) -> Task:
    """Windows of the training tokens, non-overlapping windows of the first validation tokens."""
    tokenizer, train = data.tokenizer(), config.train
    vocab_size = model.config.vocab_size
    assert vocab_size is not None
    if tokenizer.vocab_size > vocab_size:
        raise UserError(
            f"model.vocab_size={vocab_size} with a tokenizer of {tokenizer.vocab_size} entries",
            "the model needs a row for every token",
            f"choose model.vocab_size={tokenizer.vocab_size} or more, or null to follow the tokenizer",
        )
    seq_len = row_length(train, model)
    _check_samples(train.sample_prompts, tokenizer, model.config.max_seq_len)
    validation = data.split("validation")
    n_validation = len(validation) if train.eval_tokens is None else min(len(validation), train.eval_tokens + 1)

    def windows(rows: int) -> EvaluationWindows | list[Any]:
        if n_validation < 2:
            return []
        starts = validation.document_starts
        return EvaluationWindows(
            validation.tokens[:n_validation], seq_len, seq_len, rows, starts, isolate=train.isolate_documents
        )

    return Task(
        model=model,
        init_from=init_from,
        objective=Causal(compile=config.device.compile, token_bytes=token_bytes(data)),
        rows=Windows(data.split("train"), seq_len, seed=config.seed, isolate_documents=train.isolate_documents),
        validation=windows,
        tokenizer=tokenizer,
        labels=[],
        fingerprint=data.fingerprint,
        seq_len=seq_len,
        batch_rows=batch_rows(train, seq_len),
    )


def _check_samples(prompts: list[str], tokenizer: Tokenizer, longest: int) -> None:
    """Refuse before the first step what `generate` would refuse at the first evaluation."""
    for prompt in prompts:
        n_tokens = len(tokenizer.encode(prompt))
        if not 1 <= n_tokens <= longest:
            raise UserError(
                f"train.sample_prompts={prompt!r}: {n_tokens} tokens",
                f"a sample continues 1 to {longest} tokens, for model.max_seq_len={longest}",
                "shorten the prompt" if n_tokens else "give it some text, or leave it out",
            )


def token_bytes(data: PreparedSet, split: str = "validation") -> np.ndarray:
    """UTF-8 bytes of each token; where a tokenizer cannot say, the average of the split."""
    tokenizer = data.tokenizer()
    exact = tokenizer.token_bytes()
    if exact is not None:
        return exact
    part = data.split(split)
    return np.full(tokenizer.vocab_size, part.n_bytes / max(1, len(part)))
