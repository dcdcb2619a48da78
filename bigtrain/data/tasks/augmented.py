"""Augmented texts as rows of token ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bigtrain.data.tasks.augment import Augmenter
from bigtrain.data.tasks.encoding import Encoded, RowEncoder


class AugmentedTexts:
    """Training texts as a pass sees them: changed, then encoded. A pure function of seed, row and pass."""

    def __init__(
        self, augmenter: Augmenter, encoder: RowEncoder, texts: Sequence[str], pairs: Sequence[str] = ()
    ) -> None:
        self.augmenter, self.encoder, self.texts, self.pairs = augmenter, encoder, texts, pairs
        mask = augmenter.config.mask_token if augmenter.config.mask else ""
        self.mask_id = encoder.tokenizer.backend.token_to_id(mask) if mask else None

    def __call__(self, rows: Sequence[int], epochs: Sequence[int]) -> list[Encoded]:
        """The rows in their passes."""
        number = len(self.texts)  # second texts have draws of their own
        texts = [self.augmenter(self.texts[row], row, epoch) for row, epoch in zip(rows, epochs, strict=True)]
        pairs = [self.augmenter(self.pairs[row], number + row, epoch) for row, epoch in zip(rows, epochs, strict=True)] if self.pairs else []
        if self.mask_id is None or self.pairs:
            return self.encoder(texts, pairs, threads=1)
        return [self.encoder.one(self._with_masks(text)) for text in texts]

    def _with_masks(self, text: str) -> np.ndarray:
        """Special tokens are never found in text: the one that stands for a hidden span is put in by its id."""
        pieces = self.encoder.tokenizer.encode_documents(text.split(self.augmenter.config.mask_token), threads=1)
        mask = np.array([self.mask_id], np.uint32)
        parts = [part for piece in pieces for part in (mask, piece)][1:]
        return np.concatenate(parts)
