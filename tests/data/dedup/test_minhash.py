"""MinHash bands: how often similar and dissimilar texts share one, on real text, and against a plain computation."""

import json
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from near_copies import edited, jaccard, passages, shingles

from bigtrain.data.dedup.minhash import MinHasher
from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.dedup.words import PIECE, constants, cut, mixed, word_hashes

FIGURES = {0.80: 0.90, 0.85: 0.98, 0.90: 0.995}  # recall that is asked for, by true Jaccard similarity
HASHER = MinHasher(DedupConfig())


def recall(originals: list[list[str]], similarity: float) -> float:
    """The share of edited copies that are found."""
    draw = random.Random(similarity)
    copies = [edited(original, similarity, draw) for original in originals]
    for original, copy in zip(originals, copies, strict=True):
        assert similarity <= jaccard(original, copy) < similarity + 0.01
    some = HASHER.bands([" ".join(original) for original in originals])
    return float((some == HASHER.bands([" ".join(copy) for copy in copies])).any(1).mean())


def pairs_with_a_common_band(texts: list[str]) -> set[tuple[int, int]]:
    found = set()
    for band in HASHER.bands(texts).T:
        by_hash = defaultdict(list)
        for number, value in enumerate(band.tolist()):
            by_hash[value].append(number)
        found |= {(a, b) for same in by_hash.values() for a in same for b in same if a < b}
    return found


@pytest.mark.parametrize(("similarity", "asked"), FIGURES.items())
def test_recall(test_data: Path, similarity: float, asked: float) -> None:
    assert recall(passages(test_data, 300)[::13], similarity) >= asked


@pytest.mark.slow
@pytest.mark.parametrize("n_words", [120, 300, 1000])
@pytest.mark.parametrize(("similarity", "asked"), FIGURES.items())
def test_recall_is_that_of_the_formula(test_data: Path, similarity: float, asked: float, n_words: int) -> None:
    """As asked, and within three standard errors of 1 - (1 - s^8)^14, for short and long texts."""
    originals = passages(test_data, n_words)[: 3000 if n_words < 1000 else 900]
    found = recall(originals, similarity)
    expected = 1 - (1 - similarity**8) ** 14
    print(
        f"recall at {similarity}, {n_words} words, {len(originals)} pairs: {found:.4f}, by the formula {expected:.4f}"
    )
    assert found >= asked
    assert found > expected - 3 * (expected * (1 - expected) / len(originals)) ** 0.5


def test_different_texts_share_no_band(test_data: Path) -> None:
    """A million pairs of passages of novels: not one is taken for a near duplicate."""
    texts = [" ".join(passage) for passage in passages(test_data, 300)[:1500]]
    assert pairs_with_a_common_band(texts) == set()


@pytest.mark.slow
def test_pairs_below_a_fifth_are_hardly_ever_merged(test_data: Path) -> None:
    """Under 1 in 10,000 also of the hardest of them, which have a third of their text in common."""
    texts, draw = passages(test_data, 120), random.Random(0)
    merged = n_pairs = 0
    for _ in range(20):
        others = draw.sample(texts, len(texts))
        pairs = [(a, a[:38] + b[38:]) for a, b in zip(texts, others, strict=True) if a is not b]
        below = [(a, b) for a, b in pairs if 0.15 < jaccard(a, b) < 0.2]
        some, others = ([" ".join(pair[side]) for pair in below] for side in (0, 1))
        merged += int((HASHER.bands(some) == HASHER.bands(others)).any(1).sum())
        n_pairs += len(below)
    print(f"{merged} of {n_pairs} pairs of a similarity of 0.15 to 0.2 share a band")
    assert n_pairs > 100_000
    assert merged < n_pairs / 10_000


def plain_bands(text: str, config: DedupConfig) -> list[int]:
    """The definition, in Python's integers."""
    words = [int(word) for piece in text.split("|") for word in word_hashes([piece])[0]] if text else []
    if not words:
        return [0] * config.bands
    words += [0] * (config.ngram - len(words))
    low, every = (1 << 32) - 1, (1 << 64) - 1
    places, rows = constants(config.ngram, 1).tolist(), constants(config.rows, 4).tolist()
    slopes = constants(config.bands * config.rows, 2).tolist()
    shifts = mixed(constants(config.bands * config.rows, 3)).tolist()

    def mix(values: list[int]) -> list[int]:
        return mixed(np.array([value & every for value in values], np.uint64)).tolist()

    grams = (words[start : start + config.ngram] for start in range(len(words) - config.ngram + 1))
    sums = [sum(word * place for word, place in zip(gram, places, strict=True)) for gram in grams]
    hashes = {value >> 32 for value in mix(sums)}
    assert max(hashes) <= low
    minima = [
        min((slope * value + shift & every) >> 32 for value in hashes)
        for slope, shift in zip(slopes, shifts, strict=True)
    ]
    bands = [minima[start : start + config.rows] for start in range(0, len(minima), config.rows)]
    return [max(value, 1) for value in mix([sum(map(int.__mul__, band, rows)) for band in bands])]


@pytest.mark.parametrize("config", [DedupConfig(), DedupConfig(ngram=1, bands=3, rows=2), DedupConfig(ngram=13)])
def test_against_a_plain_computation(config: DedupConfig) -> None:
    """Texts with and without words, shorter and longer than a shingle, in one batch."""
    draw = random.Random(0)
    texts = [" ".join(draw.choice("abcdefg我") for _ in range(draw.choice((0, 1, 2, 4, 5, 6, 40)))) for _ in range(200)]
    assert MinHasher(config).bands(texts).tolist() == [plain_bands(text, config) for text in texts]


@pytest.mark.parametrize("config", [DedupConfig(), DedupConfig(ngram=1, bands=2, rows=2)])
def test_a_text_has_the_same_bands_in_any_batch(config: DedupConfig) -> None:
    draw, hasher = random.Random(1), MinHasher(config)
    lengths = [0, 3, 200, 5_000, PIECE // 6, PIECE // 2, PIECE, 50]
    texts = [" ".join(str(draw.randrange(5_000)) for _ in range(draw.choice(lengths))) for _ in range(30)]
    texts += ["", "...", " " * 3 * PIECE, "长" * PIECE + "文", "é " * PIECE]
    together = hasher.bands(texts)
    assert together.shape == (len(texts), config.bands)
    assert together.dtype == np.uint64
    for text, bands in zip(texts, together, strict=True):
        assert hasher.bands([text])[0].tolist() == bands.tolist()
    assert hasher.bands([]).shape == (0, config.bands)


def test_a_long_text_is_the_union_of_its_shingles() -> None:
    """Cutting it into pieces loses none of the few shingles that differ, which all stand at the cuts."""
    draw, text = random.Random(2), list("a " * 2 * PIECE)
    place = 0
    for piece in cut("".join(text)):
        for near in range(max(place - 12, 0), min(place + 12, len(text)), 2):
            text[near // 2 * 2] = draw.choice("bcdefg")
        place += len(piece)
    assert place > 3 * PIECE
    assert HASHER.bands(["".join(text)])[0].tolist() == plain_bands("|".join(_halves("".join(text))), DedupConfig())


def _halves(text: str) -> list[str]:
    """Pieces short enough to be hashed, cut at spaces."""
    if len(text) < PIECE:
        return [text]
    middle = text.index(" ", len(text) // 2)
    return _halves(text[:middle]) + _halves(text[middle:])


def test_texts_without_words_have_no_bands() -> None:
    assert not HASHER.bands(["", "!!!", " \n", "。。。"]).any()
    assert HASHER.bands(["a", "我"]).all()


def test_chinese_is_compared_by_character(test_data: Path) -> None:
    """A few changed characters leave a text a near duplicate; another text is none."""
    rows = json.loads((test_data / "cmrc2018" / "cmrc2018_trial.json").read_text(encoding="utf-8"))["data"]
    texts = sorted({paragraph["context"] for row in rows for paragraph in row["paragraphs"]})
    draw, copies = random.Random(0), []
    for text in texts:
        copy = list(text)
        for place in draw.sample(range(len(copy)), max(1, len(copy) // 200)):
            copy[place] = draw.choice(text)
        copies.append("".join(copy))
    found = pairs_with_a_common_band(texts + copies)
    n = len(texts)
    assert n > 200
    assert sum((number, number + n) in found for number in range(n)) > 0.98 * n
    strangers = [(a, b) for a, b in found if a % n != b % n]
    assert all(len(_common(texts[a % n], texts[b % n])) > 50 for a, b in strangers)


def _common(first: str, second: str) -> set[tuple[str, ...]]:
    return shingles(list(first)) & shingles(list(second))


def test_bands_are_the_same_everywhere() -> None:
    """Fixed for ever, see `word_hashes`."""
    assert HASHER.bands(["To be, or not to be: that is the question.", "我们都是学生"])[:, :2].tolist() == [
        [18343219816929210126, 10160159832671189140],
        [17444763072686231157, 14464402286762641614],
    ]
