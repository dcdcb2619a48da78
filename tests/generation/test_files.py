"""Files of prompts, and files of what became of them."""

import json
from pathlib import Path

import pytest

from bigtrain.errors import RunBusy, UserError
from bigtrain.generation.files import Output, read_prompts


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_rows_keep_their_fields_and_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"prompt": "a", "id": 7}, "", {"messages": [{"role": "user"}]})
    rows = read_prompts(path, ["completion"])
    assert [row.where for row in rows] == [f"{path}:1", f"{path}:3"]
    assert rows[0].fields == {"prompt": "a", "id": 7}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"prompt": "a"}, {"text": "b"}], r"p\.jsonl:2: fields text"),
        ([{"prompt": "a", "messages": []}], r"p\.jsonl:1: fields messages, prompt"),
        ([{"prompt": 3}], r"p\.jsonl:1: prompt is a JSON number"),
        ([{"messages": "hi"}], r"p\.jsonl:1: messages is a JSON string"),
        ([{"prompt": "a", "completion": "b"}], r"p\.jsonl:1: a field 'completion'"),
        ([{"prompt": "a"}, "{"], r"p\.jsonl:2: not JSON"),
        (["[1]"], r"p\.jsonl:1: a JSON array"),
        ([], r"p\.jsonl: no rows"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, rows: list[object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_prompts(write(tmp_path / "p.jsonl", *rows), ["completion"])


def test_a_killed_run_loses_no_row(tmp_path: Path) -> None:
    rows = read_prompts(write(tmp_path / "p.jsonl", *({"prompt": str(n), "id": n} for n in range(4))), ["text"])
    path = tmp_path / "new folder" / "out [1].jsonl"
    first, other = Output(path, 0), Output(path, 1)
    first.claim({"a": 1})
    other.claim({"a": 1}, lock=False)
    first.append(2, {"text": "two\u2028lines"})
    other.append(1, {"text": "one"})
    with open(path.with_name(f"{path.name}.part-0"), "ab") as file:
        file.write(b'{"row": 3, "res')  # killed here
    assert first.done() == {1: {"text": "one"}, 2: {"text": "two\u2028lines"}}
    first.repair()
    for number in (3, 0):
        first.append(number, {"text": "\ud800" if number else "zero"})
    assert not first.whole()
    first.finish(rows)
    first.close()
    assert first.whole()
    done = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert [row["id"] for row in done] == [0, 1, 2, 3]
    assert [row["text"] for row in done] == ["zero", "one", "two\u2028lines", "\ud800"]
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.settings.json"]


def test_a_file_belongs_to_one_command(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    held = Output(path)
    held.claim({"a": 1, "b": 2})
    with pytest.raises(RunBusy, match="written by another process"):
        Output(path).claim({"a": 1, "b": 2})
    with pytest.raises(UserError, match="other settings: b"):
        Output(path).claim({"a": 1, "b": 3})
    held.close()
    Output(path).claim({"a": 1, "b": 2}, lock=False)
    (tmp_path / "theirs.jsonl").write_text("precious")
    with pytest.raises(UserError, match="not made here"):
        Output(tmp_path / "theirs.jsonl").claim({})
    assert (tmp_path / "theirs.jsonl").read_text() == "precious"
