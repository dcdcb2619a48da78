"""Equal documents, and paragraphs: which texts are compared, and a text without some of them."""

import random
import unicodedata

import numpy as np
import pytest

from bigtrain.data.dedup.exact import document_hash
from bigtrain.data.dedup.paragraphs import paragraph_spans, without_paragraphs
from bigtrain.data.dedup.schema import DedupConfig

LONG = "x" * 99 + "."
SHORT = "y" * 99


def same(first: str, second: str) -> bool:
    return document_hash(first).tolist() == document_hash(second).tolist()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a b\nc", " a  b\r\n\r\nc\n"),
        ("a\x1cb\x1dc\x1ed\x1fe\vf\fg", "abcdefg"),
        ("é è", unicodedata.normalize("NFD", "éè\u00a0")),
        ("我 们\u3000是", "我们是"),
        ("", " \n"),
    ],
)
def test_white_space_and_composition_make_no_difference(first: str, second: str) -> None:
    assert same(first, second)


@pytest.mark.parametrize(("first", "second"), [("a", "A"), ("a.", "a"), ("é", "e"), ("1", "2"), ("ﬁ", "fi")])
def test_all_else_does(first: str, second: str) -> None:
    assert not same(first, second)


def test_ascii_and_other_texts_are_treated_alike() -> None:
    """All characters below 128: the same are left out whichever way the text is read."""
    for code in range(128):
        assert same(f"é{chr(code)}é", "éé") == same(f"e{chr(code)}e", "ee"), code


def test_the_hash_is_the_same_everywhere() -> None:
    found = document_hash("Fixed for ever.")
    assert found.dtype == np.uint64
    assert found.tolist() == [11391911675587296615, 3950743207708313046]


def spans(text: str) -> list[str]:
    return [text[start:end] for start, end in paragraph_spans(text, DedupConfig())[0]]


def test_paragraphs_are_long_lines() -> None:
    assert spans(f"{LONG}\n{SHORT}\n\n  {LONG}  \r\n{SHORT}  \n{LONG}é") == [LONG, f"  {LONG}  \r", f"{LONG}é"]
    found, hashes = paragraph_spans(f"{LONG}\n{SHORT}\n\n  {LONG}  \r\n{LONG}é", DedupConfig())
    assert hashes[0] == hashes[1] != hashes[2]
    assert found.shape == (3, 2)


@pytest.mark.parametrize("text", ["", "short", f"{SHORT}\n{SHORT}", " " * 500])
def test_a_text_may_have_none(text: str) -> None:
    found, hashes = paragraph_spans(text, DedupConfig())
    assert found.shape == (0, 2)
    assert hashes.shape == (0,)
    assert without_paragraphs(text, found, np.empty(0, np.bool_)) == text


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ((1, 1, 1), f"{LONG}1\n\nb\n{LONG}2\n\n\n{LONG}3\n"),
        ((0, 1, 1), f"b\n{LONG}2\n\n\n{LONG}3\n"),
        ((1, 0, 1), f"{LONG}1\n\nb\n{LONG}3\n"),
        ((1, 1, 0), f"{LONG}1\n\nb\n{LONG}2"),
        ((1, 0, 0), f"{LONG}1\n\nb"),
        ((0, 0, 0), "b"),
    ],
)
def test_what_is_left_is_joined_as_it_was(keep: tuple[int, ...], left: str) -> None:
    text = f"{LONG}1\n\nb\n{LONG}2\n\n\n{LONG}3\n"
    assert without_paragraphs(text, paragraph_spans(text, DedupConfig())[0], np.array(keep, np.bool_)) == left


def test_kept_lines_come_through_any_choice() -> None:
    """Of random texts: every kept line stays, in order; every other long line is gone."""
    draw = random.Random(0)
    for _ in range(200):
        lines = [draw.choice(("", "a", SHORT, LONG)) + str(number) for number in range(draw.randrange(1, 12))]
        text = "".join(line + draw.choice(("\n", "\n\n", "\r\n")) for line in lines)
        found, _ = paragraph_spans(text, DedupConfig())
        keep = np.array([draw.random() < 0.5 for _ in found], np.bool_)
        gone = {text[start:end].strip() for start, end in found[~keep]}
        left = without_paragraphs(text, found, keep)
        assert [line.strip() for line in left.splitlines() if line.strip()] == [
            line for line in lines if line not in gone
        ]
