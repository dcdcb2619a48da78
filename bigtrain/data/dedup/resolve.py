"""Decides, from the signatures of all parts, which documents and paragraphs are kept."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.clusters import Forest, Rows
from bigtrain.data.dedup.repeats import Parts, Search, pairs, run
from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.dedup.signatures import BANDS, DOCUMENTS, PARAGRAPHS, bands_of
from bigtrain.storage import write_bytes

RANGE = 1 << 20  # hashes that a worker holds at once, about
_EXAMPLES = 10


class Kind(IntEnum):
    """What became of a document."""

    keep = 0
    exact = 1
    near = 2


@dataclass(frozen=True)
class Example:
    """Two documents, each as part and row, that were merged. similarity: estimated Jaccard of their shingles."""

    kind: Kind
    kept: tuple[int, int]
    dropped: tuple[int, int]
    similarity: float


@dataclass(frozen=True)
class Resolved:
    """How many documents were dropped and paragraphs cut out, and examples from all over the corpus."""

    exact: int
    near: int
    paragraphs: int
    examples: list[Example]


@dataclass(frozen=True)
class Outcome:
    """The decisions for one part.

    kind: (documents,) uint8, see `Kind`. representative: (documents, 2) int64, part and row of the document kept for
    it, its own where it is kept. paragraphs: (paragraphs,) bool, whether each span of `paragraph_spans` is kept, over
    the documents in order.
    """

    kind: NDArray[np.uint8]
    representative: NDArray[np.int64]
    paragraphs: NDArray[np.bool_]

    @classmethod
    def load(cls, folder: Path, part: int) -> Outcome:
        """The outcome of a part in the folder given to `resolve`."""
        with np.load(_outcome(folder, part)) as arrays:
            return cls(**arrays)


def resolve(
    parts: list[Path],
    config: DedupConfig,
    executor: Executor,
    folder: Path,
    *,
    range_size: int = RANGE,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Resolved:
    """Find the duplicates among all parts and write the outcome of each into `folder`, which exists.

    Documents that are equal or share a band are connected; of each connected cluster the first in the order of the
    input is kept. Paragraphs are compared among kept documents only. The result depends on the sequence of documents
    and `config` alone: not on the division into parts, the executor or `range_size`.

    parts: folders written by `write_signatures` with the same `config`. Searches that `folder` holds from an
    interrupted call are not done again. Memory: each worker about 100 bytes for each of `range_size` hashes; this
    process about 20 bytes a document and 1 byte a paragraph. progress: called with searches done and to be done.
    """
    folder = folder.resolve()  # a worker may stand in another folder
    known = Parts.of(parts)
    known.save(folder)
    searches = {
        DOCUMENTS: _plan(known, folder, DOCUMENTS, int(config.documents), range_size),
        BANDS: _plan(known, folder, BANDS, config.bands * config.near, range_size),
        PARAGRAPHS: _plan(known, folder, PARAGRAPHS, int(config.paragraphs), range_size),
    }
    counted = _Counter(sum(map(len, searches.values())), progress)
    counted.run(executor, searches[DOCUMENTS] + searches[BANDS])
    roots, kinds = _clusters(int(known.starts(DOCUMENTS)[-1]), searches[DOCUMENTS], searches[BANDS])
    content = io.BytesIO()
    np.save(content, kinds == Kind.keep)
    write_bytes(folder / "kept.npy", content.getvalue())
    counted.run(executor, searches[PARAGRAPHS])
    n_paragraphs = _write_outcomes(known, folder, roots, kinds, searches[PARAGRAPHS])
    return Resolved(
        int((kinds == Kind.exact).sum()),
        int((kinds == Kind.near).sum()),
        n_paragraphs,
        [example for kind in (Kind.exact, Kind.near) for example in _examples(known, config, roots, kinds, kind)],
    )


@dataclass
class _Counter:
    """Runs searches and says how far it is."""

    total: int
    progress: Callable[[int, int], None]
    done: int = 0

    def run(self, executor: Executor, searches: list[Search]) -> None:
        for _ in executor.map(run, searches):
            self.done += 1
            self.progress(self.done, self.total)


def _plan(parts: Parts, folder: Path, name: str, n_tables: int, range_size: int) -> list[Search]:
    """Hashes are uniform, so ranges of equal width hold about as many each."""
    n_ranges = math.ceil(int(parts.starts(name)[-1]) / range_size)
    return [Search(folder, name, table, part, n_ranges) for table in range(n_tables) for part in range(n_ranges)]


def _clusters(n: int, exact: list[Search], near: list[Search]) -> tuple[Rows, NDArray[np.uint8]]:
    """The first document of each document's cluster, (n,), and what becomes of each, (n,)."""
    forest = Forest(n)
    kinds = np.full(n, Kind.near, np.uint8)
    for later, earlier in pairs(exact):
        forest.join(later, earlier)
        kinds[later] = Kind.exact
    for later, earlier in pairs(near):
        forest.join(later, earlier)
    roots = forest.all_roots()
    kinds[roots == np.arange(n)] = Kind.keep
    return roots, kinds


def _write_outcomes(parts: Parts, folder: Path, roots: Rows, kinds: NDArray[np.uint8], paragraphs: list[Search]) -> int:
    """Write the file of every part; returns how many paragraphs are cut out."""
    documents, lines = parts.starts(DOCUMENTS), parts.starts(PARAGRAPHS)
    keep = np.ones(lines[-1], np.bool_)
    for later, _ in pairs(paragraphs):
        keep[later] = False
    for part in range(len(parts.folders)):
        here, mine = slice(*documents[part : part + 2]), slice(*lines[part : part + 2])
        content = io.BytesIO()
        representative = _located(documents, roots[here])
        np.savez(content, kind=kinds[here], representative=representative, paragraphs=keep[mine])
        write_bytes(_outcome(folder, part), content.getvalue())
    return len(keep) - int(keep.sum())


def _outcome(folder: Path, part: int) -> Path:
    return folder / f"part-{part:05}.npz"


def _located(starts: Rows, documents: Rows) -> Rows:
    """Part and row, (n, 2), of documents, (n,)."""
    parts = np.searchsorted(starts, documents, "right") - 1
    return np.stack([parts, documents - starts[parts]], axis=1)


def _examples(parts: Parts, config: DedupConfig, roots: Rows, kinds: NDArray[np.uint8], kind: Kind) -> list[Example]:
    """Examples from all over the corpus. A pair that is connected through other documents only is none."""
    dropped = np.array(_spread(np.flatnonzero(kinds == kind), 4 * _EXAMPLES), np.int64)
    starts = parts.starts(DOCUMENTS)
    found = []
    for kept, other in zip(_located(starts, roots[dropped]), _located(starts, dropped), strict=True):
        bands = [bands_of(Path(parts.folders[part]), row) if config.near else [] for part, row in (kept, other)]
        n_equal = sum(first == second for first, second in zip(*bands, strict=False))
        similarity = 1.0 if bands[0] == bands[1] else round((n_equal / config.bands) ** (1 / config.rows), 2)
        if similarity == 1 or (kind is Kind.near and n_equal):
            found.append(Example(kind, (int(kept[0]), int(kept[1])), (int(other[0]), int(other[1])), similarity))
    return _spread(found, _EXAMPLES)


def _spread(values: Sequence[Any] | NDArray[Any], most: int) -> list[Any]:
    """At most so many of the values, from evenly spaced places."""
    n = min(most, len(values))
    return [values[index * len(values) // n] for index in range(n)]
