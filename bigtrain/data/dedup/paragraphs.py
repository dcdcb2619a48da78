"""Paragraphs that stood elsewhere before: which parts of a text are compared, and the text without some of them.

A paragraph is a line, as in CCNet (Wenzek et al. 2020) and Dolma (Soldaini et al. 2024). Short lines are never cut out:
headings, verses, speakers and the lines of hard-wrapped text repeat without being duplicates.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.exact import paragraph_hash
from bigtrain.data.dedup.schema import DedupConfig


def paragraph_spans(text: str, config: DedupConfig) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The paragraphs of `paragraph_min_chars` or more, white space around them not counted.

    Returns their places in characters, (n, 2) int64, start and end, and their hashes, (n,) uint64, for which white
    space makes no difference.
    """
    spans, hashes = [], []
    for match in re.finditer(rf"[^\n]{{{config.paragraph_min_chars},}}", text):
        paragraph = match[0].strip()
        if len(paragraph) >= config.paragraph_min_chars:
            spans.append(match.span())
            hashes.append(paragraph_hash(paragraph))
    return np.array(spans, np.int64).reshape(-1, 2), np.array(hashes, np.uint64)


def without_paragraphs(text: str, spans: NDArray[np.int64], keep: NDArray[np.bool_]) -> str:
    """The text without the paragraphs that are not kept, and without the line ends after each of them.

    spans: (n, 2), of `paragraph_spans`; keep: (n,).
    """
    if keep.all():
        return text
    kept, place = [], 0
    for start, end in spans[~keep].tolist():
        kept.append(text[place:start])
        place = end
        while text.startswith("\n", place):
            place += 1
    rest = text[place:]
    return "".join(kept) + rest if rest else "".join(kept).rstrip("\n")
