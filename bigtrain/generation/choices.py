"""How likely each of several given texts is after a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bigtrain.errors import UserError
from bigtrain.generation.cache import KVCache
from bigtrain.generation.generate import as_written, check_prompt, require_finite
from bigtrain.models.base import Model
from bigtrain.tokenizer import Tokenizer


@dataclass(frozen=True)
class Choice:
    """A text and its log-probability after the prompt."""

    text: str
    tokens: int
    logprob: float
    logprob_per_token: float


def following(tokenizer: Tokenizer, prompt: str, prompt_ids: Sequence[int], choice: str) -> list[int]:
    """The ids of a choice where it stands after a prompt.

    Those of the whole text beyond the prompt's, if the prompt's own ids begin it; else a token would lie across the
    border, and the choice is read by itself.
    """
    whole = tokenizer.encode_prompt(prompt + choice)
    n = len(prompt_ids)
    return whole[n:] if whole[:n] == list(prompt_ids) and len(whole) > n else tokenizer.encode(choice)


def score(
    model: Model,
    prompt: Sequence[int],
    choices: Sequence[tuple[str, Sequence[int]]],
    *,
    vocab_size: int,
    batch_size: int,
) -> list[Choice]:
    """The log-probability of each choice (its text and its ids) after the prompt, which is read once a batch.

    vocab_size: of the tokenizer; the embedding's rows beyond it stand for nothing.

    Raises UserError for what no text can follow (see `generate.check_prompt`), and a choice that is empty or too long.
    """
    check_prompt(model, prompt)
    for text, ids in choices:
        longest = model.config.max_seq_len
        if not ids:
            raise UserError(f"choices: {text!r} has no tokens", "a choice is some text", "correct or remove it")
        if len(prompt) + len(ids) - 1 > longest:
            raise UserError(
                f"a prompt of {len(prompt)} tokens and a choice of {len(ids)} with model.max_seq_len={longest}",
                "the model has no positions for a longer text",
                "shorten the prompt or the choice",
            )
    scored: list[Choice] = []
    with torch.inference_mode(), as_written():
        for begin in range(0, len(choices), batch_size):
            scored += _batch(model, prompt, choices[begin : begin + batch_size], vocab_size)
    return scored


def _batch(
    model: Model, prompt: Sequence[int], choices: Sequence[tuple[str, Sequence[int]]], vocab_size: int
) -> list[Choice]:
    device, n_rows = next(model.parameters()).device, len(choices)
    longest = max(len(ids) for _, ids in choices)
    cache = KVCache(model.config.n_layers, len(prompt) + longest, n_rows)
    cache.begin([len(prompt)] * n_rows, [0] * n_rows)
    hidden = model(torch.tensor([list(prompt)], device=device), cache=cache)[:, -1:].expand(n_rows, -1, -1)
    if longest > 1:
        tokens = torch.zeros(n_rows, longest - 1, dtype=torch.int64)
        for row, (_, ids) in zip(tokens, choices, strict=True):
            row[: len(ids) - 1] = torch.tensor(ids[:-1])
        hidden = torch.cat([hidden, model(tokens.to(device), cache=cache)], dim=1)  # (n, longest, D)
    scored = []
    for row, (text, ids) in zip(hidden, choices, strict=True):
        logits = model.logits(row[: len(ids)])[:, :vocab_size].float()  # (T, V)
        require_finite(logits)
        logprobs = logits.log_softmax(-1)
        total = float(logprobs.gather(1, torch.tensor(ids, device=device)[:, None]).double().sum())
        scored.append(Choice(text, len(ids), total, total / len(ids)))
    return scored
