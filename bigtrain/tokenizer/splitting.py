"""Where words begin, for whole arrays of characters at once: the rule of GPT-2's pre-tokenizer, and that of BERT's."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from tokenizers import pre_tokenizers

Codes = NDArray[np.uint32] | NDArray[np.uint8]

END = "\0"  # stands after each text where several are put together
_LETTER, _NUMBER, _OTHER, _BLANK, _END, _UNKNOWN = range(6)
_TABLE_SIZE = 0x110000
_PLANES = 0x40000  # no character is assigned above these, but tags and variation selectors
BLANKS = [code for code in range(0x3001) if chr(code).isspace()]  # there are none above
_BEFORE_A_BLANK = re.compile(r"\S[ \n]")


def code_points(text: str) -> Codes:
    """The code point of each character (n,)."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def batches(texts: Iterable[str], characters: int = 1 << 20) -> Iterator[list[str]]:
    """Lists of some `characters` in all. A longer text is cut where a word ends, whatever the pattern."""
    batch, size = [], 0
    for text in texts:
        for piece in _pieces(text, characters):
            batch.append(piece)
            size += len(piece)
            if size >= characters:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def gpt2_starts(codes: Codes, ends: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Where the words of '(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+ begin.

    codes: of some texts, an END after each. ends: where these stand; each counts as a word. None: there is one text.
    The words are those of `tokenizers`, whose tables say what a letter is.
    """
    kind = _kinds_of(codes)
    if ends is not None:
        kind = kind.copy()
        kind[ends] = _END
    if not len(kind):
        return np.zeros(0, np.int64)
    start = np.ones(len(kind), np.bool_)
    np.not_equal(kind[1:], kind[:-1], out=start[1:])
    blank = kind == _BLANK
    last_blank = blank[:-1] & (kind[1:] < _BLANK)  # of several, it goes with what follows
    start[:-1] |= last_blank
    start[1:] &= ~(last_blank & (codes[:-1] == ord(" ")))
    if ends is not None:
        start[ends] = True
    _cut_contractions(codes, start)
    return np.flatnonzero(start)


def bert_words(codes: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the words of BERT's pre-tokenizer begin and end: no blank is part of one, each mark is one by itself."""
    kind = _bert_table()[codes]
    start = np.ones(len(kind), np.bool_)
    np.not_equal(kind[1:], kind[:-1], out=start[1:])
    start |= kind == _OTHER
    starts = np.flatnonzero(start)
    ends = np.append(starts[1:], len(kind))
    word = kind[starts] != _BLANK
    return starts[word], ends[word]


def _pieces(text: str, characters: int) -> Iterator[str]:
    at = 0
    while len(text) - at > 2 * characters and (cut := _BEFORE_A_BLANK.search(text, at + characters)):
        yield text[at : cut.start() + 1]
        at = cut.start() + 1
    yield text[at:]


def _cut_contractions(codes: Codes, start: NDArray[np.bool_]) -> None:
    """'s, 'd, 'm, 't, 'll, 've and 're are words of their own, where an apostrophe begins one."""
    at = np.flatnonzero(codes[:-1] == ord("'"))
    at = at[start[at]]
    first, second = codes[at + 1], codes[np.minimum(at + 2, len(codes) - 1)]
    one = (first == ord("s")) | (first == ord("d")) | (first == ord("m")) | (first == ord("t"))
    two = (first == ord("l")) & (second == ord("l"))
    two |= ((first == ord("v")) | (first == ord("r"))) & (second == ord("e"))
    two &= at + 2 < len(codes)
    start[at[one | two] + 1] = False
    for cut in (at[one] + 2, at[two] + 3):
        start[cut[cut < len(codes)]] = True


def _kinds_of(codes: Codes) -> NDArray[np.uint8]:
    table = _gpt2_table()
    kind = table[codes]
    if len(kind) and kind.max() == _UNKNOWN:
        for code in np.unique(codes[kind == _UNKNOWN]).tolist():
            table[code] = _kind_in_tokenizers(chr(code))
        kind = table[codes]
    return kind


@functools.cache
def categories() -> NDArray[np.bytes_]:
    """The general category of each code point to this Python, (0x40000,) of two bytes: all planes of letters."""
    names = "".join(map(unicodedata.category, map(chr, range(_PLANES))))
    return np.frombuffer(names.encode("ascii"), "S2")


@functools.cache
def _gpt2_table() -> NDArray[np.uint8]:
    """The kind of every code point that this Python knows; the others are asked for when they occur.

    `tokenizers` has Unicode tables of its own. That it agrees about all letters, all numbers and all the rest is
    checked here, on three long words; where it does not, it is asked about each character.
    """
    table = np.full(_TABLE_SIZE, _UNKNOWN, np.uint8)
    known = categories()
    blank = np.isin(known, [b"Cc", b"Zs", b"Zl", b"Zp"])
    letter, number = (known.astype("S1") == first for first in (b"L", b"N"))
    other = ~(blank | letter | number | np.isin(known, [b"Cn", b"Cs"]))
    for code in np.flatnonzero(blank).tolist():
        table[code] = _kind_in_tokenizers(chr(code))
    for kind, of_kind in ((_LETTER, letter), (_NUMBER, number), (_OTHER, other)):
        codes = np.flatnonzero(of_kind)
        if _n_words("".join(map(chr, codes.tolist()))) == 1:
            table[codes] = kind
    return table


def _kind_in_tokenizers(character: str) -> int:
    kinds = {"a": _LETTER, "1": _NUMBER, "!": _OTHER}
    return next((kind for known, kind in kinds.items() if _n_words(known + character) == 1), _BLANK)


def _n_words(text: str) -> int:
    return len(pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text))


@functools.cache
def _bert_table() -> NDArray[np.uint8]:
    """Blanks and marks; the rest are letters."""
    table = np.full(_TABLE_SIZE, _LETTER, np.uint8)
    table[np.flatnonzero(categories().astype("S1") == b"P")] = _OTHER
    table[[code for code in range(33, 127) if not chr(code).isalnum()]] = _OTHER
    table[BLANKS] = _BLANK
    return table
