"""Tables without a header line, and with other characters between their fields."""

from pathlib import Path
from typing import Any

import pytest

from bigtrain.data.reading import sources
from bigtrain.data.schema import DataConfig, Format
from bigtrain.errors import UserError


def texts(path: Path, **settings: Any) -> list[str]:
    made = DataConfig(files=[str(path)], **settings)
    made.check()
    return [document.text for document in sources.documents(made)]


def error(path: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        texts(path, **settings)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_columns_are_named_where_there_is_no_header_line(name: str, tmp_path: Path) -> None:
    path, mark = tmp_path / name, "," if name == "a.csv" else "\t"
    path.write_text("".join(f"{n}{mark}row {n}\n" for n in range(50)))
    assert texts(path, columns=["id", "text"]) == [f"row {n}" for n in range(50)]
    (source,) = sources.find(DataConfig(files=[str(path)], columns=["id", "text"]))
    pieces = sources.pieces(source, 100)
    assert [one.text for piece in pieces for one in sources.read(piece, pytest.fail)] == [f"row {n}" for n in range(50)]
    assert len(pieces) > 3
    assert "data.columns has 1: text" in error(path, columns=["text"])


def test_a_character_between_the_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id;text\n1;"a, b"\n2;"c;\nd"\n')
    assert texts(path, delimiter=";") == ["a, b", "c;\nd"]
    (source,) = sources.find(DataConfig(files=[str(path)], delimiter=";"))
    assert [piece.line for piece in sources.pieces(source, 1)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "mark", "remedy"),
    [
        ("a.csv", ";", "data.delimiter=';'"),
        ("a.csv", "|", "data.delimiter='|'"),
        ("a.csv", "\t", "data.format=tsv"),
        ("a.tsv", ",", "data.format=csv"),
    ],
)
def test_a_header_that_is_read_as_one_field_says_what_to_give(
    name: str, mark: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(f"id{mark}text\n1{mark}a\n")
    message = error(path)
    assert remedy in message
    assert "a.csv:1" in message or "a.tsv:1" in message
    assert "data.text_field" not in message
    key, value = remedy.removeprefix("data.").split("=")
    assert texts(path, **{key: Format(value) if key == "format" else value.strip("'")}) == ["a"]
    path.write_text(f"text{mark}\n1\n")  # a strange name, but the one that is asked for
    assert texts(path, text_field=[f"text{mark}"]) == ["1"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": ["a", "a"]}, "data.columns"),
        ({"delimiter": ";;"}, "data.delimiter"),
        ({"delimiter": '"'}, "data.delimiter"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        DataConfig(files=["a.csv"], **settings).check()


def test_keys_of_tables_are_refused_where_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "a.tsv").write_text("text\na\n")
    assert "data.columns=['text'] with jsonl files" in error(tmp_path / "a.jsonl", columns=["text"])
    assert "data.delimiter=; with tsv files" in error(tmp_path / "a.tsv", delimiter=";")
