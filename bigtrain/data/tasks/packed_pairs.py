"""Pairs of conversations packed into rows: every conversation alone in its own document, both of a pair in one row.

A row is two lines of `seq_len` tokens, so that a pair of the longest conversations has a place. Which pairs share a row
is planned once; the order of the rows is drawn anew for each pass. As with `PackedRows`, rows that are about as full
share a batch, which is as wide as the fullest of their lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bigtrain.data.loader import IGNORED, Batch
from bigtrain.data.tasks.packed import N_WIDTHS, Scored
from bigtrain.data.tasks.ragged import Ints, LikeLengths, RaggedRows

LINES = 2  # of a row
_TOGETHER = 8192  # pairs that are packed together: the time grows with their square

Place = tuple[int, int]  # line, and where on it


class ScoredPair(NamedTuple):
    """The conversations with the better and the worse answer; learned are the last answers alone."""

    chosen: Scored
    rejected: Scored


class FittedPairs(NamedTuple):
    """Pairs that fit, where they stood among all, how many of them were cut, and how many were left out."""

    pairs: list[ScoredPair]
    places: list[int]
    n_cut: int
    n_dropped: int


class Placed(NamedTuple):
    """A pair in its row, and where its two conversations begin."""

    pair: int
    places: tuple[Place, Place]


def fitted_pairs(chosen: Iterable[Scored], rejected: Iterable[Scored], seq_len: int) -> FittedPairs:
    """Pairs of which both answers begin, and differ, within `seq_len` tokens; of longer ones the end is cut off."""
    found, places, n_cut, n_all = [], [], 0, 0
    for n_all, both in enumerate(zip(chosen, rejected, strict=True), 1):
        cut = [Scored(ids[: seq_len + 1], _last(scored)[: seq_len + 1]) for ids, scored in both]
        if all(scored[1:].any() for _, scored in cut) and not np.array_equal(cut[0].ids, cut[1].ids):
            n_cut += any(len(ids) > seq_len + 1 for ids, _ in both)
            found.append(ScoredPair(*cut))
            places.append(n_all - 1)
    return FittedPairs(found, places, n_cut, n_all - len(found))


def _last(scored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The last stretch alone: earlier answers of a conversation are part of the prompt."""
    end = len(scored) - int(scored[::-1].argmax())
    start = end - int((~scored[:end][::-1]).argmax())
    only = np.zeros_like(scored)
    only[start:end] = True
    return only


def pack_pairs(lengths: Ints, capacity: int) -> list[list[Placed]]:
    """Rows of pairs: lengths (N, 2) of their conversations, up to `capacity` each.

    The longest pairs come first, each into the fullest row that it fits into (best fit decreasing, Johnson 1974).
    """
    rows: list[list[Placed]] = []
    for start in range(0, len(lengths), _TOGETHER):
        rows += _pack(lengths[start : start + _TOGETHER], capacity, start)
    return rows


def _pack(lengths: Ints, capacity: int, number: int) -> list[list[Placed]]:
    """number: that of the first of these pairs."""
    rows: list[list[Placed]] = []
    free = np.empty((LINES, len(lengths)), np.int64)  # tokens of each line of each row
    for pair in np.argsort(-lengths.sum(1), kind="stable").tolist():
        a, b = lengths[pair].tolist()
        first, second = free[:, : len(rows)]
        longer = np.maximum(first, second)
        fits = (longer >= a + b) | ((longer >= max(a, b)) & (np.minimum(first, second) >= min(a, b)))
        row = int(np.where(fits, first + second, LINES * capacity + 1).argmin()) if fits.any() else len(rows)
        if row == len(rows):
            rows.append([])
            free[:, row] = capacity
        places = []
        for line, length in zip(_lines(free[:, row].tolist(), a, b), (a, b), strict=True):
            places.append((line, capacity - int(free[line, row])))
            free[line, row] -= length
        rows[row].append(Placed(number + pair, (places[0], places[1])))
    return rows


def _lines(free: Sequence[int], a: int, b: int) -> tuple[int, int]:
    """The lines for conversations of a and b tokens: so that the longest free stretch stays as long as it can."""
    first, second = free
    ways = {
        (0, 0): (first - a - b, second),
        (0, 1): (first - a, second - b),
        (1, 0): (first - b, second - a),
        (1, 1): (first, second - a - b),
    }
    left = {lines: max(rest) for lines, rest in ways.items() if min(rest) >= 0}
    return max(left, key=left.__getitem__)


class PackedPairs(RaggedRows):
    """Rows of two lines of up to `seq_len` tokens for training, or with `batches` for evaluation."""

    lines = LINES

    def __init__(self, pairs: Sequence[ScoredPair], seq_len: int, *, pad_id: int, batch_rows: int = 1) -> None:
        """pairs: as `fitted_pairs` gives them. batch_rows: of the global batch of training."""
        self.pairs, self.seq_len, self.pad_id = pairs, seq_len, pad_id
        self.sizes = np.array([[len(ids) - 1 for ids, _ in pair] for pair in pairs], np.int64)
        self.rows = sorted(pack_pairs(self.sizes, seq_len), key=self._longest)
        super().__init__(np.array([self._longest(row) for row in self.rows]), batch_rows, N_WIDTHS)
        self.most = max(map(len, self.rows))  # pairs of a row
        answers = [sum(int(s[1:].sum()) for placed in row for _, s in pairs[placed.pair]) for row in self.rows]
        self.starts = np.concatenate([[0], np.cumsum(answers)])  # of the rows' answer tokens, in the order of the rows
        self.known: dict[str, NDArray[Any]] = {}  # (n, ...) of these tokens, by name: batches hold it as well

    @property
    def n_answer_tokens(self) -> int:
        """Tokens of all answers."""
        return int(self.starts[-1])

    def _longest(self, row: Sequence[Placed]) -> int:
        """Tokens of the fullest line of a row: where its last conversation ends."""
        return max(at + int(self.sizes[pair, side]) for pair, begins in row for side, (_, at) in enumerate(begins))

    @property
    def tokens_per_row(self) -> float:
        """Tokens of a row, on average, padding left out."""
        return float(self.sizes.sum() / len(self.rows))

    def batch(self, index: np.ndarray, epoch: np.ndarray | None = None) -> Batch:
        """The rows `index` (N,), the same in every pass. Line l of row n is line 2 n + l of the arrays.

        tokens, targets, documents (2 N, T); lengths (2 N,): tokens that are no padding.
        answers (2 N, T): which answer of its row a target belongs to, 2 p for the better one of the row's p-th pair and
        2 p + 1 for the worse; -1 for none. slots (2 P,): the numbers below 2 P, where P pairs is the most in a row.
        rows (M,): the numbers of the M pairs. places (M,): P times the row in the batch, plus p.
        What is `known`, (2 N, T, ...): 0 for all but the targets.
        """
        shape = LINES * len(index), self.width(self.lengths[index])
        tokens, targets = np.full(shape, self.pad_id, np.int64), np.full(shape, IGNORED, np.int64)
        documents, answers = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
        lengths, pairs, places = np.zeros(shape[0], np.int64), [], []
        for number, row in enumerate(index):
            n_documents = [0] * LINES
            for slot, (pair, begins) in enumerate(self.rows[row]):
                pairs.append(pair)
                places.append(number * self.most + slot)
                for side, (line, start) in enumerate(begins):
                    ids, scored = self.pairs[pair][side]
                    at, end = LINES * number + line, start + len(ids) - 1
                    tokens[at, start:end] = ids[:-1]
                    targets[at, start:end] = np.where(scored[1:], ids[1:].astype(np.int64), IGNORED)
                    answers[at, start:end] = np.where(scored[1:], 2 * slot + side, -1)
                    documents[at, start:end] = n_documents[line]
                    n_documents[line] += 1
                    lengths[at] = end
            for line, n in enumerate(n_documents):
                at = LINES * number + line
                documents[at, lengths[at] :] = n  # padding sees itself alone
        arrays: dict[str, NDArray[Any]] = {
            "tokens": tokens,
            "targets": targets,
            "documents": documents,
            "lengths": lengths,
            "answers": answers,
        }
        arrays |= {"slots": np.arange(2 * self.most), "rows": np.array(pairs), "places": np.array(places)}
        of_rows = [slice(self.starts[row], self.starts[row + 1]) for row in index]
        for name, values in self.known.items():
            arrays[name] = np.zeros((*shape, *values.shape[1:]), values.dtype)
            arrays[name][targets != IGNORED] = np.concatenate([values[tokens_] for tokens_ in of_rows])
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def batches(self, batch_rows: int) -> PairBatches:
        """Every pair once, for evaluation."""
        return PairBatches(self, batch_rows)


class PairBatches(LikeLengths):
    """All rows in batches, in their order; `n_rows` pairs."""

    def __init__(self, rows: PackedPairs, batch_rows: int) -> None:
        super().__init__(rows, batch_rows)
        self.n_rows = len(rows.pairs)
