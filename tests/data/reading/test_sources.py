"""Which files are read, in which order and pieces, and every way in which they can be wrong."""

import gzip
import json
import os
import pickle
from pathlib import Path

import fsspec
import pytest

from bigtrain.data.reading import files, sources
from bigtrain.data.schema import DataConfig, Format, OnError, SourceConfig
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


def config(*given: object, **settings: object) -> DataConfig:
    made = DataConfig(files=[str(file) for file in given], **settings)  # type: ignore[arg-type]
    made.check()
    return made


def texts(*given: object, **settings: object) -> list[str]:
    return [document.text for document in sources.documents(config(*given, **settings))]


def error(*given: object, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        texts(*given, **settings)
    return str(caught.value)


def stop(problem: UserError) -> None:
    raise problem


# Finding


def test_a_folder_is_searched_to_the_bottom_in_the_order_of_paths(folder: Path) -> None:
    assert texts(folder) == ["text A", "text a", "text b", "row 1", "row 3"]


def test_globs_are_sorted_and_files_come_once_in_the_order_they_are_named(folder: Path) -> None:
    assert texts(folder / "b.txt", folder / "*.[tm][xd]*", folder / "sub" / ".." / "b.txt") == ["text b", "text a"]
    assert texts(folder / "**" / "*.jsonl") == ["row 1", "row 3"]


def test_a_name_may_hold_the_marks_of_a_glob(tmp_path: Path) -> None:
    (tmp_path / "a[1], x.txt").write_text("odd")
    assert texts(tmp_path / "a[1], x.txt") == ["odd"]


def test_the_format_may_be_named(folder: Path) -> None:
    (folder / "notes.log").write_text("a log")
    assert texts(folder / "notes.log", format=Format.txt) == ["a log"]
    assert texts(folder / "sub", format=Format.txt) == ['{"text": "row 1"}\n\n{"text": "row 3"}\n']
    assert len(texts(folder, format=Format.txt)) == 6  # the picture too: whoever names a format means all files


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in error(tmp_path / "absent.txt")
    assert "no file matches" in error(tmp_path / "*.txt")
    assert "no text files in this folder" in error(tmp_path)
    (tmp_path / "only.pdf").write_text("text\nx\n")
    assert ".txt .md .jsonl .json .html .csv .tsv .parquet" in error(tmp_path)
    assert ".gz .zst .xz .bz2" in error(tmp_path / "only.pdf")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("secret")
    path.chmod(0)
    assert "Permission denied" in error(path)


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, package in [("a.parquet", "pyarrow"), ("a.html", "trafilatura"), ("a.txt.zst", "zstandard")]:
        (tmp_path / name).write_bytes(b"x")
        message = error(tmp_path / name, on_error=OnError.skip)
        assert package in message
        assert "pip install 'bigtrain[data]'" in message


# Several sources


def test_sources_have_names_and_settings_of_their_own(folder: Path) -> None:
    (folder / "x.csv").write_text("body,author\nfirst,A\nsecond,\n")
    (folder / "y.log").write_bytes("Müll".encode("cp1252"))
    made = DataConfig(
        sources={
            "rows": SourceConfig(files=[str(folder / "sub")]),
            "table": SourceConfig(files=[str(folder / "x.csv")], text_field=["body"], group_field="author", weight=2),
            "logs": SourceConfig(files=[str(folder / "*.log")], format=Format.txt, encoding="cp1252", weight=0.5),
        }
    )
    made.check()
    found = list(sources.documents(made))
    assert [(each.source, each.text, each.group) for each in found] == [
        ("rows", "row 1", None),
        ("rows", "row 3", None),
        ("table", "first", "A"),
        ("table", "second", ""),
        ("logs", "Müll", None),
    ]
    assert [source.settings.weight for source in sources.find(made)] == [1.0, 2, 0.5]
    assert {document.encoding for document in found} == {"utf-8", "cp1252"}


def test_a_file_belongs_to_one_source(folder: Path) -> None:
    both = {name: SourceConfig(files=[str(folder / "*.txt")]) for name in ("books", "web")}
    with pytest.raises(UserError, match=r"data\.sources\.books and data\.sources\.web"):
        sources.find(DataConfig(sources=both))
    with pytest.raises(UserError, match=r"data\.sources\.books\.files=.*no such file"):
        sources.find(DataConfig(sources={"books": SourceConfig(files=[str(folder / "absent.txt")])}))


def test_sources_and_pieces_travel_between_processes(folder: Path) -> None:
    for source in sources.find(config(folder)):
        for piece in sources.pieces(source, 10):
            assert pickle.loads(pickle.dumps(piece)) == piece


# Documents


def test_documents_know_where_they_come_from(folder: Path) -> None:
    made = config(folder / "sub", folder / "b.txt")
    found = [(document.file, document.line, document.source) for document in sources.documents(made)]
    rows = str(folder / "sub" / "c.jsonl")
    assert found == [(rows, 1, "files"), (rows, 3, "files"), (str(folder / "b.txt"), None, "files")]


def test_fields_by_dotted_path_and_several_joined(tmp_path: Path) -> None:
    row = {"title": "T", "page": {"body": {"text": "B"}}, "a.b": "dotted name", "lines": ["one", "two"]}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    assert texts(path, text_field=["title", "page.body.text"]) == ["T\n\nB"]
    assert texts(path, text_field=["a.b"]) == ["dotted name"]
    assert texts(path, text_field=["lines"]) == ["one\ntwo"]


def test_one_of_several_fields_is_enough_and_a_single_one_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"title": null, "body": {"text": "b"}}\n{"title": "c", "body": null}\n')
    assert texts(path, text_field=["title", "body.text"]) == ["b", "c"]
    assert f"{path}:1: field 'title' is null" in error(path, text_field=["title"])
    assert f"{path}:2: no field 'body.text'" in error(path, text_field=["body.text"])
    path.write_text('{"title": null}\n')
    assert f"{path}:1: field 'title' is null" in error(path, text_field=["title", "body"])
    path.write_text('{"title": "a", "body": 3}\n')
    assert f"{path}:1: field 'body' is a JSON number" in error(path, text_field=["title", "body"])
    table = tmp_path / "a.csv"
    table.write_text("title,body\n,b\nc,\n")
    assert texts(table, text_field=["title", "body"]) == ["b", "c"]
    assert "no field 'boddy'" in error(table, text_field=["title", "boddy"])  # in no row, hence a mistake


def test_the_group_of_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = ['{"text": "a", "by": {"id": 7}}', '{"text": "b", "by": {"id": null}}', '{"text": "c"}']
    rows += ['{"text": "d", "by": {"id": "\\ud800"}}', '{"text": "e", "by": {"id": [1]}}']
    path.write_text("\n".join(rows))
    problems: list[str] = []
    (source,) = sources.find(config(path, group_field="by.id"))
    found = list(sources.read(sources.Piece(source), lambda problem: problems.append(problem.given)))
    assert [document.group for document in found] == ["7", None]
    assert problems[0] == f"{path}:3: no field 'by.id'"
    assert "surrogate" in problems[1]
    assert problems[2] == f"{path}:5: group 'by.id' is a JSON array"


def test_documents_without_a_character_are_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": ""}\n{"text": "b"}\n')
    (source,) = sources.find(config(path))
    left_out: list[sources.Document] = []
    assert [document.line for document in sources.read(sources.Piece(source), stop, left_out.append)] == [2]
    assert [document.line for document in left_out] == [1]


def test_reading_streams(tmp_path: Path) -> None:
    """What comes first is given out before what comes later is looked at."""
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\nbroken')
    stream = sources.documents(config(tmp_path))
    assert next(stream).text == "fine"
    with pytest.raises(UserError, match=r"a\.jsonl:2"):
        next(stream)


# What is wrong


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"", ["no text in", "a.txt"]),
        ("a.csv", b"", ["no text in", "a.csv"]),
        ("a.csv", b"text\n", ["no text in", "a.csv"]),
        ("a.json", b" [ ] ", ["no text in", "a.json"]),
        ("a.jsonl", b'\n{"text": ""}\n', ["no text in", "a.jsonl"]),
        ("a.html", b"", ["no text in", "a.html"]),
        ("a.txt", b"abc\0\0\0def", ["a.txt", "binary", "byte offset 3"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', ["a.jsonl:2", "not JSON"]),
        ("a.jsonl", b'{"text": ' + b"9" * 9999 + b"}", ["a.jsonl:1", "not JSON"]),
        ("a.jsonl", b"[" * 100_000, ["a.jsonl:1", "not JSON"]),
        ("a.jsonl", b'["text"]', ["a.jsonl:1", "JSON array"]),
        ("a.jsonl", b'{"text": "a"}\n{"body": "b", "id": 1}', ["a.jsonl:2", "'text'", "body, id", "data.text_field="]),
        ("a.jsonl", b'{"text": null}', ["a.jsonl:1", "'text' is null"]),
        ("a.jsonl", b'{"text": 3}', ["a.jsonl:1", "JSON number"]),
        ("a.jsonl", b'{"text": ["a", 3]}', ["a.jsonl:1", "JSON array"]),
        ("a.jsonl", b'{"text": "\\ud800"}', ["a.jsonl:1", "surrogate"]),
        ("a.jsonl", b"\x1f\x8b\x08\0", ["a.jsonl:1", "binary"]),
        ("a.csv", b"text,label\na,1\nb\n", ["a.csv:3", "1 fields", "2: text, label"]),
        ("a.pdf", b"text", ["a.pdf", "unknown format '.pdf'", ".txt .md .jsonl", "data.format="]),
        ("a.tar.gz", b"text", ["a.tar.gz", "unknown format '.tar'"]),
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
    assert "none inside a JSON string" in error(path, text_field=["page.title.x"])


def test_a_line_that_would_not_fit_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n' + json.dumps({"text": "x" * 3_000_000}) + '\n{"text": "c"}\n')
    message = error(path, max_row_bytes=1_000_000)
    assert f"{path}:2: a line of more than 1,000,000 bytes" in message
    assert "data.max_row_bytes" in message
    assert texts(path, max_row_bytes=1_000_000, on_error=OnError.skip) == ["a", "c"]
    assert len(texts(path)) == 3


def test_errors_are_skipped_up_to_a_number(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\nbad\n{"text": null}\n{"text": "d"}\n{"txt": 1}\n{"text": "f"}')
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"whole" * 1000)[:-9])
    assert texts(tmp_path, on_error=OnError.skip, max_errors=4) == ["a", "d", "f"]
    assert texts(tmp_path, on_error=OnError.skip, max_errors=None) == ["a", "d", "f"]
    message = error(tmp_path, on_error=OnError.skip, max_errors=2)
    assert "a.jsonl:5" in message
    assert "2 before" in message
    assert "data.max_errors" in message
    assert "a.jsonl:2" in error(tmp_path, max_errors=2)


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    (source,) = sources.find(config(path))
    path.unlink()
    assert sources.pieces(source, 100) == [sources.Piece(source)]
    problems: list[UserError] = []
    assert list(sources.read(sources.Piece(source), problems.append)) == []
    assert "No such file" in problems[0].given
    with pytest.raises(UserError, match="No such file"):
        files.stamp(str(path))


def test_a_file_that_fails_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "abcdef"}\n' * 200_000)

    def read(self: object, size: int) -> bytes:
        raise OSError(5, os.strerror(5))

    (source,) = sources.find(config(path))
    piece = sources.pieces(source, 1 << 20)[1]
    monkeypatch.setattr("bigtrain.data.reading.lines._Section.read", read)
    with pytest.raises(UserError, match=r"a\.jsonl: Input/output error"):
        list(sources.read(piece, stop))


# Remote files


@pytest.fixture
def memory() -> str:
    """A folder in fsspec's memory."""
    system = fsspec.filesystem("memory")
    for name, content in {
        "a.txt": b"one",
        "b.jsonl.gz": gzip.compress(b'{"text": "two"}'),
        ".c.txt": b"hidden",
    }.items():
        system.pipe(f"/corpus/{name}", content)
    system.pipe("/corpus/sub/d.txt", b"three")
    return "memory://corpus"


def test_urls(memory: str, tmp_path: Path) -> None:
    assert texts(memory) == ["one", "two", "three"]
    assert texts(f"{memory}/*.gz", f"{memory}/a.txt") == ["two", "one"]
    (tmp_path / "a b.txt").write_text("local")
    assert texts(f"file://{tmp_path}/a b.txt") == ["local"]
    (source,) = sources.find(config(f"{memory}/a.txt"))
    assert files.stamp(source.path).size == 3
    assert files.stamp(source.path).version
    with files.opened(source.path) as file:
        assert file.read(2) == b"on"


def test_urls_into_archives(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/b.txt", "inside")
    assert texts(f"zip://a/*.txt::{tmp_path}/x.zip") == ["inside"]


def test_what_is_wrong_with_urls(memory: str) -> None:
    assert "no such file" in error(f"{memory}/absent.txt")
    assert "no file matches" in error(f"{memory}/*.csv")
    assert "file, " in error("nowhere://x/a.txt")
    message = error("s3://bucket/a.txt")
    assert "s3fs" in message
    assert "data.files=s3://bucket/a.txt" in message


def test_troubles_of_a_remote_library_are_errors_of_ours(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class StrangeError(Exception):
        pass

    def read(self: object, size: int = -1) -> bytes:
        raise StrangeError("the line is cut")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFile.read", read)
    message = error(f"{memory}/a.txt")
    assert "memory:///corpus/a.txt" in message
    assert "the line is cut" in message


# Pieces


def test_pieces_give_what_the_whole_file_gives(tmp_path: Path) -> None:
    rows = [{"text": f'row {n}\n"quoted"\n' + "x" * (n * 7 % 50), "n": n} for n in range(300)]
    path = tmp_path / "a.jsonl"
    path.write_text("\ufeff" + "\n".join(json.dumps(row) + "\n" * (row["n"] % 3) for row in rows))  # type: ignore[operator]
    (source,) = sources.find(config(path))
    whole = list(sources.read(sources.Piece(source), stop))
    assert [document.text for document in whole] == [row["text"] for row in rows]
    for size in (1, 40, 1000, 10_000, 1 << 20):
        pieces = sources.pieces(source, size)
        assert [document for piece in pieces for document in sources.read(piece, stop)] == whole
        assert [piece.start for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
    assert len(sources.pieces(source, 1000)) > 10
    assert len(sources.pieces(source, 1 << 20)) == 1


def test_what_else_folders_hold_is_told(folder: Path) -> None:
    (folder / "LICENSE").write_text("x")
    (folder / "sub" / "b.png.gz").write_bytes(b"x")
    (folder / "linked").symlink_to(folder / "sub", target_is_directory=True)
    (folder / "c.txt").symlink_to(folder / "b.txt")
    left_out: dict[str, str] = {}
    found = [Path(source.path).name for source in sources.find(config(folder), left_out)]
    assert found == ["A.TXT", "a.md", "b.txt", "empty.txt", "c.jsonl"]  # c.txt is b.txt
    assert {str(Path(path).relative_to(folder)): kind for path, kind in left_out.items()} == {
        "image.png": ".png",
        "sub/b.png.gz": ".png",
        "LICENSE": "no extension",
        "linked": "links to folders",
    }


def test_what_is_packed_or_far_away_is_one_piece(tmp_path: Path, memory: str) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n' * 100))
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n' * 100, encoding="utf-16")
    fsspec.filesystem("memory").pipe("/corpus/e.jsonl", b'{"text": "e"}\n' * 100)
    for source in sources.find(config(tmp_path, f"{memory}/e.jsonl")):
        assert sources.pieces(source, 10) == [sources.Piece(source)]
        assert len(list(sources.read(sources.Piece(source), stop))) == 100
