"""Which files are read, in which order, and every way in which they can be wrong."""

import json
import os
from pathlib import Path

import pytest

from bigtrain.data import sources
from bigtrain.data.schema import DataConfig
from bigtrain.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small tree of text."""
    for name, content in {
        "b.txt": "text b",
        "a.md": "text a",
        "A.TXT": "text A",
        "sub/c.jsonl": '{"text": "row 1"}\n\n{"text": "row 3"}\n',
        "sub/.hidden.txt": "hidden",
        ".git/d.txt": "hidden",
        "image.png": "\x89PNG",
        "empty.txt": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return tmp_path


def texts(*files: object, **settings: object) -> list[str]:
    config = DataConfig(files=[str(file) for file in files], **settings)  # type: ignore[arg-type]
    return [document.text for document in sources.documents(config)]


def error(*files: object, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        texts(*files, **settings)
    return str(caught.value)


def test_a_folder_is_searched_to_the_bottom_in_the_order_of_paths(folder: Path) -> None:
    assert texts(folder) == ["text A", "text a", "text b", "row 1", "row 3"]


def test_globs_are_sorted_and_files_come_once_in_the_order_they_are_named(folder: Path) -> None:
    assert texts(folder / "b.txt", folder / "*.[tm][xd]*", folder / "sub" / ".." / "b.txt") == ["text b", "text a"]
    assert texts(folder / "**" / "*.jsonl") == ["row 1", "row 3"]


def test_a_name_may_hold_the_marks_of_a_glob(tmp_path: Path) -> None:
    (tmp_path / "a[1], x.txt").write_text("odd")
    assert texts(tmp_path / "a[1], x.txt") == ["odd"]


def test_documents_know_where_they_come_from(folder: Path) -> None:
    config = DataConfig(files=[str(folder / "sub"), str(folder / "b.txt")])
    found = [(document.file.name, document.line) for document in sources.documents(config)]
    assert found == [("c.jsonl", 1), ("c.jsonl", 3), ("b.txt", None)]


def test_a_byte_order_mark_is_dropped_and_line_ends_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\xef\xbb\xbf")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "three"}\r\n')
    assert texts(tmp_path) == ["one\r\ntwo\ufeff", "three"]


def test_fields_by_dotted_path_and_several_joined(tmp_path: Path) -> None:
    row = {"title": "T", "page": {"body": {"text": "B"}}, "a.b": "dotted name"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    assert texts(path, text_field=["title", "page.body.text"]) == ["T\n\nB"]
    assert texts(path, text_field=["a.b"]) == ["dotted name"]


def test_reading_streams(tmp_path: Path) -> None:
    """What comes first is given out before what comes later is looked at."""
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\nbroken')
    stream = sources.documents(DataConfig(files=[str(tmp_path)]))
    assert next(stream).text == "fine"
    with pytest.raises(UserError, match=r"a\.jsonl:2"):
        next(stream)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"", ["no text in", "a.txt"]),
        ("a.jsonl", b'\n{"text": ""}\n', ["no text in", "a.jsonl"]),
        ("a.txt", b"abc\0def", ["a.txt", "binary", "byte offset 3"]),
        ("a.txt", "abc".encode("utf-16"), ["a.txt", "UTF-16", "convert it to UTF-8"]),
        ("a.txt", b"abc\xe9def", ["a.txt", "not UTF-8", "0xe9", "byte offset 3"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', ["a.jsonl:2", "not UTF-8"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', ["a.jsonl:2", "not JSON"]),
        ("a.jsonl", b'{"text": ' + b"9" * 9999 + b"}", ["a.jsonl:1", "not JSON"]),
        ("a.jsonl", b"[" * 100_000, ["a.jsonl:1", "not JSON"]),
        ("a.jsonl", b'["text"]', ["a.jsonl:1", "JSON list"]),
        ("a.jsonl", b'{"text": "a"}\n{"body": "b", "id": 1}', ["a.jsonl:2", "'text'", "body, id", "data.text_field="]),
        ("a.jsonl", b'{"text": null}', ["a.jsonl:1", "'text' is null"]),
        ("a.jsonl", b'{"text": 3}', ["a.jsonl:1", "JSON int"]),
        ("a.jsonl", b'{"text": "\\ud800"}', ["a.jsonl:1", "surrogate"]),
        ("a.jsonl", b"\x1f\x8b\x08\0", ["a.jsonl:1", "binary"]),
        ("a.pdf", b"text", ["a.pdf", "unknown format '.pdf'", ".txt .md .jsonl"]),
        ("README", b"text", ["README", "unknown format ''"]),
    ],
)
def test_bad_input_is_named(name: str, content: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    message = error(tmp_path / name)
    assert [word for word in words if word not in message] == []


def test_a_field_that_is_missing_further_down(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"page": {"title": "T"}}')
    assert "the fields here: title" in error(path, text_field=["page.body"])
    assert "none inside a str" in error(path, text_field=["page.title.x"])


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in error(tmp_path / "absent.txt")
    assert "no file matches" in error(tmp_path / "*.txt")
    assert "no text files in this folder" in error(tmp_path)
    (tmp_path / "only.csv").write_text("text\nx\n")
    assert ".txt .md .jsonl" in error(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("secret")
    path.chmod(0)
    assert "Permission denied" in error(path)


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    found = sources.find(DataConfig(files=[str(path)]))
    path.unlink()
    with pytest.raises(UserError, match="No such file"):
        list(sources.read(found, ["text"]))
