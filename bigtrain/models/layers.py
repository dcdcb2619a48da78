"""Functions that blocks are made of: attention, rotary positions, packed documents, dropout without a random state."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SHORT = 512  # tokens up to which two products beat the flash kernel on a CPU in bf16, measured forward and backward
_WORD = 0xFFFFFFFF
_GOLDEN = 0x9E3779B1  # 2^32 / golden ratio: spreads consecutive numbers


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention of queries (B, H, T, E) over keys and values (B, K, S, E), K dividing H -> (B, H, T, E).

    mask: (B or 1, 1, T, S), true where a query may look. Without one, T queries see the keys up to their own (T = S),
    and a single query sees all.
    """
    grouped = q.shape[1] != k.shape[1]
    if grouped and mask is not None:
        # The fused CUDA kernels take a mask or grouped heads, not both.
        k, v = (heads.repeat_interleave(q.shape[1] // heads.shape[1], dim=1) for heads in (k, v))
        grouped = False
    is_causal = mask is None and q.shape[2] > 1
    if is_causal and not grouped and q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[2] <= _SHORT:
        return _attend_by_products(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, enable_gqa=grouped)


def _attend_by_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention as two batched products: half the time of torch's CPU flash kernel for short rows in bf16."""
    n_rows, n_heads, n_tokens, width = q.shape
    future = torch.full((n_tokens, n_tokens), -torch.inf, dtype=q.dtype).triu(1)
    q, k, v = (heads.reshape(-1, n_tokens, width) for heads in (q, k, v))
    scores = torch.baddbmm(future.expand(len(q), -1, -1), q, k.mT, alpha=width**-0.5)  # (B H, T, T)
    return (scores.softmax(-1) @ v).view(n_rows, n_heads, n_tokens, width)


def rotary_tables(n_positions: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of position x frequency, (n_positions, head_dim / 2) each (Su et al. 2021, arXiv 2104.09864)."""
    frequencies = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.arange(n_positions, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + E/2) of each head of (B, H, T, E): the convention of Hugging Face's files."""
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


def document_positions(documents: Tensor) -> Tensor:
    """Position of each token in its own document, from document numbers (B, T) that ascend in a row."""
    index = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = torch.zeros_like(index)
    begins[:, 1:] = index[:, 1:] * (documents[:, 1:] != documents[:, :-1])
    return index - begins.cummax(dim=1).values


def causal_mask(n_queries: int, n_keys: int, device: torch.device) -> Tensor:
    """(1, 1, T, S): each of the last T of S tokens sees those up to itself."""
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)[None, None]


def document_mask(documents: Tensor) -> Tensor:
    """(B, 1, T, T): a token sees those up to itself in its own document."""
    same = documents[:, None, :, None] == documents[:, None, None, :]
    return same & causal_mask(documents.shape[1], documents.shape[1], documents.device)


def mix(x: Tensor) -> Tensor:
    """Scramble 32-bit words held in int64: a bijection, each input bit flips each output bit with probability 1/2.

    Two multipliers from Wellons' hash-prospector (github.com/skeeto/hash-prospector), both below 2^31: no product
    leaves int64, so eager, compiled and every device give the same words.
    """
    x = (x ^ (x >> 16)) * 0x21F0AAAD & _WORD
    x = (x ^ (x >> 15)) * 0x735A2D97 & _WORD
    return x ^ (x >> 15)


def fold(keys: Tensor, number: int) -> Tensor:
    """New 32-bit keys from keys (B,) and a number: the keys of one layer, one place."""
    low, high = keys & _WORD, (keys >> 32) & _WORD
    return mix(low ^ mix((high + number * _GOLDEN) & _WORD))


def keyed_dropout(x: Tensor, p: float, keys: Tensor, site: int) -> Tensor:
    """Zero each element of x (B, T, D) with probability p and scale the others by 1 / (1 - p).

    The mask is a hash of (key of the row, site, t, d). No random state is read or moved: a sample has the same mask in
    any micro-batch, on any number of processes, eager or compiled, and when a step is repeated.
    """
    _, n_tokens, width = x.shape
    tokens = torch.arange(n_tokens, device=x.device) * _GOLDEN
    rows = mix((fold(keys, site)[:, None] + tokens) & _WORD)  # (B, T)
    columns = mix(torch.arange(width, device=x.device) * _GOLDEN & _WORD)  # (D,)
    kept = mix((rows[:, :, None] + columns) & _WORD) >= round(p * 2**32)
    return torch.where(kept, x * (1 / (1 - p)), 0.0)
