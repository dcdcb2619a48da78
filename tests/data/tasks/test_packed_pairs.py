"""Pairs packed into rows: whole, once, apart from each other, and with little padding."""

import random

import numpy as np
import pytest
import torch

from bigtrain.data.loader import IGNORED, Loader
from bigtrain.data.tasks.packed import Scored
from bigtrain.data.tasks.packed_pairs import PackedPairs, ScoredPair, fitted_pairs, pack_pairs


def conversation(draw: random.Random, prompt: list[int], most: int) -> Scored:
    answer = [draw.randrange(1, 250) for _ in range(draw.randint(1, most))]
    ids = np.array([*prompt, *answer], np.uint32)
    return Scored(ids, np.arange(len(ids)) >= len(prompt))


def pairs(n: int, seed: int, most: int = 15) -> list[ScoredPair]:
    draw = random.Random(seed)
    found = []
    for _ in range(n):
        prompt = [draw.randrange(1, 250) for _ in range(draw.randint(1, most))]
        found.append(ScoredPair(conversation(draw, prompt, most), conversation(draw, prompt, most)))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_every_pair_has_a_place_of_its_own(seed: int) -> None:
    draw = np.random.default_rng(seed)
    capacity = 100
    lengths = draw.integers(1, capacity + 1, (int(draw.integers(1, 200)), 2))
    rows = pack_pairs(lengths, capacity)
    assert sorted(placed.pair for row in rows for placed in row) == list(range(len(lengths)))
    for row in rows:
        taken = np.zeros((2, capacity), int)
        for placed in row:
            for length, (line, start) in zip(lengths[placed.pair], placed.places, strict=True):
                assert start + length <= capacity
                taken[line, start : start + length] += 1
        assert taken.max() == 1


def test_a_batch_is_as_wide_as_its_fullest_line() -> None:
    found = pairs(400, 0, most=20)
    rows = PackedPairs(found, 40, pad_id=0, batch_rows=8)
    loader = Loader(rows, 8, seed=2)
    batches = [loader.batch(step, 0, 8) for step in range(len(rows) // 8)]
    assert 1 < len({batch["tokens"].shape[1] for batch in batches}) <= len(rows.widths) == 4
    padding = 1 - sum(int(b["lengths"].sum()) for b in batches) / sum(b["tokens"].numel() for b in batches)
    assert padding == pytest.approx(rows.padding(2, 8), abs=0.01)
    assert padding < 1 - rows.tokens_per_row / (2 * 40) - 0.01


def test_little_is_padding() -> None:
    draw = np.random.default_rng(0)
    lengths = np.minimum(np.exp(draw.normal(4.5, 0.7, (500, 1)) + draw.normal(0, 0.2, (500, 2))), 512).astype(int)
    rows = pack_pairs(lengths, 512)
    assert 1 - lengths.sum() / (len(rows) * 2 * 512) < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_batches_hold_what_the_pairs_say(seed: int) -> None:
    found = pairs(30, seed)
    rows = PackedPairs(found, 40, pad_id=0)
    reference = np.arange(1, rows.n_answer_tokens + 1, dtype=np.float32)
    rows.known = {"reference": reference, "likeliest": np.stack([reference, -reference], 1).astype(np.int32)}
    index = np.random.default_rng(seed).permutation(len(rows))
    batch = rows.batch(index)
    assert sorted(batch["rows"].tolist()) == list(range(30))
    assert int(batch["lengths"].sum()) == rows.sizes.sum()
    assert (batch["tokens"] == 0).float().mean() == pytest.approx(rows.padding(0, len(rows)))
    assert ((batch["targets"] != IGNORED) == (batch["answers"] >= 0)).all()
    assert ((batch["reference"] > 0) == (batch["answers"] >= 0)).all()
    assert torch.equal(batch["likeliest"], torch.stack([batch["reference"], -batch["reference"]], -1).int())
    documents, answers = batch["documents"], batch["answers"].view(len(index), -1)
    width = batch["tokens"].shape[1]
    assert width == batch["lengths"].max()
    assert (documents.diff(dim=1) >= 0).all()
    for pair, place in zip(batch["rows"].tolist(), batch["places"].tolist(), strict=True):
        row, slot = divmod(place, rows.most)
        for side, (ids, scored) in enumerate(found[pair]):
            [positions] = torch.where(answers[row] == 2 * slot + side)
            line, at = 2 * row + int(positions[0]) // width, positions % width
            assert batch["targets"][line, at].tolist() == ids[1:][scored[1:]].tolist()
            own = documents[line] == documents[line, at[0]]
            assert batch["tokens"][line, own].tolist() == ids[:-1].tolist()
    parts = [rows.batch(index[start : start + 2]) for start in range(0, len(index), 2)]
    together = torch.cat([part["reference"][part["reference"] > 0] for part in parts])
    assert torch.equal(together, batch["reference"][batch["reference"] > 0])


def test_batches_of_an_evaluation_hold_every_pair_once() -> None:
    rows = PackedPairs(pairs(23, 1), 32, pad_id=0)
    batches = rows.batches(3)
    assert batches.n_rows == 23
    assert sorted(row for batch in batches for row in batch["rows"].tolist()) == list(range(23))


def test_what_does_not_fit_is_cut_or_left_out() -> None:
    def scored(text: str) -> Scored:
        """Small letters are a prompt, capitals an answer."""
        return Scored(np.array([ord(one) for one in text], np.uint32), np.array([one.isupper() for one in text]))

    given = [
        ("abCD", "abXYZW"),  # fits, but for W
        ("abcdeX", "abcdeY"),  # no answer is left
        ("abcdX", "abcdeY"),  # one is left
        ("abCCCX", "abCCCY"),  # the same, as far as they go
        ("aBcD", "aBcE"),  # earlier answers are not learned again
    ]
    fit = fitted_pairs([scored(a) for a, _ in given], [scored(b) for _, b in given], 4)
    assert (fit.places, fit.n_cut, fit.n_dropped) == ([0, 4], 1, 3)
    assert "".join(map(chr, fit.pairs[0].rejected.ids)) == "abXYZ"
    assert fit.pairs[1].chosen.scored.tolist() == [False, False, False, True]
