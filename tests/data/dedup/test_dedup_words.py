"""Words as hashes: which differences between texts count."""

import random
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from bigtrain.data.dedup.words import PIECE, cut, word_hashes


def words(text: str) -> list[int]:
    hashes, counts = word_hashes([text])
    assert counts.tolist() == [len(hashes)]
    return hashes.tolist()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The cat, the DOG!", "the cat the dog"),
        ("L'été à la plage", "l ete a la plage"),
        (unicodedata.normalize("NFD", "Ångström naïveté"), unicodedata.normalize("NFC", "Ångström naïveté")),
        ("soft\u00adhyphen, no\u200djoiner, \ufeffmark", "softhyphen nojoiner mark"),
        ("ＷＩＤＥ ｌｅｔｔｅｒｓ １２", "wide letters 12"),
        ("“quotes” — dashes…", '"quotes" - dashes...'),
        ("snake_case\r\nline", "snake case line"),
        ("我們，他們。", "我們 他們"),
        ("well done👍🏽 again", "well done again"),
        ("ПРИВЕТ Ελλάδα", "привет ελλαδα"),
    ],
)
def test_what_makes_no_difference(first: str, second: str) -> None:
    assert words(first) == words(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cat", "cats"),
        ("12", "13"),
        ("ab", "ba"),
        ("a b", "ab"),
        ("국", "곡"),
        ("我们", "他们"),
        ("a", "aa"),
        ("ß", "s"),
    ],
)
def test_what_makes_a_difference(first: str, second: str) -> None:
    assert words(first) != words(second)


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("", 0),
        (" ... !? ", 0),
        ("one two", 2),
        ("don't", 2),
        ("我们是学生。", 5),
        ("我用Python3写code", 5),
        ("ภาษาไทย", 7),
        ("น้ำ", 2),  # the mark above a letter is none by itself
        ("日本語のテスト", 7),
        ("한국어 문장", 2),
        ("हिन्दी भाषा", 2),
        ("हि\u0947", 1),
        ("𠀀𠀁", 2),
    ],
)
def test_how_many_words_there_are(text: str, n: int) -> None:
    assert len(words(text)) == n


def test_a_word_has_one_hash_wherever_it_stands(test_data: Path) -> None:
    """Against a regular expression: real English, with typographic quotes; equal words and only these hash equally."""
    text = (test_data / "eltec_novels" / "ENG18742_Trollope.txt").read_text(encoding="utf-8")[: PIECE - 1]
    assert not text.isascii()
    plain = "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")
    expected = re.findall(r"[^\W_]+", plain.lower())
    found = words(text)
    assert len(found) == len(expected)
    assert len(set(found)) == len(set(expected)) == len(set(zip(found, expected, strict=True)))
    lines = [line for line in text.split("\n") if line]
    batch, counts = word_hashes(lines)
    assert batch.tolist() == found
    assert counts.tolist() == [len(words(line)) for line in lines]


def test_characters_that_do_not_count_shift_no_border() -> None:
    """A batch with combining marks is cut into its texts where they end."""
    texts = ["e\u0301te\u0301", "", "a\u0308", "...", "b c", "\u0301", "d"]
    hashes, counts = word_hashes(texts)
    assert counts.tolist() == [1, 0, 1, 0, 2, 0, 1]
    assert hashes.tolist() == [word for text in texts for word in words(text)]


def test_a_long_text_is_cut_between_words() -> None:
    draw = random.Random(0)
    text = " ".join("word" + "x" * draw.randrange(50) for _ in range(20_000))
    pieces = list(cut(text))
    assert "".join(pieces) == text
    assert all(0 < len(piece) < PIECE for piece in pieces)
    assert all(piece.startswith(" ") for piece in pieces[1:])
    solid = "字" * (3 * PIECE)
    assert "".join(cut(solid)) == solid
    assert max(map(len, cut(solid))) < PIECE


def test_the_hashes_are_the_same_everywhere() -> None:
    """Fixed for ever: signatures of different machines and versions are compared."""
    assert words("The fox, 2 été 我") == [
        11469020329213407588,
        15154006439091361198,
        5273935210954647344,
        6428540392459312855,
        6469936435385816993,
    ]


def test_no_two_short_words_collide() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    every = [a + b + c for a in letters for b in letters for c in letters]
    hashes = np.concatenate([word_hashes(every[start : start + 10_000])[0] for start in range(0, len(every), 10_000)])
    assert len(np.unique(hashes)) == len(np.unique(hashes >> np.uint64(32))) == len(every)
