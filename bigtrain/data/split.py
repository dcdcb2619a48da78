"""Which text is held out for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bigtrain.data.schema import SplitBy
from bigtrain.data.sources import Document
from bigtrain.errors import UserError
from bigtrain.log import log

TRAIN, VALIDATION = "train", "validation"
PARTS = (TRAIN, VALIDATION)


@dataclass(frozen=True)
class Split:
    """A decision for every document, made before the first one is written."""

    by: SplitBy
    fraction: float
    cut: int = 0  # characters of the training text (by tail only)

    @classmethod
    def choose(cls, documents: Iterable[Document], by: SplitBy, fraction: float) -> Split:
        """Read the documents once and settle how they are split.

        Whole documents are preferred, but where there are so few that one part would stay empty, the tail of the text
        is held out instead, and it is said. Raises UserError where the text is too short to be split at all.
        """
        if fraction == 0:
            return cls(SplitBy.document, 0.0)
        hashed = cls(SplitBy.document, fraction)
        n_documents = n_characters = 0
        parts = set()
        for document in documents:
            n_documents += 1
            n_characters += len(document.text)
            parts.add(hashed.part(document.text))
        if by is SplitBy.document and len(parts) == len(PARTS):
            return hashed
        cut = int(n_characters * (1 - fraction))
        if not 0 < cut < n_characters:
            raise UserError(
                f"data.validation_fraction={fraction} of {n_characters} characters",
                "training and validation need at least a character each",
                "give more text, or data.validation_fraction=0 for no validation part",
            )
        if by is SplitBy.document:
            log.info(
                "too few documents (%d) for a split by document: the last %g of the text is held out",
                n_documents,
                fraction,
            )
        return cls(SplitBy.tail, fraction, cut)

    def part(self, text: str) -> str:
        """The part of a whole document: a function of its content, so that adding documents moves none."""
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
        return VALIDATION if int.from_bytes(digest, "big") < self.fraction * 2**64 else TRAIN

    def apply(self, documents: Iterable[Document]) -> Iterator[tuple[str, str]]:
        """(part, text) of every document; the one that the cut of a tail falls into comes in two pieces."""
        if self.by is SplitBy.document:
            yield from ((self.part(document.text), document.text) for document in documents)
            return
        left = self.cut
        for document in documents:
            head, tail = document.text[:left], document.text[left:]
            left -= len(head)
            if head:
                yield TRAIN, head
            if tail:
                yield VALIDATION, tail

    def training_text(self, documents: Iterable[Document]) -> Iterator[str]:
        """The text that a tokenizer may learn from."""
        return (text for part, text in self.apply(documents) if part == TRAIN)
