"""Packing: every conversation once, little padding, and the gradient of the conversations alone."""

import random

import numpy as np
import pytest
import torch

from bigtrain.data.loader import IGNORED, Loader
from bigtrain.data.tasks.packed import PackedRows, Scored, fitted, pack
from bigtrain.models.base import materialise
from bigtrain.models.families import on_meta
from bigtrain.models.recurrent_schema import RecurrentConfig
from bigtrain.models.schema import DecoderConfig
from bigtrain.objectives.causal import Causal


def conversations(lengths: list[int], seed: int = 0) -> list[Scored]:
    draw = np.random.default_rng(seed)
    return [
        Scored(draw.integers(1, 60, n).astype(np.uint32), np.arange(n) >= 1 + draw.integers(0, n - 1)) for n in lengths
    ]


def test_rows_hold_every_item_once_and_little_padding() -> None:
    draw = random.Random(0)
    lengths = np.array([min(512, max(2, round(draw.lognormvariate(4, 0.8)))) for _ in range(2000)])
    rows = pack(lengths, 512)
    assert sorted(np.concatenate(rows).tolist()) == list(range(2000))
    assert max(int(lengths[row].sum()) for row in rows) <= 512
    assert 1 - lengths.sum() / (512 * len(rows)) < 0.01


def test_passes_differ_and_each_has_every_conversation_once() -> None:
    rows = PackedRows(conversations([5, 5, 7, 7, 7, 9, 12, 3, 3, 3]), 16, pad_id=0, seed=1)
    everything = np.arange(len(rows))
    passes = [rows.batch(everything, np.full(len(rows), epoch)) for epoch in range(4)]
    tokens = [batch["tokens"].numpy() for batch in passes]
    assert any((tokens[0] != other).any() for other in tokens[1:])
    wanted = np.sort(np.concatenate([ids[:-1] for ids, _ in rows.conversations]))
    for batch in passes:
        real = np.arange(batch["tokens"].shape[1]) < batch["lengths"].numpy()[:, None]
        assert (np.sort(batch["tokens"].numpy()[real]) == wanted).all()
        assert (batch["targets"].numpy()[~real] == IGNORED).all()
    again = PackedRows(rows.conversations, 16, pad_id=0, seed=1).batch(everything, np.full(len(rows), 3))
    assert all(torch.equal(again[name], passes[3][name]) for name in again)


@pytest.mark.parametrize("batch_rows", [8, 32])
def test_conversations_longer_than_half_a_row_leave_little_padding(batch_rows: int) -> None:
    draw = random.Random(0)
    talks = conversations([min(257, max(40, round(draw.gauss(155, 50)))) for _ in range(1200)])
    rows = PackedRows(talks, 256, pad_id=0, seed=3, batch_rows=batch_rows)
    assert 1 - rows.tokens_per_row / 256 > 0.08  # at full width
    loader = Loader(rows, batch_rows, seed=3)
    steps = len(rows) // batch_rows
    for first in (0, steps + 1):  # of two passes
        batches = [loader.batch(step, 0, batch_rows) for step in range(first, first + steps)]
        padding = 1 - sum(int(b["lengths"].sum()) for b in batches) / sum(b["tokens"].numel() for b in batches)
        assert padding < 0.05
        assert padding == pytest.approx(rows.padding(3, batch_rows), abs=0.01)
    assert len({batch["tokens"].shape[1] for batch in batches}) <= 4
    measured = list(rows.batches(batch_rows))
    assert sum(int(b["lengths"].sum()) for b in measured) == rows.sizes.sum()
    assert 1 - rows.sizes.sum() / sum(b["tokens"].numel() for b in measured) < 0.05


def test_long_conversations_are_cut_or_left_out() -> None:
    early, late = np.arange(10) == 2, np.arange(10) == 9
    ids = np.arange(10, dtype=np.uint32)
    found = fitted([Scored(ids, early), Scored(ids, late), Scored(ids[:3], early[:3])], 4)
    assert (len(found.conversations), found.places, found.n_cut, found.n_dropped) == (2, [0, 2], 1, 1)


@pytest.mark.parametrize(
    "config",
    [
        DecoderConfig(dim=16, n_layers=2, n_heads=2, max_seq_len=32).resolved(64),
        RecurrentConfig(vocab_size=64, dim=16, n_layers=2).resolved(64),
    ],
)
def test_gradients_are_those_of_the_conversations_alone(config: DecoderConfig | RecurrentConfig) -> None:
    talks = conversations([5, 9, 12, 4, 20, 7])
    model = materialise(on_meta(config), torch.device("cpu"), 0)
    packed = PackedRows(talks, 32, pad_id=0, seed=0)
    objective = Causal()
    assert len(packed) < len(talks)

    def gradient(batches: list[dict[str, torch.Tensor]]) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        total = torch.stack([objective(model, batch) for batch in batches]).sum()
        total.backward()
        return float(total.detach()), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    alone = [PackedRows([talk], len(talk.ids) - 1, pad_id=0, seed=0).batch(np.array([0])) for talk in talks]
    (loss, wanted), (packed_loss, found) = gradient(alone), gradient(list(packed.batches(2)))
    assert packed_loss == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
