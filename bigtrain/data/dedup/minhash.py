"""MinHash signatures, banded: documents that share much of their text share a band, whatever else there is.

Broder 1997, "On the resemblance and containment of documents"; banding after Indyk and Motwani 1998; the hash of a row
is multiply-shift (Dietzfelbinger et al. 1997).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.dedup.words import PIECE, Hashes, constants, cut, mixed, word_hashes

_MOST = np.uint64(np.iinfo(np.uint64).max)
_SHINGLE, _SLOPE, _SHIFT, _ROW = range(1, 5)  # streams of constants


class MinHasher:
    """Bands of texts, a function of nothing but the text, `ngram`, `bands` and `rows`."""

    def __init__(self, config: DedupConfig) -> None:
        self.n_bands, self.n_rows = config.bands, config.rows
        n = config.bands * config.rows
        self._places = constants(config.ngram, _SHINGLE)
        self._slopes, self._shifts = constants(n, _SLOPE), mixed(constants(n, _SHIFT))
        self._rows = constants(config.rows, _ROW)

    def bands(self, texts: Sequence[str]) -> Hashes:
        """A hash of each band of each text: (texts, bands) uint64, none of them 0; all 0 for a text without words.

        Besides the result it takes a few MB of memory, whatever the length of a text.
        """
        return np.concatenate([np.empty((0, self.n_bands), np.uint64), *self.blocks(texts)])

    def blocks(self, texts: Sequence[str]) -> Iterator[Hashes]:
        """The same for a few texts after the other, in order."""
        return (self._one(batch[0]) if len(batch) == 1 else self._many(batch) for batch in _batches(texts))

    def _one(self, text: str) -> Hashes:
        """(1, bands) of a text of any length."""
        least = np.full((self.n_bands * self.n_rows, 1), _MOST, np.uint64)
        words = np.empty(0, np.uint64)
        for piece in cut(text):
            words = np.concatenate([words, word_hashes([piece])[0]])
            if len(words) >= len(self._places):
                shingles, _ = self._shingles(words, np.array([len(words)]))
                least = np.minimum(least, self._minima(shingles, np.zeros(1, np.int64)))
                words = words[len(words) - len(self._places) + 1 :]
        if least[0, 0] < _MOST:
            return self._banded(least)
        return self._from_shingles(*self._shingles(words, np.array([len(words)])))

    def _many(self, texts: Sequence[str]) -> Hashes:
        return self._from_shingles(*self._shingles(*word_hashes(texts)))

    def _shingles(self, words: Hashes, counts: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
        """32-bit hashes of the n-grams of each text, and how many each text has. A shorter text is one shingle."""
        n = len(self._places)
        short = (counts > 0) & (counts < n)
        if short.any():
            padding = np.where(short, n - counts, 0)
            places = np.arange(len(words)) + np.repeat(np.cumsum(padding) - padding, counts)
            counts = counts + padding
            padded = np.zeros(int(counts.sum()), np.uint64)
            padded[places] = words
            words = padded
        if not len(words):
            return words, counts
        sums = np.zeros(len(words) - n + 1, np.uint64)
        for place, constant in enumerate(self._places):
            sums += words[place : place + len(sums)] * constant
        inside = np.ones(len(words), np.bool_)
        ends = np.cumsum(counts)
        for back in range(1, n):  # an n-gram does not run on into the next text
            inside[ends[counts > 0] - back] = False
        return mixed(sums[inside[: len(sums)]]) >> np.uint64(32), np.maximum(counts - n + 1, 0)

    def _from_shingles(self, shingles: Hashes, counts: NDArray[np.int64]) -> Hashes:
        result = np.zeros((len(counts), self.n_bands), np.uint64)
        if len(shingles):
            some = counts > 0
            result[some] = self._banded(self._minima(shingles, np.cumsum(counts[some]) - counts[some]))
        return result

    def _minima(self, shingles: Hashes, starts: NDArray[np.int64]) -> Hashes:
        """(rows of all bands, texts): the least value of slope * shingle + shift modulo 2^64 in each text."""
        least = np.empty((len(self._slopes), len(starts)), np.uint64)
        values = np.empty_like(shingles)
        for slope, shift, row in zip(self._slopes, self._shifts, least, strict=True):
            np.multiply(shingles, slope, out=values)
            np.add(values, shift, out=values)
            np.minimum.reduceat(values, starts, out=row)
        return least

    def _banded(self, least: Hashes) -> Hashes:
        """(texts, bands) of the minima (rows of all bands, texts), of which the upper 32 bits are the hash."""
        rows = (least >> np.uint64(32)).reshape(self.n_bands, self.n_rows, -1)
        return np.maximum(mixed((rows * self._rows[:, None]).sum(1, dtype=np.uint64)), np.uint64(1)).T


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts in order that together, each counted with one character more, come to PIECE; or a single longer one."""
    start = size = 0
    for number, text in enumerate(texts):
        if number > start and size + len(text) + 1 > PIECE:
            yield texts[start:number]
            start, size = number, 0
        size += len(text) + 1
    if start < len(texts):
        yield texts[start:]
