"""Labelled texts as rows of token ids, for training and evaluating classifiers and models that give scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bigtrain.data.loader import Batch
from bigtrain.data.tasks.encoding import Encoded, RowEncoder
from bigtrain.data.tasks.ragged import MOST_WIDTHS, Ints, RaggedRows, few_widths
from bigtrain.log import log

Drawn = Callable[[int], list[Encoded]]  # pass -> all rows, as training sees them
_BEYOND = 8  # widths of augmented rows that are longer than all of the first pass


class LabelledRows(RaggedRows):
    """Encoded texts and what is to be said of them. Rows are padded on the right."""

    def __init__(
        self,
        encoded: Sequence[Encoded],
        labels: Sequence[int] | NDArray[np.int64] | NDArray[np.float32],  # (N, ...)
        pad_id: int,
        *,
        batch_rows: int = 1,  # of the global batch of training
        drawn: Drawn | None = None,  # augmented rows: of other lengths than `encoded`, up to `longest`
        longest: int = 0,
    ) -> None:
        self.encoded, self.pad_id, self.drawn = encoded, pad_id, drawn
        self.labels = np.asarray(labels)
        self._passes: dict[int, Sequence[Encoded]] = {0: drawn(0)} if drawn else {}
        super().__init__(_lengths(self._passes.get(0, encoded)), batch_rows)
        if drawn:  # rows of other passes may be longer than those of the first
            beyond = np.rint(np.geomspace(self.lengths.max(), longest, _BEYOND)).astype(np.int64)
            self.widths = np.union1d(few_widths(self.lengths, MOST_WIDTHS - _BEYOND), beyond)

    def _rows_of(self, epoch: int) -> Sequence[Encoded]:
        """All rows in a pass; of augmented ones those of the passes of the last batch are kept."""
        if self.drawn and epoch not in self._passes:
            self._passes[epoch] = self.drawn(epoch)
        return self._passes[epoch] if self.drawn else self.encoded

    def lengths_of(self, epoch: int) -> Ints:
        """Tokens of each row (N,) in a pass."""
        return _lengths(self._rows_of(epoch)) if self.drawn else self.lengths

    def batch(self, index: np.ndarray, epoch: np.ndarray | None = None) -> Batch:
        """The rows `index` (N,), in their passes `epoch` (N,): tokens (N, T), lengths (N,), labels (N, ...), rows (N,).

        And segments (N, T) of pairs.
        """
        if self.drawn and epoch is not None:
            self._passes = {pass_: self._rows_of(pass_) for pass_ in np.unique(epoch).tolist()}
            rows = [self._passes[pass_][row] for row, pass_ in zip(index.tolist(), epoch.tolist(), strict=True)]
        else:
            rows = [self.encoded[row] for row in index]
        batch = {
            "tokens": torch.from_numpy(self.padded([row.ids for row in rows], self.pad_id)),
            "lengths": torch.tensor([len(row.ids) for row in rows]),
            "labels": torch.from_numpy(self.labels[index]),
            "rows": torch.from_numpy(index),
        }
        segments = [row.segments for row in rows if row.segments is not None]
        if segments:
            batch["segments"] = torch.from_numpy(self.padded(segments, 0))
        return batch


def _lengths(rows: Sequence[Encoded]) -> Ints:
    return np.array([len(row.ids) for row in rows], np.int64)


def encode(encoder: RowEncoder, texts: Sequence[str], pairs: Sequence[str] = ()) -> list[Encoded]:
    """Rows of texts, or of pairs of texts; says how many are too long."""
    encoded = encoder(texts, pairs)
    if cut := sum(row.cut for row in encoded):
        log.info("%d of %d texts do not fit into %d tokens and lose their end", cut, len(encoded), encoder.seq_len)
    return encoded
