"""Questions about texts, each with its answers in the text: SQuAD's JSON, versions 1.1 and 2.0, and JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.data.reading.encodings import Decoder
from bigtrain.data.reading.fields import unicode
from bigtrain.data.reading.files import readable, split_name
from bigtrain.data.reading.formats import read_jsonl
from bigtrain.data.reading.lines import Part, whole
from bigtrain.data.reading.sources import Problems
from bigtrain.data.schema import OnError
from bigtrain.errors import UserError, kind_of

_NESTED = (
    '{"data": [{"paragraphs": [{"context": "...", "qas": [{"id": "...", "question": "...", "answers": [...]}]}]}]}'
)
_FLAT = '{"id": "...", "context": "...", "question": "...", "answers": [{"text": "...", "answer_start": 0}]}'
_CORRECT = "correct or remove the question"
_MOST_BYTES = 1 << 32  # of a file of JSON, which is read as a whole


@dataclass(frozen=True)
class Answer:
    """A piece of a context; `start` counts characters."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """Where it is over."""
        return self.start + len(self.text)


@dataclass(frozen=True)
class Question:
    """Without answers: one that the context does not answer."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    where: str  # file and line, or file and id

    @property
    def references(self) -> list[str]:
        """The answers as texts."""
        return [answer.text for answer in self.answers]


def read_questions(paths: Sequence[Path], problems: Problems | None = None) -> list[Question]:
    """Every question of files `.json` (SQuAD's nested form, or objects in a list) and `.jsonl` (an object a line).

    An object is a question with its context. Its answers are a list of {"text", "answer_start"}, or
    {"text": [...], "answer_start": [...]}; `is_impossible`, or no answers: it has none.

    Raises UserError with the file and the id or the line: unknown form, fields that are missing or of another kind, an
    empty context or question, an id twice, an answer that is not where it is said to be (with the right place, where
    there is one) or does not occur, no questions. problems: takes the errors of single questions, which it may leave
    out.
    """
    problems = problems or Problems(OnError.stop, None)
    found: dict[str, Question] = {}
    for path in paths:
        with readable(path):
            before = len(found)
            for row, where in _rows(path):
                try:
                    question = _question(_object(row, where), where)
                    _check_alone(question, found)
                except UserError as error:
                    problems(error)
                else:
                    found[question.id] = question
            if len(found) == before:
                rule = f"questions stand in {_NESTED}, or in rows {_FLAT}"
                raise UserError(f"{path}: no questions", rule, "name a file that holds some")
    return list(found.values())


def _check_alone(question: Question, found: dict[str, Question]) -> None:
    if question.id in found:
        rule = f"a question has an id of its own; it is also that of {found[question.id].where}"
        raise UserError(f"{question.where}: id {question.id!r} again", rule, "rename or remove one of them")


def _rows(path: Path) -> Iterator[tuple[Any, str]]:
    """What should be questions with their context in one object each, or is their error; and where they stand."""
    extension, compression = split_name(str(path))
    part = Part(str(path), compression, encoding="utf-8", max_row_bytes=_MOST_BYTES)
    if extension == ".json":
        yield from _from_json(_parsed(part), str(path))
    elif extension == ".jsonl":
        yield from ((row, f"{path}:{line}") for line, row, _, _ in read_jsonl(part))
    else:
        rule = "questions are read from SQuAD's .json, or from .jsonl"
        raise UserError(f"{path}: unknown format {extension!r}", rule, "rename or convert the file")


def _parsed(part: Part) -> Any:
    text = Decoder("utf-8", part.path).whole(whole(part)).text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        problem, line = str(error), ""
        if isinstance(error, json.JSONDecodeError):
            problem, line = f"{error.msg}, column {error.colno}", f":{error.lineno}"
        raise UserError(f"{part.path}{line}: not JSON ({problem})", f"it is {_NESTED}", "correct the file") from None


def _from_json(content: Any, path: str) -> Iterator[tuple[Any, str]]:
    held = content.get("data") if isinstance(content, dict) else content
    if not isinstance(held, list):
        there = f"the fields here: {', '.join(sorted(content))}" if isinstance(content, dict) else "it is no object"
        raise UserError(f"{path}: no list 'data'", f"it is {_NESTED}; {there}", "convert the file")
    for i, article in enumerate(held):
        where = f"{path}: data[{i}]"
        if not isinstance(article, dict) or "paragraphs" not in article:
            yield article, where
            continue
        try:
            paragraphs = _list(article, "paragraphs", where)
        except UserError as error:
            yield error, where
            continue
        for j, paragraph in enumerate(paragraphs):
            yield from _of_paragraph(paragraph, f"{where}.paragraphs[{j}]")


def _of_paragraph(paragraph: Any, where: str) -> Iterator[tuple[Any, str]]:
    try:
        context = {"context": _value(_object(paragraph, where), "context", where)}
        questions = _list(paragraph, "qas", where)
    except UserError as error:
        yield error, where
        return
    for k, question in enumerate(questions):
        yield context | question if isinstance(question, dict) else question, f"{where}.qas[{k}]"


def _question(row: dict[str, Any], where: str) -> Question:
    id_ = _value(row, "id", where)
    if isinstance(id_, int) and not isinstance(id_, bool):
        id_ = str(id_)
    if not isinstance(id_, str) or not id_.strip():
        raise UserError(f"{where}: id {id_!r}", "an id is a string or a whole number", _CORRECT)
    where = f"{where}, question {id_!r}"
    question, context = (_text(_value(row, name, where), name, where) for name in ("question", "context"))
    impossible = row.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise UserError(f"{where}: is_impossible {impossible!r}", "it is true or false", _CORRECT)
    given = row.get("answers", []) if impossible else _value(row, "answers", where)
    answers = tuple(_answer(text, start, context, where) for text, start in _pairs(given, where))
    if impossible and answers:
        rule = "a question that cannot be answered has no answers (SQuAD's are `plausible_answers`)"
        raise UserError(f"{where}: is_impossible with {len(answers)} answers", rule, _CORRECT)
    return Question(id_, question, context, answers, where)


def _pairs(given: Any, where: str) -> list[tuple[Any, Any]]:
    """Text and place of each answer, in whichever form they stand."""
    if isinstance(given, dict):
        texts, starts = (_list(given, name, f"{where}: answers") for name in ("text", "answer_start"))
        if len(texts) != len(starts):
            problem = f"{where}: {len(texts)} texts and {len(starts)} places of answers"
            raise UserError(problem, "each answer has a text and a place", _CORRECT)
        return list(zip(texts, starts, strict=True))
    if not isinstance(given, list):
        rule = 'answers are [{"text": "...", "answer_start": 0}], or {"text": [...], "answer_start": [...]}'
        raise UserError(f"{where}: answers are {kind_of(given)}", rule, _CORRECT)
    objects = [_object(answer, f"{where}: an answer") for answer in given]
    return [
        tuple(_value(answer, name, f"{where}: an answer") for name in ("text", "answer_start")) for answer in objects
    ]


def _answer(text: Any, start: Any, context: str, where: str) -> Answer:
    text = _text(text, "text of an answer", where)
    if not isinstance(start, int) or isinstance(start, bool):
        raise UserError(f"{where}: answer_start {start!r}", "it counts characters of the context", _CORRECT)
    if start >= 0 and context.startswith(text, start):
        return Answer(text, start)
    places = [match.start() for match in re.finditer(f"(?={re.escape(text)})", context)]
    if not places:
        rule = "an answer is a piece of its context, letter by letter"
        raise UserError(f"{where}: the answer {_cut(text)} does not occur in the context", rule, _CORRECT)
    nearest = min(places, key=lambda place: abs(place - start))
    there = context[max(0, start) : max(0, start) + len(text)]
    raise UserError(
        f"{where}: answer_start {start} of {_cut(text)}, where the context has {_cut(there)}",
        "it is the number of characters before the answer",
        f"the nearest place of this answer is {nearest}: give answer_start {nearest}",
    )


def _text(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {name} is {kind_of(value)}", "it is a string", _CORRECT)
    if not value.strip():
        raise UserError(f"{where}: {name} is empty", "it is some text", _CORRECT)
    return unicode(value, f"{where}: {name}")


def _value(row: dict[str, Any], name: str, where: str) -> Any:
    if name not in row:
        there = f"the fields here: {', '.join(sorted(row))}"
        raise UserError(f"{where}: no field {name!r}", f"questions are {_NESTED}, or rows {_FLAT}; {there}", _CORRECT)
    return row[name]


def _list(row: dict[str, Any], name: str, where: str) -> list[Any]:
    value = _value(row, name, where)
    if not isinstance(value, list):
        raise UserError(f"{where}: {name} is {kind_of(value)}", "it is a list", _CORRECT)
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    """Raises UserError where it is none, or is the error of what should stand here."""
    if isinstance(value, UserError):
        raise value
    if not isinstance(value, dict):
        raise UserError(f"{where}: {kind_of(value)}", "it is an object", _CORRECT)
    return value


def _cut(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[: most - 3] + "...")
