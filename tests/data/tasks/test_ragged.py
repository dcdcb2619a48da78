"""Batches of rows of like length: each row once in a pass, little padding, and an order that is a pure function."""

import itertools
import random

import numpy as np
import pytest
import torch

from bigtrain.data.loader import Batch, Loader
from bigtrain.data.tasks.ragged import RaggedRows, bucketed_order, few_widths


def log_normal(median: float, sigma: float, n: int = 5000, seed: int = 0) -> np.ndarray:
    """Lengths of texts, 3 to 512 tokens."""
    drawn = np.random.default_rng(seed).normal(np.log(median), sigma, n)
    return np.clip(np.exp(drawn), 3, 512).astype(np.int64)


class Texts(RaggedRows):
    """Rows whose tokens are their own number."""

    def batch(self, index: np.ndarray, epoch: np.ndarray) -> Batch:
        rows = [np.full(self.lengths[i], i) for i in index]
        return {"tokens": torch.from_numpy(self.padded(rows, -1)), "lengths": torch.from_numpy(self.lengths[index])}


def stream(lengths: np.ndarray, batch_rows: int, epochs: int) -> np.ndarray:
    """Passes one after the other, as the loader reads them."""
    return np.concatenate([bucketed_order(lengths, batch_rows, 7, epoch) for epoch in range(epochs)])


@pytest.mark.parametrize("seed", range(25))
def test_every_pass_holds_each_row_once(seed: int) -> None:
    draw = random.Random(seed)
    n, batch_rows = draw.choice([1, 2, 5, 31, 32, 33, 100, 1000]), draw.choice([1, 2, 8, 32, 60])
    lengths = log_normal(20, 0.6, n, seed)
    for epoch in (0, 1, 2, 3, 17):
        assert sorted(bucketed_order(lengths, batch_rows, seed, epoch)) == list(range(n))


def test_the_order_is_that_of_seed_and_pass_alone() -> None:
    lengths = log_normal(20, 0.6, 300)
    rows, other = Texts(lengths, 16), Texts(lengths, 16)
    positions = np.arange(2000)
    index, epoch = rows.order(positions, 5)
    for place in np.random.default_rng(1).permutation(2000)[:200]:
        one, its_pass = other.order(positions[place : place + 1], 5)
        assert (one[0], its_pass[0]) == (index[place], epoch[place])
    assert (epoch == positions // 300).all()
    orders = [index[:300], index[300:600], rows.order(positions[:300], 6)[0]]
    assert all((orders[i] != orders[j]).mean() > 0.9 for i, j in ((0, 1), (0, 2), (1, 2)))


def test_neighbours_and_the_order_of_lengths_change_from_pass_to_pass() -> None:
    lengths = log_normal(40, 0.6)
    batches = [bucketed_order(lengths, 32, 0, epoch)[: 5000 // 32 * 32].reshape(-1, 32) for epoch in (0, 1)]
    for one in batches:
        means = lengths[one].mean(1)
        assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.2
        assert np.abs(np.diff(means)).mean() > 0.8 * means.std()  # as far from each other as any two
    pairs = [{frozenset(pair) for batch in one.tolist() for pair in itertools.pairwise(batch)} for one in batches]
    assert len(pairs[0] & pairs[1]) < 0.1 * len(pairs[0])  # the longest, of which there are few, meet again


def test_rows_of_one_length_are_merely_shuffled() -> None:
    order = bucketed_order(np.full(1000, 9), 96, seed=1, epoch=1)  # 56 rows end a batch, 80 begin one
    for part in (order[:56], order[56:920], order[920:]):
        assert np.abs(np.diff(part)).mean() > 250  # 333 on average; of neighbours it would be 1


@pytest.mark.parametrize("batch_rows", [16, 32])
@pytest.mark.parametrize("sigma", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("median", [12, 40, 120])
def test_padding_is_under_five_percent(median: int, sigma: float, batch_rows: int) -> None:
    lengths = log_normal(median, sigma)
    order = stream(lengths, batch_rows, 4)

    def padding(rows_at_once: int) -> float:
        parts = [lengths[order[at : at + rows_at_once]] for at in range(0, len(order), rows_at_once)]
        return 1 - sum(part.sum() for part in parts) / sum(part.max() * len(part) for part in parts)

    assert padding(batch_rows) < 0.05
    assert padding(batch_rows // 4) < 0.5 * padding(batch_rows)  # slices of a batch are more alike still
    random_order = 1 - lengths.mean() / np.mean([lengths[i : i + 32].max() for i in range(0, 5000, 32)])
    assert random_order > 0.3
    rows = Texts(lengths, batch_rows)
    # Widths are rounded up to 64 of them: of lengths that are hardly alike, to 30 and to 500 tokens, that takes 3 %.
    assert padding(batch_rows) - 0.01 < rows.padding(7, batch_rows) < padding(batch_rows) + 0.03


@pytest.mark.parametrize("batch_rows", [16, 32])
def test_the_batch_between_two_passes_is_as_even_as_the_others(batch_rows: int) -> None:
    lengths = log_normal(40, 0.6, 5003)
    order = stream(lengths, batch_rows, 12)
    batches = lengths[order[: len(order) // batch_rows * batch_rows]].reshape(-1, batch_rows)
    between = [batches[epoch * 5003 // batch_rows] for epoch in range(1, 12)]
    assert all((batch.max() - batch.min()) <= 0.15 * batch.max() + 2 for batch in between)
    assert len({batch.max() for batch in between}) > 5  # and not always of one length


@pytest.mark.parametrize("micro", [32, 8, 2])
def test_slices_of_a_batch_are_the_rows_of_the_batch(micro: int) -> None:
    lengths = log_normal(30, 0.5, 203)
    loader = Loader(Texts(lengths, 32), 32, seed=3)
    for step in (0, 5, 6, 7, 40):
        whole = loader.batch(step, 0, 32)
        parts = [loader.batch(step, at, at + micro) for at in range(0, 32, micro)]
        assert torch.equal(torch.cat([part["lengths"] for part in parts]), whole["lengths"])
        assert torch.equal(torch.cat([part["tokens"][:, 0] for part in parts]), whole["tokens"][:, 0])
        for part in parts:
            assert part["tokens"].shape[1] == min(w for w in loader.rows.widths if w >= part["lengths"].max())
            assert torch.equal((part["tokens"] >= 0).sum(1), part["lengths"])


def fewest_tokens(lengths: list[int], n: int) -> int:
    """By trying all."""
    widths = sorted(set(lengths))
    choices = itertools.combinations(widths[:-1], min(n, len(widths)) - 1)
    return min(sum(min(w for w in (*some, widths[-1]) if w >= length) for length in lengths) for some in choices)


@pytest.mark.parametrize("seed", range(30))
def test_few_widths_cost_as_few_tokens_as_any_other(seed: int) -> None:
    draw = random.Random(seed)
    lengths = [draw.randint(1, 30) for _ in range(draw.randint(1, 40))]
    n = draw.randint(1, 4)
    widths = few_widths(np.array(lengths), n)
    assert list(widths) == sorted(set(widths.tolist()))
    assert len(widths) == min(n, len(set(lengths)))
    assert widths[-1] == max(lengths)
    assert widths[np.searchsorted(widths, lengths)].sum() == fewest_tokens(lengths, n)


def test_widths_of_long_rows_are_never_above_the_longest() -> None:
    lengths = np.random.default_rng(0).integers(5, 8190, 3000)
    widths = few_widths(lengths, 20)
    assert len(widths) == 20
    assert widths[-1] == lengths.max()
    assert widths[np.searchsorted(widths, lengths)].sum() < 1.05 * lengths.sum()


def test_batches_of_any_rows_have_no_more_than_some_dozens_of_widths() -> None:
    rows = Texts(log_normal(120, 0.6), 32)
    assert len(np.unique(rows.lengths)) > 300
    loader = Loader(rows, 32, seed=7)
    seen = {loader.batch(step, 0, 32)["tokens"].shape[1] for step in range(5000 // 32)}
    assert seen <= set(rows.widths.tolist())
    assert len(rows.widths) == 64
    assert rows.padding(7, 32) < 0.03


def test_tokens_of_a_row_leave_padding_out() -> None:
    rows = Texts(np.array([2, 4, 9]), 2)
    assert (len(rows), rows.tokens_per_row) == (3, 5.0)
    padded = rows.padded([np.array([1, 2]), np.array([3, 4, 5, 6])], 0)
    assert padded.tolist() == [[1, 2, 0, 0], [3, 4, 5, 6]]
