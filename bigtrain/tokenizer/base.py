"""Text <-> token ids. Every tokenizer is a tokenizer.json, which transformers' AutoTokenizer opens as it is."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from bigtrain.errors import UserError
from bigtrain.storage import write_json, write_text
from bigtrain.tokenizer.fast_encode import Encoder, fast_encoder, is_lossless_unigram, keeps_every_byte, word_encoder
from bigtrain.tokenizer.files import read
from bigtrain.tokenizer.sentencepiece_model import BLANK, is_byte_piece
from bigtrain.tokenizer.word_encoder import WordEncoder

Ids = NDArray[np.uint32]

EOS = "<|endoftext|>"  # ends every document of a tokenizer trained here, and pads
UNKNOWN = "<|unk|>"

# Tokens that end a document in the tokenizers people bring, for those that do not say which it is.
_KNOWN_EOS = (EOS, "</s>", "<|end_of_text|>", "<|im_end|>", "[SEP]")
_EMPTY: dict[str, Any] = {"added_tokens": [], "normalizer": None, "pre_tokenizer": None}  # what a file may leave out
_ROLES = ("bos_token", "eos_token", "pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
_KEPT = (*_ROLES, "chat_template", "model_input_names", "padding_side", "truncation_side")
_MUCH = 1 << 18  # characters from which on a table of words is worth while


class Tokenizer:
    """A `tokenizers` pipeline with the token that ends a document.

    Special tokens are never found in text nor added to it: a document that happens to contain the characters
    "<|endoftext|>" is text like any other.

    spec: the content of a tokenizer.json. config: what is known beside it, as in a tokenizer_config.json.
    """

    def __init__(self, spec: dict[str, Any], config: dict[str, Any] | None = None) -> None:
        # Padding and truncation in the file would silently cut documents (all-MiniLM's stops at 128 tokens).
        self.spec = {**_EMPTY, **spec, "truncation": None, "padding": None}
        self.config = {key: config[key] for key in _KEPT if key in config} if config else {}
        self.backend = tokenizers.Tokenizer.from_str(json.dumps(self.spec))
        self.backend.encode_special_tokens = True
        self.eos_id = self._id_of("eos_token")
        if self.eos_id is None:
            known = (token for token in _KNOWN_EOS if self.backend.token_to_id(token) is not None)
            if (token := next(known, None)) is not None:
                self.config["eos_token"] = token
                self.eos_id = self.backend.token_to_id(token)
        pad_id = self._id_of("pad_token")
        self.pad_id = pad_id if pad_id is not None else self.eos_id if self.eos_id is not None else 0
        unknown = _unknown_token(spec["model"])
        self.unknown_id = None if unknown is None else self.backend.token_to_id(unknown)
        special = [token["content"] for token in self.spec["added_tokens"] if token["special"]]
        self._special_ids = frozenset(self.backend.token_to_id(content) for content in special if content != unknown)
        self._special_text = re.compile("|".join(re.escape(content) for content in special) or r"(?!)")

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[dict[str, Any], dict[str, Any]]]:
        return type(self), (self.spec, self.config)  # it travels between processes

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """A tokenizer file of any kind, or a folder that holds one: see `files.py`. Raises UserError."""
        spec, config = read(path)
        try:
            return cls(spec, config)
        except Exception as error:  # tokenizers raises plain Exception
            raise UserError(
                f"{path}: {error!r}", "a tokenizer.json is written by the tokenizers library", "name another tokenizer"
            ) from error

    def save(self, folder: Path, *, longest: int | None = None) -> None:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json into an existing folder.

        And chat_template.jinja where there is a template; several by name stay in tokenizer_config.json.

        longest: tokens of the longest text that the model beside it reads, to which transformers then cuts.
        """
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **self.config}
        if longest is not None:
            config["model_max_length"] = longest
        if isinstance(config.get("chat_template"), str):
            write_text(folder / "chat_template.jinja", config.pop("chat_template"))
        special = {key: value for key, value in self.config.items() if key.endswith("_token")}
        write_text(folder / "tokenizer.json", json.dumps(self.spec, ensure_ascii=False) + "\n")
        write_json(folder / "tokenizer_config.json", config)
        write_json(folder / "special_tokens_map.json", special)

    @functools.cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @functools.cached_property
    def around(self) -> tuple[list[int], list[int]]:
        """What the file itself puts before and after a text, as transformers has it; `encode` adds none of it."""
        encoding = self.backend.encode("a", add_special_tokens=True)
        text = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        return (encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]) if text else ([], [])

    @functools.cached_property
    def roles(self) -> dict[str, int]:
        """The token of each role, as transformers names them: `eos_token`, `mask_token` and so on."""
        ids = {role: self._id_of(role) for role in _ROLES}
        return {role: id_ for role, id_ in ids.items() if id_ is not None}

    @functools.cached_property
    def marked(self) -> tokenizers.Tokenizer:
        """A backend to which the name of a special token in a text is that token."""
        backend = tokenizers.Tokenizer.from_str(json.dumps(self.spec))
        backend.encode_special_tokens = False
        return backend

    @functools.cached_property
    def begin_ids(self) -> list[int]:
        """What a decoder reads before a document and before a prompt: bos in Llama's and Mistral's tokenizers.

        Nothing where a text is ended as well: those are encoders', whose rows have a `Frame`.
        """
        before, after = self.around
        return [] if after else before

    @functools.cached_property
    def hash(self) -> str:
        """sha256 of the tokenizer.json in canonical form: equal hashes, equal ids."""
        canonical = json.dumps(self.spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        if not (pieces := self._without_special(text, ids)):
            return ids
        return [id_ for _, piece in pieces for id_ in self.encode(piece)]

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a text that a decoder goes on with: as a document begins."""
        return [*self.begin_ids, *self.encode(text)]

    def encode_documents(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text, the same as `encode` gives, by the fastest way there is."""
        if self._fast:
            return [self._fast(text) for text in texts]
        if self._by_words and sum(map(len, texts)) > _MUCH and _has_blanks(texts):
            return self._by_words(texts)
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        pairs = zip(texts, encodings, strict=True)
        return [
            np.array(self.encode(text) if self._without_special(text, encoding.ids) else encoding.ids, np.uint32)
            for text, encoding in pairs
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens stand for none."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=True)
        return text

    def token_bytes(self) -> NDArray[np.int32] | None:
        """UTF-8 bytes that each id stands for (V,), 0 for special tokens.

        None where these do not add up to the bytes of the text exactly: only byte-level tokens that are taken from the
        text as it is do.
        """
        added = self.spec["added_tokens"]
        eats_blanks = any(token["lstrip"] or token["rstrip"] for token in added if not token["special"])
        if eats_blanks or not keeps_every_byte(self.spec):
            return None
        n_bytes = np.zeros(self.vocab_size, np.int32)
        for token, id_ in self.spec["model"]["vocab"].items():
            n_bytes[id_] = len(token)  # one character of the byte alphabet each
        for token in added:
            id_ = self.backend.token_to_id(token["content"])
            n_bytes[id_] = 0 if token["special"] else len(token["content"].encode("utf-8"))
        return n_bytes

    @functools.cached_property
    def _fast(self) -> Encoder | None:
        return fast_encoder(self.spec, self.backend)

    @functools.cached_property
    def _by_words(self) -> WordEncoder | None:
        return word_encoder(self.spec, self.backend)

    @functools.cached_property
    def _lengths(self) -> NDArray[np.int32] | None:
        """Bytes of the text that each id stands for, if these are known: those of Unigram add up unless it has a ▁."""
        if (n_bytes := self.token_bytes()) is not None or not is_lossless_unigram(self.spec):
            return n_bytes
        lengths = np.zeros(self.vocab_size, np.int32)
        for id_, (piece, _) in enumerate(self.spec["model"]["vocab"]):
            lengths[id_] = 1 if is_byte_piece(piece) else len(piece.replace(BLANK, " ").encode("utf-8"))
        return lengths

    def characters(self, text: str, ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The first character that each token stands for, and whether it begins inside that."""
        lead = (np.frombuffer(text.encode("utf-8"), np.uint8) & 0xC0) != 0x80
        if self._lengths is not None and (lengths := self._lengths[ids]).sum() == len(lead):
            begins = np.cumsum(lengths, dtype=np.int64) - lengths
            return (np.cumsum(lead) - 1)[begins], ~lead[begins]
        pieces = self._without_special(text, ids.tolist()) or [(0, text)]
        spans = [
            (at + begin, at + end)
            for at, piece in pieces
            for begin, end in self.backend.encode(piece, add_special_tokens=False).offsets
        ]
        begins, ends = np.array(spans, np.int64).reshape(-1, 2).T
        again = np.zeros(len(begins), np.bool_)  # the second byte of a character has the same place as the first
        again[1:] = (begins[1:] == begins[:-1]) & (ends[:-1] > begins[:-1])
        return begins, again

    def _without_special(self, text: str, ids: Sequence[int]) -> list[tuple[int, str]]:
        """Where the model itself knows a special token as a piece of text (Unigram does): the pieces to cut it into,
        and where each begins. Nothing where `ids` are right."""
        if self._special_ids.isdisjoint(ids) or len(text) == 1:
            return []
        cuts = [cut for match in self._special_text.finditer(text) for cut in (match.start(), match.start() + 1)]
        bounds = sorted({0, *cuts, len(text)})
        return [(start, text[start:end]) for start, end in itertools.pairwise(bounds)] if cuts else []

    def _id_of(self, key: str) -> int | None:
        """The id of a token that the config names: a string, or an object with its `content`."""
        token = self.config.get(key)
        content = token.get("content") if isinstance(token, dict) else token
        return self.backend.token_to_id(content) if isinstance(content, str) else None


def _has_blanks(texts: Sequence[str]) -> bool:
    """Whether words are divided by blanks, so that the same ones come again and again."""
    return sum(text.count(" ") for text in texts) * 16 > sum(map(len, texts))


def _unknown_token(model: dict[str, Any]) -> str | None:
    """What stands for text that the vocabulary lacks: the one special token that text may become."""
    if model.get("type") == "Unigram":
        return None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
    return model.get("unk_token")
