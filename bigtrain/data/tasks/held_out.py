"""Rows held out for validation where no file of them is given."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.exact import document_hash


def held_out(texts: Sequence[str], labels: Sequence[Hashable], fraction: float) -> NDArray[np.bool_]:
    """Which rows are validation rows, (N,): about `fraction` of those of each label.

    The hash of a row's text decides, as it does for documents: rows that are added move no other, and equal texts are
    on one side. Two exceptions: of a label with 1 / fraction rows or more one is held out at least, and one is left
    at least to learn from; that is the row with the lowest hash, or the highest.
    """
    hashes = np.array([int(document_hash(text)[0]) for text in texts], np.uint64)
    held: NDArray[np.bool_] = (
        hashes < np.uint64(math.ceil(fraction * 2**64)) if fraction else np.zeros(len(texts), bool)
    )
    number = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    kinds = np.array([number[label] for label in labels])
    order = np.argsort(kinds, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1):
        own = hashes[rows]
        if held[rows].all():
            held[rows[own == own.max()]] = False
        elif not held[rows].any() and len(rows) * fraction >= 1 and own.min() < own.max():
            held[rows[own == own.min()]] = True
    return held
