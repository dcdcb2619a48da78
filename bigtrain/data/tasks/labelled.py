"""Labelled texts as rows of token ids, for training and evaluating classifiers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from bigtrain.data.frame import Frame
from bigtrain.data.loader import Batch, Rows
from bigtrain.log import log
from bigtrain.tokenizer import Tokenizer


class LabelledRows(Rows):
    """Texts and their label numbers. Rows are padded on the right; texts longer than `seq_len` lose their end."""

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        tokenizer: Tokenizer,
        seq_len: int,
        *,
        frame: Frame | None = None,  # special tokens around each text, for an encoder
        few_lengths: bool = False,  # batches as long as a power of two: a compiled model is compiled for each length
    ) -> None:
        self.pad_id, self.seq_len, self.few_lengths = tokenizer.pad_id, seq_len, few_lengths
        encoded, frame = tokenizer.encode_documents(texts), frame or Frame()
        room = seq_len - len(frame)
        cut = sum(len(ids) > room for ids in encoded)
        if cut:
            log.info("%d of %d texts are longer than %d tokens and lose their end", cut, len(encoded), room)
        rows = (frame.around(ids[:room]) for ids in encoded)
        # A text without a token is read as one padding token, which is where the label is then predicted.
        self.ids = [ids if len(ids) else np.array([self.pad_id]) for ids in rows]
        self.labels = np.asarray(labels, dtype=np.int64)

    @property
    def tokens_per_row(self) -> float:
        """Tokens of a row, on average."""
        return float(np.mean([len(ids) for ids in self.ids]))

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, index: np.ndarray, epoch: np.ndarray | None = None) -> Batch:
        """The rows `index` (N,): tokens (N, T) with T the longest of them or a bit more; lengths, labels, rows (N,)."""
        rows = [self.ids[i] for i in index]
        lengths = np.array([len(row) for row in rows])
        longest = int(lengths.max())
        if self.few_lengths:
            longest = min(self.seq_len, 1 << (longest - 1).bit_length())
        tokens = np.full((len(rows), longest), self.pad_id, dtype=np.int64)
        for number, row in enumerate(rows):
            tokens[number, : len(row)] = row
        return {
            "tokens": torch.from_numpy(tokens),
            "lengths": torch.from_numpy(lengths),
            "labels": torch.from_numpy(self.labels[index]),
            "rows": torch.from_numpy(index),
        }

    def batches(self, batch_rows: int) -> LabelledBatches:
        """Every row once, for evaluation."""
        return LabelledBatches(self, batch_rows)


class LabelledBatches(Sequence[Batch]):
    """All rows in batches, rows of like length together: less padding, and sums do not depend on the order."""

    def __init__(self, rows: LabelledRows, batch_rows: int) -> None:
        self.rows, self.n_rows = rows, len(rows)
        order = np.argsort([len(ids) for ids in rows.ids], kind="stable")
        self.parts = [order[start : start + batch_rows] for start in range(0, len(order), batch_rows)]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> Batch:  # type: ignore[override]  # slices are not needed
        return self.rows.batch(self.parts[number])

    def __iter__(self) -> Iterator[Batch]:
        return (self[number] for number in range(len(self)))
