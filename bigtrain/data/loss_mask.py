"""Which parts of a text are learned, where its own marks say so: answers, but not the questions before them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def learned_characters(text: str, between: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each character (n,) stands between the two marks, or behind the one mark, that are given.

    The first mark is not learned; the second is, as a model must learn to end. Where it is missing the text is learned
    to its end, and a text without the first mark is learned nowhere.
    """
    begin, *end = map(re.escape, between)
    spans = re.finditer(f"{begin}(.*?(?:{end[0]}|\\Z))" if end else f"{begin}(.*)", text, re.DOTALL)
    flags = np.zeros(len(text), np.bool_)
    for span in spans:
        flags[span.start(1) : span.end()] = True
    return flags
