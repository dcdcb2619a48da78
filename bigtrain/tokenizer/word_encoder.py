"""From text to ids by way of whole words: each is encoded once, and a table knows it from then on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain.tokenizer.splitting import END, batches, code_points, gpt2_starts
from bigtrain.tokenizer.word_table import WordTable, byte_offsets

Ids = NDArray[np.uint32]

_MOST_WORDS = 1 << 19  # remembered; then all are forgotten
_LONG = 1 << 21  # characters of a text that is encoded in parts


class WordEncoder:
    """For a tokenizer that cuts text into the words of GPT-2's pattern and encodes each by itself.

    encode_word: ids of one word. It is called once for each distinct word, so it may be slow. Threads take turns.
    """

    def __init__(self, encode_word: Callable[[str], Sequence[int]]) -> None:
        self.encode_word = encode_word
        self._turn = threading.Lock()
        self._forget()

    def __call__(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text."""
        with self._turn:
            return self._encode_all(texts)

    def _encode_all(self, texts: Sequence[str]) -> list[Ids]:
        found: list[Ids] = []
        batch, size = list[str](), 0
        for text in texts:
            if len(text) > _LONG:
                found += self._encode(batch)
                batch, size = [], 0
                found.append(np.concatenate([ids for parts in batches([text]) for ids in self._encode(parts)]))
                continue
            batch.append(text)
            size += len(text) + 1
            if size > 1 << 18:  # few enough that the arrays stay in the processor's cache
                found += self._encode(batch)
                batch, size = [], 0
        return found + self._encode(batch)

    def _forget(self) -> None:
        self.table = WordTable()
        self._first, self._n = np.zeros(1 << 12, np.int64), np.zeros(1 << 12, np.int64)  # of each word in the pool
        self._pool, self._n_pool = np.zeros(1 << 14, np.uint32), 0

    def _encode(self, texts: list[str]) -> list[Ids]:
        if not texts:
            return []
        if len(self.table.words) > _MOST_WORDS:
            self._forget()
        joined = END.join([*texts, ""])
        raw = joined.encode("utf-8")
        ends = np.cumsum([len(text) + 1 for text in texts]) - 1
        starts = gpt2_starts(code_points(joined), ends)
        offsets = byte_offsets(raw, joined, np.concatenate((starts, [len(joined)])))
        n_known = len(self.table.words)
        numbers = self.table.numbers(raw, offsets[:-1], offsets[1:])
        self._learn(n_known)
        end_words = np.searchsorted(starts, ends)
        n, first = self._n[numbers], self._first[numbers]
        n[end_words] = 0
        before = np.cumsum(n) - n
        where = np.repeat(first - before, n)
        where += np.arange(len(where))
        return np.split(self._pool[where], before[end_words[:-1]])

    def _learn(self, n_known: int) -> None:
        """Encode the words that the table has now and had not before."""
        ids = [self.encode_word(word.decode("utf-8")) for word in self.table.words[n_known:]]
        n = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = [id_ for word in ids for id_ in word]
        self._pool = _with_room(self._pool, self._n_pool + len(flat))
        self._pool[self._n_pool : self._n_pool + len(flat)] = flat
        total = len(self.table.words)
        self._first, self._n = _with_room(self._first, total), _with_room(self._n, total)
        self._first[n_known:total] = self._n_pool + np.cumsum(n) - n
        self._n[n_known:total] = n
        self._n_pool += len(flat)


def _with_room(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array, or a copy of twice the length until `size` fits."""
    if size <= len(array):
        return array
    grown = np.zeros(max(size, 2 * len(array)), array.dtype)
    grown[: len(array)] = array
    return grown
