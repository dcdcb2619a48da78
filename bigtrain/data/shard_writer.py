"""Making a prepared set: see `shards` for what it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain import __version__
from bigtrain.data.loss_mask import learned_characters
from bigtrain.data.shards import COUNTS, FLAGS, FORMAT, MANIFEST, STARTS, mapped, token_dtype
from bigtrain.data.split import PARTS
from bigtrain.data.tokenizer_schema import WordBoundaries
from bigtrain.errors import UserError
from bigtrain.storage import sha256, write_json
from bigtrain.tokenizer import Ids, Tokenizer
from bigtrain.tokenizer.words import continues

_CHUNK = 1 << 20  # tokens copied at once


class ShardWriter:
    """Fills a folder with the tokens of documents, batch by batch.

    words: whether, and by which words, it is stored which tokens continue one. loss_between: between which strings
    tokens are learned, see `loss_mask`; none: everywhere, and it is not stored.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        words: WordBoundaries = WordBoundaries.none,
        loss_between: Sequence[str] = (),
    ) -> None:
        self.folder, self.tokenizer = folder, tokenizer
        self._words, self._loss_between = words, loss_between
        self.dtype = token_dtype(tokenizer.vocab_size)
        self.counts = {part: dict.fromkeys(COUNTS, 0) for part in PARTS}
        if loss_between:
            for counts in self.counts.values():
                counts["learned"] = 0
        self._begin = np.array(tokenizer.begin_ids, self.dtype)
        self._eos = np.array([end_of_document(tokenizer)], self.dtype)
        self._tokens = {part: _HashedFile(folder / f"{part}.bin") for part in PARTS}
        self._starts = {part: _HashedFile(folder / f"{part}.documents.bin") for part in PARTS}
        stored = {"words": words is not WordBoundaries.none, "loss": bool(loss_between)}
        kinds = [kind for kind, wanted in stored.items() if wanted]
        self._flags = {part: {kind: _HashedFile(folder / f"{part}.{kind}.bin") for kind in kinds} for part in PARTS}

    def add(self, part: str, texts: Sequence[str]) -> list[int]:
        """Append documents to a part. Returns the number of tokens of each, what begins and ends it included."""
        if not texts:
            return []
        documents = self.tokenizer.encode_documents(texts)
        lengths = np.array([len(self._begin) + len(ids) + 1 for ids in documents], STARTS)
        starts = self.counts[part]["tokens"] + np.cumsum(lengths) - lengths
        pieces = [piece for ids in documents for piece in (self._begin, ids.astype(self.dtype), self._eos)]
        self._starts[part].write(starts)
        self._tokens[part].write(np.concatenate(pieces))
        n_bytes = sum(len(text) if text.isascii() else len(text.encode("utf-8")) for text in texts)
        counts = {"documents": len(texts), "tokens": int(lengths.sum()), "bytes": n_bytes}
        for kind, file in self._flags[part].items():
            pairs = zip(texts, documents, strict=True)
            flags = np.concatenate([self._flags_of(kind, text, ids) for text, ids in pairs])
            file.write(flags.astype(FLAGS))
            if kind == "loss":
                counts["learned"] = int(np.count_nonzero(flags))
        self._count(part, counts)
        return [int(length) for length in lengths]

    def _flags_of(self, kind: str, text: str, ids: Ids) -> NDArray[np.bool_]:
        """Of each token of a document, and of what begins and ends it."""
        begin, inside = self.tokenizer.characters(text, ids)
        before = np.zeros(len(self._begin), np.bool_)
        if kind == "words":
            return np.concatenate([before, continues(text, begin, inside, self._words), [False]])
        learned = learned_characters(text, self._loss_between)
        return np.concatenate([before, learned[begin], [learned[-1:].any()]])

    def append(self, folder: Path, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Append all that another writer with the same tokenizer has written into `folder`, and counted."""
        for part in PARTS:
            starts = mapped(folder / f"{part}.documents.bin", STARTS)
            self._starts[part].write(starts + self.counts[part]["tokens"])
            self._tokens[part].copy(folder, self.dtype)
            for file in self._flags[part].values():
                file.copy(folder, FLAGS)
            self._count(part, counts[part])

    def finish(self, fingerprint: str, **facts: Any) -> None:
        """Write the tokenizer and the manifest. facts: `settings` and whatever else there is to be recorded."""
        flags = [file for files in self._flags.values() for file in files.values()]
        written = (*self._tokens.values(), *self._starts.values(), *flags)
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
        for what in self.counts[part]:
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
        values = mapped(folder / self.path.name, dtype)
        for start in range(0, len(values), _CHUNK):
            self.write(values[start : start + _CHUNK])

    def entry(self) -> dict[str, Any]:
        return {"size": self.path.stat().st_size, "sha256": self._sha256.hexdigest()}
