"""Forms of preferences, and what is refused about them, with file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from bigtrain.data.tasks.forms_schema import Form, FormsConfig
from bigtrain.data.tasks.pairs import pair_prompts, read_pairs
from bigtrain.errors import UserError

SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}
BOT, WORSE = {"role": "assistant", "content": "4"}, {"role": "assistant", "content": "5"}
HUMAN, GPT, WRONG = {"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}, {"from": "gpt", "value": "5"}
AGAIN = [USER, BOT, {"role": "user", "content": "Sure?"}]
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("prompt", {"prompt": "2+2?", "chosen": "4", "rejected": "5"}),
    ("prompt", {"prompt": [USER], "chosen": "4", "rejected": "5"}),
    ("prompt", {"prompt": [USER], "chosen": [BOT], "rejected": [WORSE]}),
    ("prompt", {"prompt": "2+2?", "chosen": [USER, BOT], "rejected": [USER, WORSE]}),
    ("messages", {"chosen": [USER, BOT], "rejected": [USER, WORSE]}),
    ("messages", {"messages": [USER], "chosen": BOT, "rejected": WORSE}),
    ("sharegpt", {"conversations": [HUMAN], "chosen": GPT, "rejected": WRONG}),
    ("alpaca", {"instruction": "2+2?", "input": "", "chosen": "4", "rejected": "5"}),
]


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(("form", "row"), FORMS)
def test_forms_are_told_by_their_fields(tmp_path: Path, form: str, row: dict[str, Any]) -> None:
    understood, [pair] = read_pairs(written(tmp_path, row), FormsConfig())
    assert understood.startswith(f"{form} (")
    assert (pair.prompt, pair.chosen, pair.rejected) == ([USER], BOT, WORSE)
    assert pair.where == f"{tmp_path}/rows.jsonl:1"
    assert pair.conversations == ([USER, BOT], [USER, WORSE])
    assert pair_prompts([pair]) == ["2+2?"]


@pytest.mark.parametrize(
    "row",
    [
        {"system": "Be brief.", "prompt": "2+2?", "chosen": [USER, BOT], "rejected": WORSE},
        {"system": "Be brief.", "chosen": [USER, BOT], "rejected": [USER, WORSE]},
        {"prompt": [SYSTEM, USER], "chosen": [SYSTEM, USER, BOT], "rejected": [USER, WORSE]},
    ],
)
def test_the_system_speaks_once(tmp_path: Path, row: dict[str, Any]) -> None:
    _, [pair] = read_pairs(written(tmp_path, row), FormsConfig())
    assert (pair.prompt, pair.chosen, pair.rejected) == ([SYSTEM, USER], BOT, WORSE)


def test_several_turns_named_columns_and_a_json_object(tmp_path: Path) -> None:
    row: dict[str, Any] = {"chosen": [*AGAIN, BOT], "rejected": [*AGAIN, WORSE]}
    assert read_pairs(written(tmp_path, row), FormsConfig(form=Form.messages))[1][0].prompt == AGAIN
    (tmp_path / "a.csv").write_text("question,chosen,rejected\n2+2?,4,5\n")
    assert read_pairs(tmp_path / "a.csv", FormsConfig(prompt_field="question"))[1][0].prompt == [USER]
    (tmp_path / "a.json").write_text(json.dumps([row, row]))
    assert len(read_pairs(tmp_path / "a.json", FormsConfig())[1]) == 2


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    row = {"prompt": "2+2?", "chosen": [USER, BOT], "rejected": [USER, WORSE], "score_chosen": 9.0}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    _, [pair] = read_pairs(tmp_path / "a.parquet", FormsConfig())
    assert pair.conversations == ([USER, BOT], [USER, WORSE])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": " b"}, "rows.jsonl:2: chosen and rejected are the same"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "rows.jsonl:2: rejected: an empty answer"),
        ({"prompt": " ", "chosen": "b", "rejected": "c"}, "rows.jsonl:2: chosen: an empty prompt"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "rows.jsonl:2: a message of 'rejected' is None"),
        ({"prompt": "a", "chosen": [], "rejected": "c"}, "'chosen' is an empty list"),
        ({"prompt": "a", "chosen": "b", "reject": "c"}, "rename 'reject', if that is meant"),
        (
            {"prompt": "2+2?", "chosen": [USER, BOT], "rejected": [{"role": "user", "content": "3+3?"}, BOT]},
            "turn 2 is the user's",
        ),
        ({"prompt": "2+2?", "chosen": [*AGAIN, BOT], "rejected": [USER, WORSE]}, "differ before their last message"),
        ({"prompt": [USER], "chosen": [USER], "rejected": WORSE}, "the user has the last word"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    good = {"prompt": "2+2?", "chosen": "4", "rejected": "5"}
    with pytest.raises(UserError) as raised:
        read_pairs(written(tmp_path, good, row), FormsConfig())
    assert message in str(raised.value)


def test_files_that_hold_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prompt \(prompt, chosen, rejected\)"):
        read_pairs(written(tmp_path, {"messages": [USER, BOT]}), FormsConfig())
    with pytest.raises(UserError, match="empty"):
        read_pairs(written(tmp_path), FormsConfig())


def test_the_file_of_llama_factory_is_understood(test_data: Path) -> None:
    understood, pairs = read_pairs(test_data / "alpaca_demo" / "dpo_en_demo.json", FormsConfig())
    assert (understood, len(pairs)) == ("sharegpt (conversations, chosen, rejected)", 149)
