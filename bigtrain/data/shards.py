"""A prepared set on disk: the tokens of a corpus, ready to be mapped into memory, and a manifest of what they are.

    manifest.json               format, counts, tokenizer, settings, fingerprint; size and sha256 of the other files
    tokenizer.json ...          the tokenizer, as transformers' AutoTokenizer opens it
    train.bin                   all documents one after the other, each begun by what the tokenizer itself puts before a
                                text (Llama's bos; most put nothing) and ended by its eos: uint16 where the vocabulary
                                has at most 65,536 entries, else uint32, little-endian
    train.documents.bin         int64, little-endian: the position of each document's first token
    validation.bin, validation.documents.bin, test.bin, test.documents.bin
    train.words.bin, ...        uint8 for each token, where word boundaries were asked for: 1 for one that continues the
                                word of the token before it
    train.loss.bin, ...         uint8 for each token, where a loss mask was asked for: 1 for one that is learned
    statistics.json             what each stage of preparation did
    report.html                 the same to look at; it alone is not in the manifest

A set holds no time, host or path: the same input and settings give the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.split import PARTS
from bigtrain.data.tokenizer_schema import WordBoundaries
from bigtrain.errors import UserError
from bigtrain.storage import sha256
from bigtrain.tokenizer import Tokenizer

FORMAT = 2  # changes when the same input would give other bytes
MANIFEST = "manifest.json"
STARTS, FLAGS = np.dtype("<i8"), np.dtype(np.uint8)
COUNTS = {"documents": int, "tokens": int, "bytes": int}
_FILE = {"size": int, "sha256": str}
_SHAPE = {
    "format": int,
    "fingerprint": str,
    "tokenizer": {"hash": str, "vocab_size": int, "eos_id": int},
    "dtype": str,
    "splits": dict.fromkeys(PARTS, COUNTS),
    "files": dict,
    "settings": dict,
}
_SAMPLE = 1 << 20  # tokens at either end of a part that are looked at when a set is opened


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds every id."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


@dataclass(frozen=True)
class TokenSplit:
    """One part of a prepared set. `len()` is its number of tokens."""

    tokens: NDArray[Any]  # (N,) uint16 or uint32, mapped into memory: all documents, each ended by eos
    document_starts: NDArray[np.int64]  # (documents,) position of the first token of each
    n_bytes: int  # of the text in UTF-8
    continues_word: NDArray[np.uint8] | None = None  # (N,) 1 for a token that goes on with a word; None: not stored
    learned: NDArray[np.uint8] | None = None  # (N,) 1 for a token that is a target; None: all are

    def __len__(self) -> int:
        return len(self.tokens)

    def first(self, n: int | None) -> TokenSplit:
        """Its first n tokens; None: all."""
        cut = [flags if flags is None else flags[:n] for flags in (self.continues_word, self.learned)]
        return TokenSplit(self.tokens[:n], self.document_starts, self.n_bytes, *cut)

    def n_targets(self) -> int:
        """Tokens that are predicted: all that are learned but the very first."""
        return max(0, len(self) - 1) if self.learned is None else int(np.count_nonzero(self.learned[1:]))


class PreparedSet:
    """A folder made by `bigtrain prepare`."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        self._tokenizer: Tokenizer | None = None

    @classmethod
    def open(cls, path: Path) -> PreparedSet:
        """Raises UserError where `path` is no prepared set, or one with missing, cut or foreign files."""
        manifest = _read_manifest(path)
        prepared = cls(path, manifest)
        dtype = token_dtype(prepared.vocab_size)
        if manifest["dtype"] != dtype.name:
            raise prepared._damaged(f"{manifest['dtype']} tokens for a vocabulary of {prepared.vocab_size}")
        for name, entry in manifest["files"].items():
            file = path / name
            if Path(name).name != name or not file.is_file():
                raise prepared._damaged(f"{name} is missing")
            if file.stat().st_size != entry["size"]:
                raise prepared._damaged(f"{name} has {file.stat().st_size} bytes, not {entry['size']}")
        for part, counts in manifest["splits"].items():
            sizes = {f"{part}.bin": counts["tokens"] * dtype.itemsize}
            sizes[f"{part}.documents.bin"] = counts["documents"] * STARTS.itemsize
            flags = {"words": prepared.has_words, "loss": prepared.has_loss_mask}
            sizes |= {f"{part}.{name}.bin": counts["tokens"] for name, stored in flags.items() if stored}
            if any(manifest["files"].get(name, {}).get("size") != size for name, size in sizes.items()):
                raise prepared._damaged(f"the files of the {part} part do not have the size that its counts give")
            tokens = prepared.split(part).tokens
            prepared._check_ids(part, tokens[:_SAMPLE])
            prepared._check_ids(part, tokens[-_SAMPLE:])
        return prepared

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that decides the content: input, settings, tokenizer, format."""
        return str(self.manifest["fingerprint"])

    @property
    def vocab_size(self) -> int:
        """Of the tokenizer: every token is below it."""
        return int(self.manifest["tokenizer"]["vocab_size"])

    @property
    def has_words(self) -> bool:
        """Whether it is stored which tokens continue a word."""
        return bool(self.manifest["settings"].get("word_boundaries", WordBoundaries.none) != WordBoundaries.none)

    @property
    def has_loss_mask(self) -> bool:
        """Whether it is stored which tokens are learned."""
        return bool(self.manifest["settings"].get("loss_between"))

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the tokens. Raises UserError where its file has been changed."""
        if self._tokenizer is None:
            tokenizer = Tokenizer.load(self.path)
            if tokenizer.hash != self.manifest["tokenizer"]["hash"]:
                raise self._damaged("tokenizer.json is not the one that the manifest names")
            self._tokenizer = tokenizer
        return self._tokenizer

    def split(self, part: str) -> TokenSplit:
        """The `train`, the `validation` or the `test` part; a part that was not asked for is empty."""
        return TokenSplit(
            mapped(self.path / f"{part}.bin", token_dtype(self.vocab_size)),
            mapped(self.path / f"{part}.documents.bin", STARTS),
            self.manifest["splits"][part]["bytes"],
            mapped(self.path / f"{part}.words.bin", FLAGS) if self.has_words else None,
            mapped(self.path / f"{part}.loss.bin", FLAGS) if self.has_loss_mask else None,
        )

    def verify(self) -> None:
        """Read everything and compare it with the manifest. Raises UserError, naming what differs."""
        for name, entry in self.manifest["files"].items():
            if sha256(self.path / name) != entry["sha256"]:
                raise self._damaged(f"the bytes of {name} have changed")
        for part in PARTS:
            self._check_ids(part, self.split(part).tokens)

    def _check_ids(self, part: str, tokens: NDArray[Any]) -> None:
        if len(tokens) and int(tokens.max()) >= self.vocab_size:
            raise self._damaged(
                f"{part}.bin holds the token {tokens.max()}, the vocabulary ends at {self.vocab_size - 1}"
            )

    def _damaged(self, problem: str) -> UserError:
        return UserError(
            f"{self.path}: {problem}", "a prepared set is whole and unchanged", "delete and prepare it again"
        )


def mapped(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The file as a read-only array; an empty file cannot be mapped."""
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        problem = f"it has no {MANIFEST}" if path.is_dir() else "it is a file" if path.exists() else "no such folder"
        raise UserError(
            f"{path}: {problem}",
            "a prepared set is a folder made by `bigtrain prepare`",
            "prepare the text with data.files=[GLOB,...] output=DIR",
        )
    try:
        manifest = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file}: {error}", "the manifest is readable JSON", "delete and prepare the set again"
        ) from error
    if not (_has_shape(manifest, _SHAPE) and all(_has_shape(entry, _FILE) for entry in manifest["files"].values())):
        raise UserError(
            f"{file}: not the manifest of a prepared set", "`bigtrain prepare` writes it", "prepare the set again"
        )
    if manifest["format"] != FORMAT:
        raise UserError(
            f"{path}: format {manifest['format']}", f"this version reads format {FORMAT}", "prepare the set again"
        )
    result: dict[str, Any] = manifest
    return result


def _has_shape(value: Any, shape: Any) -> bool:
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(key in value and _has_shape(value[key], shape[key]) for key in shape)
    return isinstance(value, shape) and not isinstance(value, bool)
