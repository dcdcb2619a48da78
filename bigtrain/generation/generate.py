"""Text from a language model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from bigtrain.errors import UserError
from bigtrain.generation.cache import KVCache
from bigtrain.generation.sampling import Sampling, draw, probabilities
from bigtrain.models.base import Model, generator_for
from bigtrain.tokenizer import Tokenizer


class StoppedBy(StrEnum):
    """Why a completion ended."""

    eos = "eos"  # the token that ends a document was drawn; it is not part of the completion
    max_new_tokens = "max_new_tokens"
    max_seq_len = "max_seq_len"  # the model has no positions beyond


@dataclass(frozen=True)
class Completion:
    """What followed a prompt."""

    tokens: list[int]
    text: str
    stopped_by: StoppedBy


def generate(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    tokenizer: Tokenizer,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> list[Completion]:
    """Continue each prompt until it ends, has `max_new_tokens` more, or fills the model's `max_seq_len`.

    Rows are computed one by one, and draw from generators of their own made from (seed, row): the text of a row does
    not depend on the others. Only the tokenizer's ids are drawn, never the rows that pad the embedding. Compiled
    blocks run as they are written: one compilation for every length of the cache would cost more than it gives.
    Raises UserError for a classifier, an empty prompt and one that is longer than the model's `max_seq_len`.
    """
    if model.n_labels:
        raise UserError("text from a classifier", "its head gives labels, not tokens", "name a language model")
    sampling = sampling or Sampling()
    with torch.no_grad(), _as_written():
        return [
            _continue(model, list(prompt), tokenizer, max_new_tokens, sampling, generator_for(seed, f"row {row}"))
            for row, prompt in enumerate(prompts)
        ]


def _as_written() -> contextlib.AbstractContextManager[object]:
    """Nothing is compiled, which needs saying only where torch's compiler is loaded: importing it takes a second."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext()


def _continue(
    model: Model,
    prompt: list[int],
    tokenizer: Tokenizer,
    max_new_tokens: int,
    sampling: Sampling,
    generator: torch.Generator,
) -> Completion:
    longest = model.config.max_seq_len
    if not prompt:
        raise UserError("an empty prompt", "there must be a token to continue", "give some text")
    if len(prompt) > longest:
        raise UserError(
            f"a prompt of {len(prompt)} tokens with model.max_seq_len={longest}",
            "the model has no positions for a longer one",
            f"shorten the prompt to {longest} tokens or less",
        )
    # The last token drawn is not read again, so it needs no position.
    room = longest - len(prompt) + 1
    n_tokens = min(max_new_tokens, room)
    stopped_by = StoppedBy.max_new_tokens if max_new_tokens <= room else StoppedBy.max_seq_len
    device = next(model.parameters()).device
    cache = KVCache(model.config.n_layers, capacity=len(prompt) + n_tokens - 1)
    tokens: list[int] = []
    unread = prompt
    while len(tokens) < n_tokens:
        hidden = model(torch.tensor([unread], device=device), cache=cache)  # (1, T, D)
        logits = model.logits(hidden[:, -1])[:, : tokenizer.vocab_size].float()
        token = int(draw(probabilities(logits, sampling), [generator]))
        if token == tokenizer.eos_id:
            stopped_by = StoppedBy.eos
            break
        tokens.append(token)
        unread = [token]
    return Completion(tokens, tokenizer.decode(tokens), stopped_by)
