"""A SentencePiece model -> the tokenizer.json that gives the same ids. The file is read here: no library is needed.

The format is sentencepiece_model.proto of github.com/google/sentencepiece; what its encoder does with it is said by
normalizer.cc, unigram_model.cc and bpe_model.cc there. What cannot be had: `tokenizers` loses a combining mark after a
ligature and the like (where case is folded, after a capital letter), and of segmentations with the same score it may
take another, for SentencePiece adds in single precision.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from bigtrain.errors import UserError

BLANK = "▁"  # stands for a blank in every piece
_UNIGRAM, _BPE = 1, 2


class _Kind(IntEnum):
    """What a piece is (SentencePiece.Type)."""

    normal, unknown, control, user_defined, unused, byte = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class _Piece:
    text: str
    score: float
    kind: _Kind


@dataclass
class _Model:
    """The fields that decide ids, with the defaults of the format."""

    pieces: list[_Piece] = field(default_factory=list)
    algorithm: int = _UNIGRAM
    byte_fallback: bool = False
    blank_as_suffix: bool = False
    ids: dict[str, int] = field(default_factory=lambda: {"unk": 0, "bos": 1, "eos": 2, "pad": -1})
    charsmap: bytes = b""
    dummy_prefix: bool = True
    remove_extra_blanks: bool = True
    escape_blanks: bool = True

    def texts(self, kind: _Kind) -> list[str]:
        """The pieces of one kind."""
        return [piece.text for piece in self.pieces if piece.kind is kind]


def looks_like_sentencepiece(content: bytes) -> bool:
    """Whether bytes begin as such a file does: a first piece, in which a text stands first."""
    return len(content) > 2 and content[0] == 0x0A and b"\x0a" in content[1:4]


def is_byte_piece(piece: str) -> bool:
    """Whether a piece stands for one byte, as <0x41> does."""
    return re.fullmatch("<0x[0-9A-F]{2}>", piece) is not None


def convert(content: bytes, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of the tokenizer.json and of the tokenizer_config.json. Raises UserError.

    content: of the model file. name: of that file, for errors.
    """
    try:
        model = _parse(content)
    except (ValueError, IndexError, struct.error) as error:
        raise UserError(
            f"{name}: not a SentencePiece model ({error})", "the file must be whole", "restore the file"
        ) from error
    if model.algorithm not in (_UNIGRAM, _BPE) or model.blank_as_suffix:
        what = "blanks at the end of words" if model.blank_as_suffix else "whole words or characters"
        raise UserError(
            f"{name}: a SentencePiece model of {what}",
            "Unigram and BPE models with blanks at the front are read",
            "name another tokenizer",
        )
    spec = {
        "version": "1.0",
        "added_tokens": _special(model),
        "normalizer": _normalizer(model),
        "pre_tokenizer": _pre_tokenizer(model),
        "post_processor": None,
        "decoder": _decoder(model),
        "model": _unigram(model) if model.algorithm == _UNIGRAM else _bpe(model),
    }
    named = {f"{key}_token": id_ for key, id_ in model.ids.items() if 0 <= id_ < len(model.pieces)}
    return spec, {key: model.pieces[id_].text for key, id_ in named.items()}


def _parse(content: bytes) -> _Model:
    model = _Model()
    for number, value in _fields(content):
        if number == 1:
            model.pieces.append(_piece(value))
        elif number == 2:
            for key, setting in _fields(value):
                match key:
                    case 3:
                        model.algorithm = setting
                    case 24:
                        model.blank_as_suffix = bool(setting)
                    case 35:
                        model.byte_fallback = bool(setting)
                    case 40 | 41 | 42 | 43:
                        model.ids[("unk", "bos", "eos", "pad")[key - 40]] = _signed(setting)
        elif number == 3:
            for key, setting in _fields(value):
                match key:
                    case 2:
                        model.charsmap = setting
                    case 3:
                        model.dummy_prefix = bool(setting)
                    case 4:
                        model.remove_extra_blanks = bool(setting)
                    case 5:
                        model.escape_blanks = bool(setting)
    if not model.pieces:
        raise ValueError("no pieces")
    return model


def _piece(content: bytes) -> _Piece:
    found = dict(_fields(content))
    score = struct.unpack("<f", found[2])[0] if 2 in found else 0.0
    return _Piece(found[1].decode("utf-8"), score, _Kind(found.get(3, 1)))


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) pairs of a protocol buffer: an int for a varint, else bytes. Raises ValueError."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(content, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(content, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(content):
            raise ValueError("cut off")
        yield key >> 3, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number without end")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _special(model: _Model) -> list[dict[str, Any]]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return [
        {"id": id_, "content": piece.text, **flags}
        for id_, piece in enumerate(model.pieces)
        if piece.kind in (_Kind.control, _Kind.unknown)
    ]


def _normalizer(model: _Model) -> dict[str, Any] | None:
    steps: list[dict[str, Any]] = []
    if model.charsmap:
        steps.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(model.charsmap).decode()})
    if model.remove_extra_blanks:
        steps += [_replace({"Regex": rf"\A +|[ {BLANK}]+\z"}, ""), _replace({"Regex": " {2,}"}, " ")]
    if model.dummy_prefix:
        steps.append({"type": "Prepend", "prepend": BLANK if model.escape_blanks else " "})
    if model.escape_blanks:
        steps.append(_replace({"String": " "}, BLANK))
    return {"type": "Sequence", "normalizers": steps} if steps else None


def _pre_tokenizer(model: _Model) -> dict[str, Any] | None:
    """Cut where no piece reaches across, for speed; and keep what is no text from being found as text, and the user's
    own pieces from being joined with their neighbours."""
    steps = []
    if not any(re.search(f"[^{BLANK}]{BLANK}", piece.text) for piece in model.pieces):
        steps.append(_split(f"{BLANK}+[^{BLANK}]*|[^{BLANK}]+", "Isolated"))
    own = sorted(model.texts(_Kind.user_defined), key=lambda text: (-len(text), text))
    if own and model.algorithm == _BPE:
        steps.append(_split("|".join(map(re.escape, own)), "Isolated"))
    if own or model.algorithm == _UNIGRAM:
        steps.append(_split(_what_is_no_text(model), "MergedWithPrevious"))
    return {"type": "Sequence", "pretokenizers": steps} if steps else None


def _what_is_no_text(model: _Model) -> str:
    """A pattern to cut pieces like `</s>` before their last character: `tokenizers` would find them whole in text."""
    texts = [text for text in (*model.texts(_Kind.control), *model.texts(_Kind.unknown)) if len(text) > 1]
    patterns = [f"{re.escape(text[:-1])}(?={re.escape(text[-1])})" for text in texts]
    return "|".join([*patterns, "<0x[0-9A-F]{2}(?=>)"])


def _decoder(model: _Model) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [_replace({"String": BLANK}, " ")] if model.escape_blanks else []
    if model.byte_fallback:
        steps.append({"type": "ByteFallback"})
    steps.append({"type": "Fuse"})
    if model.dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _unigram(model: _Model) -> dict[str, Any]:
    scores = [piece.score for piece in model.pieces if piece.kind is _Kind.normal]
    lowest, highest = min(scores, default=0.0), max(scores, default=0.0)

    def score(piece: _Piece) -> float:
        if piece.kind is _Kind.user_defined:  # as unigram_model.cc scores them: always taken
            return len(piece.text.encode("utf-8")) * highest - 0.1
        # The lowest score of all says what an unknown character costs, so no other piece may lie below it.
        return piece.score if piece.kind is _Kind.normal else lowest

    return {
        "type": "Unigram",
        "unk_id": model.ids["unk"],
        "vocab": [[piece.text, score(piece)] for piece in model.pieces],
        "byte_fallback": model.byte_fallback,
    }


def _bpe(model: _Model) -> dict[str, Any]:
    """SentencePiece joins the neighbours whose union has the highest score: so every pair with a known union."""
    ids = {piece.text: id_ for id_, piece in enumerate(model.pieces)}
    normal = {text: ids[text] for text in model.texts(_Kind.normal)}
    merges = []
    for text in sorted(normal, key=lambda text: (-model.pieces[ids[text]].score, ids[text])):
        cuts = ((text[:cut], text[cut:]) for cut in range(1, len(text)))
        pairs = [pair for pair in cuts if pair[0] in normal and pair[1] in normal]
        merges += [list(pair) for pair in sorted(pairs, key=lambda pair: (ids[pair[0]], ids[pair[1]]))]
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.pieces[model.ids["unk"]].text,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": model.byte_fallback,
        "ignore_merges": bool(model.texts(_Kind.user_defined)),  # these have no merges and are taken whole
        "vocab": ids,
        "merges": merges,
    }


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _split(regex: str, behavior: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": False}
