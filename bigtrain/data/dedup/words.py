"""Words as 64-bit hashes, computed in numpy over whole batches of text. Near duplicates are compared by these.

A word is a run of letters and digits, in lower case and without diacritics: case, accents, punctuation and white space
make no difference. Numbers do: exercises or tables that differ in nothing else are not the same. In scripts that write
no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese, ...) every character is a word, so that word n-grams are
character n-grams there, also inside a text of both kinds.
"""

from __future__ import annotations

import functools
import string
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

PIECE = 1 << 16  # characters hashed at once: the arrays stay in the cache of a core
_BASE = 0x9E3779B97F4A7C15  # odd, hence invertible modulo 2^64
_SEPARATOR, _DROPPED, _ALONE = 0, 1, 1 << 31
_WITHOUT_SPACES = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19DF), (0x1A20, 0x1AAF), (0x1B00, 0x1B7F)),
    *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF)),
    *((0x4E00, 0xA4CF), (0xA980, 0xA9DF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF)),
)
_SOFT_HYPHEN, _EMOJI = 0xAD, range(0x1F000, 0x20000)
_TABULATED = 0x20000  # code points above are ideographs or nothing that is written
_ASCII = bytes(
    ord(chr(code).lower()) if chr(code) in string.ascii_letters + string.digits else 0 for code in range(256)
)


def mixed(values: Hashes) -> Hashes:
    """A bijection in which every bit depends on every other: the finaliser of splitmix64 (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def constants(n: int, stream: int) -> Hashes:
    """n fixed odd numbers that look random, by splitmix64: the same everywhere, others for each stream."""
    counter = np.arange(1, n + 1, dtype=np.uint64) + np.uint64(stream << 32)
    return mixed(counter * np.uint64(_BASE)) | np.uint64(1)


def word_hashes(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    """The words of all texts in order, (words,) uint64, and how many each text has, (texts,) int64.

    The texts come to PIECE characters at most, counting one more for each.
    """
    words, places = placed_words("\n".join(texts))
    ends = np.cumsum([len(text) + 1 for text in texts])
    return words, np.diff(np.searchsorted(places, ends), prepend=0).astype(np.int64)


def cut(text: str) -> Iterator[str]:
    """Pieces of a long text of PIECE characters at most, counting one more, cut at white space where there is some."""
    start = 0
    while len(text) - start >= PIECE:
        stop = max(text.rfind(space, start + 1, start + PIECE) for space in " \n")
        stop = stop if stop > 0 else start + PIECE - 1
        yield text[start:stop]
        start = stop
    yield text[start:]


def placed_words(text: str) -> tuple[Hashes, NDArray[np.int64]]:
    """Hash and place (in characters) of each word of a text of PIECE characters at most.

    A word c_0 c_1 ... is hashed as the polynomial sum of c_i * BASE^i modulo 2^64: a difference of two prefix sums over
    the whole text, divided by the power at the word's start.
    """
    codes, places = _folded(text)
    inside = codes != _SEPARATOR
    changes = np.ones(len(codes) + 1, np.bool_)
    np.not_equal(inside[1:], inside[:-1], out=changes[1:-1])
    if codes.dtype == np.uint32:
        alone = codes >= _ALONE
        changes[1:] |= alone
        changes[:-1] |= alone
    edges = np.flatnonzero(changes)
    first = edges[:-1][inside[edges[:-1]]]
    last = edges[1:][inside[edges[:-1]]]
    powers, inverses = _powers()
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(np.multiply(codes, powers[: len(codes)], dtype=np.uint64), out=sums[1:])
    return mixed((sums[last] - sums[first]) * inverses[first]), first if places is None else places[first]


def _folded(text: str) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """A number for each character that counts: 0 for a separator; and the characters' places, if some do not count."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii").translate(_ASCII), np.uint8), None
    codes = np.take(_table(), np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"))
    counted = codes != _DROPPED
    if counted.all():
        return codes, None
    places = np.flatnonzero(counted)
    return codes[places], places


@functools.cache
def _powers() -> tuple[Hashes, Hashes]:
    """The powers 0 to PIECE of the base and of its inverse, modulo 2^64."""
    bases = (_BASE, pow(_BASE, -1, 1 << 64))
    ones = np.ones(1, np.uint64)
    tables = (np.concatenate([ones, np.cumprod(np.full(PIECE, base, np.uint64))]) for base in bases)
    return next(tables), next(tables)


@functools.cache
def _table() -> NDArray[np.uint32]:
    """What every code point counts as: a separator, nothing, or the number of its simplest form.

    By the Unicode 3.2 that every Python carries, so that signatures do not depend on Python's version; characters that
    came later, emoji excepted, count as letters.
    """
    unicode = unicodedata.ucd_3_2_0
    table = np.arange(0x110000, dtype=np.uint32)
    for code in range(_TABULATED):
        kind = unicode.category(chr(code))
        if kind in ("Mn", "Me", "Cf") or code == _SOFT_HYPHEN:
            table[code] = _DROPPED
        elif code in _EMOJI or (kind[0] in "ZPSC" and kind != "Cn"):
            table[code] = _SEPARATOR
        elif kind != "Cn":
            table[code] = _simplest(chr(code))
    for start, stop in _WITHOUT_SPACES:
        block = table[start : stop + 1]
        block[block > _DROPPED] |= _ALONE
    return table


def _simplest(char: str) -> int:
    """Lower case without diacritics and variants of width, where that is a single character."""
    unicode = unicodedata.ucd_3_2_0
    plain = [part for part in unicode.normalize("NFKD", char.lower()) if unicode.category(part) != "Mn"]
    return ord(plain[0]) if len(plain) == 1 else ord(char)
