"""All ways to put all words together from pieces, as one array of edges, walked in a few numpy steps.

A node is a place between two symbols, an edge is a piece. The edges are ordered by how many symbols of the word lie
before their end: those of one such step meet only nodes that are finished, so that each step of the forward, backward
and Viterbi recursions is one operation on all words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Short = NDArray[np.int32]
Edges = tuple[Short, Short, Short]  # where each begins, where it ends, its piece

LONGEST_WORD = 32  # symbols
_SCALE = 3.0  # log of what a probability is multiplied with for each symbol: long words would come near zero


@dataclass(frozen=True)
class Lattice:
    """`of` makes one. Words keep their order; place n of the symbols is also the node before it."""

    n_nodes: int
    begins: Ints  # node at which each word begins
    ends: Ints  # and ends
    weights: Floats  # how often each word occurs
    start: Short
    end: Short
    piece: Short
    bounds: Ints  # edges bounds[n]:bounds[n + 1] end n + 1 symbols into their word

    @classmethod
    def of(cls, symbols: Ints, weights: Ints, edges: Edges) -> Lattice:
        """symbols, weights: (n,) words with -1 before, between and after them. edges: in any order."""
        n = len(symbols)
        word = symbols >= 0
        begins = np.flatnonzero(word[1:] & ~word[:-1]) + 1
        ends = np.flatnonzero(~word[1:] & word[:-1]) + 1
        start, end, piece = edges
        first = np.zeros(n + 1, np.int64)
        first[begins] = begins
        into = end - np.maximum.accumulate(first)[start]
        order = np.argsort((into * n + end) * (LONGEST_WORD + 1) + (end - start))
        bounds = np.concatenate(([0], np.cumsum(np.bincount(into, minlength=LONGEST_WORD + 1)[1:])))
        start, end, piece = start[order], end[order], piece[order]
        return cls(n, begins, ends, weights[begins].astype(np.float64), start, end, piece, bounds)

    def kept(self, alive: NDArray[np.bool_]) -> Lattice:
        """Without the pieces that are not alive."""
        kept = alive[self.piece]
        bounds = np.concatenate(([0], np.cumsum(kept)))[self.bounds]
        start, end, piece = self.start[kept], self.end[kept], self.piece[kept]
        return replace(self, start=start, end=end, piece=piece, bounds=bounds)

    def expected(self, scores: Floats) -> Floats:
        """How often each piece is expected in all words together. scores: log probability of each piece."""
        odds: Floats = np.exp(scores[self.piece] + _SCALE * (self.end - self.start))
        forward, backward = np.zeros(self.n_nodes), np.zeros(self.n_nodes)
        forward[self.begins] = 1
        for a, b in self._steps():
            first = _firsts(self.end[a:b])
            forward[self.end[a:b][first]] = np.add.reduceat(forward[self.start[a:b]] * odds[a:b], first)
        backward[self.ends] = self.weights / forward[self.ends]
        for a, b in reversed(self._steps()):
            backward[self.start[a:b]] += odds[a:b] * backward[self.end[a:b]]  # one edge of a word from each node
        expected = forward[self.start] * odds * backward[self.end]
        return np.bincount(self.piece, expected, len(scores)).astype(np.float64)

    def best_paths(self, scores: Floats, *, whole: bool = True) -> Iterator[tuple[Ints, Ints]]:
        """The likeliest pieces of each word, from its end on: the words that have one more, and which it is.

        whole: whether a piece may be all of a word.
        """
        value = np.full(self.n_nodes, -np.inf)
        value[self.begins] = 0
        by = np.zeros(self.n_nodes, np.int64)
        at_begin, at_end = np.zeros((2, self.n_nodes), np.bool_)
        at_begin[self.begins], at_end[self.ends] = True, True
        for a, b in self._steps():
            start, end = self.start[a:b], self.end[a:b]
            values = value[start] + scores[self.piece[a:b]]
            if not whole:
                values[at_begin[start] & at_end[end]] = -np.inf
            first = _firsts(end)
            best = np.maximum.reduceat(values, first)
            value[end[first]] = best
            hit = np.flatnonzero(values == np.repeat(best, np.diff(first, append=b - a)))
            by[end[hit]] = a + hit  # of several the last, which is the longest
        words = np.flatnonzero(np.isfinite(value[self.ends]))
        nodes = self.ends[words]
        while len(words):
            edge = by[nodes]
            yield words, self.piece[edge].astype(np.int64)
            nodes = self.start[edge].astype(np.int64)
            more = ~at_begin[nodes]
            words, nodes = words[more], nodes[more]

    def _steps(self) -> list[tuple[int, int]]:
        bounds = self.bounds.tolist()
        return [(a, b) for a, b in itertools.pairwise(bounds) if b > a]


def _firsts(groups: Short) -> Ints:
    """Where each run of equal numbers begins."""
    fresh = np.ones(len(groups), np.bool_)
    np.not_equal(groups[1:], groups[:-1], out=fresh[1:])
    return np.flatnonzero(fresh)
