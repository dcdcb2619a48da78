"""Labelled rows of csv, tsv and jsonl."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from bigtrain.data.tasks.labels import (
    label_flags,
    label_names,
    label_numbers,
    label_scores,
    several_labels,
    sorted_labels,
)
from bigtrain.data.tasks.rows import Rows, read_rows
from bigtrain.errors import UserError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def test_csv_with_quotes_commas_and_line_breaks(tmp_path: Path) -> None:
    content = '\ufefftext,label\r\n"a, ""b""\nc",pos\r\n\r\n中文, neg \r\n'
    path = write(tmp_path, "a.csv", content)
    rows = read_rows(path, ["text"], "label")
    assert rows == Rows(path, ['a, "b"\nc', "中文"], ["pos", " neg "], [2, 5])


def test_tsv_takes_fields_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"open, quote\t1\nb"c"\t0\n')
    assert read_rows(path, ["text"], "label") == Rows(path, ['"open, quote', 'b"c"'], ["1", "0"], [2, 3])


def test_jsonl_with_labels_of_every_kind(tmp_path: Path) -> None:
    content = '{"text": "a", "y": 1}\n\n{"text": "b", "y": true}\n{"text": "c", "y": "x"}\n{"text": "d", "y": 0.5}'
    path = write(tmp_path, "a.jsonl", content)
    rows = read_rows(path, ["text"], "y")
    assert rows == Rows(path, ["a", "b", "c", "d"], [1, True, "x", 0.5], [1, 3, 4, 5])
    assert label_names(rows, "y") == [("1",), ("true",), ("x",), ("0.5",)]


def test_several_texts_are_joined_by_a_blank_line_and_a_pair_is_apart(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "title,body,other,label\nT,B,O,l\n")
    rows = read_rows(path, ["title", "body"], "label", "other")
    assert (rows.texts, rows.pairs, rows.whole(0)) == (["T\n\nB"], ["O"], "T\n\nB\n\nO")
    nested = write(tmp_path, "a.jsonl", '{"x": {"q": "Q", "label": "l"}, "a": "A"}')
    assert read_rows(nested, ["x.q"], "x.label", "a") == Rows(nested, ["Q"], ["l"], [1], ["A"])


def test_packed_rows_json_and_parquet(tmp_path: Path) -> None:
    packed = write(tmp_path, "a.csv.gz", gzip.compress(b"text,label\na,1\n"))
    assert read_rows(packed, ["text"], "label") == Rows(packed, ["a"], ["1"], [2])
    array = write(tmp_path, "a.json", '[{"text": "a", "label": 1},\n{"text": "b", "label": "x"}]')
    assert read_rows(array, ["text"], "label") == Rows(array, ["a", "b"], [1, "x"], [1, 2])
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a", "b"], "label": [True, False], "more": [1, 2]}), path)
    assert read_rows(path, ["text"], "label") == Rows(path, ["a", "b"], [True, False], [1, 2])
    with pytest.raises(UserError, match="no column 'class'"):
        read_rows(path, ["text"], "class")


def test_labels_become_numbers(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path, "a.csv", "text,label\na,x\nb,y\nc,x\n"), ["text"], "label")
    names = label_names(rows, "label")
    assert sorted_labels(names) == ("x", "y")
    assert label_numbers(rows, names, ["y", "x"]).tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"a\.csv:3: label 'y'"):
        label_numbers(rows, names, ["x"])


def test_several_labels_of_a_row(tmp_path: Path) -> None:
    listed = '{"text": "a", "label": ["x", "y", "x"]}\n{"text": "b", "label": []}\n{"text": "c", "label": "y"}'
    rows = read_rows(write(tmp_path, "a.jsonl", listed), ["text"], "label")
    assert several_labels(rows)
    names = label_names(rows, "label", several=True)
    assert names == [("x", "y"), (), ("y",)]
    assert label_flags(rows, names, ["y", "x"]).tolist() == [[1, 1], [0, 0], [1, 0]]
    with pytest.raises(UserError, match=r"a\.jsonl:1.*JSON array"):
        label_names(rows, "label")
    cut = read_rows(write(tmp_path, "a.csv", "text,label\na,x; y\nb,\n"), ["text"], "label")
    assert label_names(cut, "label", several=True, separator=";") == [("x", "y"), ()]
    with pytest.raises(UserError, match=r"a\.csv:3.*empty"):
        label_names(cut, "label")


def test_scores(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path, "a.csv", "text,label\na,1.5\nb,-2\n"), ["text"], "label")
    assert label_scores(rows, "label").tolist() == [1.5, -2]
    for value in ("x", "nan", "1e99"):
        bad = read_rows(write(tmp_path, "b.csv", f"text,label\na,1\nb,{value}\n"), ["text"], "label")
        with pytest.raises(UserError, match=r"b\.csv:3"):
            label_scores(bad, "label")


def test_a_table_without_a_header_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "a b\t1\nc\t0\n")
    assert read_rows(path, ["text"], "label", columns=["text", "label"]) == Rows(path, ["a b", "c"], ["1", "0"], [1, 2])
    with pytest.raises(UserError, match=r"data\.columns"):
        read_rows(write(tmp_path, "a.jsonl", "{}"), ["text"], "label", columns=["text", "label"])
    with pytest.raises(UserError, match=r"(?s)a\.tsv:1: no column 'text'.*: a b, 1\n.*data\.columns=\[NAME"):
        read_rows(path, ["text"], "label")


def test_a_text_of_a_million_characters(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"text,label\n{'x' * 1_000_000},1\n")
    assert len(read_rows(path, ["text"], "label").texts[0]) == 1_000_000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", ["a.csv", "empty"]),
        ("a.csv", "text,label\n", ["a.csv", "no rows"]),
        ("a.jsonl", "\n", ["a.jsonl", "no rows"]),
        ("a.csv", "body,class\nx,1\n", ["a.csv:1", "'text'", "body, class", "data.text_field="]),
        ("a.csv", "text,class\nx,1\n", ["a.csv:2", "'label'", "class, text", "data.label_field="]),
        ("a.csv", "text,label\na,1\nb\n", ["a.csv:3", "1 fields", "2: text, label"]),
        ("a.csv", 'text,label\n"a\nb",1\nc,d,2\n', ["a.csv:4", "3 fields"]),
        ("a.csv", "text,label\na,1\n ,2\n", ["a.csv:3", "'text' is empty"]),
        ("a.csv", "text,label\n17,a\n-3.5,b\n", ["a.csv", "all 2 texts are numbers", "17", "data.text_field="]),
        ("a.csv", "text,Label\na,1\n", ["a.csv:2", "'label'", "data.label_field=Label"]),
        ("a.csv", 'text,label\n"a"b,1\n', ["a.csv:2", "RFC 4180"]),
        ("a.csv", 'text,label\n"never closed,1\n', ["a.csv", "RFC 4180"]),
        ("a.csv", "text,text,label\na,b,1\n", ["a.csv:1", "'text' twice"]),
        ("a.csv", b"text,label\n\xe9,1\n", ["a.csv:2", "not UTF-8", "byte offset 0"]),
        ("a.tsv", "text,label\na,1\n", ["a.tsv:1", "'text'", "text,label"]),
        ("a.tsv", b"text\tlabel\n\0\t1\n", ["a.tsv", "binary"]),
        ("a.jsonl", '{"text": "a", "label": null}', ["a.jsonl:1", "'label' is null"]),
        ("a.jsonl", '{"text": 1, "label": "x"}', ["a.jsonl:1", "'text' is a JSON number"]),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{', ["a.jsonl:2", "not JSON"]),
        ("a.xlsx", "x", ["a.xlsx", ".csv .tsv .jsonl .json .parquet"]),
        ("a.csv.gz", "x", ["a.csv.gz", "a damaged .gz file"]),
    ],
)
def test_bad_rows_are_named(name: str, content: str | bytes, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        label_names(read_rows(write(tmp_path, name, content), ["text"], "label"), "label")
    assert [word for word in words if word not in str(caught.value)] == []


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_rows(tmp_path / "absent.csv", ["text"], "label")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="directory"):
        read_rows(tmp_path / "folder.csv", ["text"], "label")
    with pytest.raises(
        UserError, match=r"(?s)data.pair_field=label in .*all 2 texts are numbers.*data.pair_field=NAME"
    ):
        read_rows(write(tmp_path, "b.csv", "text,label\na,1\nb,2\n"), ["text"], "label", "label")
    with pytest.raises(UserError, match="'pair'"):
        read_rows(write(tmp_path, "a.csv", "text,label\na,1\n"), ["text"], "label", "pair")


def test_real_data(test_data: Path) -> None:
    adult = read_rows(test_data / "adult" / "train.csv", ["education", "occupation"], "income")
    assert len(adult) == 8000
    assert sorted_labels(label_names(adult, "income")) == ("<=50K", ">50K")
    gsm8k = read_rows(test_data / "gsm8k" / "dev.jsonl", ["question"], "answer")
    assert len(gsm8k) == 300
