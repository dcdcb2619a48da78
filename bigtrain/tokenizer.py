"""Text <-> token ids. Every tokenizer is a tokenizer.json, which transformers' AutoTokenizer opens as it is."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, pre_tokenizers, trainers

from bigtrain.data.fast_encode import BYTE_OF, CHARACTER, Encoder, fast_encoder, keeps_every_byte
from bigtrain.data.schema import BPEConfig, BytesConfig, CharsConfig, TrainableTokenizerConfig, WordsConfig
from bigtrain.environment import usable_cpus
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.storage import write_json, write_text

Ids = NDArray[np.uint32]

EOS = "<|endoftext|>"  # ends every document of a tokenizer trained here, and pads
UNKNOWN = "<|unk|>"

# Tokens that end a document in the tokenizers people bring, for those that do not say which it is.
_KNOWN_EOS = (EOS, "</s>", "<|end_of_text|>", "<|im_end|>", "[SEP]")
_EMPTY: dict[str, Any] = {"added_tokens": [], "normalizer": None, "pre_tokenizer": None}  # what a file may leave out

# A word or a mark, with the blank before it, or another blank; Chinese characters stand alone, having no blanks
# between words. The pieces of a text, put together, are the text.
_WORD = r"\p{Han}| ?[\w&&[^\p{Han}]]+| ?[^\w\s]|\s"
_KEPT = ("bos_token", "eos_token", "pad_token", "unk_token", "chat_template", "split_special_tokens")


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
        special = [token["content"] for token in self.spec["added_tokens"] if token["special"]]
        self._special_ids = frozenset(self.backend.token_to_id(content) for content in special if content != unknown)
        self._special_text = re.compile("|".join(re.escape(content) for content in special) or r"(?!)")

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """A tokenizer.json, or a folder that holds one (and perhaps tokenizer_config.json). Raises UserError."""
        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.is_file():
            raise UserError(
                f"tokenizer {path}: no {file.name}" if path.is_dir() else f"tokenizer {path}: no such file",
                "a tokenizer is a tokenizer.json, or a folder that holds one",
                "check the path; transformers' AutoTokenizer.save_pretrained writes such a folder",
            )
        spec, config = _read_json(file), {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (file.parent / name).is_file():
                config.update(_read_json(file.parent / name))
        template = file.parent / "chat_template.jinja"
        if template.is_file():
            config["chat_template"] = template.read_text(encoding="utf-8")
        try:
            return cls(spec, config)
        except Exception as error:  # tokenizers raises plain Exception
            raise UserError(
                f"{file}: {error!r}", "a tokenizer.json is written by the tokenizers library", "name another tokenizer"
            ) from error

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json into an existing folder."""
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **self.config}
        special = {key: value for key, value in self.config.items() if key.endswith("_token")}
        write_text(folder / "tokenizer.json", json.dumps(self.spec, ensure_ascii=False) + "\n")
        write_json(folder / "tokenizer_config.json", config)
        write_json(folder / "special_tokens_map.json", special)

    @functools.cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @functools.cached_property
    def hash(self) -> str:
        """sha256 of the tokenizer.json in canonical form: equal hashes, equal ids."""
        canonical = json.dumps(self.spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return self._without_special(text, ids)

    def encode_documents(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text, the same as `encode` gives, on all cores and by the fastest way there is."""
        if self._fast:
            with ThreadPoolExecutor(usable_cpus()) as pool:
                return list(pool.map(self._fast, texts))
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        pairs = zip(texts, encodings, strict=True)
        return [np.array(self._without_special(text, encoding.ids), np.uint32) for text, encoding in pairs]

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

    def _without_special(self, text: str, ids: list[int]) -> list[int]:
        """`ids`, unless the model itself knows a special token as a piece of text (Unigram does): then cut it apart."""
        if self._special_ids.isdisjoint(ids):
            return ids
        cuts = [cut for match in self._special_text.finditer(text) for cut in (match.start(), match.start() + 1)]
        if not cuts or len(text) == 1:
            return ids
        pieces = (text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)]) if end > start)
        return [id_ for piece in pieces for id_ in self.encode(piece)]

    def _id_of(self, key: str) -> int | None:
        """The id of a token that the config names: a string, or an object with its `content`."""
        token = self.config.get(key)
        content = token.get("content") if isinstance(token, dict) else token
        return self.backend.token_to_id(content) if isinstance(content, str) else None


def train(config: TrainableTokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of the kind that `config` names, learned from `texts`: the same texts, the same tokenizer."""
    match config:
        case BPEConfig():
            backend = _train_bpe(texts, config.vocab_size - 1)
        case WordsConfig():
            backend = _train_words(texts, config.vocab_size - 2)
        case BytesConfig():
            backend = _byte_level(models.BPE(vocab=BYTE_OF, merges=[]), use_regex=False)
        case CharsConfig():
            characters = sorted(set[str]().union(*map(set, texts)))
            backend = _one_token_each(characters, CHARACTER)
    backend.add_special_tokens([EOS])
    entries = backend.get_vocab_size()
    if entries < (wanted := getattr(config, "vocab_size", entries)):
        log.warning("the training text is enough for %d entries of a vocabulary, not %d", entries, wanted)
    special = {"eos_token": EOS, "pad_token": EOS, "split_special_tokens": True}
    if not isinstance(config, BPEConfig | BytesConfig):
        special["unk_token"] = UNKNOWN
    return Tokenizer(json.loads(backend.to_str()), special)


def _train_bpe(texts: Iterable[str], n: int) -> tokenizers.Tokenizer:
    """Sennrich et al. 2016 (arXiv 1508.07909) over bytes, within the words of GPT-2's pre-tokenizer."""
    backend = _byte_level(models.BPE(), use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=n,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(iter(texts), trainer)
    return backend


def _byte_level(model: models.BPE, *, use_regex: bool) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    backend.decoder = decoders.ByteLevel()
    return backend


def _train_words(texts: Iterable[str], n: int) -> tokenizers.Tokenizer:
    """The n most frequent words; of equally frequent ones the first in alphabetical order."""
    backend = _one_token_each([], _WORD)
    backend.train_from_iterator(iter(texts), trainers.WordLevelTrainer(vocab_size=n, show_progress=False))
    vocab = backend.get_vocab()
    return _one_token_each(sorted(vocab, key=lambda word: vocab[word]), _WORD)


def _one_token_each(tokens: list[str], pattern: str) -> tokenizers.Tokenizer:
    """A vocabulary of whole matches of `pattern`, with an entry for everything else."""
    vocab = {token: id_ for id_, token in enumerate([*tokens, UNKNOWN])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    backend.decoder = decoders.Fuse()
    return backend


def _unknown_token(model: dict[str, Any]) -> str | None:
    """What stands for text that the vocabulary lacks: the one special token that text may become."""
    if model.get("type") == "Unigram":
        return None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
    return model.get("unk_token")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}", "it must be readable JSON", "restore the file") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: a JSON {type(content).__name__}", "it must be a JSON object", "restore the file")
    return content
