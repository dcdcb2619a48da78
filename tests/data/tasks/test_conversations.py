"""Forms of conversations, and what is refused about them, with file and line."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from bigtrain.data.tasks.conversations import read_conversations
from bigtrain.data.tasks.forms_schema import FormsConfig
from bigtrain.errors import UserError

USER, BOT = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("alpaca", {"instruction": "2+2?", "input": "", "output": "4"}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]}),
    ("messages", {"messages": [USER, BOT]}),
    ("prompt", {"prompt": "2+2?", "completion": "4"}),
    ("prompt", {"prompt": [USER], "completion": [BOT]}),
]


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(("form", "row"), FORMS)
def test_forms_are_told_by_their_fields(tmp_path: Path, form: str, row: dict[str, Any]) -> None:
    understood, [found] = read_conversations(written(tmp_path, row), FormsConfig())
    assert understood.startswith(f"{form} (")
    assert (found.messages, found.where) == ([USER, BOT], f"{tmp_path}/rows.jsonl:1")


def test_parquet_and_named_columns(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist([{"messages": [USER, BOT]}]), tmp_path / "a.parquet")
    assert read_conversations(tmp_path / "a.parquet", FormsConfig())[1][0].messages == [USER, BOT]
    (tmp_path / "b.csv").write_text("q,a,x\n2+2?,4,y\n")
    config = FormsConfig(prompt_field="q", answer_field="a")
    assert read_conversations(tmp_path / "b.csv", config)[1][0].messages == [USER, BOT]


def test_tables_of_two_columns_are_prompts_and_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("en\tde\none\teins\ntwo\tzwei\n")

    def texts(config: FormsConfig, *columns: str) -> tuple[str, list[list[str]]]:
        understood, found = read_conversations(path, config, columns=columns)
        return understood, [[one["content"] for one in each.messages] for each in found]

    pairs = [["one", "eins"], ["two", "zwei"]]
    with caplog.at_level(logging.INFO, "bigtrain"):
        assert texts(FormsConfig()) == ("prompt (en, de)", pairs)
    assert "'en' with prompts and 'de' with answers by its first line" in caplog.text
    assert texts(FormsConfig(prompt_field="de", answer_field="en"))[1][0] == ["eins", "one"]
    caplog.clear()
    with caplog.at_level(logging.INFO, "bigtrain"):
        assert texts(FormsConfig(), "prompt", "completion")[1] == [["en", "de"], *pairs]
        assert texts(FormsConfig(), "a", "b")[1] == [["en", "de"], *pairs]
    assert not caplog.text
    with pytest.raises(UserError, match="no field 'fr'"):
        texts(FormsConfig(prompt_field="fr"))
    with pytest.raises(UserError, match="lines have no columns"):
        read_conversations(path, FormsConfig(), path, ["a"])
    with pytest.raises(UserError, match="only tables without a header line"):
        read_conversations(written(tmp_path, {"prompt": "a", "completion": "b"}), FormsConfig(), columns=["a"])


def test_a_column_of_numbers_is_no_prompt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,prompt,completion\n7,one,1\n8,two,2\n")
    with pytest.raises(UserError, match=r"(?s)'id' in .*all 2 texts are numbers, .*a.csv:2\) is 7.*data.prompt_field="):
        read_conversations(path, FormsConfig(prompt_field="id"))
    with caplog.at_level(logging.WARNING, "bigtrain"):
        assert len(read_conversations(path, FormsConfig())[1]) == 2
    assert "all 2 answers ('completion') are numbers" in caplog.text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [USER, USER, BOT]}, "turn 2 is the user's"),
        ({"messages": [USER]}, "the user has the last word"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "an empty answer"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "role 'tool'"),
        ({"messages": [USER, {"role": ["assistant"], "content": "x"}]}, r"role \['assistant'\]"),
        ({"messages": [USER, {"role": {}, "content": "x"}]}, "role {}"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "is null"),
        ({"prompt": "a"}, "no field 'messages'"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        read_conversations(written(tmp_path, {"messages": [USER, BOT]}, row), FormsConfig())
    assert "rows.jsonl:2" in raised.value.given


def test_an_unknown_form_lists_fields_and_forms(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)fields question, reply.*alpaca.*sharegpt.*messages.*prompt"):
        read_conversations(written(tmp_path, {"question": "a", "reply": "b"}), FormsConfig())


def test_parallel_lines(tmp_path: Path) -> None:
    source, target = tmp_path / "a.en", tmp_path / "a.de"
    source.write_text("one\ntwo\n")
    target.write_text("eins\nzwei\n")
    found = read_conversations(source, FormsConfig(), target)[1]
    assert [[one["content"] for one in each.messages] for each in found] == [["one", "eins"], ["two", "zwei"]]
    target.write_text("eins\n")
    with pytest.raises(UserError, match=r"a\.en goes on after line 1, where .*a\.de ends"):
        read_conversations(source, FormsConfig(), target)
    target.write_text("eins\n\n")
    with pytest.raises(UserError, match=r"a\.en:2 and .*a\.de:2: an empty answer"):
        read_conversations(source, FormsConfig(), target)


def test_real_files_are_understood(test_data: Path) -> None:
    folder = test_data / "alpaca_demo"
    understood, found = read_conversations(folder / "alpaca_en_demo.json", FormsConfig())
    assert (understood, len(found)) == ("alpaca (instruction, output)", 700)
