"""From logits to a token: each step a pure function of logits (B, V). What is ruled out becomes -inf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 256  # entries that `draw` adds up at a time


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn; what is None, 1 or 0 changes nothing."""

    temperature: float = 0.8  # 0: always the likeliest token
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0


def penalised(
    logits: Tensor, sampling: Sampling, prompts: Sequence[Sequence[int]], written: Sequence[Sequence[int]]
) -> Tensor:
    """Make tokens that are there less likely, once however often they are.

    Repetition, of the prompt and what was written (Keskar et al. 2019, arXiv 1909.05858, as transformers has it): a
    positive logit is divided by the penalty, a negative one multiplied. Presence, of what was written only (as in
    OpenAI's API and vLLM): the penalty is subtracted.
    """
    if sampling.repetition_penalty == 1 and not sampling.presence_penalty:
        return logits
    logits = logits.clone()
    for row, prompt, tokens in zip(logits, prompts, written, strict=True):
        if sampling.repetition_penalty != 1:
            seen = torch.tensor([*prompt, *tokens], device=row.device)
            seen = seen[seen < len(row)]  # rows of the embedding that stand for no token are no tokens to be drawn
            before = row[seen]
            row[seen] = torch.where(
                before < 0, before * sampling.repetition_penalty, before / sampling.repetition_penalty
            )
        if sampling.presence_penalty and tokens:
            present = torch.tensor(sorted(set(tokens)), device=row.device)
            row[present] -= sampling.presence_penalty
    return logits


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """The k largest logits of each row, and those equal to the smallest of them (Fan et al. 2018, arXiv 1805.04833)."""
    smallest = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < smallest, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """The fewest likeliest tokens that have probability p together (Holtzman et al. 2020, arXiv 1904.09751)."""
    ordered, index = logits.sort(descending=True, stable=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # of all likelier tokens: 0 for the first, which always stays
    return torch.full_like(logits, -torch.inf).scatter(-1, index, ordered.masked_fill(before >= p, -torch.inf))


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Tokens with at least p times the probability of the likeliest (Nguyen et al. 2024, arXiv 2407.01082)."""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(-1, keepdim=True), -torch.inf)


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """(B, V) fp32 logits -> what tokens are drawn with: temperature, then top-k, then top-p, then min-p."""
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    if sampling.min_p is not None:
        logits = keep_min_p(logits, sampling.min_p)
    return logits.softmax(-1)


def likeliest(logits: Tensor) -> Tensor:
    """The token with the largest logit of each row (B,), the first of equal ones."""
    if logits.device.type == "cpu":  # torch's own takes twenty times as long there
        return torch.from_numpy(logits.numpy().argmax(-1))
    return logits.argmax(-1)


def draw(probabilities: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """One token of each row (B,), by the row's own generator: where its uniform number falls in the cumulative sum.

    The sum of blocks says which block it falls in, so that only that block is summed up entry by entry.
    """
    uniform = torch.cat([torch.rand(1, 1, dtype=torch.float64, generator=generator) for generator in generators])
    blocks = F.pad(probabilities, (0, -probabilities.shape[-1] % _BLOCK)).unflatten(-1, (-1, _BLOCK))  # (B, C, 256)
    sums = blocks.sum(-1, dtype=torch.float64).cumsum(-1)  # (B, C)
    wanted = uniform.to(sums.device) * sums[:, -1:]
    block = torch.searchsorted(sums, wanted, right=True).clamp_(max=sums.shape[-1] - 1)  # (B, 1)
    before = F.pad(sums, (1, 0)).gather(-1, block)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, _BLOCK))[:, 0].double().cumsum(-1)  # (B, 256)
    # Added up in another order the same block can come out a bit smaller; never beyond its last possible token.
    rest = torch.minimum(wanted - before, inside[:, -1:] * (1 - 1e-15)).clamp_(min=0)
    return (block * _BLOCK + torch.searchsorted(inside, rest, right=True)).squeeze(-1)


def choose(logits: Tensor, sampling: Sampling, generators: Sequence[torch.Generator]) -> Tensor:
    """(B, V) fp32 logits -> a token of each row (B,)."""
    if sampling.temperature == 0:
        return likeliest(logits)
    return draw(probabilities(logits, sampling), generators)
