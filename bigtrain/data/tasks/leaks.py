"""Validation rows that stand in the training rows as well: metrics on them say little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.exact import document_hash
from bigtrain.data.dedup.minhash import MinHasher
from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.dedup.words import word_hashes

Pair = tuple[int, int]  # validation row, training row

# A changed word takes five shingles of five words with it: of 20 words too many. Shorter texts are looked for by pairs
# of words, which unrelated ones share as well, so that what is found is compared word by word.
_SHORT = 400  # characters
_OF_SHORT = DedupConfig(ngram=2, bands=24, rows=4)  # 0.94 of those with one of ten words changed
_ALIKE = 0.85  # share of the words of both that stand in the other one too, in the same order


class Leaks(NamedTuple):
    """Validation rows that are training rows, word for word or nearly, each with the first such row."""

    exact: list[Pair]
    near: list[Pair]

    def __bool__(self) -> bool:
        return bool(self.exact or self.near)


def find_leaks(training: Sequence[str], validation: Sequence[str]) -> Leaks:
    """Compares texts as deduplication does: white space aside, then by MinHash (see `DedupConfig`).

    Texts of up to 400 characters are also near where 85 % of their words are the same, in the same order; a word is a
    character in scripts without spaces.
    """
    first = {document_hash(text).tobytes(): row for row, text in reversed([*enumerate(training)])}
    keys = [document_hash(text).tobytes() for text in validation]
    exact = {row: first[key] for row, key in enumerate(keys) if key in first}
    others = [row for row in range(len(validation)) if row not in exact]
    near: dict[int, int] = {}
    for row, candidate in _sharing(DedupConfig(), training, validation, others, range(len(training))):
        near.setdefault(row, candidate)
    ours = [row for row in others if row not in near and len(validation[row]) <= _SHORT]
    theirs = [row for row, text in enumerate(training) if len(text) <= _SHORT]
    for row, candidate in sorted(set(_sharing(_OF_SHORT, training, validation, ours, theirs))):
        if row not in near and _alike(validation[row], training[candidate]):
            near[row] = candidate
    return Leaks(sorted(exact.items()), sorted(near.items()))


def _sharing(
    config: DedupConfig, training: Sequence[str], validation: Sequence[str], ours: Sequence[int], theirs: Sequence[int]
) -> Iterator[Pair]:
    """Of these validation rows each that shares a band, with the first of these training rows that does."""
    hasher = MinHasher(config)
    left: NDArray[np.uint64] = hasher.bands([validation[row] for row in ours])
    right: NDArray[np.uint64] = hasher.bands([training[row] for row in theirs])
    for band in range(hasher.n_bands if len(right) else 0):
        keys, first = np.unique(right[:, band], return_index=True)
        place = np.minimum(np.searchsorted(keys, left[:, band]), len(keys) - 1)
        for row in np.flatnonzero((keys[place] == left[:, band]) & (left[:, band] > 0)).tolist():
            yield ours[row], theirs[int(first[place[row]])]


def _alike(one: str, other: str) -> bool:
    words: list[list[int]] = [word_hashes([text])[0].tolist() for text in (one, other)]
    return SequenceMatcher(None, words[0], words[1], autojunk=False).ratio() >= _ALIKE
