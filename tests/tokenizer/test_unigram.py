"""Unigram: the lattice against all segmentations written out, and the pieces that are learned."""

import itertools
import math
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from bigtrain.data.tokenizer_schema import UnigramConfig
from bigtrain.tokenizer import train, unigram
from bigtrain.tokenizer.lattice import LONGEST_WORD, Lattice
from bigtrain.tokenizer.word_counts import WordCounts

WORDS = {"abab": 3, "ba": 5, "aab": 1, "b": 2}
PIECES = {"a": -1.0, "b": -1.5, "ab": -1.2, "ba": -2.0, "aba": -2.5, "abab": -6.0}


def segmentations(word: str) -> list[list[str]]:
    """All ways to put the word together from pieces."""
    if not word:
        return [[]]
    return [
        [word[:n], *rest] for n in range(1, len(word) + 1) if word[:n] in PIECES for rest in segmentations(word[n:])
    ]


def score(parts: list[str]) -> float:
    return sum(PIECES[part] for part in parts)


@pytest.fixture
def lattice() -> tuple[Lattice, np.ndarray]:
    symbols, weights = WordCounts([word.encode() for word in WORDS], np.array(list(WORDS.values()))).in_characters()
    names = list(PIECES)
    text = "".join("#" if symbol < 0 else chr(symbol) for symbol in symbols)
    found = [
        (start, start + len(name), number)
        for number, name in enumerate(names)
        for start in range(len(text))
        if text.startswith(name, start)
    ]
    random.Random(0).shuffle(found)
    start, end, piece = np.array(found).T
    return Lattice.of(symbols, weights, (start, end, piece)), np.array(list(PIECES.values()))


def test_expected_counts_are_those_of_all_segmentations(lattice: tuple[Lattice, np.ndarray]) -> None:
    expected: dict[str, float] = defaultdict(float)
    for word, count in WORDS.items():
        ways = segmentations(word)
        total = sum(math.exp(score(way)) for way in ways)
        for way in ways:
            for part in way:
                expected[part] += count * math.exp(score(way)) / total
    assert lattice[0].expected(lattice[1]) == pytest.approx([expected[name] for name in PIECES], rel=1e-12)


@pytest.mark.parametrize("whole", [True, False])
def test_best_paths_are_the_best_of_all_segmentations(lattice: tuple[Lattice, np.ndarray], whole: bool) -> None:
    found: dict[int, list[str]] = defaultdict(list)
    for words, pieces in lattice[0].best_paths(lattice[1], whole=whole):
        for word, piece in zip(words.tolist(), pieces.tolist(), strict=True):
            found[word].insert(0, list(PIECES)[piece])
    for number, word in enumerate(WORDS):
        ways = [way for way in segmentations(word) if whole or len(way) > 1]
        if not ways:
            assert number not in found
        else:
            assert "".join(found[number]) == word
            assert score(found[number]) == pytest.approx(max(map(score, ways)))


def test_dead_pieces_are_gone(lattice: tuple[Lattice, np.ndarray]) -> None:
    alive = np.array([name != "ab" for name in PIECES])
    counts = lattice[0].kept(alive).expected(lattice[1])
    assert counts[list(PIECES).index("ab")] == 0
    lengths = np.array([len(name) for name in PIECES])
    assert (counts * lengths).sum() == pytest.approx(sum(len(word) * n for word, n in WORDS.items()))


def learned(texts: list[str], size: int) -> list[str]:
    tokenizer = train(UnigramConfig(vocab_size=size), texts)
    return [piece for piece, _ in tokenizer.spec["model"]["vocab"][257:]]


def test_the_words_of_a_small_language_are_found() -> None:
    draw = random.Random(0)
    syllables = ["".join(pair) for pair in itertools.product("kst", "aio")]
    words = ["".join(draw.choice(syllables) for _ in range(3)) for _ in range(30)]
    text = " ".join(draw.choice(words) for _ in range(20_000))
    pieces = learned([text], 257 + 7 + 30 + 1)
    assert {"▁" + word for word in words} <= set(pieces)


def test_rare_characters_become_bytes() -> None:
    tokenizer = train(UnigramConfig(vocab_size=300), ["abc " * 5000 + "é"])
    assert "é" not in [piece for piece, _ in tokenizer.spec["model"]["vocab"]]
    ids = tokenizer.encode("aé")
    assert [tokenizer.backend.id_to_token(id_) for id_ in ids[-2:]] == ["<0xC3>", "<0xA9>"]
    assert tokenizer.decode(ids) == "aé"


def test_little_and_no_text() -> None:
    assert train(UnigramConfig(vocab_size=300), []).encode("a") == [1 + ord("a")]
    assert train(UnigramConfig(vocab_size=300), ["", "a"]).decode([257]) == "a"
    assert train(UnigramConfig(vocab_size=300), ["xyxyxy"]).encode("xyxyxy") != [0]
    long_word = "".join(random.Random(0).choice("abc") for _ in range(10 * LONGEST_WORD))
    tokenizer = train(UnigramConfig(vocab_size=320), [long_word])
    assert tokenizer.decode(tokenizer.encode(long_word)) == long_word


def test_text_is_as_short_as_with_sentencepiece(test_data: Path) -> None:
    """Same words, same number of pieces: tokens of held-out text within 2 percent of SentencePiece's, or fewer."""
    sentencepiece = pytest.importorskip("sentencepiece")
    text = (test_data / "wikitext2_valid/valid.txt").read_text(encoding="utf-8")[:400_000]
    training, held_out = text[:300_000], text[300_000:]
    counted = unigram_words(training)
    model = sentencepiece_model(sentencepiece, counted, 2000)
    ours = train(UnigramConfig(vocab_size=2000 + 257), [training])
    test = unigram_words(held_out)
    theirs = sum(len(model.encode(word)) * n for word, n in test.items())
    assert sum(len(ours.encode(word.replace("▁", " "))) * n for word, n in test.items()) <= 1.02 * theirs


def unigram_words(text: str) -> dict[str, int]:
    from bigtrain.tokenizer.word_counts import count_gpt2_words

    counted = count_gpt2_words([text])
    return {
        word.decode().replace(" ", "▁"): int(n)
        for word, n in zip(counted.words, counted.counts, strict=True)
        if b"\n" not in word
    }


def sentencepiece_model(sentencepiece: object, words: dict[str, int], size: int) -> object:
    import io

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(  # type: ignore[attr-defined]
        sentence_iterator=(word for word, n in words.items() for _ in range(n)),
        model_writer=model,
        model_type="unigram",
        vocab_size=size,
        normalization_rule_name="identity",
        character_coverage=0.9995,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())  # type: ignore[attr-defined]


def test_digamma() -> None:
    x = np.array([0.5, 1.0, 3.7, 100.0])
    step = 1e-5
    slope = [(math.lgamma(value + step) - math.lgamma(value - step)) / (2 * step) for value in x]
    assert unigram._digamma(x) == pytest.approx(slope, rel=1e-7)
