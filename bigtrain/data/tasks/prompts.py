"""Prompts that a model answers in an evaluation, and the answers that they should have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bigtrain.data.loader import Batch
from bigtrain.data.tasks.ragged import LikeLengths, RaggedRows


@dataclass(frozen=True)
class Prompt:
    """What a model is asked with, as ids and as people read it; the answer it should give; file and line."""

    ids: list[int]
    text: str
    answer: str
    where: str


class PromptRows(RaggedRows):
    """Prompts, one or more, as rows of token ids."""

    def __init__(self, prompts: Sequence[Prompt], pad_id: int) -> None:
        self.prompts, self.pad_id = prompts, pad_id
        super().__init__(np.array([len(prompt.ids) for prompt in prompts]), batch_rows=1)

    def batch(self, index: np.ndarray, epoch: np.ndarray | None = None) -> Batch:
        """tokens (N, T), padded on the right; lengths and rows (N,)."""
        tokens = self.padded([np.array(self.prompts[row].ids) for row in index], self.pad_id)
        arrays = {"tokens": tokens, "lengths": self.lengths[index], "rows": index}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


class LossThenAnswers(Sequence[Batch]):
    """Packed conversations, whose loss is measured, and after them prompts, which have no targets."""

    def __init__(self, packed: LikeLengths, prompts: LikeLengths) -> None:
        self.packed, self.prompts, self.n_rows = packed, prompts, prompts.n_rows

    def __len__(self) -> int:
        return len(self.packed) + len(self.prompts)

    def __getitem__(self, number: int) -> Batch:  # type: ignore[override]  # slices are not needed
        if number < len(self.packed):
            return {**self.packed[number], "rows": torch.empty(0, dtype=torch.int64)}
        return self.prompts[number - len(self.packed)]
