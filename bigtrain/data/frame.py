"""The tokens that a model reads besides a text's own, and which tokens of a vocabulary go on with a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer
from bigtrain.tokenizer.fast_encode import BYTE_OF

# For tokenizers that do not say what stands around a text, and which token hides another.
_AROUND = (("[CLS]", "[SEP]"), ("<s>", "</s>"))
_MASKS = ("[MASK]", "<mask>", "<|mask|>")
_SPACE_MARK = "\u2581"  # of SentencePiece
_BROKEN = "\ufffd"  # what stands for bytes that are no character
_OWN_WORDS = (  # scripts whose characters are taken for words: there are no blanks between words
    *((0x2E80, 0x303F), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF00, 0xFFEF)),
    (0x20000, 0x3FFFF),
)


@dataclass(frozen=True)
class Frame:
    """What a model's rows begin and end with: [CLS] and [SEP], <s> and </s>, a decoder's bos, or nothing."""

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.before) + len(self.after)

    def size(self, n_texts: int) -> int:
        """Special tokens of a row of so many texts."""
        return len(self.before) + n_texts * len(self.after)

    def around(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """(..., T) -> (..., T + len(self))."""
        shape = tokens.shape[:-1]
        before, after = (
            np.broadcast_to(np.array(ids, tokens.dtype), (*shape, len(ids))) for ids in (self.before, self.after)
        )
        return np.concatenate([before, tokens, after], -1)

    def between(self, tokens: NDArray[Any], cut: NDArray[np.int64]) -> NDArray[Any]:
        """(N, T) -> (N, T + len(after)): two texts, of which the second begins at `cut` (N,), below T.

        What stands after a text stands between them too.
        """
        if not self.after:
            return tokens
        place = np.arange(tokens.shape[1] + len(self.after)) - cut[:, None]
        texts = np.take_along_axis(
            tokens, np.where(place < 0, place, np.maximum(place - len(self.after), 0)) + cut[:, None], 1
        )
        inside = (place >= 0) & (place < len(self.after))
        return np.where(inside, np.array(self.after, tokens.dtype)[np.where(inside, place, 0)], texts)

    @classmethod
    def given(cls, tokenizer: Tokenizer) -> Frame:
        """What the tokenizer itself puts around a text: for a decoder."""
        before, after = tokenizer.around
        return cls(tuple(before), tuple(after))

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Frame:
        """What the tokenizer itself puts around a text; if nothing, its tokens of these names: for an encoder."""
        if any(tokenizer.around):
            return cls.given(tokenizer)
        for names in _AROUND:
            first, last = (tokenizer.backend.token_to_id(name) for name in names)
            if first is not None and last is not None:
                return cls((first,), (last,))
        return cls()


def mask_token(tokenizer: Tokenizer) -> str | None:
    """The token that stands for a hidden one, if there is one."""
    if (named := tokenizer.roles.get("mask_token")) is not None:
        return str(tokenizer.backend.id_to_token(named))
    return next((name for name in _MASKS if tokenizer.backend.token_to_id(name) is not None), None)


def mask_id(tokenizer: Tokenizer) -> int:
    """The same as a number. Raises UserError where there is none."""
    token = mask_token(tokenizer)
    id_ = None if token is None else tokenizer.backend.token_to_id(token)
    if id_ is not None:
        return id_
    raise UserError(
        "a masked model with a tokenizer that has no mask token",
        f"hidden tokens are replaced by one: {', '.join(_MASKS)}, or what tokenizer_config.json names as mask_token",
        "give tokenizer=wordpiece, tokenizer=bpe tokenizer.encoder=true, or tokenizer.path= the folder of an encoder",
    )


def special_ids(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Tokens that are no text, the one for unknown text among them."""
    special = [token["content"] for token in tokenizer.spec["added_tokens"] if token["special"]]
    named = [tokenizer.spec["model"].get("unk_token"), *special]
    ids = {tokenizer.backend.token_to_id(content) for content in named if isinstance(content, str)}
    return np.array(sorted(id_ for id_ in ids if id_ is not None), np.int64)


class WordMarks(NamedTuple):
    """A token goes on with the word of the token before it where it is `inner` and that one is `open`, (V,) each."""

    inner: NDArray[np.bool_]
    open: NDArray[np.bool_]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> WordMarks:
        """By the marks that the tokenizer leaves; without any, every token is a word.

        `##` of WordPiece. Else a letter or digit after another, without the blank of byte-level BPE or SentencePiece
        between them, where a character of Chinese or Japanese is a word of its own.
        """
        model = tokenizer.spec["model"]
        vocab: dict[str, int] = tokenizer.backend.get_vocab(with_added_tokens=True)
        inner = np.zeros(tokenizer.vocab_size, np.bool_)
        is_open = np.ones(tokenizer.vocab_size, np.bool_)
        prefix = model.get("continuing_subword_prefix") or ""
        byte_level = model.get("type") == "BPE" and BYTE_OF.keys() <= vocab.keys()
        marked = byte_level or any(token.startswith(_SPACE_MARK) for token in vocab)
        for token, id_ in vocab.items() if prefix or marked else ():
            if prefix:
                inner[id_] = token.startswith(prefix)
            elif byte_level and all(character in BYTE_OF for character in token):
                inner[id_], is_open[id_] = _bytes_in_word(bytes(BYTE_OF[character] for character in token))
            else:
                inner[id_], is_open[id_] = _in_word(token[:1]), _in_word(token[-1:])
        inner[special_ids(tokenizer)] = False
        return cls(inner, is_open)


def _bytes_in_word(token: bytes) -> tuple[bool, bool]:
    """Whether a token begins and ends within a word. Its bytes may be a part of a character."""
    text = token.decode(errors="replace")
    first, last = _in_word(text[:1]), _in_word(text[-1:])
    if text[:1] == _BROKEN:
        first = 0x80 <= token[0] < 0xE0  # goes on with a character, or begins one of two bytes: a letter
    return first, last or text[-1:] == _BROKEN


def _in_word(character: str) -> bool:
    return character.isalnum() and not any(low <= ord(character) <= high for low, high in _OWN_WORDS)
