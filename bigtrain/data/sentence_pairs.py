"""Rows of two texts: does the second follow the first?

Devlin et al. 2019 (arXiv 1810.04805), section 3.1. A "sentence" there is any run of text, and so it is here.
"""

from __future__ import annotations

import numpy as np
import torch

from bigtrain.data.loader import Batch, Rows, derive

FOLLOWS, STRAYS = 0, 1  # what is said of a second text: transformers' `next_sentence_label`


class SentencePairs(Rows):
    """The rows of another source of text, cut in two; half of them go on with the end of another row.

    Where a row is cut, in its middle half, and what it goes on with depends on the seed, the row and its pass alone.
    There must be two rows or more.
    """

    def __init__(self, rows: Rows, *, seed: int) -> None:
        self.rows, self.seed = rows, seed

    @property
    def tokens_per_row(self) -> float:
        """Those of the other source."""
        return self.rows.tokens_per_row

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, position: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """That of the other source."""
        return self.rows.order(position, seed)

    def epochs(self, position: int) -> dict[str, float]:
        """Those of the other source."""
        return self.rows.epochs(position)

    def batch(self, index: np.ndarray, epoch: np.ndarray) -> Batch:
        """What the other source gives, (N, T) each, with cut (N,), where the second text begins, and strays (N,)."""
        own = self.rows.batch(index, epoch)
        n_tokens = own["tokens"].shape[1]
        pairs = zip(index, epoch, strict=True)
        drawn = np.array([derive("next sentence", self.seed, int(row), int(pass_)) for row, pass_ in pairs])
        strays = drawn % 2
        cut = n_tokens // 4 + (drawn >> 1) % (1 << 31) % max(1, n_tokens // 2)
        other = (index + 1 + (drawn >> 32) % (len(self) - 1)) % len(self)  # any but the row itself
        ends = self.rows.batch(np.where(strays, other, index), epoch)
        second = torch.arange(n_tokens) >= torch.from_numpy(cut)[:, None]
        batch = {name: torch.where(second, ends[name], values) for name, values in own.items()}
        return batch | {"cut": torch.from_numpy(cut), "strays": torch.from_numpy(strays)}
