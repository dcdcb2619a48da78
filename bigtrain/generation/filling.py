"""What may stand behind the mask of a masked model: the likeliest tokens of each hidden place."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bigtrain.data.frame import Frame, mask_id
from bigtrain.errors import UserError
from bigtrain.generation.generate import as_written, require_finite
from bigtrain.models.base import Model
from bigtrain.tokenizer import Tokenizer


@dataclass(frozen=True)
class Filling:
    """A token, as it is written, and its probability where the mask stands."""

    token: str
    token_id: int
    probability: float


def prompt_encoder(tokenizer: Tokenizer, longest: int) -> Callable[[str], list[int]]:
    """Text -> ids in which a special token such as [MASK] is itself, with what the tokenizer puts around a text.

    The result raises UserError for a text without a mask, and for one of more than `longest` tokens.
    """
    frame, hidden = Frame.of(tokenizer), mask_id(tokenizer)
    mask = tokenizer.backend.id_to_token(hidden)

    def encode(text: str) -> list[int]:
        ids = frame.around(np.array(tokenizer.marked.encode(text, add_special_tokens=False).ids, np.int64)).tolist()
        if hidden not in ids:
            rule = "a masked model says what stands behind a mask, and does not continue a text"
            raise UserError(f"a prompt without {mask}", rule, f"write {mask} where a word is to be found")
        if len(ids) > longest:
            raise UserError(
                f"a prompt of {len(ids)} tokens with model.max_seq_len={longest}",
                "the model has no positions for a longer one",
                f"shorten the prompt to {longest} tokens or less",
            )
        return list(ids)

    return encode


def fill(
    model: Model, prompts: Sequence[Sequence[int]], tokenizer: Tokenizer, *, k: int, batch_size: int
) -> Iterator[tuple[int, list[list[Filling]]]]:
    """The number of each prompt, the longest first, and for each of its masks the k likeliest tokens.

    Each mask is filled with all the others in place. Only the tokenizer's ids are looked at, never the rows that pad
    the embedding. As the fill-mask pipeline of transformers has it.
    """
    hidden, device = mask_id(tokenizer), next(model.parameters()).device
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]), reverse=True)
    for begin in range(0, len(order), batch_size):
        numbers = order[begin : begin + batch_size]
        tokens = torch.full((len(numbers), len(prompts[numbers[0]])), tokenizer.pad_id)
        padding = torch.ones_like(tokens, dtype=torch.int32)
        for row, number in enumerate(numbers):
            tokens[row, : len(prompts[number])] = torch.tensor(prompts[number])
            padding[row, : len(prompts[number])] = 0
        asked = tokens == hidden
        with torch.inference_mode(), as_written():
            found = model(tokens.to(device), documents=padding.to(device))[asked.to(device)]  # (masks, D)
            logits = model.logits(found)[:, : tokenizer.vocab_size].float()
            require_finite(logits)
            shares = logits.softmax(-1)
            best = shares.topk(min(k, shares.shape[-1]))
        masks = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        for number, count in zip(numbers, asked.sum(1).tolist(), strict=True):
            yield number, [_fillings(tokenizer, *mask) for mask in itertools.islice(masks, count)]


def _fillings(tokenizer: Tokenizer, ids: list[int], shares: list[float]) -> list[Filling]:
    texts = (tokenizer.backend.decode([id_], skip_special_tokens=False) for id_ in ids)
    return [Filling(*filling) for filling in zip(texts, ids, shares, strict=True)]
