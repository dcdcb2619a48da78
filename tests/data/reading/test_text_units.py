"""txt and md files whose documents are lines or paragraphs."""

import random
from pathlib import Path

import pytest

from bigtrain.data.reading import formats, sources
from bigtrain.data.schema import DataConfig, DocumentUnit, OnError, SourceConfig
from bigtrain.errors import UserError

CONTENT = "\ufeffone\r\n\r\n \t\ntwo\n  three \n\n\n\nfour"


def read(path: Path, unit: str, **settings: object) -> list[sources.Document]:
    made = DataConfig(files=[str(path)], document=DocumentUnit(unit), **settings)  # type: ignore[arg-type]
    made.check()
    return list(sources.documents(made))


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("file", [(CONTENT.removeprefix("\ufeff"), None)]),
        ("line", [("one", 1), ("two", 4), ("  three ", 5), ("four", 9)]),
        ("paragraph", [("one", 1), ("two\n  three ", 4), ("four", 9)]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_a_document_is(unit: str, expected: list[tuple[str, int]], encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_bytes((CONTENT if encoding == "utf-8" else CONTENT.removeprefix("\ufeff")).encode(encoding))
    found = read(path, unit)
    assert [(document.text, document.line) for document in found] == expected
    assert {document.encoding for document in found} == {encoding}


@pytest.mark.parametrize("unit", ["line", "paragraph"])
def test_pieces_are_the_whole(unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, path = random.Random(0), tmp_path / "a.txt"
    monkeypatch.setattr(formats, "_BLOCK", 64)
    for end in ("\n", "\r\n"):
        path.write_bytes("".join(draw.choice(["a", "bc dé", end, end, f" {end}"]) for _ in range(2000)).encode())
        whole = read(path, unit)
        (source,) = sources.find(DataConfig(files=[str(path)], document=DocumentUnit(unit)))
        for size in (1, 30, 500):
            pieces = sources.pieces(source, size)
            assert [one for piece in pieces for one in sources.read(piece, pytest.fail)] == whole
        assert len(sources.pieces(source, 30)) > 30


def test_a_line_or_paragraph_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\nnext\n\n" + b"long\n" * 300 + b"\n" + b"x" * 2000 + b"\nfine\n")
    skip = {"on_error": OnError.skip, "max_row_bytes": 1000}
    assert [document.text for document in read(path, "paragraph", **skip)] == ["good\nnext", "fine"]
    assert [document.text for document in read(path, "line", **skip)] == ["good", "next", *["long"] * 300, "fine"]
    with pytest.raises(UserError, match=r"a\.txt:4: a paragraph of more than 1,000 bytes"):
        read(path, "paragraph", max_row_bytes=1000)


def test_a_source_has_its_own(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md"):
        (tmp_path / name).write_text("one\ntwo\n")
    (tmp_path / "c.jsonl").write_text('{"text": "three"}\n')
    given = {
        "a": SourceConfig(files=[str(tmp_path / "a.txt")]),
        "b": SourceConfig(files=[str(tmp_path / "b.md")], document=DocumentUnit.file),
        "c": SourceConfig(files=[str(tmp_path / "c.jsonl")]),
    }
    found = sources.documents(DataConfig(sources=given, document=DocumentUnit.line))
    assert [document.text for document in found] == ["one", "two", "one\ntwo\n", "three"]
    given["c"].document = DocumentUnit.line
    with pytest.raises(UserError, match=r"(?s)data\.sources\.c\.document=line with jsonl files.*md and txt"):
        sources.find(DataConfig(sources=given))
    with pytest.raises(UserError, match=r"data\.document=paragraph with jsonl files"):
        read(tmp_path / "c.jsonl", "paragraph")
