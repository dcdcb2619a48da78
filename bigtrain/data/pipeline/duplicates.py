"""The stage that compares all documents: what is dropped as a duplicate, with examples of what was taken for what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigtrain.data.dedup.resolve import resolve
from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.executor import Workers
from bigtrain.data.pipeline.display import Stage
from bigtrain.data.pipeline.documents import excerpt
from bigtrain.data.pipeline.statistics import DUPLICATES
from bigtrain.data.pipeline.store import Documents
from bigtrain.storage import write_json


def is_compared(folder: Path) -> bool:
    """Whether `compare` has finished there."""
    return (folder / DUPLICATES).exists()


def compare(documents: list[Path], dedup: DedupConfig, pool: Workers, folder: Path, stage: Stage) -> None:
    """Leave in `folder` what becomes of each document and paragraph, and last the counts with examples.

    documents: the folders of all parts.
    """
    folder.mkdir(exist_ok=True)
    before = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal before
        stage.advance(done / total - before)
        before = done / total

    def shown(place: tuple[int, int]) -> dict[str, Any]:
        part, row = Documents(documents[place[0]]), place[1]
        return {**part.where(row), "text": excerpt(part[row])}

    with pool.watched():
        found = resolve(documents, dedup, pool.executor, folder, progress=progress)
    examples = [
        {
            "kind": example.kind.name,
            "similarity": round(example.similarity, 3),
            "kept": shown(example.kept),
            "dropped": shown(example.dropped),
        }
        for example in found.examples
    ]
    counts = {"exact": found.exact, "near": found.near, "paragraphs": found.paragraphs}
    write_json(folder / DUPLICATES, {**counts, "examples": examples})
