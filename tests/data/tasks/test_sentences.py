"""Sentences with tags: columns, rows, and what is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from bigtrain.data.tasks.sentences import Sentence, read_sentences
from bigtrain.errors import UserError

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
call NN I-NP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER


"""
UNIVERSAL = """# sent_id = 1
# text = Vámonos al mar.
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
2.1\tx\tx\tX\t_\t_\t_\t_\t_\t_
3\t.\t.\tPUNCT\t_\t_\t1\tpunct\t_\t_

# sent_id = 2
1\t2 000\t2000\tNUM\t_\t_\t0\troot\t_\t_
"""


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def test_columns_with_blanks(tmp_path: Path) -> None:
    path = write(tmp_path, "eng.train", CONLL)
    one, other = read_sentences(path)
    assert one == Sentence(str(path), (3, 4, 5), ("EU", "rejects", "call"), ("B-ORG", "O", "O"))
    assert other == Sentence(str(path), (7, 8), ("Peter", "Blackburn"), ("B-PER", "I-PER"))
    assert other.where(1) == f"{path}:8"
    assert [one.tags for one in read_sentences(path, tags_field="2")] == [("NNP", "VBZ", "NN"), ("NNP", "NNP")]


def test_columns_with_tabs_hold_words_with_blanks(tmp_path: Path) -> None:
    content = "\ufeffNew York\tB-LOC\r\n\u3000\tO\r\n\r\n中\tO"
    path = write(tmp_path, "a.txt.gz", gzip.compress(content.encode()))
    assert [(one.words, one.tags) for one in read_sentences(path)] == [
        (("New York", "\u3000"), ("B-LOC", "O")),
        (("中",), ("O",)),
    ]
    blanks = write(tmp_path, "b.txt", " 中   B-LOC \n\u3000 O\n \t \n")
    assert [(one.words, one.tags) for one in read_sentences(blanks)] == [(("中", "\u3000"), ("B-LOC", "O"))]


def test_universal_dependencies(tmp_path: Path) -> None:
    one, other = read_sentences(write(tmp_path, "es.conllu", UNIVERSAL))
    assert (one.words, one.tags) == (("Vamos", "nos", "."), ("VERB", "PRON", "PUNCT"))
    assert (other.words, other.tags, other.lines) == (("2 000",), ("NUM",), (10,))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
def test_rows_of_lists(name: str, tmp_path: Path) -> None:
    rows = [{"tokens": ["EU", "call"], "ner_tags": ["B-ORG", "O"]}, {"tokens": ["a"], "ner_tags": ["O"]}]
    path = tmp_path / name
    if name == "a.parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if name == "a.json" else "".join(json.dumps(row) + "\n" for row in rows))
    found = read_sentences(path)
    assert [(one.words, one.tags) for one in found] == [(("EU", "call"), ("B-ORG", "O")), (("a",), ("O",))]
    assert found[0].where(1) == f"{path}:1"


def test_fields_by_name_and_tags_by_number(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"x": {"form": ["EU", "call"]}, "tags": [1, 0]}\n')
    assert read_sentences(path, "x.form", None, ["O", "B-ORG"])[0].tags == ("B-ORG", "O")


ROWS: list[tuple[dict[str, Any], str]] = [
    ({"words": ["a", "b"], "tags": ["O"]}, "a.jsonl:2: 2 words in 'words', 1 tags in 'tags'"),
    ({"words": [], "tags": []}, "a.jsonl:2: 'words' is an empty list"),
    ({"words": "a b", "tags": ["O"]}, "a.jsonl:2: field 'words' is a JSON string"),
    ({"words": ["a"], "tags": None}, "a.jsonl:2: field 'tags' is null"),
    ({"words": ["a", 3], "tags": ["O", "O"]}, "a.jsonl:2: word 2 is a JSON number"),
    ({"words": ["a", ""], "tags": ["O", "O"]}, "a.jsonl:2: word 2 is empty"),
    ({"words": ["a"], "tags": [" "]}, "a.jsonl:2: the tag of 'a' is empty"),
    ({"words": ["a"], "tags": [0]}, "a.jsonl:2: the number 0 in 'tags', the tag of 'a'"),
    ({"words": ["a"], "tags": [True]}, "a.jsonl:2: the tag of 'a' is a JSON boolean"),
    ({"words": ["\ud800"], "tags": ["O"]}, "a.jsonl:2: word 1 holds half of a surrogate"),
    ({"word": ["a"], "tags": ["O"]}, "give data.words_field=word"),
    ({"words": ["a"], "tag": ["O"]}, "give data.tags_field=tag"),
]


@pytest.mark.parametrize(("row", "said"), ROWS)
def test_bad_rows(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", f"{json.dumps({'words': ['a'], 'tags': ['O']})}\n{json.dumps(row)}\n")
    with pytest.raises(UserError) as error:
        read_sentences(path)
    assert said in str(error.value).replace(str(tmp_path) + "/", "")


def test_numbers_beyond_the_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"words": ["a"], "tags": [2]}\n')
    with pytest.raises(UserError, match="the 2 tags are counted from 0"):
        read_sentences(path, labels=["O", "B-ORG"])


@pytest.mark.parametrize(
    ("content", "fields", "said"),
    [
        ("EU B-ORG\n\na b O\n", (None, None), "a.txt:3: 3 columns"),
        ("EU,B-ORG\n", (None, None), "a.txt:1: one column"),
        ("EU B-ORG\n", (None, "3"), "a.txt:1: no column 3"),
        ("EU B-ORG\n", ("2", None), "a.txt:1: words and tags both in column 2"),
        ("EU B-ORG\n", ("form", None), "data.words_field=form"),
        ("EU B-ORG\n", ("0", None), "data.words_field=0"),
        ("EU\tB-ORG\n\tO\n", (None, None), "a.txt:2: the word is empty"),
        ("EU\tB-ORG\nx\t\n", (None, None), "a.txt:2: the tag of 'x' is empty"),
        ("1 EU B-ORG\n2 call O\n", (None, None), "all 2 words are numbers, the first (a.txt:1) is 1"),
        ("-DOCSTART- O\n\n", (None, None), "a.txt: no sentences"),
        (b"EU O\n\xff O\n", (None, None), "a.txt:2: not UTF-8"),
    ],
)
def test_bad_columns(content: str | bytes, fields: tuple[str | None, str | None], said: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", content)
    with pytest.raises(UserError) as error:
        read_sentences(path, *fields)
    assert said in str(error.value).replace(str(tmp_path) + "/", "")
