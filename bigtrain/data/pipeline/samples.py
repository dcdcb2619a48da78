"""Some of the documents that are kept: what a tokenizer's figures are taken on.

Which they are is decided by hashes: the same documents whatever the division of the input. Those with the lowest hashes
are the held-out ones, if there are any, so a tokenizer is measured on text that it has not learned from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.resolve import Kind
from bigtrain.data.pipeline.facts import Facts
from bigtrain.data.pipeline.tokens import Placing, stored_tokenizer
from bigtrain.data.schema import TokenizerConfig, WordBoundaries
from bigtrain.data.split import PARTS, TRAIN
from bigtrain.tokenizer import Tokenizer, compare, figures

_MEASURED, _MEASURED_CHARACTERS = 400, 2000  # documents, and how much of each
_LEARNED, _LEARNED_CHARACTERS = 2000, 4000  # and for training the tokenizers that are compared
_LONG = ("languages", "longest_tokens")  # figures that are not shown of each
_UNNAMED = "und"  # ISO 639 for a language that is not known


def tokenizer_figures(
    folder: Path,
    fingerprint: str,
    placings: Sequence[Placing],
    words: WordBoundaries,
    candidates: Mapping[str, Tokenizer | TokenizerConfig],
) -> Facts:
    """Figures of the set's tokenizer, which lies in `folder`, and of others beside it.

    Raises UserError where one of these is none.
    """
    from bigtrain.data.cleaning.language import named
    from bigtrain.data.privacy.scrubber import scrub

    tokenizer = stored_tokenizer(folder, fingerprint)
    boundaries = WordBoundaries.plain if words is WordBoundaries.none else words
    texts: dict[str, list[str]] = {}
    for language, text in _lowest(placings, _MEASURED, held_out_too=True):
        shown = text[:_MEASURED_CHARACTERS]
        texts.setdefault(language or named(shown) or _UNNAMED, []).append(shown)
    found = figures(tokenizer, texts, boundaries)
    found["longest_tokens"] = [scrub(token) for token in found["longest_tokens"]]  # an address may have become one
    if list(texts) == [_UNNAMED]:
        del found["languages"]
    if candidates:
        learned = [text[:_LEARNED_CHARACTERS] for _, text in _lowest(placings, _LEARNED, held_out_too=False)]
        everyone = {"the set's own": tokenizer, **candidates}
        compared = compare(everyone, learned, texts, boundaries)
        found["candidates"] = [{key: one[key] for key in one if key not in _LONG} for one in compared]
    return found


def _lowest(placings: Sequence[Placing], n: int, *, held_out_too: bool) -> Iterator[tuple[str, str]]:
    """Language and text of the n kept documents with the lowest hashes, in the order of these.

    held_out_too: else training documents only, by the low half of the hash, which the split does not go by.
    """
    found: list[tuple[int, int, int]] = []
    for number, placing in enumerate(placings):
        documents, kinds = placing.kept.open()
        wanted = kinds == Kind.keep
        keys: NDArray[Any] = documents.table["group" if held_out_too else "hash"]
        if not held_out_too:
            wanted &= placing.split.numbers(documents.table["group"]) == PARTS.index(TRAIN)
            keys = keys & np.uint64(0xFFFFFFFF)
        rows = np.flatnonzero(wanted)
        first = rows[np.argsort(keys[rows], kind="stable")[:n]]
        found = sorted([*found, *((int(keys[row]), number, int(row)) for row in first)])[:n]
    opened = {number: placings[number].kept.open()[0] for number in sorted({number for _, number, _ in found})}
    for _, number, row in found:
        documents = opened[number]
        yield documents.languages[documents.table["language"][row]], documents[row]
