"""Validation rows that stand in the training rows as well: metrics on them say little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bigtrain.data.dedup.exact import document_hash
from bigtrain.data.dedup.minhash import MinHasher
from bigtrain.data.dedup.schema import DedupConfig


class Leaks(NamedTuple):
    """How many validation rows are training rows, word for word or nearly; an example is (validation, training)."""

    exact: int
    near: int
    example: tuple[int, int] | None

    def __bool__(self) -> bool:
        return self.exact + self.near > 0


def find_leaks(training: Sequence[str], validation: Sequence[str]) -> Leaks:
    """Compares texts as deduplication does: white space aside, then by MinHash (see `DedupConfig`)."""
    first = {document_hash(text).tobytes(): row for row, text in reversed([*enumerate(training)])}
    exact = [
        (row, first[key]) for row, text in enumerate(validation) if (key := document_hash(text).tobytes()) in first
    ]
    same = {row for row, _ in exact}
    others = [row for row in range(len(validation)) if row not in same]
    hasher = MinHasher(DedupConfig())
    theirs, ours = hasher.bands(training), hasher.bands([validation[row] for row in others])
    where = np.full(len(others), -1)  # the first training row that shares a band
    for band in range(hasher.n_bands):
        keys, rows = np.unique(theirs[:, band], return_index=True)
        place = np.minimum(np.searchsorted(keys, ours[:, band]), len(keys) - 1)
        hit = (keys[place] == ours[:, band]) & (ours[:, band] > 0)
        where = np.where(hit & (where < 0), rows[place], where)
    near = [(others[place], int(row)) for place, row in enumerate(where) if row >= 0]
    return Leaks(len(exact), len(near), next(iter([*exact, *near]), None))
