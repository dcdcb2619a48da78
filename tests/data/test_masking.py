"""Hidden tokens: how many, which, behind what, and that they depend on the row's key alone."""

import random

import numpy as np
import pytest
from encoders import SPECIAL, wordpiece

from bigtrain.data.frame import Frame
from bigtrain.data.loader import IGNORED, Loader, Windows
from bigtrain.data.masked_rows import MaskedRows
from bigtrain.data.masking import Masked, Masker
from bigtrain.data.shards import TokenSplit
from bigtrain.objectives.schema import MaskUnit

TOKENIZER = wordpiece()
LETTERS = list(range(len(SPECIAL), len(SPECIAL) + 26))
PARTS = list(range(len(SPECIAL) + 29, TOKENIZER.vocab_size))  # ##a, ##b, ...
MASK = SPECIAL.index("[MASK]")


def rows(n: int, length: int, seed: int = 0) -> np.ndarray:
    """Words of 1 to 4 tokens with a separator here and there."""
    draw, found = random.Random(seed), []
    for _ in range(n):
        row: list[int] = []
        while len(row) < length:
            row += [SPECIAL.index("[SEP]")] if draw.random() < 0.05 else []
            row += [draw.choice(LETTERS), *draw.choices(PARTS, k=draw.randrange(4))]
        found.append(row[:length])
    return np.array(found)


def keys(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**63, n, dtype=np.uint64)


def hidden(masked: Masked) -> np.ndarray:
    """(N, T): which tokens are asked for."""
    flags = np.zeros(masked.tokens.shape, np.bool_)
    for row, (positions, targets) in enumerate(zip(masked.positions, masked.targets, strict=True)):
        flags[row, positions[targets != IGNORED]] = True
    return flags


def words(tokens: np.ndarray) -> np.ndarray:
    """(N, T): numbers of words, counted on in every row."""
    return np.cumsum(~np.isin(tokens, PARTS), axis=1)


@pytest.mark.parametrize("unit", list(MaskUnit))
@pytest.mark.parametrize("length", [1, 7, 40, 128])
def test_what_is_asked_for_is_what_stood_there(unit: MaskUnit, length: int) -> None:
    tokens = rows(50, length)
    masked = Masker(TOKENIZER, unit)(tokens, keys(50))
    assert masked.positions.shape == masked.targets.shape == (50, max(1, round(0.15 * length)))
    flags = hidden(masked)
    assert np.array_equal(masked.tokens[~flags], tokens[~flags])
    for row in range(50):
        there = masked.targets[row] != IGNORED
        assert np.array_equal(masked.targets[row, there], tokens[row, masked.positions[row, there]])
        assert (np.diff(masked.positions[row, there]) > 0).all()
    assert not np.isin(tokens[flags], range(5)).any()  # special tokens are never hidden,
    new = masked.tokens[flags & (masked.tokens != tokens)]
    assert not np.isin(new[new != MASK], range(5)).any()  # nor drawn


def test_15_percent_of_the_text_of_every_row() -> None:
    tokens = rows(200, 128)
    text = ~np.isin(tokens, range(5))
    assert np.array_equal(
        hidden(Masker(TOKENIZER)(tokens, keys(200))).sum(1), np.floor(0.15 * text.sum(1) + 0.5).astype(int)
    )
    for unit in (MaskUnit.words, MaskUnit.spans):  # less what no unit fits into
        share = hidden(Masker(TOKENIZER, unit)(tokens, keys(200))).sum() / text.sum()
        assert 0.14 < share <= 0.152
    many = hidden(Masker(TOKENIZER, fraction=0.4)(tokens, keys(200)))
    assert many.sum() / text.sum() == pytest.approx(0.4, abs=0.005)


def test_every_token_is_as_likely_to_be_hidden() -> None:
    counts = np.zeros(60)
    tokens = np.array([random.Random(1).choices(LETTERS, k=60)])
    for seed in range(40):
        counts += hidden(Masker(TOKENIZER)(tokens.repeat(100, 0), keys(100, seed))).sum(0)
    expected = 4000 * 9 / 60
    assert ((counts - expected) ** 2 / expected).sum() < 60 + 4 * np.sqrt(120)  # chi-squared, 59 degrees of freedom


@pytest.mark.parametrize("unit", list(MaskUnit))
def test_80_10_10(unit: MaskUnit) -> None:
    tokens = rows(2000, 128)
    masked = Masker(TOKENIZER, unit)(tokens, keys(2000))
    flags = hidden(masked)
    new, old = masked.tokens[flags], tokens[flags]
    n_units, n = (1 if unit is not MaskUnit.spans else 5), len(new)
    for share, found in ((0.8, new == MASK), (0.1, new == old), (0.1, (new != MASK) & (new != old))):
        assert found.mean() == pytest.approx(share, abs=4 * np.sqrt(n_units * share * (1 - share) / n) + 0.002)


def test_words_are_hidden_whole_and_spans_are_runs_of_words() -> None:
    tokens = rows(300, 128)
    number = words(tokens)
    runs = {}
    for unit in (MaskUnit.words, MaskUnit.spans):
        flags = hidden(Masker(TOKENIZER, unit)(tokens, keys(300)))
        for row in range(300):
            whole = {int(word): flags[row, number[row] == word] for word in np.unique(number[row])}
            assert all(part.all() or not part.any() for part in whole.values())
        starts = flags & ~np.pad(flags, ((0, 0), (1, 0)))[:, :-1]
        runs[unit] = flags.sum() / starts.sum()
    assert runs[MaskUnit.spans] > 1.5 * runs[MaskUnit.words]


def test_spans_are_hidden_the_same_way() -> None:
    tokens = np.array([random.Random(2).choices(LETTERS, k=100)] * 200)
    masked = Masker(TOKENIZER, MaskUnit.spans)(tokens, keys(200))
    flags = hidden(masked)
    both = flags[:, 1:] & flags[:, :-1]
    alike = (masked.tokens[:, 1:] == MASK) == (masked.tokens[:, :-1] == MASK)
    assert alike[both].mean() > 0.9  # two spans may stand side by side; of tokens by themselves it would be 0.68


def test_a_word_longer_than_the_budget_is_cut() -> None:
    tokens = np.array([[LETTERS[0], *PARTS[:19]]])
    for unit in (MaskUnit.words, MaskUnit.spans):
        assert hidden(Masker(TOKENIZER, unit)(tokens, keys(1))).sum() == 3


def test_rows_without_text_ask_for_nothing() -> None:
    tokens = np.full((2, 9), SPECIAL.index("[SEP]"))
    masked = Masker(TOKENIZER, MaskUnit.words)(tokens, keys(2))
    assert (masked.targets == IGNORED).all()
    assert np.array_equal(masked.tokens, tokens)


@pytest.mark.parametrize("unit", list(MaskUnit))
def test_a_mask_depends_on_its_row_and_key_alone(unit: MaskUnit) -> None:
    masker, tokens, all_keys = Masker(TOKENIZER, unit), rows(9, 50), keys(9)
    together = masker(tokens, all_keys)
    for row in range(9):
        alone = masker(tokens[row : row + 1], all_keys[row : row + 1])
        assert all(np.array_equal(a[0], b[row]) for a, b in zip(alone, together, strict=True))
    other = masker(tokens, keys(9, seed=1))
    assert not np.array_equal(other.positions, together.positions)


def loader(seed: int = 5, length: int = 30) -> Loader:
    tokens = rows(1, 2000).ravel().astype(np.uint16)
    split = TokenSplit(tokens, np.array([0, 700, 1500]), 0)
    text = Windows(split, length - 2, seed=seed, isolate_documents=True)
    return Loader(MaskedRows(text, Frame.of(TOKENIZER), Masker(TOKENIZER), seed=seed), 16, seed)


def test_training_rows_are_framed_windows() -> None:
    batch = loader().batch(0, 0, 16)
    assert batch["tokens"].shape == (16, 30)
    assert set(batch["tokens"][:, 0].tolist()) == {SPECIAL.index("[CLS]")}
    assert set(batch["tokens"][:, -1].tolist()) == {SPECIAL.index("[SEP]")}
    assert batch["positions"].shape == batch["targets"].shape == (16, 5)
    assert batch["documents"].shape == (16, 30)
    assert (batch["documents"].diff(dim=1) >= 0).all()
    assert batch["documents"][:, 0].equal(batch["documents"][:, 1])
    assert loader().rows.tokens_per_row == 30


def test_any_micro_batch_and_any_step_first_give_the_same_rows() -> None:
    whole = loader().batch(3, 0, 16)
    again = loader()
    for start, stop in ((8, 16), (0, 3), (3, 8)):
        part = again.batch(3, start, stop)
        assert all(part[name].equal(whole[name][start:stop]) for name in whole)
    assert not loader(seed=6).batch(3, 0, 16)["positions"].equal(whole["positions"])


def test_every_pass_hides_other_tokens() -> None:
    again = loader().rows
    index = np.arange(16)
    first, second = (again.batch(index, np.full(16, pass_)) for pass_ in (0, 1))
    assert not first["positions"].equal(second["positions"])
    assert again.batch(index, np.zeros(16, np.int64))["tokens"].equal(first["tokens"])


def test_flags_of_a_set_come_before_the_marks_of_the_tokenizer() -> None:
    tokens, draw = rows(100, 60), np.random.default_rng(3)
    continues = draw.random(tokens.shape) < 0.6
    flags = hidden(Masker(TOKENIZER, MaskUnit.words)(tokens, keys(100), continues=continues))
    text = ~np.isin(tokens, range(5))
    inner = continues[:, 1:] & text[:, 1:] & text[:, :-1]
    broken = inner & (flags[:, 1:] != flags[:, :-1])
    assert broken.sum() < 0.1 * (inner & flags[:, 1:]).sum()  # words longer than the budget are cut
