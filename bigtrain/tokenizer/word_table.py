"""The words of a text as numbers: a hash table in numpy, so that a word seen before costs no step in Python."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_SLOTS_BITS = 18
_KEY_BYTES = 16  # of a word; a longer one is looked up in a dict
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
_FIRST = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # keeps the first n bytes of eight


class WordTable:
    """Numbers words in the order in which they are first seen.

    words: UTF-8 of each. The slots are a cache before `_numbers`, which knows all: a word takes the slot of another
    that hashes alike.
    """

    def __init__(self, words: Iterable[bytes] = ()) -> None:
        self.words = list(words)
        self._numbers = {word: number for number, word in enumerate(self.words)}
        self._low, self._high = (np.zeros(1 << _SLOTS_BITS, np.uint64) for _ in range(2))
        self._length = np.zeros(1 << _SLOTS_BITS, np.int64)  # 0: nothing there
        self._number = np.zeros(1 << _SLOTS_BITS, np.int64)

    def numbers(self, raw: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each word (n,): raw[starts[i]:ends[i]], none of them empty."""
        length = ends - starts
        low, high = _keys(raw, starts, np.minimum(length, _KEY_BYTES))
        slot = _slots(low, high, length)
        found = self._number[slot]
        known = (self._low[slot] == low) & (self._high[slot] == high) & (self._length[slot] == length)
        missing = np.flatnonzero(~known | (length > _KEY_BYTES))
        if len(missing):
            looked_up = self._look_up(raw, starts[missing].tolist(), ends[missing].tolist())
            found[missing] = looked_up
            short = length[missing] <= _KEY_BYTES
            missing = missing[short]
            into = slot[missing]  # of several words for one slot numpy keeps the last, in each of these arrays
            self._low[into], self._high[into], self._length[into] = low[missing], high[missing], length[missing]
            self._number[into] = looked_up[short]
        return found

    def _look_up(self, raw: bytes, starts: list[int], ends: list[int]) -> NDArray[np.int64]:
        numbers, words = self._numbers, self.words
        found = []
        for start, end in zip(starts, ends, strict=True):
            word = raw[start:end]
            number = numbers.get(word)
            if number is None:
                number = numbers[word] = len(words)
                words.append(word)
            found.append(number)
        return np.array(found, np.int64)


def byte_offsets(raw: bytes, text: str, characters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where characters of a text begin in its UTF-8. characters: indices, `len(text)` among them allowed."""
    if len(raw) == len(text):
        return characters
    leads = np.flatnonzero((np.frombuffer(raw, np.uint8) & 0xC0) != 0x80)
    return np.append(leads, len(raw))[characters]


def _keys(
    raw: bytes, starts: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The first sixteen bytes of each word as two numbers, zeros after its end."""
    whole = np.frombuffer(raw + b"\0" * (_KEY_BYTES + 16 - len(raw) % 8), "<u8")
    at, shift = starts >> 3, ((starts & 7) << 3).astype(np.uint64)
    words = [whole[at], whole[at + 1], whole[at + 2]]
    # A shift by 64 is undefined: in two steps it is not.
    back = np.uint64(63) - shift
    low, high = ((words[n] >> shift) | ((words[n + 1] << back) << np.uint64(1)) for n in range(2))
    return low & _FIRST[np.minimum(length, 8)], high & _FIRST[np.maximum(length - 8, 0)]


def _slots(low: NDArray[np.uint64], high: NDArray[np.uint64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    mixed = (low * _MULTIPLIERS[0]) ^ ((high + length.astype(np.uint64)) * _MULTIPLIERS[1])
    mixed ^= mixed >> np.uint64(32)
    return ((mixed * _MULTIPLIERS[0]) >> np.uint64(64 - _SLOTS_BITS)).astype(np.int64)
