"""Attention, documents and keyed dropout, each against its definition."""

import math

import pytest
import torch
from torch import Tensor

from bigtrain.models.layers import (
    attend,
    attend_both_ways,
    causal_mask,
    document_mask,
    document_positions,
    fold,
    keyed_dropout,
    mix,
)
from bigtrain.parallel.compiler import make_ready

KEYS = torch.tensor([0, 1, 7, 2**40 + 7, -1, 2**62])


def attention_by_hand(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~allowed, -torch.inf)
    return scores.softmax(-1) @ v


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention_is_causal_with_and_without_a_mask(kv_heads: int) -> None:
    q = torch.randn(2, 4, 9, 6)
    k, v = torch.randn(2, 2, kv_heads, 9, 6)
    allowed = torch.ones(9, 9, dtype=torch.bool).tril()
    expected = attention_by_hand(q, k, v, allowed)
    for mask in (None, causal_mask(9, 9, q.device)):
        torch.testing.assert_close(attend(q, k, v, mask), expected)
    last = attend(q[:, :, 6:], k, v, causal_mask(3, 9, q.device))  # three new tokens after six cached ones
    torch.testing.assert_close(last, expected[:, :, 6:])
    torch.testing.assert_close(attend(q[:, :, 8:], k, v, None), expected[:, :, 8:])  # one sees all


def test_positions_restart_and_masks_end_with_each_document() -> None:
    documents = torch.tensor([[4, 4, 4, 5, 6, 6], [0, 1, 1, 1, 1, 1]], dtype=torch.int32)
    assert document_positions(documents).tolist() == [[0, 1, 2, 0, 0, 1], [0, 0, 1, 2, 3, 4]]
    for row, mask in zip(documents, document_mask(documents)[:, 0], strict=True):
        for query in range(6):
            seen = [key for key in range(query + 1) if row[key] == row[query]]
            assert mask[query].nonzero().flatten().tolist() == seen
    for row, mask in zip(documents, document_mask(documents, window=2)[:, 0], strict=True):
        for query in range(6):
            seen = [key for key in (query - 1, query) if key >= 0 and row[key] == row[query]]
            assert mask[query].nonzero().flatten().tolist() == seen


@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize("kind", ["causal", "window", "documents"])
def test_every_kernel_gives_the_same(kv_heads: int, kind: str) -> None:
    """In bf16 and for short rows two products stand in for torch's kernel; grouped heads and masks as well."""
    q = torch.randn(3, 4, 24, 8, dtype=torch.bfloat16)
    k, v = torch.randn(2, 3, kv_heads, 24, 8, dtype=torch.bfloat16)
    documents = torch.arange(24).expand(3, -1) // torch.tensor([[5], [7], [30]])
    masks = {"window": causal_mask(24, 24, q.device, 4), "documents": document_mask(documents)}
    allowed = masks.get(kind, causal_mask(24, 24, q.device))
    expected = attention_by_hand(q.float(), k.float(), v.float(), allowed)
    got = attend(q, k, v, masks.get(kind))
    assert got.dtype == torch.bfloat16
    assert (got - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize("window", [1, 2, 5, 9, 20])
def test_a_window_shows_the_last_tokens_only(window: int) -> None:
    q, k, v = torch.randn(3, 2, 2, 9, 6)
    allowed = torch.tensor([[query - window < key <= query for key in range(9)] for query in range(9)])
    expected = attention_by_hand(q, k, v, allowed)
    torch.testing.assert_close(attend(q, k, v, causal_mask(9, 9, q.device, window)), expected)
    new = attend(q[:, :, 6:], k, v, causal_mask(3, 9, q.device, window))
    torch.testing.assert_close(new, expected[:, :, 6:])


def test_mix_is_a_bijection_of_words_that_avalanches() -> None:
    words = torch.randint(0, 2**32, (20000,), generator=torch.Generator().manual_seed(0)).unique()
    mixed = mix(words)
    assert mixed.min() >= 0
    assert mixed.max() < 2**32
    assert len(mixed.unique()) == len(words)
    for bit in range(32):
        flipped = mixed ^ mix(words ^ (1 << bit))
        rates = torch.stack([(flipped >> out & 1).float().mean() for out in range(32)])
        assert (rates - 0.5).abs().max() < 0.03


def test_dropout_keeps_the_mean_and_drops_the_share_asked_for() -> None:
    x = torch.ones(6, 200, 300)
    for p in (0.1, 0.5):
        y = keyed_dropout(x, p, KEYS, 3)
        n, dropped = y.numel(), (y == 0).double()
        assert abs(dropped.mean() - p) < 5 * math.sqrt(p * (1 - p) / n)
        assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=2e-5)
        assert abs(y.double().mean() - 1) < 5 * math.sqrt(p / (1 - p) / n)
        # Chi-square of the counts in each column, each row and each pair of neighbours: mean k, variance 2k.
        for counts, size in (
            (dropped.sum((0, 1)), 6 * 200),
            (dropped.sum(2).flatten(), 300),
            (dropped.sum((0, 2)), 6 * 300),
        ):
            chi = ((counts - p * size) ** 2 / (p * (1 - p) * size)).sum()
            assert abs(chi - len(counts)) < 5 * math.sqrt(2 * len(counts))
        for shifted in (dropped.roll(1, 0), dropped.roll(1, 1), dropped.roll(1, 2)):
            assert abs((dropped * shifted).mean() - p * p) < 5 * p / math.sqrt(n)


def test_a_mask_depends_on_key_site_and_place_alone() -> None:
    x = torch.randn(6, 16, 24)
    whole = keyed_dropout(x, 0.3, KEYS, 1)
    order = torch.tensor([4, 0, 5])
    assert torch.equal(keyed_dropout(x[order], 0.3, KEYS[order], 1), whole[order])
    assert torch.equal(keyed_dropout(x[:, :9], 0.3, KEYS, 1), whole[:, :9])
    masks = [keyed_dropout(torch.ones(6, 16, 24), 0.3, KEYS, site) != 0 for site in (1, 2)]
    rows = [row for mask in masks for row in mask]  # 2 sites x 6 keys, all different
    assert len({tuple(row.flatten().tolist()) for row in rows}) == 12
    assert len(fold(KEYS, 0).unique()) == len(fold(KEYS, 1).unique()) == 6


def test_a_mask_is_what_the_hash_of_its_place_says() -> None:
    tokens, columns = torch.arange(16) * 0x9E3779B1, mix(torch.arange(12) * 0x9E3779B1 & 0xFFFFFFFF)
    rows = mix((fold(KEYS, 1)[:, None] + tokens) & 0xFFFFFFFF)
    words = mix((rows[:, :, None] + columns) & 0xFFFFFFFF)  # int64: nothing wraps around
    halves = torch.cat([words % 2**16, words // 2**16], -1)
    for p in (0.1, 0.5, 0.9):
        for width in (24, 23):
            kept = keyed_dropout(torch.ones(6, 16, width), p, KEYS, 1) != 0
            assert torch.equal(kept, halves[..., :width] >= round(p * 2**16))
    assert keyed_dropout(torch.ones(6, 16, 24), 1 - 1e-9, KEYS, 1).isfinite().all()


def test_compiled_dropout_has_the_same_bits() -> None:
    make_ready()
    x = torch.randn(6, 16, 24)
    compiled = torch.compile(keyed_dropout, dynamic=False, fullgraph=True)
    assert torch.equal(compiled(x, 0.3, KEYS, 2), keyed_dropout(x, 0.3, KEYS, 2))


def test_dropout_passes_gradients_through_what_it_keeps() -> None:
    x = torch.randn(6, 16, 24).bfloat16().requires_grad_()  # drawn in bf16 some are zero
    y = keyed_dropout(x, 0.3, KEYS, 2)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.where(y == 0, 0, 1 / 0.7).bfloat16(), rtol=1e-2, atol=0)


@pytest.mark.parametrize("n_tokens", [1, 5, 40])
def test_attention_in_both_directions_by_products_is_that_of_the_kernel(n_tokens: int) -> None:
    draw = torch.Generator().manual_seed(n_tokens)
    q, k, v = (torch.randn(3, 2, n_tokens, 16, generator=draw).bfloat16() for _ in range(3))
    some = torch.rand(3, 1, n_tokens, n_tokens, generator=draw) < 0.5
    for mask in (None, some | torch.eye(n_tokens, dtype=torch.bool)):
        expected = attend_both_ways(q.float(), k.float(), v.float(), mask)
        assert (attend_both_ways(q, k, v, mask) - expected).abs().max() <= 0.02 * expected.abs().max()
        first = attend_both_ways(q[:, :, :1], k, v, None if mask is None else mask[:, :, :1])
        assert (first - expected[:, :, :1]).abs().max() <= 0.02 * expected.abs().max()
