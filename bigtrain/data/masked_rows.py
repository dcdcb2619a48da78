"""Training rows of an encoder: windows of text between special tokens, with hidden tokens."""

from __future__ import annotations

import numpy as np
import torch

from bigtrain.data.frame import Frame
from bigtrain.data.loader import Batch, Rows, derive
from bigtrain.data.masking import Masked, Masker
from bigtrain.data.sentence_pairs import SentencePairs


def framed(batch: Batch, frame: Frame) -> Batch:
    """tokens (N, T) and, where there are any, documents (N, T), with the special tokens around each row.

    With `cut` (N,), where a second text begins in each row, also segments (N, T), and what else is said of both.
    """
    if "cut" in batch:
        return _framed_pairs(batch, frame)
    found = {"tokens": torch.from_numpy(frame.around(batch["tokens"].numpy()))}
    if "documents" in batch:  # the special tokens belong to the documents beside them
        width = ((0, 0), (len(frame.before), len(frame.after)))
        found["documents"] = torch.from_numpy(np.pad(batch["documents"].numpy(), width, mode="edge"))
    return found


def _framed_pairs(batch: Batch, frame: Frame) -> Batch:
    cut = batch["cut"]
    tokens = frame.around(frame.between(batch["tokens"].numpy(), cut.numpy()))
    second = torch.arange(tokens.shape[1]) >= (cut + len(frame))[:, None]
    return {"tokens": torch.from_numpy(tokens), "segments": second.long(), "strays": batch["strays"]}


def flagged(flags: np.ndarray, frame: Frame, special: bool, cut: torch.Tensor | None = None) -> np.ndarray:
    """Flags of the text (N, T) -> those of a framed row, in which special tokens have this one."""
    around = Frame((special,) * len(frame.before), (special,) * len(frame.after))
    return around.around(flags if cut is None else around.between(flags, cut.numpy()))


def as_batch(masked: Masked) -> Batch:
    """tokens (N, T), positions and targets (N, P)."""
    return {name: torch.from_numpy(values) for name, values in masked._asdict().items()}


class MaskedRows(Rows):
    """The rows of another source of text, framed, with tokens hidden anew in every pass.

    What is hidden depends on the seed, the row and its pass alone: not on the micro-batch, nor on who computes it.
    """

    def __init__(self, rows: Rows, frame: Frame, masker: Masker, *, seed: int) -> None:
        self.rows, self.frame, self.masker, self.seed = rows, frame, masker, seed
        self.n_special = frame.size(2 if isinstance(rows, SentencePairs) else 1)

    @property
    def tokens_per_row(self) -> float:
        """With the special tokens."""
        return self.rows.tokens_per_row + self.n_special

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, position: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """That of the other source."""
        return self.rows.order(position, seed)

    def epochs(self, position: int) -> dict[str, float]:
        """Those of the other source."""
        return self.rows.epochs(position)

    def batch(self, index: np.ndarray, epoch: np.ndarray) -> Batch:
        """tokens (N, T) int64 with some hidden, positions and targets (N, P); documents (N, T) when isolated.

        Of `SentencePairs` also segments (N, T) and strays (N,).
        """
        text = self.rows.batch(index, epoch)
        batch = framed(text, self.frame)
        pairs = zip(index, epoch, strict=True)
        keys = np.array([derive("mask", self.seed, int(row), int(pass_)) for row, pass_ in pairs], np.uint64)
        words = None
        if "continues" in text:  # the special tokens around a row are never hidden: their flag is not looked at
            words = flagged(text["continues"].numpy(), self.frame, True, text.get("cut"))
        return batch | as_batch(self.masker(batch["tokens"].numpy(), keys, continues=words))
