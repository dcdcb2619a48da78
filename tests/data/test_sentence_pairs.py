"""Rows of two texts: a pure function of seed, row and pass; what stands where."""

import numpy as np
import pytest
import torch
from encoders import SPECIAL, encoder, wordpiece

from bigtrain.data.frame import Frame
from bigtrain.data.loader import Loader, Windows
from bigtrain.data.masked_rows import MaskedRows
from bigtrain.data.masking import Masker
from bigtrain.data.sentence_pairs import FOLLOWS, STRAYS, SentencePairs
from bigtrain.data.shards import TokenSplit
from bigtrain.models.output import Output
from bigtrain.objectives.masked import Masked
from bigtrain.objectives.schema import MaskUnit

TOKENIZER = wordpiece()
TEXT_LEN = 27  # with [CLS] and two [SEP] rows of 30
FLAGS = np.random.default_rng(2).integers(0, 2, 8000).astype(np.uint8)


def windows() -> Windows:
    tokens = np.random.default_rng(0).integers(5, 60, 8000).astype(np.uint16)
    return Windows(TokenSplit(tokens, np.array([0]), 0, FLAGS), TEXT_LEN, seed=5, words=True)


def loader(unit: MaskUnit = MaskUnit.words, seed: int = 5) -> Loader:
    masker = Masker(TOKENIZER, unit)
    return Loader(MaskedRows(SentencePairs(windows(), seed=seed), Frame.of(TOKENIZER), masker, seed=seed), 16, seed)


def test_half_of_the_rows_go_on_with_another_one() -> None:
    own, index, epoch = windows(), np.arange(290), np.zeros(290, np.int64)
    batch, text = SentencePairs(own, seed=1).batch(index, epoch), own.batch(index, epoch)["tokens"]
    rows_of = {tuple(row[-3:].tolist()): number for number, row in enumerate(text)}
    for row in range(290):
        cut = int(batch["cut"][row])
        assert TEXT_LEN // 4 <= cut < TEXT_LEN // 4 + TEXT_LEN // 2
        end = rows_of.get(tuple(batch["tokens"][row, -3:].tolist()), -1)
        assert (end == row) == (batch["strays"][row] == FOLLOWS)
        assert batch["tokens"][row, :cut].equal(text[row, :cut])
        assert end < 0 or batch["tokens"][row, cut:].equal(text[end, cut:])
    assert 0.4 < (batch["strays"] == STRAYS).float().mean() < 0.6
    assert len(batch["cut"].unique()) > 10


def test_the_special_tokens_stand_around_both_texts() -> None:
    batch = loader().batch(0, 0, 16)
    cls, sep = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")
    assert batch["tokens"].shape == batch["segments"].shape == (16, 30)
    assert loader().rows.tokens_per_row == 30
    for tokens, segments in zip(batch["tokens"], batch["segments"], strict=True):
        assert (tokens == cls).nonzero().flatten().tolist() == [0]
        middle, last = (tokens == sep).nonzero().flatten().tolist()
        assert last == 29
        assert segments.tolist() == [0] * (middle + 1) + [1] * (29 - middle)


def test_word_boundaries_of_the_set_go_with_their_tokens() -> None:
    """With the flags of the set a word is hidden as a whole, on both sides of the cut."""
    own = windows()
    pairs = SentencePairs(own, seed=5)
    rows = MaskedRows(pairs, Frame.of(TOKENIZER), Masker(TOKENIZER, MaskUnit.words, 0.5), seed=5)
    index, epoch = np.arange(40), np.zeros(40, np.int64)
    text, batch = pairs.batch(index, epoch), rows.batch(index, epoch)
    broken = inner = 0
    for row in range(40):
        cut = int(text["cut"][row])
        places = [1 + t + (t >= cut) for t in range(TEXT_LEN)]
        hidden = {int(place) for place in batch["positions"][row][batch["targets"][row] >= 0]}
        for t in range(1, TEXT_LEN):
            if t != cut and text["continues"][row, t]:
                inner += 1
                broken += (places[t] in hidden) != (places[t - 1] in hidden)
    assert inner > 300
    assert broken == 0


def test_any_micro_batch_gives_the_same_rows_and_every_pass_others() -> None:
    whole, again = loader().batch(3, 0, 16), loader()
    for start, stop in ((8, 16), (0, 3), (3, 8)):
        part = again.batch(3, start, stop)
        assert all(part[name].equal(whole[name][start:stop]) for name in whole)
    index = np.arange(16)
    first, second = (again.rows.batch(index, np.full(16, pass_)) for pass_ in (0, 1))
    assert not first["strays"].equal(second["strays"])


def test_an_encoder_learns_to_tell_them() -> None:
    """Each row speaks of one of eight things; of the pairs that do not follow each other an eighth speaks of one."""
    draw = np.random.default_rng(0)
    things = np.repeat(draw.integers(0, 8, 1500), 17)
    split = TokenSplit((5 + 6 * things + draw.integers(0, 6, len(things))).astype(np.uint16), np.array([0]), 0)
    text = Windows(split, 17, seed=1)
    text.offsets = 1  # rows begin where things do
    rows = Loader(MaskedRows(SentencePairs(text, seed=1), Frame.of(TOKENIZER), Masker(TOKENIZER), seed=1), 64, seed=1)
    model = encoder("bert", Output(next_sentence=True), dim=32, n_heads=4)
    model.init_weights(0)
    objective, optimizer = Masked(next_sentence=True), torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(200):
        batch = rows.batch(step, 0, 64)
        (objective(model, batch) / objective.weight(batch)).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        sums = objective.statistics(model, rows.batch(1000, 0, 512))
    assert objective.metrics({name: value.numpy() for name, value in sums.items()})["next_sentence_accuracy"] > 0.8


@pytest.mark.parametrize("after", [(3,), (8, 9), ()])
def test_what_ends_a_text_stands_between_two(after: tuple[int, ...]) -> None:
    rows = np.array([[11, 12, 13, 14], [21, 22, 23, 24]])
    framed = Frame((2,), after).between(rows, np.array([1, 3]))
    assert framed.tolist() == [[11, *after, 12, 13, 14], [21, 22, 23, *after, 24]]
    assert torch.from_numpy(framed).shape == (2, 4 + len(after))
