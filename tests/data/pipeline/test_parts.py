"""The plan: how the input is divided and named, and what its fingerprint depends on."""

import json
import random
from pathlib import Path

import pytest

from bigtrain.data.pipeline import plan
from bigtrain.data.pipeline.documents import DocumentsJob, make_documents
from bigtrain.data.pipeline.plan import Plan
from bigtrain.data.pipeline.steps import Steps
from bigtrain.data.reading.sources import read
from bigtrain.data.schema import BytesConfig, DataConfig, DocumentUnit, OnError, SourceConfig
from bigtrain.errors import UserError


def make(data: DataConfig) -> Plan:
    return Plan.make(data, BytesConfig())


def texts(made: Plan) -> list[str]:
    found = []
    for part in made.parts:
        here = [document.text for piece in part.pieces for document in read(piece, fail)]
        found += here[: part.most]
    return found


def fail(error: UserError) -> None:
    raise error


@pytest.fixture
def rows(tmp_path: Path) -> list[str]:
    """A large file of rows, and small ones, some packed."""
    import gzip

    draw, given = random.Random(0), []
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, n in (("a.jsonl", 400), ("b.jsonl.gz", 30), ("deep/c.jsonl", 3), ("deep/d.jsonl", 5)):
        found = [f"{name} {number} " + "x" * draw.randrange(200) for number in range(n)]
        given += found
        content = "".join(json.dumps({"text": text}) + "\n" for text in found).encode()
        (tmp_path / "in" / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    return given


@pytest.fixture
def data(rows: list[str], tmp_path: Path) -> DataConfig:
    return DataConfig(files=[str(tmp_path / "in")])


def test_a_part_says_how_far_it_is_by_what_is_read_of_its_files(data: DataConfig, tmp_path: Path) -> None:
    """Of archives too, which are one part however large they are."""
    (part,) = make(data).parts
    names, said = {piece.source.path: "" for piece in part.pieces}, list[float]()
    make_documents(DocumentsJob(part, Steps(), names, OnError.stop, None, tmp_path / "done", said.append))
    assert sum(said) == part.n_bytes
    assert len(said) > len(part.pieces)


@pytest.mark.parametrize("size", [300, 1000, 5000, 1 << 20])
def test_the_parts_are_the_input_in_order(
    size: int, data: DataConfig, rows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_LARGEST_PART", size)
    made = make(data)
    assert texts(made) == rows
    assert [part.number for part in made.parts] == list(range(len(made.parts)))
    if size >= 1000:
        assert len(made.parts) <= 2 * sum(part.n_bytes for part in made.parts) / size + 2
    if size == 1 << 20:
        assert len(made.parts) == 1


def test_the_division_knows_nothing_of_workers_and_content(data: DataConfig) -> None:
    assert make(data).parts == make(data).parts


def test_small_files_share_a_part(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number:02}.txt").write_text(f"text {number}")
    made = make(DataConfig(files=[str(tmp_path)]))
    assert len(made.parts) == 1
    assert len(made.parts[0].pieces) == 50


@pytest.mark.parametrize("n", [1, 5, 64, 100, 438, 1000])
def test_a_sample_is_spread_over_the_input(
    n: int, data: DataConfig, rows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_LARGEST_PART", 2000)
    data.sample = n
    found = texts(make(data))
    assert set(found) <= set(rows)
    assert min(n, 15) <= len(found) <= n
    if n >= 64:
        assert {text.split()[0] for text in found} >= {"a.jsonl", "b.jsonl.gz"}
        numbers = [int(text.split()[1]) for text in found if text.startswith("a.jsonl")]
        assert max(numbers) > 300


def test_a_sample_of_one_part_is_its_beginning(data: DataConfig, rows: list[str]) -> None:
    data.sample = 7
    assert texts(make(data)) == rows[:7]


def test_names_say_nothing_of_where_the_input_lies(data: DataConfig, tmp_path: Path) -> None:
    assert sorted(make(data).names().values()) == ["a.jsonl", "b.jsonl.gz", "deep/c.jsonl", "deep/d.jsonl"]
    alone = make(DataConfig(files=[str(tmp_path / "in" / "deep" / "c.jsonl")]))
    assert list(alone.names().values()) == ["c.jsonl"]


def test_the_fingerprint_knows_the_content_and_not_the_place(data: DataConfig, tmp_path: Path) -> None:
    before = make(data).fingerprint
    (tmp_path / "in").rename(tmp_path / "moved")
    moved = DataConfig(files=[str(tmp_path / "moved")])
    assert make(moved).fingerprint == before
    with open(tmp_path / "moved" / "a.jsonl", "a") as file:
        file.write('{"text": "one more"}\n')
    assert make(moved).fingerprint != before


@pytest.mark.parametrize(
    "change",
    [
        *({"weight": 2.0}, {"text_field": ["b"]}, {"group_field": "g"}, {"encoding": "utf-8"}, {"columns": ["text"]}),
        *({"document": DocumentUnit.line}, {"delimiter": ";"}),
    ],
)
def test_the_fingerprint_knows_what_a_source_is_asked_for(change: dict, data: DataConfig, tmp_path: Path) -> None:
    for name in ("e.txt", "e.csv"):
        (tmp_path / "in" / name).write_text("text\n")
    plain = DataConfig(sources={"web": SourceConfig(files=data.files)})
    changed = DataConfig(sources={"web": SourceConfig(files=data.files, **change)})
    assert make(plain).fingerprint != make(changed).fingerprint


def test_a_change_of_the_input_is_noticed(data: DataConfig, tmp_path: Path) -> None:
    made = make(data)
    assert made.check_unchanged() == []
    (tmp_path / "in" / "a.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"a\.jsonl: changed while it was read"):
        made.check_unchanged()


def test_a_dry_plan_reads_no_content(data: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_fingerprint", None)
    assert Plan.make(data, BytesConfig(), hashed=False).fingerprint == ""
