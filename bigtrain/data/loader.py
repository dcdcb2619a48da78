"""The order of training data as a pure function of (seed, step): the loader's only state is the step.

Resuming, another number of processes and another micro-batch are therefore the same call: `batch(step, start, stop)`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import numpy as np
import torch

from bigtrain.data.shards import TokenSplit
from bigtrain.errors import UserError

Batch = dict[str, torch.Tensor]
IGNORED = -100  # a target that is not scored, as torch's cross_entropy has it
_ROUNDS = 6


def derive(*parts: object) -> int:
    """A 63-bit number from any values: the same on every machine and in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permute(index: np.ndarray, n: int, key: int) -> np.ndarray:
    """A pseudo-random permutation of range(n), evaluated at `index` (any shape, int64) without storing it.

    A Feistel network over the smallest even number of bits that holds n, walking cycles until the value falls below n
    (Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains").
    """
    half = np.uint64(max(1, (max(n - 1, 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    keys = [np.uint64(derive("feistel", key, round_)) for round_ in range(_ROUNDS)]
    out = index.astype(np.uint64)
    todo = np.ones(out.shape, dtype=bool)
    with np.errstate(over="ignore"):
        while todo.any():
            left, right = out[todo] >> half, out[todo] & mask
            for round_key in keys:
                mixed = (right + round_key) * np.uint64(0x9E3779B97F4A7C15)
                mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
                left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
            out[todo] = (left << half) | right
            todo = out >= np.uint64(n)
    return out.astype(np.int64)


def shuffled(position: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers below n, and their passes, at `position` (N,): one keyed permutation after the other, without end."""
    epoch, place = np.divmod(position, n)
    index = np.empty_like(place)
    for pass_ in np.unique(epoch):
        here = epoch == pass_
        index[here] = permute(place[here], n, derive("order", seed, int(pass_)))
    return index, epoch


class Rows(ABC):
    """Training samples, addressed by number."""

    @property
    @abstractmethod
    def tokens_per_row(self) -> float:
        """Tokens of a sample, on average."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, index: np.ndarray, epoch: np.ndarray) -> Batch:
        """The samples `index` (N,) in their passes `epoch` (N,) as tensors with N rows."""

    def order(self, position: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Index and pass of the samples at `position` (N,) of a training run without end."""
        return shuffled(position, len(self), seed)

    def epochs(self, position: int) -> dict[str, float]:
        """Passes made before `position`, as a run shows them."""
        return {"epochs": position / len(self)}


class Windows(Rows):
    """Rows of `seq_len` tokens cut from the stream of a split, one after the other.

    Each pass begins at another offset below `seq_len`, so that no token is always the last of its row. before: so many
    more tokens come first in every row, whose targets are not scored.
    """

    def __init__(
        self,
        split: TokenSplit,
        seq_len: int,
        *,
        seed: int,
        isolate_documents: bool = False,
        words: bool = False,
        before: int = 0,
    ) -> None:
        n_targets = len(split) - before - 1
        if n_targets < seq_len:
            raise UserError(
                f"train.seq_len={seq_len} with {len(split)} tokens of training data",
                "a row needs seq_len + 1 tokens, the last of them only as a target",
                f"give more text, or train.seq_len={max(1, n_targets // 2)} or less",
            )
        self.tokens, self.seq_len, self.before, self.seed = split.tokens, seq_len, before, seed
        self.document_starts = split.document_starts if isolate_documents else None
        self.continues_word = split.continues_word if words else None
        self.learned = split.learned
        self.offsets = seq_len if n_targets + 1 >= 2 * seq_len else 1
        self.n_rows = (n_targets + 1 - self.offsets) // seq_len

    @property
    def tokens_per_row(self) -> float:
        """The same for every row."""
        return self.before + self.seq_len

    def __len__(self) -> int:
        return self.n_rows

    def batch(self, index: np.ndarray, epoch: np.ndarray) -> Batch:
        """tokens and targets (N, seq_len), the targets one token ahead, without those that the set's loss mask leaves
        out; documents (N, seq_len) when isolated.

        With `words` also continues (N, seq_len): whether a token goes on with a word, where the set says so.
        """
        offset = {pass_: derive("offset", self.seed, int(pass_)) % self.offsets for pass_ in np.unique(epoch)}
        starts = index * self.seq_len + np.array([offset[pass_] for pass_ in epoch])
        positions = starts[:, None] + np.arange(self.before + self.seq_len + 1)
        tokens = torch.from_numpy(self.tokens[positions].astype(np.int64))
        batch = {"tokens": tokens[:, :-1].contiguous(), "targets": tokens[:, 1:].contiguous()}
        batch["targets"][:, : self.before] = IGNORED
        if self.learned is not None:
            batch["targets"][torch.from_numpy(self.learned[positions[:, 1:]] == 0)] = IGNORED
        if self.document_starts is not None:
            document = np.searchsorted(self.document_starts, positions, side="right")
            batch["documents"] = torch.from_numpy((document - document[:, :1])[:, :-1].astype(np.int32))
        if self.continues_word is not None:
            batch["continues"] = torch.from_numpy(self.continues_word[positions[:, :-1]].astype(np.bool_))
        return batch


class Loader:
    """Global batches of `batch_rows` samples, in the order that the rows give; passes flow into each other."""

    def __init__(self, rows: Rows, batch_rows: int, seed: int) -> None:
        self.rows, self.batch_rows, self.seed = rows, batch_rows, seed

    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows [start, stop) of the global batch of `step`, with a dropout key (`keys`) for each."""
        position = step * self.batch_rows + np.arange(start, stop)
        batch = self.rows.batch(*self.rows.order(position, self.seed))
        batch["keys"] = torch.tensor([derive("dropout", self.seed, int(p)) for p in position], dtype=torch.int64)
        return batch

    def steps(self, epochs: float) -> int:
        """Steps after which `epochs` passes are complete."""
        return max(1, int(np.ceil(epochs * len(self.rows) / self.batch_rows)))

    def epochs(self, step: int) -> dict[str, float]:
        """Passes made before `step`, as a run shows them."""
        return {name: round(passes, 4) for name, passes in self.rows.epochs(step * self.batch_rows).items()}


def n_tokens(batch: Batch) -> int:
    """Tokens in a batch, padding left out."""
    return int(batch["lengths"].sum()) if "lengths" in batch else batch["tokens"].numel()
