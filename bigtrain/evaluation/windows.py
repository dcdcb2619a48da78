"""A stream of tokens cut into windows that overlap, so that every token is predicted once and with context."""

from __future__ import annotations

import numpy as np
import torch

from bigtrain.data.loader import IGNORED, Batch
from bigtrain.data.shards import TokenSplit
from bigtrain.errors import UserError


class Windows:
    """Batches that score every token but the first of the stream exactly once.

    A window holds `seq_len` inputs and begins `stride` tokens after the one before it:

        stream    0 1 2 3 4 5 6 7 8 9        seq_len 4, stride 2
        window 0  i i i i                    scores 1 2 3 4
        window 1      i i i i                scores         5 6
        window 2          i i i i            scores             7 8
        window 3              i i i .        scores                 9

    So a scored token has at least `seq_len - stride` tokens before it in its window, as far as the stream has them;
    `stride == seq_len` are windows that do not overlap. All batches have one shape (a compiled model is compiled
    once): the rows are spread evenly, the last window and the last batch are padded with token 0 and no targets.

    What the split's loss mask leaves out is read, and not scored. isolate: batches say which document an input belongs
    to, and a model lets it see no other.
    """

    def __init__(self, split: TokenSplit, seq_len: int, stride: int, batch_rows: int, *, isolate: bool = False) -> None:
        tokens = split.tokens
        if not 1 <= stride <= seq_len:
            raise UserError(
                f"evals.stride={stride} with windows of {seq_len} tokens",
                "a window moves on by at least one token and at most its length",
                f"choose evals.stride between 1 and {seq_len}",
            )
        if len(tokens) < 2:
            raise UserError(
                f"{len(tokens)} tokens", "scoring needs at least two: one predicts the next", "give more text"
            )
        self.tokens, self.learned, self.stride = tokens, split.learned, stride
        self.seq_len = min(seq_len, len(tokens) - 1)
        self.n_windows = 1 + -(-max(0, len(tokens) - 1 - self.seq_len) // stride)
        self.n_batches = -(-self.n_windows // batch_rows)
        self.rows = -(-self.n_windows // self.n_batches)
        self.document_starts = split.document_starts if isolate else None

    def __len__(self) -> int:
        return self.n_batches

    def __getitem__(self, number: int) -> Batch:
        """tokens, targets: (B, T) int64; documents: (B, T) int32 where they are isolated."""
        tokens = np.zeros((self.rows, self.seq_len), np.int64)
        targets = np.full((self.rows, self.seq_len), IGNORED, np.int64)
        documents = np.zeros((self.rows, self.seq_len), np.int32)
        first = number * self.rows
        for row, window in enumerate(range(first, min(first + self.rows, self.n_windows))):
            start = window * self.stride
            part = np.asarray(self.tokens[start : start + self.seq_len + 1])
            length = len(part) - 1
            seen = self.seq_len - self.stride if window else 0  # targets that an earlier window has scored
            tokens[row, :length] = part[:-1]
            targets[row, seen:length] = part[seen + 1 :]
            if self.learned is not None:
                targets[row, :length][self.learned[start + 1 : start + 1 + length] == 0] = IGNORED
            if self.document_starts is not None:
                positions = np.arange(start, start + self.seq_len)
                documents[row] = np.searchsorted(self.document_starts, positions, side="right")
        batch = {"tokens": torch.from_numpy(tokens), "targets": torch.from_numpy(targets)}
        if self.document_starts is not None:
            batch["documents"] = torch.from_numpy(documents)
        return batch
