"""Windows score every token once, with the context they promise."""

import numpy as np
import pytest
import torch

from bigtrain.data.loader import IGNORED
from bigtrain.data.shards import TokenSplit
from bigtrain.errors import UserError
from bigtrain.evaluation.windows import Windows


def stream(n, starts=(0,), learned=None):
    return TokenSplit(np.arange(n, dtype=np.uint16), np.array(starts), n, learned=learned)


def scored(windows, n):
    """For each scored position of the stream: how often, and the tokens before it in its window.

    The stream must be 0, 1, 2, ...: a token is its own position.
    """
    times, context = np.zeros(n, int), {}
    for batch in (windows[number] for number in range(len(windows))):
        assert batch["tokens"].dtype == batch["targets"].dtype == torch.int64
        for row, targets in zip(batch["tokens"].tolist(), batch["targets"].tolist(), strict=True):
            for column, target in enumerate(targets):
                if target != IGNORED:
                    times[target] += 1
                    context[target] = row[: column + 1]
    return times, context


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize(
    ("seq_len", "stride"), [(1, 1), (2, 1), (2, 2), (4, 2), (7, 1), (7, 3), (7, 7), (16, 8), (16, 15)]
)
def test_every_token_is_scored_once_with_its_context(seq_len, stride, rows):
    for n in [*range(2, 40), 100]:
        times, context = scored(Windows(stream(n), seq_len, stride, rows), n)
        assert times.tolist() == [0] + [1] * (n - 1)
        for position, tokens in context.items():
            assert tokens == list(range(position - len(tokens), position))  # contiguous, and it ends right before
            assert min(position, seq_len - stride + 1) <= len(tokens) <= seq_len


@pytest.mark.parametrize("n", [2, 9, 10, 11, 40])
def test_stride_one_gives_every_token_all_the_context_there_is(n):
    _, context = scored(Windows(stream(n), 10, 1, 4), n)
    assert {position: len(tokens) for position, tokens in context.items()} == {p: min(p, 10) for p in range(1, n)}


@pytest.mark.parametrize(("n", "rows"), [(101, 4), (95, 4), (22, 16), (1000, 7)])
def test_batches_have_one_shape_and_little_padding(n, rows):
    windows = Windows(stream(n), 10, 10, rows)
    shapes = {tuple(windows[number]["tokens"].shape) for number in range(len(windows))}
    assert len(shapes) == 1
    ((height, width),) = shapes
    assert height <= rows
    assert height * len(windows) - windows.n_windows < len(windows)
    assert width == 10


def test_a_text_shorter_than_a_window_is_not_padded_to_it():
    batch = Windows(stream(5), 1024, 512, 16)[0]
    assert batch["tokens"].tolist() == [[0, 1, 2, 3]]
    assert batch["targets"].tolist() == [[1, 2, 3, 4]]


def test_documents_are_those_of_the_inputs():
    starts = [0, 3, 4]
    windows = Windows(stream(10, starts), 4, 2, 2, isolate=True)
    expected = [sum(position >= start for start in starts) for position in range(10)]
    seen = 0
    for number in range(len(windows)):
        batch = windows[number]
        assert batch["documents"].dtype == torch.int32
        for inputs, targets, documents in zip(batch["tokens"], batch["targets"], batch["documents"], strict=True):
            assert (documents.diff() >= 0).all()
            for token, target, document in zip(inputs.tolist(), targets.tolist(), documents.tolist(), strict=True):
                if target != IGNORED:
                    assert document == expected[token]
                    seen += 1
    assert seen == 9
    assert "documents" not in Windows(stream(10, starts), 4, 2, 2)[0]


@pytest.mark.parametrize(("seq_len", "stride"), [(4, 4), (7, 3), (64, 32)])
def test_what_a_loss_mask_leaves_out_is_context_and_not_scored(seq_len, stride):
    learned = np.random.default_rng(1).integers(0, 2, 50, dtype=np.uint8)
    split = stream(50, learned=learned)
    times, context = scored(Windows(split, seq_len, stride, 3), 50)
    assert times.tolist() == [0, *learned[1:]]
    assert split.n_targets() == times.sum()
    assert all(tokens == list(range(position - len(tokens), position)) for position, tokens in context.items())


@pytest.mark.parametrize("stride", [0, 9])
def test_a_stride_that_would_skip_tokens_is_refused(stride):
    with pytest.raises(UserError, match=r"evals\.stride"):
        Windows(stream(20), 8, stride, 1)


def test_one_token_predicts_nothing():
    with pytest.raises(UserError, match="1 tokens"):
        Windows(stream(1), 8, 4, 1)
