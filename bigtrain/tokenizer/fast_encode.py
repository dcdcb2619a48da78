"""Faster ways from text to ids than `tokenizers` itself, each taken only where the ids are the same.

byte-level BPE with a pre-tokenizer known here    gigatoken, which knows a word again that it has seen; tiktoken,
                                                  given the ranks of the merges, for the youngest characters
bytes, characters                                 one table look-up per unit, in numpy
words of GPT-2's pattern, each by itself          a table of words (`word_encoder.py`)
"""

from __future__ import annotations

import functools
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Collection
from typing import Any

import gigatoken
import numpy as np
import tiktoken
import tokenizers
from numpy.typing import NDArray

from bigtrain.tokenizer.splitting import categories, code_points
from bigtrain.tokenizer.word_encoder import WordEncoder

Encoder = Callable[[str], NDArray[np.uint32]]

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CASED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_BLANK = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = _CASED + r"\p{N}{1,3}" + _BLANK
QWEN2 = _CASED + r"\p{N}" + _BLANK
CHARACTER = r"[\s\S]"
GPT2_SPLIT = {"type": "Split", "pattern": {"Regex": GPT2}, "behavior": "Isolated", "invert": False}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": False}

_MUCH = 32 << 20  # characters of which gigatoken remembers the words; then all are forgotten

# What two libraries may see differently: every kind of blank, the case of the long s, marks without a base, and the
# scripts of recent Unicode versions (15.0 to 17.0).
_OLD = (
    "It's WE'LL '\u017f don't\t\tx  \r\n\n  12345 3\u00b2\u00bd \u2167 \u0663\u0664 na\u00efve e\u0301 \u0301\u0302 "
    "\u4e2d\u6587 \u3041\u30a2 \ud55c\uad6d \u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d \U0001f469\u200d\U0001f467 "
    "<|endoftext|> ... --- _a_1_ a\x85b\xa0c\u1680d\u2003e\u2028f\u2029g\u202fh\u205fi\u3000j\ufeffk\u200bl\x1cm\x1fn\0"
    "   a    1     !      \n       "
)
_PROBE = _OLD + (
    "a\U00011f02\U0001e4d0b1\U0001d2c0 \U0002ebf0 a\u1c89\U000105c0 1\U00010d40\U0001ccf0 \U000323b0 a\ua7ce\U00016ea0"
)


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte -> the byte (github.com/openai/gpt-2, `bytes_to_unicode` inverted)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(rest)}


BYTE_OF = byte_alphabet()
_OF_TEXT = {character for character, byte in BYTE_OF.items() if byte not in (0xC0, 0xC1) and byte < 0xF5}  # of UTF-8


def keeps_every_byte(spec: dict[str, Any]) -> bool:
    """Whether the tokens of a text, put together, are exactly its UTF-8 bytes: byte-level BPE on text as it is."""
    steps = _steps(spec)
    return (
        spec["model"].get("type") == "BPE"
        and spec["normalizer"] is None
        and BYTE_OF.keys() <= spec["model"]["vocab"].keys()
        and any(step["type"] == "ByteLevel" for step in steps)
        and all(
            (step["type"] == "ByteLevel" and not step.get("add_prefix_space", True))
            or (step["type"] == "Split" and step["behavior"] != "Removed")
            or step["type"] == "Digits"
            for step in steps
        )
    )


def is_lossless_unigram(spec: dict[str, Any]) -> bool:
    """Whether it is Unigram as it is trained here: on text as it is, blanks written as ▁, bytes for what is unknown."""
    model = spec["model"]
    return (
        model.get("type") == "Unigram"
        and bool(model.get("byte_fallback"))
        and spec["normalizer"] is None
        and _steps(spec) == [GPT2_SPLIT, METASPACE]
    )


def fast_encoder(spec: dict[str, Any], backend: tokenizers.Tokenizer) -> Encoder | None:
    """A function text -> ids (N,) that agrees with `backend`; None where none is known to.

    spec: the content of the tokenizer.json that `backend` was made from, special tokens not to be found in text.
    """
    special = [token for token in spec["added_tokens"] if token["special"]]
    if len(special) < len(spec["added_tokens"]):
        return _around_added(spec, special, backend)
    if spec["normalizer"] is None and (table := _byte_table(spec) or _character_table(spec)):
        return table
    return _byte_level(spec, backend)


def _around_added(spec: dict[str, Any], special: list[dict[str, Any]], backend: tokenizers.Tokenizer) -> Encoder | None:
    """With tokens that are found in text before anything else (GPT-NeoX's runs of blanks, Qwen's <think>)."""
    added = [token for token in spec["added_tokens"] if not token["special"]]
    normalizer, by_text = backend.normalizer, [token["normalized"] for token in added]
    if (
        spec["model"].get("type") != "BPE"
        or any(token["single_word"] or token["lstrip"] or token["rstrip"] for token in added)
        or len({*by_text}) > 1
    ):
        return None
    contents = [token["content"] for token in added]
    if normalizer and not all(map(str.isascii, contents)):
        return None
    ids = {content: np.array([backend.token_to_id(content)], np.uint32) for content in contents}
    model = spec["model"]
    made = BYTE_OF.keys() | {left + right for left, right in _merges(model)}
    vocab = {token: id_ for token, id_ in model["vocab"].items() if token not in ids or token in made}
    rest = {**spec, "added_tokens": special, "model": {**model, "vocab": vocab}}
    plain = tokenizers.Tokenizer.from_str(json.dumps(rest))
    plain.encode_special_tokens = True
    between = fast_encoder(rest, plain)
    if between is None:
        return None
    # A special token is text, but the longest that matches counts, and what it covers is no other token.
    sought = {token["content"] for token in spec["added_tokens"] if token["normalized"] == by_text[0]}
    pattern = re.compile("|".join(map(re.escape, sorted(sought, key=len, reverse=True))))

    def encode(text: str) -> NDArray[np.uint32]:
        if by_text[0]:
            text = _normal(text, normalizer)
        pieces, at = list[NDArray[np.uint32]](), 0
        for match in pattern.finditer(text):
            if match.group() in ids:
                pieces += [between(text[at : match.start()]), ids[match.group()]]
                at = match.end()
        return np.concatenate([*pieces, between(text[at:])])

    return encode if _agrees(encode, backend, "".join(f"{content} a{content}" for content in sorted(sought))) else None


def _steps(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The pre-tokenizer as a flat list."""
    first = spec["pre_tokenizer"]
    if first is None:
        return []
    steps: list[dict[str, Any]] = first["pretokenizers"] if first["type"] == "Sequence" else [first]
    return steps


def _byte_table(spec: dict[str, Any]) -> Encoder | None:
    model = spec["model"]
    if not (keeps_every_byte(spec) and not model["merges"] and not model.get("ignore_merges")):
        return None
    table = np.zeros(256, np.uint32)
    for character, byte in BYTE_OF.items():
        table[byte] = model["vocab"][character]
    return lambda text: table[np.frombuffer(text.encode("utf-8"), np.uint8)]


def _character_table(spec: dict[str, Any]) -> Encoder | None:
    model, steps = spec["model"], _steps(spec)
    if model.get("type") != "WordLevel" or len(steps) != 1 or steps[0]["type"] != "Split":
        return None
    step, unknown = steps[0], model["vocab"].get(model["unk_token"])
    if step["pattern"] != {"Regex": CHARACTER} or step["behavior"] != "Isolated" or step["invert"] or unknown is None:
        return None
    table = np.full(0x110000, unknown, np.uint32)
    for token, id_ in model["vocab"].items():
        if len(token) == 1:
            table[ord(token)] = id_
    return lambda text: table[code_points(text)]


def _byte_level(spec: dict[str, Any], backend: tokenizers.Tokenizer) -> Encoder | None:
    pattern, special = _pattern(spec), {token["content"]: token["id"] for token in spec["added_tokens"]}
    if pattern is None or spec["normalizer"] not in (None, {"type": "NFC"}):
        return None
    ranks = _ranks(spec, special)
    if ranks is None or not _splits_alike(pattern, backend):
        return None
    by_ranks = tiktoken.Encoding("bigtrain", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    by_words, normalizer = _Remembering(spec), backend.normalizer

    def encode(text: str) -> NDArray[np.uint32]:
        text = _normal(text, normalizer)
        if _is_known(text):
            return by_words(text)
        try:
            return by_ranks.encode_to_numpy(text, disallowed_special=())
        except ValueError:  # a run of some 500,000 blanks is too much for its regex engine
            return np.array(backend.encode(text, add_special_tokens=False).ids, np.uint32)

    return encode if _agrees(encode, backend) else None


def _agrees(encode: Encoder, backend: tokenizers.Tokenizer, more: str = "") -> bool:
    texts = (_OLD + more, _PROBE)
    return all(encode(text).tolist() == backend.encode(text, add_special_tokens=False).ids for text in texts)


def _normal(text: str, normalizer: tokenizers.normalizers.Normalizer | None) -> str:
    """NFC, if that is the tokenizer's; most text is, and to see that takes less time than to make it."""
    if normalizer is None or (_is_known(text) and unicodedata.is_normalized("NFC", text)):
        return text
    return str(normalizer.normalize_str(text))


class _Remembering:
    """gigatoken with bounds: what it remembers of the words that it has seen grows with the text."""

    def __init__(self, spec: dict[str, Any]) -> None:
        # Special tokens are not to be found in text.
        self._spec, self._left = json.dumps({**spec, "normalizer": None, "added_tokens": []}), 0

    def __call__(self, text: str) -> NDArray[np.uint32]:
        if self._left <= 0:
            self._encoder, self._left = gigatoken.Tokenizer.from_json(self._spec), _MUCH
        self._left -= len(text)
        return self._encoder.encode(text)


@functools.cache
def _known() -> NDArray[np.bool_]:
    """Whether the Unicode tables of this Python know a code point, (0x110000,): later ones may call others letters."""
    known = categories() != b"Cn"
    return np.pad(known, (0, sys.maxunicode + 1 - len(known)))


def _is_known(text: str) -> bool:
    return text.isascii() or bool(_known()[code_points(text)].all())


def _pattern(spec: dict[str, Any]) -> str | None:
    """The regular expression that cuts text into words, if it is one whose meaning is the same in both libraries."""
    *split, last = _steps(spec) or [{"type": None}]
    if last["type"] != "ByteLevel" or last.get("add_prefix_space", True):
        return None
    if not split:
        return GPT2 if last.get("use_regex", True) else None
    if len(split) > 1 or last.get("use_regex", True):
        return None
    for pattern in (GPT2, LLAMA3, QWEN2):
        if split[0] == {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}:
            return pattern
    return None


def _ranks(spec: dict[str, Any], special: Collection[str]) -> dict[bytes, int] | None:
    """Bytes of each token -> id, if merging by lowest id (tiktoken) is merging by the list of merges (tokenizers).

    tiktoken joins the neighbours whose union has the lowest id; tokenizers joins the pair that stands first in the
    list. These agree if every byte of UTF-8 has a token, every other token comes from exactly one merge, ids ascend
    along the list, and each token's own bytes are merged into that token.
    """
    model = spec["model"]
    settings = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    if model.get("type") != "BPE" or any(model.get(setting) for setting in settings):
        return None
    vocab = {token: id_ for token, id_ in model["vocab"].items() if token not in special}
    pairs = _merges(model)
    merged = [vocab.get(left + right, -1) for left, right in pairs]
    if not (
        vocab.keys() >= _OF_TEXT
        and all(BYTE_OF.keys() >= set(token) for token in vocab)
        and len(vocab) == len(vocab.keys() & BYTE_OF.keys()) + len(merged)
        and all(0 <= a < b for a, b in zip([0, *merged], merged, strict=False))
    ):
        return None
    plain = tokenizers.models.BPE(model["vocab"], pairs)
    if any(len(plain.tokenize(token)) != 1 for token in vocab):
        return None
    return {bytes(BYTE_OF[character] for character in token): id_ for token, id_ in vocab.items()}


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    """As files of both versions write them: "a b", and ["a", "b"]."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return [(left, right) for left, right in pairs]


def _splits_alike(pattern: str, backend: tokenizers.Tokenizer) -> bool:
    """Whether this release of tiktoken, with its own Unicode tables, cuts the probe into the same words."""
    words = [bytes(BYTE_OF[c] for c in word) for word, _ in backend.pre_tokenizer.pre_tokenize_str(_PROBE)]
    whole = {word for word in words if len(word) > 1}
    ranks = {bytes([byte]): byte for byte in range(256)} | {word: 256 + n for n, word in enumerate(sorted(whole))}
    encoding = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return encoding.decode_tokens_bytes(encoding.encode_ordinary(_PROBE)) == words


def word_encoder(spec: dict[str, Any], backend: tokenizers.Tokenizer) -> WordEncoder | None:
    """One that agrees with `backend`; None where text is not cut into the words of GPT-2's pattern before all else."""
    by_gpt2 = _pattern(spec) == GPT2 or _steps(spec) == [GPT2_SPLIT, METASPACE]
    plain = spec["normalizer"] is None and all(token["special"] for token in spec["added_tokens"])
    if not by_gpt2 or not plain or spec["model"].get("dropout"):
        return None
    return WordEncoder(lambda word: backend.encode(word, add_special_tokens=False).ids)
