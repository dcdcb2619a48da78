"""A prepared set on disk: the tokens of a corpus, ready to be mapped into memory, and a manifest of what they are.

    manifest.json               format, counts, tokenizer, settings, fingerprint; size and sha256 of the other files
    tokenizer.json ...          the tokenizer, as transformers' AutoTokenizer opens it
    train.bin                   all documents one after the other, each ended by the tokenizer's eos: uint16 where the
                                vocabulary has at most 65,536 entries, else uint32, little-endian
    train.documents.bin         int64, little-endian: the position of each document's first token
    validation.bin, validation.documents.bin, test.bin, test.documents.bin
    train.words.bin, ...        uint8 for each token, where word boundaries were asked for: 1 for one that continues the
                                word of the token before it
    statistics.json             what each stage of preparation did
    report.html                 the same to look at; it alone is not in the manifest

A set holds no time, host or path: the same input and settings give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain import __version__
from bigtrain.data.split import PARTS
from bigtrain.data.tokenizer_schema import WordBoundaries
from bigtrain.errors import UserError
from bigtrain.storage import sha256, write_json
from bigtrain.tokenizer import Ids, Tokenizer

FORMAT = 2  # changes when the same input would give other bytes
MANIFEST = "manifest.json"
_STARTS, _FLAGS = np.dtype("<i8"), np.dtype(np.uint8)
_CHUNK = 1 << 20  # tokens copied at once
_COUNTS = {"documents": int, "tokens": int, "bytes": int}
_FILE = {"size": int, "sha256": str}
_SHAPE = {
    "format": int,
    "fingerprint": str,
    "tokenizer": {"hash": str, "vocab_size": int, "eos_id": int},
    "dtype": str,
    "splits": dict.fromkeys(PARTS, _COUNTS),
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

    def __len__(self) -> int:
        return len(self.tokens)


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
            sizes[f"{part}.documents.bin"] = counts["documents"] * _STARTS.itemsize
            if prepared.has_words:
                sizes[f"{part}.words.bin"] = counts["tokens"]
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
            _mapped(self.path / f"{part}.bin", token_dtype(self.vocab_size)),
            _mapped(self.path / f"{part}.documents.bin", _STARTS),
            self.manifest["splits"][part]["bytes"],
            _mapped(self.path / f"{part}.words.bin", _FLAGS) if self.has_words else None,
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


class ShardWriter:
    """Fills a folder with the tokens of documents, batch by batch.

    words: whether, and by which words, it is stored which tokens continue one. threads: that encode; None: all cores.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        words: WordBoundaries = WordBoundaries.none,
        *,
        threads: int | None = None,
    ) -> None:
        self.folder, self.tokenizer = folder, tokenizer
        self._words, self._threads = words, threads
        self.dtype = token_dtype(tokenizer.vocab_size)
        self.counts = {part: dict.fromkeys(_COUNTS, 0) for part in PARTS}
        self._eos = np.array([end_of_document(tokenizer)], self.dtype)
        self._tokens = {part: _HashedFile(folder / f"{part}.bin") for part in PARTS}
        self._starts = {part: _HashedFile(folder / f"{part}.documents.bin") for part in PARTS}
        parts_with_flags = PARTS if words is not WordBoundaries.none else ()
        self._flags = {part: _HashedFile(folder / f"{part}.words.bin") for part in parts_with_flags}

    def add(self, part: str, texts: Sequence[str]) -> list[int]:
        """Append documents to a part. Returns the number of tokens of each, its end included."""
        if not texts:
            return []
        documents = self._encoded(part, texts)
        lengths = np.array([len(ids) + 1 for ids in documents], _STARTS)
        starts = self.counts[part]["tokens"] + np.cumsum(lengths) - lengths
        pieces = [piece for ids in documents for piece in (ids.astype(self.dtype), self._eos)]
        self._starts[part].write(starts)
        self._tokens[part].write(np.concatenate(pieces))
        n_bytes = sum(len(text) if text.isascii() else len(text.encode("utf-8")) for text in texts)
        self._count(part, {"documents": len(texts), "tokens": int(lengths.sum()), "bytes": n_bytes})
        return [int(length) for length in lengths]

    def _encoded(self, part: str, texts: Sequence[str]) -> list[Ids]:
        if part not in self._flags:
            return self.tokenizer.encode_documents(texts, threads=self._threads)
        found = self.tokenizer.encode_documents_with_words(texts, self._words, threads=self._threads)
        eos = np.zeros(1, _FLAGS)
        self._flags[part].write(np.concatenate([piece for _, one in found for piece in (one.astype(_FLAGS), eos)]))
        return [ids for ids, _ in found]

    def append(self, folder: Path, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Append all that another writer with the same tokenizer has written into `folder`, and counted."""
        for part in PARTS:
            starts = _mapped(folder / f"{part}.documents.bin", _STARTS)
            self._starts[part].write(starts + self.counts[part]["tokens"])
            self._tokens[part].copy(folder, self.dtype)
            if part in self._flags:
                self._flags[part].copy(folder, _FLAGS)
            self._count(part, counts[part])

    def finish(self, fingerprint: str, **facts: Any) -> None:
        """Write the tokenizer and the manifest. facts: `settings` and whatever else there is to be recorded."""
        written = (*self._tokens.values(), *self._starts.values(), *self._flags.values())
        files = {file.path.name: file.entry() for file in written}
        self.tokenizer.save(self.folder)
        for path in self.folder.iterdir():
            files.setdefault(path.name, {"size": path.stat().st_size, "sha256": sha256(path)})
        manifest = {
            "format": FORMAT,
            "bigtrain": __version__,
            "fingerprint": fingerprint,
            "tokenizer": {
                "hash": self.tokenizer.hash,
                "vocab_size": self.tokenizer.vocab_size,
                "eos_id": self.tokenizer.eos_id,
            },
            "dtype": self.dtype.name,
            "splits": self.counts,
            **facts,
            "files": dict(sorted(files.items())),
        }
        write_json(self.folder / MANIFEST, manifest)

    def _count(self, part: str, more: Mapping[str, int]) -> None:
        for what in _COUNTS:
            self.counts[part][what] += more[what]


def end_of_document(tokenizer: Tokenizer) -> int:
    """The token that ends every document. Raises UserError where the tokenizer has none."""
    if tokenizer.eos_id is None:
        raise UserError(
            "a tokenizer without an end-of-document token",
            "every document is ended by one",
            'name it as "eos_token" in the tokenizer_config.json beside tokenizer.json',
        )
    return tokenizer.eos_id


class _HashedFile:
    """A file being written, and the sha256 of what was."""

    def __init__(self, path: Path) -> None:
        self.path, self._sha256 = path, hashlib.sha256()
        path.touch()

    def write(self, values: NDArray[Any]) -> None:
        content = values.tobytes()
        with open(self.path, "ab") as file:
            file.write(content)
        self._sha256.update(content)

    def copy(self, folder: Path, dtype: np.dtype[Any]) -> None:
        """Append the file of the same name in another folder."""
        values = _mapped(folder / self.path.name, dtype)
        for start in range(0, len(values), _CHUNK):
            self.write(values[start : start + _CHUNK])

    def entry(self) -> dict[str, Any]:
        return {"size": self.path.stat().st_size, "sha256": self._sha256.hexdigest()}


def _mapped(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
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
