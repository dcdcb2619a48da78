"""Every format, packed and plain, whole and in pieces."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from bigtrain.data.reading import formats, sources
from bigtrain.data.reading.lines import Part
from bigtrain.data.schema import DataConfig, Format, OnError
from bigtrain.errors import UserError

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def read(path: Path, size: int | None = None, **settings: Any) -> list[sources.Document]:
    """The documents of a file; size: read in pieces."""
    made = DataConfig(files=[str(path)], **settings)
    if size is None:
        return list(sources.documents(made))
    (source,) = sources.find(made)
    problem = sources.Problems(made.on_error, made.max_errors)
    return [document for piece in sources.pieces(source, size) for document in sources.read(piece, problem)]


def texts(path: Path, **settings: Any) -> list[str]:
    return [document.text for document in read(path, **settings)]


def error(path: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **settings)
    return str(caught.value)


# Archives


@pytest.mark.parametrize("packing", PACKERS)
def test_packed_files(packing: str, tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": f"row {n}", "n": n}) + "\n" for n in range(5000)).encode()
    table = io.BytesIO()
    parquet.write_table(pa.table({"text": ["a", "b"]}), table)
    for name, content in [("a.jsonl", rows), ("b.parquet", table.getvalue()), ("c.txt", b"one\ntwo")]:
        (tmp_path / f"{name}.{packing}").write_bytes(PACKERS[packing](content))
    assert texts(tmp_path) == [*(f"row {n}" for n in range(5000)), "a", "b", "one\ntwo"]


@pytest.mark.parametrize("packing", PACKERS)
def test_archives_of_several_members(packing: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.txt.{packing}"
    path.write_bytes(PACKERS[packing](b"one\n") + PACKERS[packing](b"two\n"))
    assert texts(path) == ["one\ntwo\n"]


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("damage", ["cut", "cut in half", "garbled", "not packed"])
def test_damaged_archives(packing: str, damage: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [json.dumps({"text": str(draw.random())}) for _ in range(10_000)]
    content = PACKERS[packing]("\n".join(rows).encode())
    path = tmp_path / f"a.jsonl.{packing}"
    middle = len(content) // 2
    garbled = content[:middle] + bytes(64) + content[middle + 64 :]
    damaged = {"cut": content[:-5], "cut in half": content[:middle], "garbled": garbled, "not packed": b"text"}
    path.write_bytes(damaged[damage])
    message = error(path)
    # A garbled .gz unpacks to garbage: its checksum comes at its end, after the rows.
    assert f"{path}: a damaged .{packing} file" in message or (damage == "garbled" and "not JSON" in message)


def test_an_empty_archive_holds_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt.zst").write_bytes(b"")
    assert "no text in" in error(tmp_path)


# Plain text


def test_a_byte_order_mark_is_dropped_and_line_ends_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\xef\xbb\xbf")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "three"}\r\n')
    assert texts(tmp_path) == ["one\r\ntwo\ufeff", "three"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_long_text_is_several_documents(packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LONGEST_TEXT", 1000)
    draw = random.Random(1)
    for trial in range(20):
        content = "".join("äx" * draw.randrange(40) + draw.choice(["\n", "\n\n", "\n", " "]) for _ in range(400))
        content += "y" * 3000 + "\nend"
        path = tmp_path / f"{trial}.txt{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
        whole = read(path)
        assert "".join(document.text for document in whole) == content
        assert len(whole) > 10
        assert max(len(document.text.encode()) for document in whole if "yyy" not in document.text) <= 1000
        line = 1
        for document in whole:
            assert document.line == (line if line > 1 else None)
            line += document.text.count("\n")
        assert read(path, size=1) == whole
        ends = [document.text.endswith("\n\n") for document in whole[:-1]]
        assert sum(ends) > len(ends) // 2


def test_a_line_without_end_in_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before\n" + "x" * 10_000 + "\nafter\n")
    assert f"{path}:2: a line of more than 1,000 bytes" in error(path, max_row_bytes=1000)
    found = read(path, max_row_bytes=1000, on_error=OnError.skip)
    assert [(document.text, document.line) for document in found] == [("before\n", None), ("after\n", 3)]


# JSON


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"text": "a"}, {"text": "b"}]', [("a", 1), ("b", 2)]),
        ('[{"text": "a"}, {"text": "b"},\n\n{"text": "c"}]', [("a", 1), ("b", 2), ("c", 3)]),
        ('{"x": 1, "data": [{"text": "a"}, {"text": "b"}]}', [("a", 1), ("b", 2)]),
        ('\ufeff[\n  {\n    "text": "a"\n  },\n\n  {"text":\n"b"}\n]\n', [("a", 2), ("b", 6)]),
        ('{"text": "one", "tags": [{"x": 1}]}', [("one", 1)]),
        ('{"text": "a"}\n{"text": "b"}\n\n{"text": "c"}', [("a", 1), ("b", 2), ("c", 4)]),
        ('{"text": "a"}{"text": "b"}', [("a", 1), ("b", 1)]),
        ('{"v": 1,\n"x": {"data": [1]},\n"data": [\n{"text": "a"},\n{"text": "b"}], "n": [2]}', [("a", 4), ("b", 5)]),
        ('[{"text": "a", "meta": {"text": null, "x": [[]]}}]', [("a", 1)]),
    ],
)  # fmt: skip
def test_json(content: str, expected: list[tuple[str, int]], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    assert [(document.text, document.line) for document in read(path)] == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"text": "a"}, 3]', ["a.json:2", "a JSON number"]),
        ('["a"]', ["a.json:1", "a JSON string"]),
        ('[{"text": "a"}\n{"text": "b"}]', ["a.json:2", "for a comma"]),
        ('[{"text": "a"},]', ["a.json:1", "a comma before the end"]),
        ('[{"text": "a"},\n', ["a.json:2", "not JSON"]),
        ('[{"text": "a"}\n', ["a.json:2", "has no end"]),
        ('[{"text": "a"}] x', ["a.json:1", "after the end"]),
        ('[\n{"text": "a"},\n{"text": "b}]', ["a.json:3", "Unterminated"]),
        ('[\n{"text": "a"},\n{"text" "b"}]' + " " * 999, ["a.json:3", "':' delimiter"]),
        ('{"data": [{"text": "a"}], "more": [{"text": "b"}]}', ["a.json:1", "no field 'text'", "data, more"]),
        ("[" * 100_000, ["a.json:1", "not JSON"]),
        ("[" + "9" * 9999 + "]", ["a.json:1", "not JSON"]),
        ('"text"', ["a.json:1", "a JSON string"]),
        ("text", ["a.json:1", "not JSON"]),
        ('[{"text": "' + "x" * 5_000_000 + '"}]', ["a.json:1", "JSON value of more than 3,000,000 bytes"]),
    ],
)
def test_json_that_is_wrong(content: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    message = error(path, max_row_bytes=3_000_000)
    assert [word for word in words if word not in message] == []


def test_the_column_of_a_line_that_breaks_off_is_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for end in ("", "\n", "\r\n"):
        path.write_bytes(b'{"text": "a"' + end.encode())
        assert "a.jsonl:1: not JSON (Expecting ',' delimiter, column 13)" in error(path)


def test_large_json_arrays_are_read_one_by_one(tmp_path: Path) -> None:
    draw = random.Random(2)
    rows = [{"text": f"{n} é " + 'x"\\\n' * draw.randrange(2000), "more": [{"a": None}]} for n in range(600)]
    rows[300]["text"] = "long" * 600_000
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    assert texts(path) == [row["text"] for row in rows]
    path.write_text(json.dumps(rows)[:-1])
    stream = sources.documents(DataConfig(files=[str(path)]))
    assert next(stream).text == rows[0]["text"]
    with pytest.raises(UserError, match="has no end"):
        list(stream)


# Tables


def test_a_long_field_while_another_table_is_read_to_its_end(tmp_path: Path) -> None:
    long = "x" * 200_000
    for name, second in (("short.csv", "b"), ("long.csv", long)):
        (tmp_path / name).write_text(f"text\na\n{second}\n")
    short, other = (formats.READERS[Format.csv](Part(str(tmp_path / name))) for name in ("short.csv", "long.csv"))
    assert next(short).content == next(other).content == {"text": "a"}
    assert len(list(short)) == 1
    assert [item.content for item in other] == [{"text": long}]


def test_csv_with_quotes_commas_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffid,text\r\n1,"a, ""b""\nc"\r\n\r\n2,中文\r\n', encoding="utf-8", newline="")
    assert [(document.text, document.line) for document in read(path)] == [('a, "b"\nc', 2), ("中文", 5)]


def test_tsv_takes_fields_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('id\ttext\n1\t"open\n2\tb"c"\n')
    assert [(document.text, document.line) for document in read(path)] == [('"open', 2), ('b"c"', 3)]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_tables_in_pieces(name: str, tmp_path: Path) -> None:
    draw = random.Random(3)
    path = tmp_path / name
    marks = '"\n,' if name == "a.csv" else '",'
    for _ in range(4):
        rows = [[str(n), "".join(draw.choice("ab c" + marks) for _ in range(draw.randrange(60)))] for n in range(200)]
        with open(path, "w", newline="") as file:
            if name == "a.csv":
                csv.writer(file).writerows([["id", "text"], *rows])
            else:
                file.writelines(f"{a}\t{b}\r\n" for a, b in [["id", "text"], *rows])
        whole = read(path)
        assert [document.text for document in whole] == [text for _, text in rows if text]
        for size in (1, 100, 1000):
            assert read(path, size=size) == whole
        (source,) = sources.find(DataConfig(files=[str(path)]))
        assert len(sources.pieces(source, 100)) > 20


@pytest.mark.parametrize("broken", [False, True])
def test_a_csv_file_is_cut_between_records_whatever_its_quotes_are(broken: bool, tmp_path: Path) -> None:
    """A quote opens a text at the beginning of a field, and is a character inside of one; broken rows end somewhere."""
    draw, path = random.Random(5), tmp_path / "a.csv"
    fields = ['5" pipe', '"a ""quoted"" one"', '"two\nlines, one"', 'b "c"', "", '""', "dü"]
    fields += ['"e', '"f"g', "h\ri", "\0" * 9] if broken else []

    def everything(pieces: list[sources.Piece]) -> list[object]:
        found: list[object] = []

        def wrong(error: UserError) -> None:
            found.append(str(error))

        for piece in pieces:
            found += sources.read(piece, wrong, found.append)
        return found

    for _ in range(10):
        rows = [",".join(draw.choices(fields, k=2)) for _ in range(150)]
        path.write_bytes(("text,more\n" + draw.choice(["\n", "\r\n"]).join(rows)).encode())
        (source,) = sources.find(DataConfig(files=[str(path)], max_row_bytes=200))
        whole = everything([sources.Piece(source)])
        assert broken == any(isinstance(one, str) for one in whole)
        for size in (1, 50, 400):
            assert everything(sources.pieces(source, size)) == whole
        assert broken or len(sources.pieces(source, 1)) == 151


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "body,class\nx,1\n", ["a.csv:2", "'text'", "body, class", "data.text_field="]),
        ("a.csv", "text,label\na,1\nb\n", ["a.csv:3", "1 fields", "2: text, label"]),
        ("a.csv", 'text,label\n"a"b,1\n', ["a.csv:2", "RFC 4180"]),
        ("a.csv", 'text,label\na,1\n"never closed,1\n\n', ["a.csv:3", "RFC 4180"]),
        ("a.csv", "text,text,label\na,b,1\n", ["a.csv:1", "'text' twice"]),
        ("a.tsv", "text\tlabel\n\0\0\t1\n", ["a.tsv:2", "binary"]),
    ],
)
def test_tables_that_are_wrong(name: str, content: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    message = error(path)
    assert [word for word in words if word not in message] == []


def test_reading_goes_on_after_a_wrong_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,n\na,1\n"b"b,2\nc\nd,4\n' + f'"{"e" * 2000}",5\nf,6\n')
    assert texts(path, on_error=OnError.skip, max_row_bytes=1000) == ["a", "d", "f"]
    path.write_text('text,n\na,1\n"' + "b\n" * 3000 + '",2\nc,3\n')  # a text of many lines that is too long as a whole
    assert "a row of more than 1,000 bytes" in error(path, max_row_bytes=1000)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"id": n, "text": f"row {n}", "page": {"body": f"body {n}"}, "a.b": "dotted"} for n in range(1000)]
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    assert [(d.text, d.line) for d in read(path)] == [(f"row {n}", n + 1) for n in range(1000)]
    assert texts(path, text_field=["page.body", "a.b"])[7] == "body 7\n\ndotted"
    assert [document.group for document in read(path, group_field="id")][:3] == ["0", "1", "2"]
    assert read(path, size=3000) == read(path)
    (source,) = sources.find(DataConfig(files=[str(path)]))
    assert [len(sources.pieces(source, size)) for size in (1, 1 << 30)] == [10, 1]


def test_parquet_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a", None, "c"], "number": [1, 2, 3], "raw": [b"a", b"b", b"c"]}), path)
    assert f"{path}:2: field 'text' is null" in error(path)
    assert texts(path, on_error=OnError.skip) == ["a", "c"]
    assert "no column 'body'" in error(path, text_field=["body"])
    assert "text, number, raw" in error(path, text_field=["body"])
    assert f"{path}:1: field 'raw' is" in error(path, text_field=["raw"])
    assert f"{path}:1: a row of more than 2 bytes" in error(path, text_field=["text", "text"], max_row_bytes=2)
    broken = pa.array([b"fine", b"M\xfcll", b"good"]).view(pa.string())
    parquet.write_table(pa.table({"text": broken}), tmp_path / "b.parquet")
    assert "b.parquet:2" in error(tmp_path / "b.parquet")
    assert texts(tmp_path / "b.parquet", on_error=OnError.skip) == ["fine", "good"]
    content = path.read_bytes()
    for damaged in (b"", b"PAR1", content[:-20], content[:60] + bytes(40) + content[100:]):
        path.write_bytes(damaged)
        assert str(path) in error(path)
