"""Where words begin in a text, so that all tokens of one can be masked together."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.tokenizer_schema import WordBoundaries
from bigtrain.errors import UserError
from bigtrain.tokenizer.splitting import BLANKS, Codes, categories, code_points

Flags = NDArray[np.bool_]

_MARK, _LETTER, _JOINER, _HAN, _BLANK = range(5)
_TABLE_SIZE = 0x110000
_HAN_BLOCKS = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x323B0))
_HAN_RUN = re.compile("[" + "".join(f"{chr(first)}-{chr(end - 1)}" for first, end in _HAN_BLOCKS) + "]{2,}")


def word_starts(text: str, boundaries: WordBoundaries) -> Flags:
    """Whether a word begins at each character (n,). Blanks begin none.

    A word is a run of letters, numbers and the marks on them; any other character is one by itself, and so is every
    Chinese one unless jieba puts it into a longer word. Raises UserError where jieba is asked for and missing.
    """
    kind = _kinds(code_points(text))
    starts: Flags = kind != _BLANK
    of_word, joiner = kind == _LETTER, kind == _JOINER
    starts[1:] &= ~(of_word[1:] & (of_word | joiner)[:-1]) & ~(joiner[1:] & (kind[:-1] != _BLANK))
    if boundaries is WordBoundaries.jieba:
        cut = _jieba()
        for run in _HAN_RUN.finditer(text):
            at = run.start()
            starts[at : run.end()] = False
            for word in cut(run.group()):
                starts[at] = True
                at += len(word)
    return starts


def count_words(text: str, boundaries: WordBoundaries) -> int:
    """Words of a text, marks that stand alone not counted."""
    kind = _kinds(code_points(text))
    return int((word_starts(text, boundaries) & ((kind == _LETTER) | (kind == _HAN))).sum())


def continues(text: str, begin: NDArray[np.int64], inside: Flags, boundaries: WordBoundaries) -> Flags:
    """Whether each token continues the word that a token before it began (n,).

    begin, inside: the first character that each stands for, and whether it begins inside that, as
    `Tokenizer.characters` gives them. Blanks in front of a word belong to it. Raises UserError as `word_starts`.
    """
    n = len(text)
    places = np.where(_kinds(code_points(text)) == _BLANK, n, np.arange(n))
    after_blanks = np.minimum.accumulate(np.append(places, n)[::-1])[::-1][begin]
    flags: Flags = ~np.append(word_starts(text, boundaries), True)[after_blanks] | inside
    return flags


@functools.cache
def _jieba() -> Callable[[str], list[str]]:
    """Chinese text -> words, by jieba's dictionary and, for what is not in it, its model."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says what is old-fashioned about itself
            import jieba  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(
            "tokenizer.word_boundaries=jieba without the package jieba",
            "Chinese words come from its dictionary",
            "pip install 'bigtrain[chinese]'",
        ) from error
    tokenizer = jieba.Tokenizer()
    # Its own way of starting reads a cache that anyone could have put into the folder for temporary files.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return lambda text: list(tokenizer.cut(text))


def _kinds(codes: Codes) -> NDArray[np.uint8]:
    return _table()[codes]


@functools.cache
def _table() -> NDArray[np.uint8]:
    table, known = np.full(_TABLE_SIZE, _MARK, np.uint8), categories()
    here = table[: len(known)]
    here[np.isin(known.astype("S1"), [b"L", b"N", b"M"])] = _LETTER
    here[known == b"Cf"] = _JOINER
    here[BLANKS] = _BLANK
    for first, end in _HAN_BLOCKS:
        table[first:end] = _HAN
    return table
