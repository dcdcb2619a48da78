"""How often each word of the training text occurs, and the words as arrays of symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigtrain.tokenizer.splitting import END, batches, bert_words, code_points, gpt2_starts
from bigtrain.tokenizer.word_table import WordTable, byte_offsets

Ints = NDArray[np.int64]

_MOST_WORDS = 1 << 19  # beyond, rare words are forgotten: learning from so many takes some 500 MB


@dataclass(frozen=True)
class WordCounts:
    """Distinct words in UTF-8 and how often each occurs."""

    words: list[bytes]
    counts: Ints

    def most_frequent(self, n: int) -> WordCounts:
        """The n most frequent words; of equally frequent ones those that were seen first."""
        if n >= len(self.words):
            return self
        kept = np.sort(np.argsort(-self.counts, kind="stable")[:n])
        return WordCounts([self.words[number] for number in kept.tolist()], self.counts[kept])

    def in_bytes(self) -> tuple[Ints, Ints]:
        """Symbols and weights as `bpe.learn` takes them; a symbol is a byte."""
        lengths = np.fromiter(map(len, self.words), np.int64, len(self.words))
        return _lay_out(np.frombuffer(b"".join(self.words), np.uint8), lengths, self.counts)

    def in_characters(self) -> tuple[Ints, Ints]:
        """The same; a symbol is a code point."""
        words = [word.decode("utf-8") for word in self.words]
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        return _lay_out(np.frombuffer("".join(words).encode("utf-32-le"), np.uint32), lengths, self.counts)


def count_gpt2_words(texts: Iterable[str]) -> WordCounts:
    """The words that GPT-2's pre-tokenizer cuts texts into."""

    def split() -> Iterator[tuple[bytes, Ints, Ints]]:
        for batch in batches(texts):
            joined = END.join([*batch, ""])
            raw = joined.encode("utf-8")
            ends = np.cumsum([len(text) + 1 for text in batch]) - 1
            starts = gpt2_starts(code_points(joined), ends)
            offsets = byte_offsets(raw, joined, np.concatenate((starts, [len(joined)])))
            of_text = np.ones(len(starts), np.bool_)
            of_text[np.searchsorted(starts, ends)] = False
            yield raw, offsets[:-1][of_text], offsets[1:][of_text]

    return _count(split())


def count_bert_words(texts: Iterable[str], normalize: Callable[[str], str]) -> WordCounts:
    """The words that BERT's pre-tokenizer cuts texts into, once they are normalized."""

    def split() -> Iterator[tuple[bytes, Ints, Ints]]:
        for batch in batches(texts):
            joined = normalize("\n".join(batch))
            raw = joined.encode("utf-8")
            starts, ends = bert_words(code_points(joined))
            yield raw, byte_offsets(raw, joined, starts), byte_offsets(raw, joined, ends)

    return _count(split())


def frequent(symbols: Ints, weights: Ints, share: float, most: int) -> Ints:
    """The most frequent symbols that make up `share` of the text, `most` at most: (n,), ascending.

    Of equally frequent ones the lower go first.
    """
    kinds, inverse = np.unique(symbols[symbols >= 0], return_inverse=True)
    counts = np.bincount(inverse, weights[symbols >= 0], len(kinds))
    order = np.argsort(-counts, kind="stable")
    needed = int(np.searchsorted(np.cumsum(counts[order]), share * counts.sum())) + 1
    return np.sort(kinds[order[: min(needed, most)]])


def _count(split: Iterator[tuple[bytes, Ints, Ints]]) -> WordCounts:
    """Add up batches: text in UTF-8, where its words begin, and where they end.

    Memory is bounded: where there are too many different words, the rarest are forgotten, those that occurred once
    first. The same texts in the same order give the same counts.
    """
    table, counts, floor = WordTable(), np.zeros(0, np.int64), 1
    for raw, starts, ends in split:
        numbers = table.numbers(raw, starts, ends)
        fresh = np.bincount(numbers, minlength=len(table.words))
        fresh[: len(counts)] += counts
        counts = fresh
        while len(table.words) > _MOST_WORDS:
            kept = np.flatnonzero(counts > floor)
            table = WordTable(table.words[number] for number in kept.tolist())
            counts, floor = counts[kept], floor + 1
    return WordCounts(table.words, counts)


def _lay_out(flat: NDArray[np.uint8] | NDArray[np.uint32], lengths: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Words one after the other, with -1 before, between and after them."""
    places = np.arange(len(flat)) + np.repeat(np.arange(len(lengths)), lengths) + 1
    symbols, weights = np.full(len(flat) + len(lengths) + 1, -1), np.zeros(len(flat) + len(lengths) + 1, np.int64)
    symbols[places], weights[places] = flat, np.repeat(counts, lengths)
    return symbols, weights
