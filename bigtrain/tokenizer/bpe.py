"""Byte-pair encoding learned from counted words: the merges of `tokenizers`' trainer, several times as fast.

Sennrich et al. 2016 (arXiv 1508.07909): join the most frequent pair of neighbours, again and again. All words lie in
one array of symbols, and a merge changes all places of its pair in a few numpy steps. Counts of a pair only fall after
it has come into being, so a heap holds upper bounds, and a pair is counted again when it comes to the top. Pairs too
rare to be joined soon are left out until a later round counts everything anew.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_EDGE, _DEAD = -1, -2  # stands between words; was joined into the symbol before it
_FIRST_ROUND = 1000  # merges, about; each later round is of as many as there are already
_LOW = (1 << 32) - 1


def learn(
    names: list[str], symbols: Ints, weights: Ints, n_merges: int, *, continuing: str = "", min_frequency: int = 2
) -> list[tuple[int, int]]:
    """The merges, as pairs of symbols, and to `names` what each makes: symbol len(names) and so on.

    names: text of the symbols at the start. symbols, weights: (n,) the words one after the other, with -1 before,
    between and after them, and how often each word occurs. continuing: the mark of a symbol inside a word (WordPiece's
    ##), left out where it comes to stand inside a name. Of equally frequent pairs the lower numbers go first. Pairs
    rarer than min_frequency are not joined. No name is made twice: what merges make of a stretch of text depends on
    nothing around it unless one of them crosses its border.
    """
    chain = _Chain(symbols, weights)
    merges: list[tuple[int, int]] = []
    threshold = min_frequency + 1
    while len(merges) < n_merges and threshold > min_frequency:
        threshold = chain.begin_round(max(_FIRST_ROUND, len(merges)), min_frequency)
        while len(merges) < n_merges and (pair := chain.most_frequent(threshold)):
            chain.join(pair, len(names), threshold)
            merges.append(pair)
            names.append(names[pair[0]] + names[pair[1]].removeprefix(continuing))
    return merges


class _Chain:
    """Symbols linked to their neighbours, and the places where each frequent pair may stand."""

    def __init__(self, symbols: Ints, weights: Ints) -> None:
        self.symbols, self.weights = symbols.astype(np.int32), weights
        self.next = self.previous = np.zeros(0, np.int32)
        self.heap: list[tuple[int, int]] = []  # (minus an upper bound of the count, key of the pair)
        self.places: dict[int, NDArray[np.int32]] = {}  # by key: where the left one stands, perhaps no longer

    def begin_round(self, n_pairs: int, min_frequency: int) -> int:
        """Count all pairs and keep the n_pairs most frequent. Returns the count from which on pairs are kept."""
        self._forget_the_dead()
        n = len(self.symbols)
        self.next, self.previous = np.arange(1, n + 1, dtype=np.int32), np.arange(-1, n - 1, dtype=np.int32)
        at = np.flatnonzero((self.symbols[:-1] >= 0) & (self.symbols[1:] >= 0)).astype(np.int32)
        at = at[_order(self.symbols[at + 1])]
        at = at[_order(self.symbols[at])]
        keys = _keys(self.symbols[at], self.symbols[at + 1])
        weights = self.weights[at]
        _, counts = _groups(keys, weights)
        threshold = min_frequency
        if n_pairs < len(counts):
            threshold = max(threshold, int(np.partition(counts, -n_pairs)[-n_pairs]))
        self.heap, self.places = [], {}
        self._offer(keys, at, weights, threshold)
        return threshold

    def most_frequent(self, threshold: int) -> tuple[int, int] | None:
        """The pair to be joined, its places cleaned of those that are gone; None when all left are too rare."""
        heap = self.heap
        while heap:
            bound, key = heap[0]
            left, right = key >> 32, key & _LOW
            at = self.places[key]
            at = at[(self.symbols[at] == left) & (self.symbols[self.next[at]] == right)]
            count = int(self.weights[at].sum())
            self.places[key] = at
            if count == -bound:
                return left, right
            if count >= threshold:
                heapq.heapreplace(heap, (-count, key))
            else:
                heapq.heappop(heap)
                del self.places[key]
        return None

    def join(self, pair: tuple[int, int], new: int, threshold: int) -> None:
        """Put `new` in the places of the pair at the top."""
        _, key = heapq.heappop(self.heap)
        at = self.places.pop(key)
        if pair[0] == pair[1]:
            at = self._every_second(at)
        symbols, following = self.symbols, self.next
        second = following[at]
        after = following[second]
        symbols[at], symbols[second] = new, _DEAD
        following[at] = after
        self.previous[after] = at
        before = self.previous[at]
        weights = self.weights[at]
        neighbours = symbols[before]
        inside = np.flatnonzero(neighbours >= 0)
        order = inside[_order(neighbours[inside])]
        self._offer(_keys(neighbours[order], new), before[order], weights[order], threshold)
        neighbours = symbols[after]
        inside = np.flatnonzero((neighbours >= 0) & (neighbours != new))  # two new ones: counted above
        order = inside[_order(neighbours[inside])]
        self._offer(_keys(new, neighbours[order]), at[order], weights[order], threshold)

    def _every_second(self, at: NDArray[np.int32]) -> NDArray[np.int32]:
        """Of overlapping places, as in a run of one symbol, those that a reader from the left comes to."""
        at = np.sort(at)
        fresh = np.ones(len(at), np.bool_)
        fresh[1:] = at[1:] != self.next[at[:-1]]
        run = np.flatnonzero(fresh)
        in_run = np.arange(len(at)) - np.repeat(run, np.diff(run, append=len(at)))
        every_second: NDArray[np.int32] = at[in_run % 2 == 0]
        return every_second

    def _offer(self, keys: Ints, at: NDArray[np.int32], weights: Ints, threshold: int) -> None:
        """Put pairs that are frequent enough on the heap. keys: sorted."""
        first, counts = _groups(keys, weights)
        kept = np.flatnonzero(counts >= threshold)
        if not len(kept):
            return
        start, end = first[kept], np.concatenate((first[1:], [len(keys)]))[kept]
        found = zip(keys[start].tolist(), counts[kept].tolist(), start.tolist(), end.tolist(), strict=True)
        for key, count, a, b in found:
            self.places[key] = at[a:b]
            heapq.heappush(self.heap, (-count, key))

    def _forget_the_dead(self) -> None:
        """Close the gaps, and drop words of one symbol with the edge after them."""
        live = self.symbols != _DEAD
        symbols, weights = self.symbols[live], self.weights[live]
        edge = symbols == _EDGE
        alone = np.zeros(len(symbols), np.bool_)
        alone[1:-1] = edge[:-2] & ~edge[1:-1] & edge[2:]
        alone[1:] |= alone[:-1]
        self.symbols, self.weights = symbols[~alone], weights[~alone]


def _keys(left: NDArray[np.int32] | int, right: NDArray[np.int32] | int) -> Ints:
    """One number for each pair, in the order of pairs."""
    return (np.asarray(left, np.int64) << 32) | np.asarray(right, np.int64)


def _order(symbols: NDArray[np.int32]) -> Ints:
    """Stable, by symbol. numpy sorts numbers of 16 bits by their digits, several times as fast as others."""
    if len(symbols) and symbols.max() >= 1 << 16:
        return np.argsort(symbols, kind="stable")
    return np.argsort(symbols.astype(np.uint16), kind="stable")


def _groups(keys: Ints, weights: Ints) -> tuple[Ints, Ints]:
    """Where each group of equal keys begins, and its weight."""
    if not len(keys):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    fresh = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=fresh[1:])
    first = np.flatnonzero(fresh)
    return first, np.add.reduceat(weights, first)
