"""Which rows have the hash of an earlier row: searched range by range of the hashes, each range by itself."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.clusters import Rows
from bigtrain.data.dedup.signatures import DOCUMENTS, PARAGRAPHS, paragraph_ends, read_range, sizes
from bigtrain.data.dedup.words import Hashes
from bigtrain.storage import disk_full_is_an_error, sync_file, sync_folder, write_json

_FILE = "parts.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Parts:
    """The folders with the signatures of all parts, in order, and how many documents and paragraphs each has."""

    folders: list[str]
    documents: list[int]
    paragraphs: list[int]

    @classmethod
    def of(cls, folders: list[Path]) -> Parts:
        """Count the documents and paragraphs of every part."""
        counts = [sizes(folder) for folder in folders]
        return cls(
            [str(folder.resolve()) for folder in folders],
            [count[0] for count in counts],
            [count[1] for count in counts],
        )

    @classmethod
    def load(cls, folder: Path) -> Parts:
        """What `save` wrote there."""
        return cls(**json.loads((folder / _FILE).read_bytes()))

    def save(self, folder: Path) -> None:
        """Write it for the searches, which may run in other processes or on other machines."""
        write_json(folder / _FILE, asdict(self))

    def starts(self, table: str) -> Rows:
        """(parts + 1,): the first number of each part's rows, and how many there are."""
        return np.cumsum([0, *(self.paragraphs if table == PARAGRAPHS else self.documents)], dtype=np.int64)


@dataclass(frozen=True)
class Search:
    """One table, one range of its hashes, all parts. Its result is a file in `folder`, beside parts.json."""

    folder: Path
    name: str
    table: int
    range: int
    n_ranges: int

    @property
    def path(self) -> Path:
        """The file of pairs, (n, 2) int64: every row but the first of its hash, and an earlier one with that hash."""
        return self.folder / f"{self.name}-{self.table:03}-{self.range:06}-of-{self.n_ranges:06}.bin"

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest hash."""
        return (self.range << 64) // self.n_ranges, ((self.range + 1 << 64) // self.n_ranges) - 1


def run(search: Search) -> None:
    """Write the pairs of a search, unless they are there. Takes about 100 bytes of memory for each hash in its range.

    Of paragraphs only those in kept documents are compared: kept.npy, (documents,) bool, says which documents are.
    """
    if search.path.exists():
        return
    parts = Parts.load(search.folder)
    starts, documents = parts.starts(search.name), parts.starts(DOCUMENTS)
    kept = np.load(search.folder / "kept.npy", mmap_mode="r") if search.name == PARAGRAPHS else None
    firsts, numbers = [], []
    with _new_file(search.path) as file:
        for part, folder in enumerate(map(Path, parts.folders)):
            keys, rows = read_range(folder, search.name, search.table, *search.bounds)
            if kept is not None:
                compared = kept[documents[part] + np.searchsorted(paragraph_ends(folder), rows, "right")]
                keys, rows = keys[:, compared], rows[compared]
            repeated, is_first = _repeats(keys, rows + starts[part])
            file.write(repeated.tobytes())
            firsts.append(keys[:, is_first])  # one of each hash, so that a text that stands everywhere fills no range
            numbers.append((rows + starts[part])[is_first])
        keys = np.concatenate(firsts, axis=1)
        order = np.lexsort(keys[::-1])  # stable: equal hashes stay in the order of the parts
        file.write(_repeats(keys[:, order], np.concatenate(numbers)[order])[0].tobytes())


def pairs(searches: Iterable[Search]) -> Iterator[Rows]:
    """What the searches found, (2, n) at a time: rows, and for each an earlier row with the same hash."""
    for search in searches:
        with open(search.path, "rb") as file:
            while len(numbers := np.fromfile(file, np.int64, 2 * _CHUNK)):
                yield numbers.reshape(-1, 2).T


def _repeats(keys: Hashes, rows: Rows) -> tuple[Rows, NDArray[np.bool_]]:
    """Pairs (n, 2) of a row and the first one with its hash; and which of the sorted `keys`, (words, n), are first."""
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = (keys[:, 1:] != keys[:, :-1]).any(0)
    leader = np.maximum.accumulate(np.where(is_first, np.arange(len(rows)), 0))
    return np.stack([rows, rows[leader]], axis=1)[~is_first], is_first


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `path`, durably, when the block ends well, and vanishes when it does not."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with disk_full_is_an_error(path):
            with open(temporary, "wb") as file:
                yield file
            sync_file(temporary)
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
