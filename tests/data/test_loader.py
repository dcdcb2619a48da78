import itertools
import random

import numpy as np
import pytest

from bigtrain.data.loader import IGNORED, Loader, Windows, permute
from bigtrain.data.shards import TokenSplit
from bigtrain.errors import UserError


def split(n_tokens: int, starts: list[int] | None = None, learned: np.ndarray | None = None) -> TokenSplit:
    return TokenSplit(np.arange(n_tokens, dtype=np.uint16), np.array(starts or [0]), n_tokens, learned=learned)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 100, 1000, 4097])
def test_permute_is_a_bijection_that_depends_on_the_key(n):
    first, second = permute(np.arange(n), n, 1), permute(np.arange(n), n, 2)
    assert sorted(first) == list(range(n))
    if n > 10:
        assert (first != second).mean() > 0.8
        assert (first == np.arange(n)).mean() < 0.2


def test_permute_has_no_visible_order():
    out = permute(np.arange(10_000), 10_000, 5)
    assert abs(np.corrcoef(np.arange(10_000), out)[0, 1]) < 0.05
    steps = np.abs(np.diff(out))
    assert 3000 < steps.mean() < 3700  # |a - b| of independent uniform numbers has mean n / 3


def test_every_way_to_share_a_batch_out_gives_the_same_batch():
    draw = random.Random(0)
    for _ in range(200):
        rows = draw.choice([1, 2, 3, 5, 8, 12])
        data = Windows(split(draw.randint(40, 400)), draw.choice([4, 7, 16]), seed=draw.randint(0, 9))
        loader, step = Loader(data, rows, seed=draw.randint(0, 9)), draw.randint(0, 60)
        whole = loader.batch(step, 0, rows)
        cuts = sorted({0, rows, *(draw.randint(0, rows) for _ in range(2))})
        parts = [loader.batch(step, a, b) for a, b in itertools.pairwise(cuts)]
        for name, tensor in whole.items():
            assert tensor.equal(type(tensor).new_tensor(tensor, np.concatenate([p[name].numpy() for p in parts]))), name


def test_every_row_comes_once_in_a_pass_at_any_batch_size():
    data = Windows(split(1000), 10, seed=3)
    n = len(data)
    for rows in (1, 4, 9):
        loader, seen = Loader(data, rows, seed=1), []
        for step in range(-(-2 * n // rows)):
            seen += [int(t) // 10 for t in loader.batch(step, 0, rows)["tokens"][:, 0]]
        assert sorted(seen[:n]) == sorted(set(seen[:n]))
        assert seen[:n] != seen[n : 2 * n]


def test_targets_are_the_next_tokens_and_passes_begin_at_other_offsets():
    data = Windows(split(1000), 10, seed=3)
    batch = data.batch(np.array([0, 0, 0, 5]), np.array([0, 1, 2, 0]))
    assert (batch["targets"] == batch["tokens"] + 1).all()
    assert len({int(t) for t in batch["tokens"][:3, 0]}) > 1
    assert int(batch["tokens"][3, 0] - batch["tokens"][0, 0]) == 50


def test_documents_are_numbered_within_the_row():
    data = Windows(split(21, starts=[0, 4, 5, 12]), 20, seed=0, isolate_documents=True)
    batch = data.batch(np.array([0]), np.array([0]))
    assert batch["documents"][0].tolist() == [0] * 4 + [1] + [2] * 7 + [3] * 8


def test_rows_longer_than_the_data_are_refused():
    with pytest.raises(UserError, match=r"train\.seq_len=64 with 64 tokens"):
        Windows(split(64), 64, seed=0)
    assert len(Windows(split(65), 64, seed=0)) == 1


def test_dropout_keys_follow_the_sample_not_the_place_in_the_batch():
    loader = Loader(Windows(split(500), 10, seed=0), 8, seed=0)
    assert loader.batch(3, 2, 5)["keys"].equal(loader.batch(3, 0, 8)["keys"][2:5])
    assert len(set(loader.batch(3, 0, 8)["keys"].tolist()) | set(loader.batch(4, 0, 8)["keys"].tolist())) == 16


def test_epochs_in_steps():
    loader = Loader(Windows(split(1000), 10, seed=0), 8, seed=0)
    assert loader.steps(1.0) == -(-len(loader.rows) // 8)


def test_tokens_before_a_row_are_read_and_not_scored():
    data = Windows(split(1000), 10, seed=3, before=4)
    assert data.tokens_per_row == 14
    batch = data.batch(np.array([0, len(data) - 1]), np.array([0, 1]))
    tokens, targets = batch["tokens"].numpy(), batch["targets"].numpy()
    assert tokens.shape == targets.shape == (2, 14)
    assert (np.diff(tokens, axis=1) == 1).all()
    assert (targets[:, :4] == -100).all()
    assert (targets[:, 4:] == tokens[:, 4:] + 1).all()
    assert targets.max() < 1000
    with pytest.raises(UserError, match=r"train\.seq_len=10 with 14 tokens"):
        Windows(split(14), 10, seed=3, before=4)
    assert len(Windows(split(15), 10, seed=3, before=4)) == 1


def test_tokens_that_a_loss_mask_leaves_out_are_read_and_are_no_targets():
    learned = np.random.default_rng(2).integers(0, 2, 1000, dtype=np.uint8)
    plain, masked = (
        Windows(split(1000), 10, seed=3, before=2),
        Windows(split(1000, learned=learned), 10, seed=3, before=2),
    )
    rows, passes = np.arange(len(plain)), np.arange(len(plain)) % 3
    wanted, given = plain.batch(rows, passes), masked.batch(rows, passes)
    assert given["tokens"].equal(wanted["tokens"])
    scored = learned[wanted["targets"].numpy().clip(min=0)] == 1  # a target is its own position
    assert given["targets"].numpy()[scored].tolist() == wanted["targets"].numpy()[scored].tolist()
    assert (given["targets"].numpy()[~scored] == IGNORED).all()
