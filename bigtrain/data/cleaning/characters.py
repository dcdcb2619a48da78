"""Characters by kind: one table for all of Unicode, so that a document is classified in one indexing operation."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TABULATED = 0x32400  # above this there are variation selectors, tags and private characters only
_BLOCK = 1 << 20  # characters at once, so that memory stays small in a huge document

SENTENCE_ENDS = ".!?…。！？｡؟۔।॥።။។៕"
CLOSING = "\"'”’»)]」』】）》"  # may stand behind them


class Kind(IntEnum):
    """From `letter` on: what words are spelled with. From `han` on: scripts that write no spaces between words."""

    other = 0
    space = 1
    punctuation = 2
    digit = 3
    mark = 4
    letter = 5
    hangul = 6
    han = 7
    kana = 8
    southeast = 9  # Thai, Lao, Burmese, Khmer: letters and vowel signs


_RANGES = (
    *((Kind.southeast, first, last) for first, last in ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))),
    *((Kind.hangul, first, last) for first, last in ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xD7FF))),
    *((Kind.kana, first, last) for first, last in ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F))),
    *((Kind.han, first, last) for first, last in ((0x3005, 0x3007), (0x3400, 0x9FFF), (0xF900, 0xFAFF))),
    (Kind.han, 0x20000, 0x323FF),
)
UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for kind, first, last in _RANGES if kind >= Kind.han)  # in a regex class


def code_points(text: str) -> NDArray[Any]:
    """(n_characters,) uint8 where the text is ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def kinds(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """The `Kind` of each code point, (n_characters,) uint8."""
    found: NDArray[np.uint8] = _table()[codes]
    return found


def blocks(text: str) -> Iterator[NDArray[Any]]:
    """The code points of a text, in blocks."""
    return (code_points(text[start : start + _BLOCK]) for start in range(0, len(text), _BLOCK))


def kinds_of(text: str) -> NDArray[np.uint8]:
    """The `Kind` of each character of a text, (n_characters,)."""
    found, start = np.empty(len(text), np.uint8), 0
    for codes in blocks(text):
        found[start : start + len(codes)] = kinds(codes)
        start += len(codes)
    return found


def count_kinds(found: NDArray[np.uint8]) -> list[int]:
    """How many characters there are of each kind, by its number."""
    counts = np.zeros(len(Kind), np.int64)
    for start in range(0, len(found), _BLOCK):
        counts += np.bincount(found[start : start + _BLOCK], minlength=len(Kind))
    return [int(count) for count in counts]


@functools.cache
def _table() -> NDArray[np.uint8]:
    """(0x110000,) uint8. Spaces and letters are those of `str.isspace` and `str.isalpha`."""
    first = {"L": Kind.letter, "M": Kind.mark, "N": Kind.digit, "P": Kind.punctuation}
    categories = map(unicodedata.category, map(chr, range(_TABULATED)))
    table = np.zeros(0x110000, np.uint8)
    table[:_TABULATED] = np.frombuffer(bytes(first.get(name[0], Kind.other) for name in categories), np.uint8)
    table[[code for code in range(0x3001) if chr(code).isspace()]] = Kind.space
    for kind, start, last in _RANGES:
        part = table[start : last + 1]
        written = (Kind.letter, Kind.mark) if kind is Kind.southeast else (Kind.letter,)
        part[np.isin(part, written)] = kind
    return table
