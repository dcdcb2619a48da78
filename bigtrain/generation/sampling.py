"""From logits to a token: each step a pure function of logits (B, V). What is ruled out becomes -inf."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn; what is None rules nothing out."""

    temperature: float = 0.8  # 0: always the likeliest token
    top_k: int | None = None
    top_p: float | None = None


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


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """(B, V) fp32 logits -> the probabilities that tokens are drawn with: temperature, then top-k, then top-p."""
    if sampling.temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    return logits.softmax(-1)


def draw(probabilities: Tensor, generators: list[torch.Generator]) -> Tensor:
    """One token of each row (B,), by the row's own generator: where its uniform number falls in the cumulative sum."""
    uniform = torch.cat([torch.rand(1, 1, dtype=torch.float64, generator=generator) for generator in generators])
    cumulative = probabilities.double().cumsum(-1)
    return torch.searchsorted(cumulative, uniform.to(cumulative.device) * cumulative[:, -1:], right=True).squeeze(-1)
