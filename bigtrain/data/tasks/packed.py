"""Conversations packed into rows of `seq_len` tokens, each of them alone in its own document.

Which lengths share a row is planned once, best fit decreasing (Johnson 1974), so every pass has as many rows. Which of
the conversations of a length takes which place, and the order of the rows, are drawn anew for each pass: a pure
function of (seed, pass). A conversation sees nothing of its neighbours, so what it learns is what it would learn alone.

Conversations that are longer than half a row leave gaps. Rows that are about as full share a batch, which is as wide as
the fullest of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bigtrain.data.loader import IGNORED, Batch, derive, permute
from bigtrain.data.tasks.ragged import Ints, RaggedRows

# Of all batches: torch.compile makes a graph for each. Problems of gsm8k in rows of 256 tokens, 14.1 % padding at full
# width with a small vocabulary and 7.4 % with a larger one, had 3.9 % and 1.8 % with 4 widths, 2.0 % and 1.1 % with 8.
N_WIDTHS = 4


class Scored(NamedTuple):
    """Token ids (n,) of a conversation, and which of them (n,) are learned."""

    ids: NDArray[np.uint32]
    scored: NDArray[np.bool_]


class Fitted(NamedTuple):
    """Conversations that fit, where they stood among all, how many were cut, and how many left out."""

    conversations: list[Scored]
    places: list[int]
    n_cut: int
    n_dropped: int


def fitted(conversations: Iterator[Scored] | Sequence[Scored], seq_len: int) -> Fitted:
    """Those that have something to learn within `seq_len` tokens; of longer ones the end is cut off."""
    found, places, n_cut, n_all = [], [], 0, 0
    for n_all, (ids, scored) in enumerate(conversations, 1):  # their number, once they have passed by
        if scored[1 : seq_len + 1].any():  # the first token is seen, not predicted
            n_cut += len(ids) > seq_len + 1
            found.append(Scored(ids[: seq_len + 1], scored[: seq_len + 1]))
            places.append(n_all - 1)
    return Fitted(found, places, n_cut, n_all - len(found))


def pack(lengths: Ints, capacity: int) -> list[Ints]:
    """Rows of items (numbers into `lengths`) that fit into `capacity`: the longest first, each in the fullest row."""
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]  # rows with so much room
    rooms = 0  # bit r is set where there is a row with room r
    for item in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[item])
        if fitting := rooms >> length:
            room = length + (fitting & -fitting).bit_length() - 1
            row = by_room[room].pop()
            if not by_room[room]:
                rooms ^= 1 << room
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(item)
        by_room[room - length].append(row)
        rooms |= 1 << (room - length)
    return [np.array(row, np.int64) for row in rows]


class PackedRows(RaggedRows):
    """Rows of up to `seq_len` tokens for training, or with `batches` for evaluation: each conversation once.

    `fitted` says what becomes of longer ones.
    """

    def __init__(
        self, conversations: Sequence[Scored], seq_len: int, *, pad_id: int, seed: int, batch_rows: int = 1
    ) -> None:
        """batch_rows: of the global batch of training."""
        self.conversations, self.pad_id, self.seed = conversations, pad_id, seed
        self.sizes = np.array([len(ids) - 1 for ids, _ in conversations], np.int64)  # the last is only a target
        self.rows = sorted(pack(self.sizes, seq_len), key=lambda row: int(self.sizes[row].sum()))
        self._places: dict[int, Ints] = {}
        super().__init__(np.array([self.sizes[row].sum() for row in self.rows]), batch_rows, N_WIDTHS)

    def batch(self, index: np.ndarray, epoch: np.ndarray | None = None) -> Batch:
        """The rows `index` (N,) in their passes `epoch` (N,), or as they were planned.

        tokens, targets, documents (N, T); lengths (N,): tokens that are no padding.
        """
        shape = len(index), self.width(self.lengths[index])
        tokens, targets = np.full(shape, self.pad_id, np.int64), np.full(shape, IGNORED, np.int64)
        documents, lengths = np.zeros(shape, np.int32), np.zeros(len(index), np.int64)
        for number, row in enumerate(index):
            items = self.rows[row] if epoch is None else self._taken(int(epoch[number]))[self.rows[row]]
            at = 0
            for document, item in enumerate(items):
                ids, scored = self.conversations[item]
                end = at + len(ids) - 1
                tokens[number, at:end] = ids[:-1]
                targets[number, at:end] = np.where(scored[1:], ids[1:].astype(np.int64), IGNORED)
                documents[number, at:end] = document
                at = end
            documents[number, at:] = len(items)  # padding sees itself alone
            lengths[number] = at
        arrays = {"tokens": tokens, "targets": targets, "documents": documents, "lengths": lengths}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _taken(self, epoch: int) -> Ints:
        """The conversation that takes the place of each in a pass: one of the same length. The last two are kept."""
        places = self._places.get(epoch)
        if places is None:
            n_items = len(self.sizes)
            shuffled = permute(np.arange(n_items), n_items, derive("pack", self.seed, epoch))
            places = np.empty(n_items, np.int64)
            places[np.argsort(self.sizes, kind="stable")] = shuffled[np.argsort(self.sizes[shuffled], kind="stable")]
            self._places = dict([*self._places.items()][-1:]) | {epoch: places}
        return places
