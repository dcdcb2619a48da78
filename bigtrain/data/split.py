"""Which text is trained on, and which is held out for validation and for a test."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.schema import SplitBy
from bigtrain.errors import UserError
from bigtrain.log import log

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)


def stable_hash(content: bytes) -> int:
    """A 64-bit number that is the same for equal contents, for ever: BLAKE2b of 8 bytes, big-endian."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Split:
    """A decision for every document, made before the first token is written.

    By document the hash decides alone: the lowest are the validation part, the highest the test part. So documents that
    are added move no other, and neither does another fraction for the other part.
    """

    by: SplitBy
    validation: float
    test: float
    cuts: tuple[int, int] = (0, 0)  # characters before the validation part, and before the test part (by tail only)

    def numbers(self, hashes: NDArray[np.uint64]) -> NDArray[np.int8]:
        """The place in PARTS of whole documents with these hashes (N,)."""
        found = np.zeros(len(hashes), np.int8)
        if self.validation:
            found[hashes < np.uint64(math.ceil(self.validation * 2**64))] = PARTS.index(VALIDATION)
        if self.test:
            found[hashes >= np.uint64(2**64 - math.ceil(self.test * 2**64))] = PARTS.index(TEST)
        return found

    def settled(self, n_documents: Sequence[int], n_characters: int, *, grouped: bool) -> Split:
        """How the text is really split, given the documents of each part by their hashes, and the text's length.

        Whole documents are preferred, but where there are so few that a part would stay empty, the tail of the text is
        held out instead, and it is said. grouped: the hash is that of a group, and no group may be cut. Raises
        UserError where the text is too short to be split, or has too few groups.
        """
        wanted = [True, self.validation > 0, self.test > 0]
        if grouped and self.by is SplitBy.tail and any(wanted[1:]):
            raise UserError(
                "data.split_by=tail with data.group_field=",
                "a cut through the text may go through a group",
                "leave one of the two out",
            )
        if self.by is SplitBy.document or not any(wanted[1:]):
            empty = [part for part, want, n in zip(PARTS, wanted, n_documents, strict=True) if want and not n]
            if not empty or not any(wanted[1:]):
                return Split(SplitBy.document, self.validation, self.test)
            if grouped:
                raise UserError(
                    f"data.group_field= with {sum(n_documents)} documents: none in the {empty[0]} part",
                    "whole groups are held out, and every part needs one",
                    f"give more groups, or another data.{VALIDATION if empty[0] == TRAIN else empty[0]}_fraction=",
                )
        cuts = (int(n_characters * (1 - (self.validation + self.test))), int(n_characters * (1 - self.test)))
        lengths = [cuts[0], cuts[1] - cuts[0], n_characters - cuts[1]]
        if not all(length > 0 for length, want in zip(lengths, wanted, strict=True) if want):
            shares = {VALIDATION: self.validation, TEST: self.test}
            given = " and ".join(f"data.{part}_fraction={share}" for part, share in shares.items() if share)
            raise UserError(
                f"{given} of {n_characters} characters",
                "training and what is held out need at least a character each",
                "give more text, or a fraction of 0 for no such part",
            )
        if self.by is SplitBy.document:
            held_out = self.validation + self.test
            said = "too few documents (%d) for a split by document: the last %g of the text is held out"
            log.info(said, sum(n_documents), held_out)
        return Split(SplitBy.tail, self.validation, self.test, cuts)

    def pieces(self, start: int, text: str) -> Iterator[tuple[int, str]]:
        """By tail: (place in PARTS, text) of a document whose first character is number `start` of the whole text."""
        edges = [0, *(min(max(cut - start, 0), len(text)) for cut in self.cuts), len(text)]
        for number, (begin, end) in enumerate(itertools.pairwise(edges)):
            if end > begin:
                yield number, text[begin:end]
