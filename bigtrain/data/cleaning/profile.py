"""What the quality rules ask about a document, read from its characters once.

Words are runs of characters between white space, as in Dolma's reading of Gopher's rules (Soldaini et al. 2024). Text
in a script without spaces has no such runs: there every character is a token, and where a rule speaks of words, a word
is the number of characters that it takes in that script on average.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.cleaning.characters import Kind, code_points, count_kinds, kinds_of

_BASE = 0x9E3779B97F4A7C15  # odd: multiplying by it modulo 2^64 loses nothing
_LONG = 1 << 20  # characters of a text that is taken in pieces
_WORDS_AT_ONCE = 1 << 17  # so that memory stays small in a huge document


class Script(Enum):
    """Whether there are spaces between words, and if not, how many characters make a word.

    The numbers are characters for each word of the English text in the Universal Declaration of Human Rights.
    """

    spaced = 0.0
    chinese = 1.7
    japanese = 2.3
    southeast = 5.0  # Thai, Lao, Burmese, Khmer


class Tokens(NamedTuple):
    """Words, or the characters of a script without spaces."""

    hashes: NDArray[np.uint64]  # (n_tokens,), equal where tokens are equal
    lengths: NDArray[np.int64]  # (n_tokens,), in characters


class Profile:
    """A document that the rules look at. What no rule asks for is not computed."""

    def __init__(self, text: str) -> None:
        self.text = text

    @functools.cached_property
    def lines(self) -> list[str]:
        """The lines that are not blank, without white space at either end."""
        stripped = map(str.strip, self.text.split("\n"))
        return [line for line in stripped if line]

    @functools.cached_property
    def paragraphs(self) -> list[str]:
        """Parts of the text between blank lines, without white space at either end."""
        if "\n\n" not in self.text:
            return [self.text.strip()] if self.lines else []
        stripped = map(str.strip, self.text.split("\n\n"))
        return [paragraph for paragraph in stripped if paragraph]

    @functools.cached_property
    def n_written(self) -> int:
        """Characters that are not white space."""
        return len(self.text) - self._counts[Kind.space]

    @functools.cached_property
    def script(self) -> Script:
        """The script that most characters are written in."""
        han, kana, southeast = (self._counts[kind] for kind in (Kind.han, Kind.kana, Kind.southeast))
        unspaced = han + kana + southeast
        if 2 * unspaced < self.n_written or not unspaced:
            return Script.spaced
        if 2 * southeast > unspaced:
            return Script.southeast
        return Script.japanese if 10 * kana > unspaced else Script.chinese

    @functools.cached_property
    def n_words(self) -> float:
        """Words; in a script without spaces, as many as its characters make."""
        return self.n_written / self.script.value if self.script.value else float(len(self._edges[0]))

    @functools.cached_property
    def is_spelled(self) -> bool:
        """Whether words are spelled with letters, so that their length can be judged: syllables of Korean are more."""
        letters = sum(self._counts[Kind.letter :])
        return self.script is Script.spaced and 2 * self._counts[Kind.hangul] < letters

    @functools.cached_property
    def alphabetic(self) -> float:
        """The share of words that hold a letter.

        In a script without spaces: of characters, where a number is one. Punctuation is left out, since elsewhere there
        is no space before it either.
        """
        if self.script is Script.spaced:
            starts, _ = self._edges
            if not len(starts):
                return 0.0
            highest = np.maximum.reduceat(self._kinds, starts)
            return float(np.count_nonzero(highest >= Kind.letter)) / len(starts)
        letters = sum(self._counts[Kind.mark :])
        digits = self._kinds == Kind.digit
        n_numbers = int(np.count_nonzero(digits[1:] & ~digits[:-1])) + int(digits[0])
        return letters / max(1, letters + n_numbers + self._counts[Kind.other])

    @functools.cached_property
    def alphanumeric(self) -> float:
        """The share of letters and digits among all characters."""
        return sum(self._counts[Kind.digit :]) / max(1, len(self.text))

    @functools.cached_property
    def lowered(self) -> str:
        """The text in small letters."""
        if len(self.text) < _LONG:
            return self.text.lower()
        return "".join(line.lower() for line in self.text.splitlines(keepends=True))  # it takes 12 bytes a character

    @functools.cached_property
    def tokens(self) -> Tokens:
        """Words, or the written characters of a script without spaces."""
        if self.script is not Script.spaced:
            written = self._written(0, len(self.text)).astype(np.uint64)
            return Tokens(written, np.ones(len(written), np.int64))
        starts, ends = self._edges
        lengths, hashes = ends - starts, np.empty(len(starts), np.uint64)
        for first in range(0, len(starts), _WORDS_AT_ONCE):
            part = slice(first, min(first + _WORDS_AT_ONCE, len(starts)))
            hashes[part] = _hash_words(self._written(starts[first], ends[part.stop - 1]), lengths[part])
        return Tokens(hashes, lengths)

    def scaled(self, n_words: float) -> int:
        """So many words, as a number of tokens."""
        return max(1, round(n_words * (self.script.value or 1)))

    def _written(self, start: int, stop: int) -> NDArray[Any]:
        """The code points between two places that are not white space."""
        codes: NDArray[Any] = code_points(self.text[start:stop])[self._kinds[start:stop] != Kind.space]
        return codes

    @functools.cached_property
    def _kinds(self) -> NDArray[np.uint8]:
        return kinds_of(self.text)

    @functools.cached_property
    def _counts(self) -> list[int]:
        return count_kinds(self._kinds)

    @functools.cached_property
    def _edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each word starts and where it ends."""
        written = np.zeros(len(self._kinds) + 2, bool)
        np.not_equal(self._kinds, Kind.space, out=written[1:-1])
        edges = np.flatnonzero(written[1:] != written[:-1])
        return edges[::2], edges[1::2]


def hash_words(words: Sequence[str]) -> NDArray[np.uint64]:
    """The hash of each word, (n_words,): those that `Profile.tokens` gives."""
    return _hash_words(code_points("".join(words)), np.array([len(word) for word in words]))


def _hash_words(written: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Polynomials of each word's code points, modulo 2^64; written: the characters of all words."""
    powers, firsts = _powers(), lengths.cumsum() - lengths
    offsets = np.arange(len(written)) - firsts.repeat(lengths)
    hashes: NDArray[np.uint64] = np.add.reduceat(written * powers[offsets & (len(powers) - 1)], firsts)
    return hashes


@functools.cache
def _powers() -> NDArray[np.uint64]:
    return np.array([pow(_BASE, exponent, 1 << 64) for exponent in range(1024)], np.uint64)
