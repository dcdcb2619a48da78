"""What deduplication keeps of a part of the corpus: tables of hashes, each sorted, in a few .npy files.

For each document 20 bytes (`documents`) and, for near duplicates, 12 bytes a band (168 by default); 12 bytes for each
long paragraph, and 8 bytes a document to number them. Since a table is sorted, a range of its hashes is one stretch of
a memory-mapped file.
"""

from __future__ import annotations

import array
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.exact import document_hash
from bigtrain.data.dedup.minhash import MinHasher
from bigtrain.data.dedup.paragraphs import paragraph_spans
from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.dedup.words import Hashes

DOCUMENTS, BANDS, PARAGRAPHS = "documents", "bands", "paragraphs"
_ENDS = "ends"  # of each document's paragraphs in the numbering of the part's
_CHUNK = 1 << 14  # rows that are read at once


def write_signatures(texts: Sequence[str], config: DedupConfig, folder: Path) -> None:
    """Write the tables that `config` asks for into `folder`, which exists. The rows are the texts, in order.

    Takes about 50 bytes of memory for each row of a table: a part that is one large file may have many.
    """
    ends = np.zeros(len(texts), np.int64)
    if config.documents:
        hashes = np.empty((2, len(texts)), np.uint64)
        for row, text in enumerate(texts):
            hashes[:, row] = document_hash(text)
        _write(folder, DOCUMENTS, 1, [hashes], np.arange(len(texts)))
    if config.near:
        with tempfile.TemporaryFile(dir=folder) as scratch:
            some = [bands.any(1) for bands in _into(scratch, MinHasher(config).blocks(texts))]
            rows = np.flatnonzero(np.concatenate([np.empty(0, np.bool_), *some]))  # a text without words is like none
            _write(folder, BANDS, config.bands, (band[None, rows] for band in _columns(scratch, config.bands)), rows)
    if config.paragraphs:
        found = array.array("Q")
        for row, text in enumerate(texts):
            found.frombytes(paragraph_spans(text, config)[1].tobytes())
            ends[row] = len(found)
        _write(folder, PARAGRAPHS, 1, [np.array(found, np.uint64)[None]], np.arange(len(found)))
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


def _into(scratch: BinaryIO, blocks: Iterable[Hashes]) -> Iterator[Hashes]:
    """Blocks of (n, tables), which are appended to a file on the way."""
    for block in blocks:
        scratch.write(block.tobytes())
        yield block


def _columns(scratch: BinaryIO, n_tables: int) -> Iterator[Hashes]:
    """The tables of what `_into` has written, (n,), one after the other."""
    for table in range(n_tables):
        scratch.seek(0)
        found = [np.empty(0, np.uint64)]
        while content := scratch.read(8 * n_tables * _CHUNK):
            found.append(np.frombuffer(content, np.uint64)[table::n_tables].copy())
        yield np.concatenate(found)


def _write(folder: Path, name: str, n_tables: int, tables: Iterable[Hashes], rows: NDArray[np.int64]) -> None:
    """tables: each (words, n), the words of one hash; rows: (n,)."""
    with open(folder / f"{name}.npy", "wb") as keys, open(folder / f"{name}.rows.npy", "wb") as places:
        for number, table in enumerate(tables):
            if number == 0:
                _begin(keys, np.uint64, (n_tables, *table.shape))
                _begin(places, np.uint32, (n_tables, len(rows)))
            order = np.lexsort(table[::-1])  # stable
            keys.write(table[:, order].tobytes())
            places.write(rows[order].astype(np.uint32).tobytes())


def _begin(file: BinaryIO, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    """What stands before the values of an .npy file."""
    description = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)


def _mapped(folder: Path, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.load(folder / f"{name}.npy", mmap_mode="r"), np.load(folder / f"{name}.rows.npy", mmap_mode="r")
