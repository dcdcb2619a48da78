"""What deduplication keeps of a part of the corpus: tables of hashes, each sorted, in a few .npy files.

For each document 20 bytes (`documents`) and, for near duplicates, 12 bytes a band (168 by default); 12 bytes for each
long paragraph, and 8 bytes a document to number them. Since a table is sorted, a range of its hashes is one stretch of
a memory-mapped file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.exact import document_hash
from bigtrain.data.dedup.minhash import MinHasher
from bigtrain.data.dedup.paragraphs import paragraph_spans
from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.dedup.words import Hashes

DOCUMENTS, BANDS, PARAGRAPHS = "documents", "bands", "paragraphs"
_ENDS = "ends"  # of each document's paragraphs in the numbering of the part's


def write_signatures(texts: Sequence[str], config: DedupConfig, folder: Path) -> None:
    """Write the tables that `config` asks for into `folder`, which exists. The rows are the texts, in order."""
    ends = np.zeros(len(texts), np.int64)
    if config.documents:
        hashes = np.array([document_hash(text) for text in texts], np.uint64).reshape(-1, 2)
        _write(folder, DOCUMENTS, hashes.T[None], np.arange(len(texts)))
    if config.near:
        bands = MinHasher(config).bands(texts)
        rows = np.flatnonzero(bands.any(1))  # a text without words is like no other
        _write(folder, BANDS, bands[rows].T[:, None], rows)
    if config.paragraphs:
        found = [paragraph_spans(text, config)[1] for text in texts]
        ends = np.cumsum([len(hashes) for hashes in found], dtype=np.int64)
        paragraphs = np.concatenate([np.empty(0, np.uint64), *found])
        _write(folder, PARAGRAPHS, paragraphs[None, None], np.arange(len(paragraphs)))
    np.save(folder / f"{_ENDS}.npy", ends)


def sizes(folder: Path) -> tuple[int, int]:
    """Documents and long paragraphs of a part."""
    ends = paragraph_ends(folder)
    return len(ends), int(ends[-1]) if len(ends) else 0


def paragraph_ends(folder: Path) -> NDArray[np.int64]:
    """(documents,): paragraph p of a part is in the document np.searchsorted(ends, p, "right")."""
    ends: NDArray[np.int64] = np.load(folder / f"{_ENDS}.npy")
    return ends


def read_range(folder: Path, name: str, table: int, low: int, high: int) -> tuple[Hashes, NDArray[np.int64]]:
    """The hashes of one table whose first word is in low..high, sorted, (words, n), and their rows, (n,).

    Equal hashes stand in the order of their rows.
    """
    keys, rows = _mapped(folder, name)
    first = int(np.searchsorted(keys[table, 0], np.uint64(low), "left"))
    last = int(np.searchsorted(keys[table, 0], np.uint64(high), "right"))
    return np.array(keys[table, :, first:last]), rows[table, first:last].astype(np.int64)


def bands_of(folder: Path, row: int) -> list[int]:
    """The bands of one document; none for a text without words."""
    keys, rows = _mapped(folder, BANDS)
    return [int(key) for table in range(len(rows)) for key in keys[table, 0, rows[table] == row]]


def _write(folder: Path, name: str, keys: Hashes, rows: NDArray[np.int64]) -> None:
    """keys: (tables, words, n), the words of one hash; rows: (n,)."""
    orders = np.stack([np.lexsort(table[::-1]) for table in keys])  # stable
    np.save(folder / f"{name}.npy", np.take_along_axis(keys, orders[:, None], 2))
    np.save(folder / f"{name}.rows.npy", rows[orders].astype(np.uint32))


def _mapped(folder: Path, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.load(folder / f"{name}.npy", mmap_mode="r"), np.load(folder / f"{name}.rows.npy", mmap_mode="r")
