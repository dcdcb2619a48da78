"""Rows of unequal length in batches of nearly equal ones, so that little of a batch is padding.

The order is a pure function of (seed, pass), as every order of training data: resuming, other processes and other
micro-batches see the same rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.loader import Batch, Rows, derive, permute

Ints = NDArray[np.int64]

# Batches sorted together: fewer mix the rows more and pad them more. Texts of very different lengths (log-normal, sigma
# 0.9) in batches of 32 were 11 % padding with 50, as transformers' group_by_length has it, and 3 % with 256.
_CHUNK_BATCHES = 256
_CANDIDATES = 512  # widths that are tried: the search is quadratic in them

# Of all batches. For every width that a CPU meets, oneDNN keeps the programs of its products and their scratch, and the
# blocks that were freed fit the next one badly: 5 MB each for one layer of width 384.
MOST_WIDTHS = 64


def bucketed_order(lengths: Ints, batch_rows: int, seed: int, epoch: int) -> Ints:
    """The rows of a pass, each once: (N,) lengths -> (N,) row numbers. Every global batch holds rows of like length.

    The rows are shuffled, cut into chunks of many batches, sorted by length within a chunk (equal ones stay shuffled),
    cut into batches, and these are shuffled. The shortest row of a batch comes first: so are its slices alike.

    A pass whose rows are no whole number of batches ends inside of one, which the next pass fills up. What both bring
    to it is taken at one place of the lengths, from the shortest to the longest, that depends on the seed and the pass.
    """
    n_rows, key = len(lengths), derive("buckets", seed, epoch)
    order = permute(np.arange(n_rows), n_rows, key)
    by_length = order[np.argsort(lengths[order], kind="stable")]
    n_head = min(n_rows, -epoch * n_rows % batch_rows)  # that fill up the last batch of the pass before
    head, by_length = _taken(by_length, n_head, derive("border", seed, epoch))
    tail, by_length = _taken(by_length, len(by_length) % batch_rows, derive("border", seed, epoch + 1))

    inside = np.zeros(n_rows, np.bool_)
    inside[by_length] = True
    order = order[inside[order]]
    n_batches = len(order) // batch_rows
    n_chunks = max(1, round(n_batches / _CHUNK_BATCHES))
    chunk = np.repeat(np.arange(n_batches) * n_chunks // max(1, n_batches), batch_rows)
    order = order[np.lexsort((lengths[order], chunk))]
    batches = order.reshape(n_batches, batch_rows)[permute(np.arange(n_batches), n_batches, derive(key, "batches"))]
    return np.concatenate([head, batches.ravel(), tail])


def _taken(by_length: Ints, n: int, key: int) -> tuple[Ints, Ints]:
    """n neighbours from the place that the key names, and the others."""
    start = (len(by_length) - n) * (key >> 43) >> 20  # of the 63 bits of a key, the upper 20
    return by_length[start : start + n], np.delete(by_length, slice(start, start + n))


def few_widths(lengths: Ints, n: int) -> Ints:
    """The n widths, ascending, that (N,) lengths are rounded up to with the fewest tokens in all; the last holds all.

    Found by dynamic programming over the lengths that occur; of rows above 512 tokens over multiples of 2, 3, ...
    """
    longest = int(lengths.max())
    step = -(-longest // _CANDIDATES)
    candidates, counts = np.unique(np.minimum(-(-lengths // step) * step, longest), return_counts=True)
    up_to = np.concatenate([[0], np.cumsum(counts)])  # rows that the first i candidates hold
    # Tokens of the rows that the first i candidates do not hold and the first j do, all as wide as the last of these.
    cost = np.concatenate([[0], candidates]) * (up_to - up_to[:, None]).astype(float)
    cost[np.tril_indices(len(cost))] = np.inf
    fewest = np.full(len(cost), np.inf)
    fewest[0] = 0.0
    steps = []
    for _ in range(min(n, len(candidates))):
        tokens = fewest[:, None] + cost
        steps.append(tokens.argmin(0))
        fewest = tokens.min(0)
    found, end = [], len(candidates)
    for best in reversed(steps):
        found.append(int(candidates[end - 1]))
        end = int(best[end])
    return np.array(found[::-1], np.int64)


class RaggedRows(Rows):
    """Base of rows of unequal length: their order, and their padding.

    lengths: (N,) tokens of each row, of its fullest line, in the first pass. batch_rows: those of the global batch.
    n_widths: of all batches, at most.
    """

    lines = 1  # of a row, each as long as the longest of its batch

    def __init__(self, lengths: Ints, batch_rows: int, n_widths: int = MOST_WIDTHS) -> None:
        self.lengths, self.batch_rows = np.asarray(lengths, np.int64), batch_rows
        self.widths = few_widths(self.lengths, n_widths)
        self._orders: dict[tuple[int, int], Ints] = {}

    @property
    def tokens_per_row(self) -> float:
        """Tokens of a row, on average, padding left out."""
        return float(self.lengths.mean())

    def __len__(self) -> int:
        return len(self.lengths)

    @abstractmethod
    def batch(self, index: np.ndarray, epoch: np.ndarray | None = None) -> Batch:
        """The rows `index` (N,) in their passes `epoch` (N,), or as evaluation has them."""

    def lengths_of(self, epoch: int) -> Ints:
        """Tokens of each row (N,) in a pass."""
        return self.lengths

    def order(self, position: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """One `bucketed_order` after the other, without end."""
        epoch, place = np.divmod(position, len(self))
        index = np.empty_like(place)
        for pass_ in np.unique(epoch):
            here = epoch == pass_
            index[here] = self._order(seed, int(pass_))[place[here]]
        return index, epoch

    def _order(self, seed: int, epoch: int) -> Ints:
        """That of a pass; those of the last two asked for are kept, since a batch may lie in two."""
        order = self._orders.get((seed, epoch))
        if order is None:
            # By what they are rounded up to: sorted further, rows would be mixed less and padded as much.
            widths = self.widths[np.searchsorted(self.widths, self.lengths_of(epoch))]
            order = bucketed_order(widths, self.batch_rows, seed, epoch)
            self._orders = dict([*self._orders.items()][-1:]) | {(seed, epoch): order}
        return order

    def width(self, lengths: Ints) -> int:
        """That of a batch of rows with (n,) tokens."""
        return int(self.widths[np.searchsorted(self.widths, lengths.max())])

    def padded(self, rows: Sequence[np.ndarray], fill: int) -> Ints:
        """Rows of any length as one array (n, T) int64, filled up on the right."""
        found = np.full((len(rows), self.width(np.array([len(row) for row in rows]))), fill, np.int64)
        for number, row in enumerate(rows):
            found[number, : len(row)] = row
        return found

    def padding(self, seed: int, rows_at_once: int) -> float:
        """Share of the tokens of the first pass that are padding, where so many rows are computed at once."""
        lengths = self.lengths[self._order(seed, 0)]
        starts = np.arange(0, len(lengths), rows_at_once)
        widths = self.widths[np.searchsorted(self.widths, np.maximum.reduceat(lengths, starts))]
        tokens = self.lines * (widths * np.diff(starts, append=len(lengths))).sum()
        return float(1 - len(self) * self.tokens_per_row / tokens)

    def batches(self, batch_rows: int) -> LikeLengths:
        """Every row once, for evaluation."""
        return LikeLengths(self, batch_rows)


class LikeLengths(Sequence[Batch]):
    """All rows in batches, rows of like length together: less padding, and sums do not depend on the order."""

    def __init__(self, rows: RaggedRows, batch_rows: int) -> None:
        self.rows, self.n_rows = rows, len(rows)
        order = np.argsort(rows.lengths, kind="stable")
        self.parts = [order[start : start + batch_rows] for start in range(0, len(order), batch_rows)]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> Batch:  # type: ignore[override]  # slices are not needed
        return self.rows.batch(self.parts[number])
