"""Reading questions: every form gives the same, and whatever is wrong is named with its place."""

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bigtrain.data.reading.sources import Problems
from bigtrain.data.schema import OnError
from bigtrain.data.tasks.questions import Answer, Question, read_questions
from bigtrain.errors import UserError

CONTEXT = "The old cat sleeps. The cat sings."
ROW = {
    "id": "q1",
    "context": CONTEXT,
    "question": "Who sings?",
    "answers": {"text": ["The cat", "cat"], "answer_start": [20, 24]},
}
NONE = {"id": "q2", "context": CONTEXT, "question": "Who barks?", "answers": {"text": [], "answer_start": []}}


def nested(*rows: dict[str, Any]) -> dict[str, Any]:
    """SQuAD's own form of rows about one context."""
    questions = []
    for row in rows:
        answers = [
            {"text": text, "answer_start": start}
            for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        ]
        questions.append({"id": row["id"], "question": row["question"], "answers": answers})
    return {"version": "v2.0", "data": [{"title": "Cats", "paragraphs": [{"context": CONTEXT, "qas": questions}]}]}


PARAGRAPHS = nested(ROW, NONE)["data"][0]["paragraphs"]


def plain(questions: list[Question]) -> list[tuple[Any, ...]]:
    return [(one.id, one.question, one.context, one.answers) for one in questions]


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_every_form_says_the_same(tmp_path: Path) -> None:
    listed = [{**row, "answers": nested(row)["data"][0]["paragraphs"][0]["qas"][0]["answers"]} for row in (ROW, NONE)]
    lines = "".join(json.dumps(row) + "\n" for row in (ROW, NONE))
    impossible = nested(ROW, NONE)
    unanswered = impossible["data"][0]["paragraphs"][0]["qas"][1]
    unanswered |= {"is_impossible": True, "plausible_answers": [{"text": "cat", "answer_start": 8}]}
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write(lines)
    files = [
        write(tmp_path / "a.json", nested(ROW, NONE)),
        write(tmp_path / "b.jsonl", "\ufeff" + lines),
        tmp_path / "c.jsonl.gz",
        write(tmp_path / "d.json", [ROW, NONE]),
        write(tmp_path / "e.json", {"data": listed}),
        write(tmp_path / "f.json", impossible),
    ]
    expected = [
        ("q1", "Who sings?", CONTEXT, (Answer("The cat", 20), Answer("cat", 24))),
        ("q2", "Who barks?", CONTEXT, ()),
    ]
    for path in files:
        assert plain(read_questions([path])) == expected, path.name


def changed(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(ROW), **fields}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ROW.items() if key != name}


BAD = {
    "off by one": (changed(answers={"text": ["cat sings"], "answer_start": [25]}), "give answer_start 24"),
    "nearest of two": (changed(answers={"text": ["cat"], "answer_start": [9]}), "give answer_start 8"),
    "before the beginning": (changed(answers={"text": ["The"], "answer_start": [-1]}), "give answer_start 0"),
    "absent": (changed(answers={"text": ["dog"], "answer_start": [0]}), "'dog' does not occur in the context"),
    "other capitals": (changed(answers={"text": ["the cat"], "answer_start": [20]}), "does not occur"),
    "no id": (without("id"), "no field 'id'"),
    "no context": (without("context"), "no field 'context'"),
    "no question": (without("question"), "no field 'question'"),
    "no answers": (without("answers"), "no field 'answers'"),
    "empty context": (changed(context=" "), "context is empty"),
    "empty question": (changed(question=""), "question is empty"),
    "a number for a text": (changed(question=3), "question is a JSON number"),
    "an id that is none": (changed(id=[1]), "id [1]"),
    "answers that are text": (changed(answers="cat"), "answers are a JSON string"),
    "an answer that is text": (changed(answers=["cat"]), "an answer: a JSON string"),
    "no place": (changed(answers=[{"text": "cat"}]), "no field 'answer_start'"),
    "a place that is text": (changed(answers=[{"text": "cat", "answer_start": "8"}]), "answer_start '8'"),
    "fewer places": (changed(answers={"text": ["cat", "The"], "answer_start": [8]}), "2 texts and 1 places"),
    "an empty answer": (changed(answers=[{"text": " ", "answer_start": 3}]), "text of an answer is empty"),
    "impossible with answers": (changed(is_impossible=True), "is_impossible with 2 answers"),
    "impossible as text": (changed(is_impossible="no"), "is_impossible 'no'"),
    "half a surrogate": (changed(question="\ud800?"), "half of a surrogate"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    row, problem = BAD[name]
    path = write(tmp_path / "a.jsonl", json.dumps(NONE) + "\n\n" + json.dumps(row) + "\n")
    with pytest.raises(UserError) as caught:
        read_questions([path])
    assert f"{path}:3" in caught.value.given
    assert problem in str(caught.value)
    if name not in ("no id", "an id that is none"):
        assert "'q1'" in caught.value.given or "no field" in caught.value.given


def test_what_is_wrong_in_the_nested_form_is_named_with_its_id(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", nested(NONE, changed(answers={"text": ["cat"], "answer_start": [9]})))
    with pytest.raises(UserError) as caught:
        read_questions([path])
    assert f"{path}: data[0].paragraphs[0].qas[1], question 'q1'" in caught.value.given
    assert "give answer_start 8" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", '{"data": [', "not JSON"),
        ("a.json", {"rows": []}, "no list 'data'"),
        ("a.json", {"data": []}, "no questions"),
        ("a.json", {"data": [{"paragraphs": [{"qas": []}]}]}, "no field 'context'"),
        ("a.json", {"data": [{"paragraphs": {}}]}, "paragraphs is a JSON object"),
        ("a.json", {"data": [3]}, "a JSON number"),
        ("a.jsonl", "", "no questions"),
        ("a.jsonl", '{"id": ', "not JSON"),
        ("a.csv", "id,question", "unknown format"),
    ],
)
def test_files_that_are_something_else(name: str, content: Any, problem: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(UserError) as caught:
        read_questions([path])
    assert str(path) in caught.value.given
    assert problem in caught.value.given


def test_an_id_is_there_once(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a.json", [ROW]), write(tmp_path / "b.jsonl", json.dumps(NONE) + "\n")
    assert len(read_questions([one, other])) == 2
    with pytest.raises(UserError, match="id 'q1' again") as caught:
        read_questions([one, other, write(tmp_path / "c.jsonl", json.dumps(ROW) + "\n")])
    assert f"{tmp_path / 'c.jsonl'}:1" in caught.value.given
    assert str(one) in caught.value.rule


def test_bad_questions_can_be_left_out(tmp_path: Path) -> None:
    shifted = changed(id="q3", answers={"text": ["cat"], "answer_start": [9]})
    path = write(tmp_path / "a.json", [ROW, shifted, NONE, ROW])
    problems = Problems(OnError.skip, 2)
    assert [one.id for one in read_questions([path], problems)] == ["q1", "q2"]
    assert problems.count == 2
    with pytest.raises(UserError, match="and 1 before"):
        read_questions([path], Problems(OnError.skip, 1))


@pytest.mark.parametrize(
    ("name", "content", "wrong"),
    [
        (
            "a.jsonl",
            f'{json.dumps(ROW)}\n{{"id": \n[1]\n\n{json.dumps(NONE)}\n',
            ["a.jsonl:2: not JSON", "a.jsonl:3: a"],
        ),
        ("a.json", [ROW, 3, NONE], ["data[1]: a JSON number"]),
        ("a.json", {"data": [3, *nested(ROW, NONE)["data"]]}, ["data[0]: a JSON number"]),
        ("a.json", {"data": [{"paragraphs": 3}, *nested(ROW, NONE)["data"]]}, ["paragraphs is a JSON number"]),
        (
            "a.json",
            {"data": [{"paragraphs": [3, {"qas": []}, *PARAGRAPHS]}]},
            ["[0]: a JSON number", "no field 'context'"],
        ),
    ],
)
def test_rows_that_cannot_be_read_can_be_left_out(name: str, content: Any, wrong: list[str], tmp_path: Path) -> None:
    path, said = write(tmp_path / name, content), list[str]()

    class Heard(Problems):
        def __call__(self, error: UserError, n: int = 1) -> None:
            said.append(error.given)
            super().__call__(error, n)

    assert [one.id for one in read_questions([path], Heard(OnError.skip, None))] == ["q1", "q2"]
    assert len(said) == len(wrong)
    assert all(each in given for each, given in zip(wrong, said, strict=True)), said
    with pytest.raises(UserError) as caught:
        read_questions([path])
    assert caught.value.given == said[0]


def test_real_sets(test_data: Path) -> None:
    squad = [read_questions([test_data / "squad" / name]) for name in ("train.json", "dev.json")]
    assert [len(part) for part in squad] == [970, 220]
    chinese = test_data / "cmrc2018" / "cmrc2018_trial.json"
    with pytest.raises(UserError, match=r"(?s)'TRIAL_210_QUERY_0'.*give answer_start 13"):
        read_questions([chinese])
    problems = Problems(OnError.skip, None)
    assert len(read_questions([chinese], problems)) == 995
    assert problems.count == 7  # five of them off by one, two without a question
