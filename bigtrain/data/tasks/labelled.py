"""Labelled texts as rows of token ids, for training and evaluating classifiers and models that give scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bigtrain.data.loader import Batch
from bigtrain.data.tasks.encoding import Encoded, RowEncoder
from bigtrain.data.tasks.ragged import MOST_WIDTHS, RaggedRows, few_widths
from bigtrain.log import log

Drawn = Callable[[Sequence[int], Sequence[int]], list[Encoded]]  # rows and their passes, as training sees them


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
        lengths = np.array([len(row.ids) for row in encoded])
        super().__init__(lengths, batch_rows)
        if drawn:
            self.widths = few_widths(np.arange(1, longest + 1), MOST_WIDTHS)
        self.encoded, self.pad_id, self.drawn = encoded, pad_id, drawn
        self.labels = np.asarray(labels)

    def batch(self, index: np.ndarray, epoch: np.ndarray | None = None) -> Batch:
        """The rows `index` (N,), in their passes `epoch` (N,): tokens (N, T), lengths (N,), labels (N, ...), rows (N,).

        And segments (N, T) of pairs.
        """
        if self.drawn and epoch is not None:
            rows = self.drawn(index.tolist(), epoch.tolist())
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


def encode(encoder: RowEncoder, texts: Sequence[str], pairs: Sequence[str] = ()) -> list[Encoded]:
    """Rows of texts, or of pairs of texts; says how many are too long."""
    encoded = encoder(texts, pairs)
    if cut := sum(row.cut for row in encoded):
        log.info("%d of %d texts do not fit into %d tokens and lose their end", cut, len(encoded), encoder.seq_len)
    return encoded
