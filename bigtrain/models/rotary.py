"""Rotary positions (Su et al. 2021, arXiv 2104.09864), as they are and slowed down for longer texts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bigtrain.models.schema import RopeScalingConfig, Scaling


def rotary_tables(n_positions: int, head_dim: int, theta: float, scaling: RopeScalingConfig) -> tuple[Tensor, Tensor]:
    """Cosine and sine of position x frequency, (n_positions, head_dim / 2) each, times the attention factor."""
    angles = torch.arange(n_positions, dtype=torch.float32)[:, None] * frequencies(head_dim, theta, scaling)
    factor = attention_factor(scaling)
    return angles.cos() * factor, angles.sin() * factor


def frequencies(head_dim: int, theta: float, scaling: RopeScalingConfig) -> Tensor:
    """Radians a token of each pair, (head_dim / 2,) fp32; `scaling` must be resolved.

    Computed step by step as transformers does, so that the angles of far positions are the same.
    """
    plain = 1.0 / _periods(head_dim, theta)
    match scaling.kind:
        case Scaling.none:
            return plain
        case Scaling.linear:
            return plain / scaling.factor
        case Scaling.llama3:
            return _llama3(plain, scaling)
        case Scaling.yarn:
            return _yarn(head_dim, theta, scaling)


def _periods(head_dim: int, theta: float) -> Tensor:
    return theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def attention_factor(scaling: RopeScalingConfig) -> float:
    """What YaRN multiplies queries and keys by, so that attention stays sharp over more tokens; 1 for the others."""
    if scaling.kind is not Scaling.yarn:
        return 1.0
    given = scaling.attention_factor
    return 0.1 * math.log(scaling.factor) + 1.0 if given is None else given


def _llama3(plain: Tensor, scaling: RopeScalingConfig) -> Tensor:
    """Meta's scaling of Llama 3.1 (arXiv 2407.21783, its released code): divide what turns too seldom."""
    assert scaling.original_seq_len is not None
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    length = 2 * math.pi / plain  # tokens of one turn
    ramp = (scaling.original_seq_len / length - low) / (high - low)
    between = (1 - ramp) * plain / scaling.factor + ramp * plain
    slowed = torch.where(length > scaling.original_seq_len / low, plain / scaling.factor, between)
    return torch.where(length < scaling.original_seq_len / high, plain, slowed)


def _yarn(head_dim: int, theta: float, scaling: RopeScalingConfig) -> Tensor:
    """YaRN (Peng et al. 2023, arXiv 2309.00071): a ramp over the pairs, between those that turn often and seldom."""
    assert scaling.original_seq_len is not None
    original = scaling.original_seq_len

    def pair(turns: float) -> float:
        """The pair that makes so many turns over the original length."""
        return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first = max(math.floor(pair(scaling.beta_fast)), 0)
    last = min(math.ceil(pair(scaling.beta_slow)), head_dim - 1)
    width = last - first if last != first else 0.001  # no division by zero
    kept = 1 - ((torch.arange(head_dim // 2, dtype=torch.float32) - first) / width).clamp(0, 1)
    periods = _periods(head_dim, theta)
    return 1.0 / (scaling.factor * periods) * (1 - kept) + 1.0 / periods * kept


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + E/2) of each head of (B, H, T, E): the convention of Hugging Face's files."""
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)
