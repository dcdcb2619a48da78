"""Blocks of lines, and memory that does not grow with the file."""

import csv
import io
import json
import random
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from bigtrain.data.reading import lines, sources
from bigtrain.data.reading.lines import Block, blocks
from bigtrain.data.schema import DataConfig


class Trickle(io.BytesIO):
    """A stream that gives any number of bytes at a time, as archives and networks do."""

    def __init__(self, content: bytes, draw: random.Random) -> None:
        super().__init__(content)
        self.draw = draw

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        return super().read(self.draw.randint(1, size))


def test_blocks_hold_the_lines_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_BLOCK", 64)
    draw = random.Random(0)
    for _ in range(300):
        texts = [b"x" * draw.choice([0, 1, 5, 30, 99, 100, 101, 400]) for _ in range(draw.randrange(20))]
        content = b"\n".join(texts) + draw.choice([b"", b"\n"])
        found = list(blocks(Trickle(content, draw), 100, 7))
        assert sum(block.size for block in found) == len(content)
        offset, line, expected = 0, 7, []
        for block in found:
            if block.content is None:
                expected.append(Block(None, line, block.size))
                assert block.size > 100
                line += 1
            else:
                expected.append(Block(content[offset : offset + block.size], line, block.size))
                assert max(map(len, block.content.splitlines(keepends=True))) <= 100
                line += block.content.count(b"\n")
            offset += block.size
        assert found == expected


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet"])
def test_memory_does_not_grow_with_the_file(name: str, tmp_path: Path) -> None:
    """Files of 24 or 48 MB; parquet's own memory is counted too."""
    draw = random.Random(1)
    rows: list[dict[str, object]] = [
        {"text": "".join(draw.choices("abcdefgh ", k=200)) * 40, "n": n} for n in range(3000)
    ]
    path = tmp_path / name
    if name == "a.parquet":
        parquet.write_table(
            pa.Table.from_pylist(rows), path, row_group_size=3000, compression="none", use_dictionary=False
        )
    elif name == "a.jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name == "a.json":
        path.write_text(json.dumps(rows))
    else:
        with open(path, "w", newline="") as file:
            csv.writer(file, delimiter="," if name == "a.csv" else "\t").writerows(
                [["text", "n"], *map(dict.values, rows)]
            )
    size, n = path.stat().st_size, len(rows)
    assert size > 20_000_000
    del rows
    tracemalloc.start()
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    most = 0
    try:
        for document in sources.documents(DataConfig(files=[str(path)])):
            n -= 1
            most = max(most, pool.bytes_allocated() - before)
            assert len(document.text) == 8000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n == 0
    assert peak + most < (24_000_000 if name == "a.parquet" else 10_000_000)
