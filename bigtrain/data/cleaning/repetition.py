"""How much of a document repeats itself: lines, paragraphs and n-grams (Rae et al. 2021, appendix A1.1).

A repeat is an occurrence after the first. The characters of n-grams are counted without white space, and those that lie
in several repeated n-grams are counted once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.cleaning.profile import Tokens

_BASE = 0xD6E8FEB86659FD93  # odd; not the one that words are hashed with


def duplicate_shares(parts: Sequence[str]) -> tuple[float, float]:
    """The share of `parts` that equal an earlier one, and the same by characters."""
    if len(set(parts)) == len(parts):
        return 0.0, 0.0
    seen: set[str] = set()
    n_repeats = n_characters = 0
    for part in parts:
        if part in seen:
            n_repeats += 1
            n_characters += len(part)
        seen.add(part)
    return n_repeats / len(parts), n_characters / max(1, sum(map(len, parts)))


def top_ngram(tokens: Tokens, n: int) -> tuple[float, int]:
    """The share of characters in the most frequent n-gram, the longest among equals, and how often it occurs.

    No share where nothing occurs twice.
    """
    if len(tokens.hashes) <= n:
        return 0.0, 1
    hashes = ngram_hashes(tokens.hashes, n)
    order = hashes.argsort()
    ends = np.append(_changes(hashes[order]).nonzero()[0], len(order) - 1)  # of runs of equals
    counts = ends.copy()
    counts[0] += 1
    counts[1:] -= ends[:-1]
    most = int(counts.max())
    if most == 1:
        return 0.0, 1
    longest = int(_ngram_lengths(tokens, n)[order[ends[counts == most]]].max())
    return most * longest / int(tokens.lengths.sum()), most


def duplicate_ngrams(tokens: Tokens, n: int) -> float:
    """The share of characters in n-grams that equal an earlier one. It never grows with n."""
    if len(tokens.hashes) <= n:
        return 0.0
    hashes = ngram_hashes(tokens.hashes, n)
    if _changes(np.sort(hashes)).all():
        return 0.0
    order = hashes.argsort(kind="stable")
    repeats = order[1:][~_changes(hashes[order])]
    depth = np.zeros(len(tokens.hashes) + 1, np.int64)
    depth[repeats] += 1
    depth[repeats + n] -= 1
    covered = depth[:-1].cumsum() > 0
    return int(tokens.lengths[covered].sum()) / int(tokens.lengths.sum())


def ngram_hashes(hashes: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """(n_tokens - n + 1,): a hash of every n tokens in a row, put together from powers of two of them."""
    result: NDArray[np.uint64] | None = None
    block, width, taken = hashes, 1, 0
    while True:
        if n & width:
            result = block if result is None else _joined(result, taken, block, width)
            taken += width
        if taken == n:
            assert result is not None
            return result
        block, width = _joined(block, width, block, width), 2 * width


def longest_ngram(tokens: Tokens, n: int) -> int:
    """Characters of the longest n-gram."""
    return int(_ngram_lengths(tokens, n).max(initial=0))


def _ngram_lengths(tokens: Tokens, n: int) -> NDArray[np.int64]:
    """Characters of every n tokens in a row, (n_tokens - n + 1,)."""
    ends = tokens.lengths.cumsum()
    lengths = ends[n - 1 :].copy()
    lengths[1:] -= ends[:-n]
    return lengths


def _joined(left: NDArray[np.uint64], n_left: int, right: NDArray[np.uint64], n_right: int) -> NDArray[np.uint64]:
    """Hashes of n_left + n_right tokens in a row."""
    n = min(len(left), len(right) - n_left)
    return left[:n] * np.uint64(pow(_BASE, n_right, 1 << 64)) + right[n_left : n_left + n]


def _changes(ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Where an element differs from the one before it, (n - 1,)."""
    changes: NDArray[np.bool_] = ordered[1:] != ordered[:-1]
    return changes
