"""Functions that blocks are made of: attention, rotary positions, packed documents, dropout without a random state."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SHORT = 512  # tokens up to which two products beat the flash kernel on a CPU in bf16, measured forward and backward
_WORD = 0xFFFFFFFF
_HALF = 0xFFFF
_GOLDEN = 0x9E3779B1  # 2^32 / golden ratio: spreads consecutive numbers


class Embedding(nn.Embedding):
    """torch's own, left as it is when built: drawing normal numbers without memory would import torch's compiler."""

    def reset_parameters(self) -> None:
        """`init_weights` gives the values."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention of queries (B, H, T, E) over keys and values (B, K, S, E), K dividing H -> (B, H, T, E).

    mask: (B or 1, 1, T, S), true where a query may look. Without one, T queries see the keys up to their own (T = S),
    and a single query sees all.
    """
    grouped = q.shape[1] != k.shape[1]
    if grouped and q.shape[2] == 1:  # the heads of a group are as good as so many queries of one head
        groups = q.reshape(len(q), k.shape[1], -1, q.shape[3])
        return F.scaled_dot_product_attention(groups, k, v, mask).reshape(q.shape)
    is_short = q.device.type == "cpu" and q.dtype == torch.bfloat16 and 1 < q.shape[2] == k.shape[2] <= _SHORT
    if grouped and (is_short or mask is not None):
        # The fused CUDA kernels take a mask or grouped heads, not both.
        k, v = (heads.repeat_interleave(q.shape[1] // heads.shape[1], dim=1) for heads in (k, v))
        grouped = False
    if is_short:
        return _attend_by_products(q, k, v, mask)
    is_causal = mask is None and q.shape[2] > 1
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, enable_gqa=grouped)


def attend_both_ways(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention of queries (B, H, T, E) over all keys and values (B, H, S, E) -> (B, H, T, E).

    mask: (B, 1, T, S), true where a query may look.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[2] <= _SHORT:
        everywhere = torch.ones(1, 1, q.shape[2], k.shape[2], dtype=torch.bool)
        return _attend_by_products(q, k, v, everywhere if mask is None else mask)
    return F.scaled_dot_product_attention(q, k, v, mask)


def _attend_by_products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention as two batched products: half the time of torch's CPU flash kernel for short rows in bf16."""
    if mask is None:
        mask = causal_mask(q.shape[2], k.shape[2], q.device)
    hidden = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(~mask, -torch.inf)
    hidden = hidden.expand(q.shape[0], q.shape[1], -1, -1).flatten(0, 1)
    scores = torch.baddbmm(hidden, q.flatten(0, 1), k.flatten(0, 1).mT, alpha=q.shape[3] ** -0.5)  # (B H, T, S)
    return (scores.softmax(-1) @ v.flatten(0, 1)).view(q.shape)


def document_positions(documents: Tensor) -> Tensor:
    """Position of each token in its own document, from document numbers (B, T) that ascend in a row."""
    index = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = torch.zeros_like(index)
    begins[:, 1:] = index[:, 1:] * (documents[:, 1:] != documents[:, :-1])
    return index - begins.cummax(dim=1).values


def causal_mask(n_queries: int, n_keys: int, device: torch.device, window: int | None = None) -> Tensor:
    """(1, 1, T, S): each of the last T of S tokens sees those up to itself, or the last `window` of them."""
    mask = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)
    return (mask if window is None else mask.triu(n_keys - n_queries - window + 1))[None, None]


def ragged_mask(positions: Tensor, n_keys: int, window: int | None = None) -> Tensor:
    """(B, 1, T, S): tokens at `positions` (B, T) see the keys of their row up to themselves, or the last `window`."""
    keys = torch.arange(n_keys, device=positions.device)
    seen = keys <= positions[:, :, None]
    return (seen if window is None else seen & (keys > positions[:, :, None] - window))[:, None]


def document_mask(documents: Tensor, window: int | None = None) -> Tensor:
    """(B, 1, T, T): a token sees those up to itself in its own document, or the last `window` of them."""
    same = documents[:, None, :, None] == documents[:, None, None, :]
    return same & causal_mask(documents.shape[1], documents.shape[1], documents.device, window)


def mix(x: Tensor) -> Tensor:
    """Scramble 32-bit words held in int64: a bijection, each input bit flips each output bit with probability 1/2.

    Two multipliers from Wellons' hash-prospector (github.com/skeeto/hash-prospector), both below 2^31: no product
    leaves int64, so eager, compiled and every device give the same words.
    """
    x = (x ^ (x >> 16)) * 0x21F0AAAD & _WORD
    x = (x ^ (x >> 15)) * 0x735A2D97 & _WORD
    return x ^ (x >> 15)


def _mix_int32(x: Tensor) -> Tensor:
    """`mix` of words held in int32: products wrap around to the same bits, and `>>` brings the sign in, to be cleared.

    Half the bytes of int64 and no slow products: a third of the time on a CPU.
    """
    x = (x ^ (x >> 16 & 0xFFFF)) * 0x21F0AAAD
    x = (x ^ (x >> 15 & 0x1FFFF)) * 0x735A2D97
    return x ^ (x >> 15 & 0x1FFFF)


def fold(keys: Tensor, number: int) -> Tensor:
    """New 32-bit keys from keys (B,) and a number: the keys of one layer, one place."""
    low, high = keys & _WORD, (keys >> 32) & _WORD
    return mix(low ^ mix((high + number * _GOLDEN) & _WORD))


def keyed_dropout(x: Tensor, p: float, keys: Tensor, site: int) -> Tensor:
    """Zero each element of x (B, T, D) with probability p, to 16 bits, and scale the others to keep the mean.

    The mask is a hash of (key of the row, site, t, d). No random state is read or moved: a sample has the same mask in
    any micro-batch, on any number of processes, eager or compiled, and when a step is repeated.
    """
    _, n_tokens, width = x.shape
    tokens = torch.arange(n_tokens, device=x.device) * _GOLDEN
    rows = mix((fold(keys, site)[:, None] + tokens) & _WORD).int()  # (B, T)
    columns = mix(torch.arange(-(-width // 2), device=x.device) * _GOLDEN & _WORD).int()  # (D / 2,)
    words = _mix_int32(rows[:, :, None] + columns)  # each decides two elements, by its halves
    halves = torch.cat([words & _HALF, words >> 16 & _HALF], -1)[..., :width]
    dropped = min(round(p * (_HALF + 1)), _HALF)
    kept = ((halves - dropped) >> 31) + 1  # 0 below it, else 1; compiled, a bool would be cast one by one
    return x * ((_HALF + 1) / (_HALF + 1 - dropped)) * kept.to(x.dtype)
