"""Augmented texts as rows of token ids."""

from __future__ import annotations

from collections.abc import Sequence

from bigtrain.data.tasks.augment import Augmenter
from bigtrain.data.tasks.encoding import Encoded, RowEncoder


class AugmentedTexts:
    """Training texts as a pass sees them: changed, then encoded. A pure function of seed, row and pass."""

    def __init__(
        self, augmenter: Augmenter, encoder: RowEncoder, texts: Sequence[str], pairs: Sequence[str] = ()
    ) -> None:
        self.augmenter, self.encoder, self.texts, self.pairs = augmenter, encoder, texts, pairs
        self.mask = augmenter.config.mask_token if augmenter.config.mask else ""

    def __call__(self, rows: Sequence[int], epochs: Sequence[int]) -> list[Encoded]:
        """The rows in their passes."""
        places = list(zip(rows, epochs, strict=True))
        texts = [self.augmenter(self.texts[row], row, epoch) for row, epoch in places]
        n_texts = len(self.texts)  # second texts have draws of their own
        pairs = [self.augmenter(self.pairs[row], n_texts + row, epoch) for row, epoch in places] if self.pairs else []
        return self.encoder(texts, pairs, threads=1, mask=self.mask)
