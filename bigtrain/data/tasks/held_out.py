"""Rows held out for validation where no file of them is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.exact import document_hash


def held_out(texts: Sequence[str], labels: Sequence[Sequence[str]], fraction: float) -> NDArray[np.bool_]:
    """Which rows are validation rows, (N,): `fraction` of the texts of each label, rounded; those with the least hash.

    labels: those of each row, none or any number; a row with several counts as one of its rarest. So neither the order
    of the rows nor other labels matter, rows that are added move few others, and equal texts are on one side. Of a
    label with two texts or more one is held out at least, and one is left at least to learn from.
    """
    counts = Counter(label for row in labels for label in row)
    rarest = [min(((counts[label], label) for label in row), default=(0, "")) for row in labels]
    hashes = np.array([int(document_hash(text)[0]) for text in texts], np.uint64)
    found, text_of = np.unique(hashes, return_inverse=True)
    kinds: dict[int, tuple[int, str]] = {}  # of the texts, which are numbered by their hash
    for text, kind in zip(text_of.tolist(), rarest, strict=True):
        kinds[text] = min(kinds.get(text, kind), kind)
    by_kind: dict[tuple[int, str], list[int]] = {}
    for text in sorted(kinds):
        by_kind.setdefault(kinds[text], []).append(text)
    held = np.zeros(len(found), np.bool_)
    for alike in by_kind.values() if fraction else ():
        held[alike[: min(max(1, round(fraction * len(alike))), len(alike) - 1)]] = True
    return held[text_of]
