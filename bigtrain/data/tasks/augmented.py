"""Augmented texts as rows of token ids."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from bigtrain.data.frame import mask_token
from bigtrain.data.tasks.augment import Augmenter
from bigtrain.data.tasks.encoding import Encoded, RowEncoder
from bigtrain.data.tasks.rows import JOINT
from bigtrain.data.tasks.schema import AugmentConfig
from bigtrain.errors import UserError
from bigtrain.log import log


class AugmentedTexts:
    """Training texts as a pass sees them: changed, then encoded. A pure function of seed, row and pass."""

    def __init__(
        self, config: AugmentConfig, seed: int, encoder: RowEncoder, texts: Sequence[str], pairs: Sequence[str] = ()
    ) -> None:
        """pairs: second texts, or none. Raises UserError for a file that no row has to do with, and without a mask."""
        self.encoder, self.mask = encoder, ""
        if config.mask:
            self.mask = config.mask_token or _own_mask(config, encoder)
            config = dataclasses.replace(config, mask_token=self.mask)
        self.augmenter = Augmenter(config, seed)
        self.rows = list(zip(texts, pairs, strict=True)) if pairs else [(text,) for text in texts]
        self._check_file("paraphrases")
        self._check_file("synonyms")

    def _check_file(self, name: str) -> None:
        """Say how many rows a file has something for."""
        path, knows = getattr(self.augmenter.config, name), getattr(self.augmenter, f"has_{name}")
        if path is None:
            return
        n_rows = sum(any(map(knows, row)) for row in self.rows)
        if not n_rows:
            raise UserError(
                f"data.augment.{name}={path}: it has none for any of the {len(self.rows)} training rows",
                f"{name} are looked up as they stand in the rows",
                "name a file that fits, or leave it out",
            )
        log.info("%d of %d rows have %s in %s", n_rows, len(self.rows), name, path)

    def _changed(self, row: int, epoch: int) -> tuple[str, ...]:
        """Second texts have draws of their own."""
        numbers = itertools.count(row, len(self.rows))
        return tuple(self.augmenter(text, number, epoch) for text, number in zip(self.rows[row], numbers, strict=False))

    def __call__(self, epoch: int) -> list[Encoded]:
        """All rows in a pass."""
        first, *second = zip(*(self._changed(row, epoch) for row in range(len(self.rows))), strict=True)
        return self.encoder(first, *second, mask=self.mask)

    def examples(self, n: int = 10) -> list[tuple[str, str]]:
        """The first n rows that the first pass changes, each before and after, second texts below a blank line."""
        pairs = ((row, self._changed(number, 0)) for number, row in enumerate(self.rows))
        changed = ((JOINT.join(before), JOINT.join(after)) for before, after in pairs if before != after)
        return list(itertools.islice(changed, n))


def _own_mask(config: AugmentConfig, encoder: RowEncoder) -> str:
    token = mask_token(encoder.tokenizer)
    if token is None:
        raise UserError(
            f"data.augment.mask={config.mask} with a tokenizer that has no mask token",
            "a hidden span is replaced by one",
            "say what stands there: data.augment.mask_token=",
        )
    return token
