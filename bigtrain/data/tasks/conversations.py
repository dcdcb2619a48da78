"""Files of conversations -> messages, every row checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from bigtrain.data.reading.files import readable, split_name
from bigtrain.data.reading.lines import Part, lines
from bigtrain.data.tasks.forms import (
    Fields,
    Message,
    answer_of,
    check_fields,
    check_turns,
    conversation_fields,
    message,
)
from bigtrain.data.tasks.forms_schema import Form, FormsConfig
from bigtrain.data.tasks.rows import NUMBER, TABLES, check_numbers, records
from bigtrain.errors import UserError
from bigtrain.log import log

T = TypeVar("T")

LISTS = ("conversations", "messages", "prompt")  # of a JSON object that is one row, not a list of rows
_UNKNOWN = (
    "; line-parallel text has any, with its answers in another file",
    "rename or convert the file, or name that of the answers",
)


@dataclass(frozen=True)
class Conversation:
    """Messages {"role", "content"}, the last of them the assistant's, and their file and line."""

    messages: list[Message]
    where: str


def read_conversations(
    path: Path, config: FormsConfig, answers_path: Path | None = None, columns: Sequence[str] = ()
) -> tuple[str, list[Conversation]]:
    """How the rows of a file were understood, and all of them. answers_path: see `TrainFormsConfig.train_answers`.

    columns: their names, where a csv or tsv file has no header line. Raises UserError with file and line: an unknown
    format or form, a missing field, an unknown role, a conversation that does not alternate, an empty prompt or answer,
    a column of numbers as prompts, lines without a partner, no rows.
    """
    if answers_path is not None:
        if columns:
            rule = "lines have no columns"
            raise UserError(f"data.columns={list(columns)} with line-parallel text", rule, "leave one of them out")
        return "lines (one file of prompts, one of answers)", list(_parallel(path, answers_path))
    found, fields, extension = [], None, split_name(str(path))[0]
    table = extension in TABLES
    for line, row in records(path, LISTS if extension == ".json" else (), columns, _UNKNOWN):
        where = f"{path}:{line}"
        fields = fields or conversation_fields(config, row, where, table=table)
        check_fields(fields, row, where)
        messages = [*fields.prompt(row, where), *answer_of(fields, row, where)]
        check_turns(messages, where)
        found.append(Conversation(messages, where))
    some(found, path)
    assert fields is not None
    if table and fields.form is Form.prompt:
        _check_columns(path, found, fields)
        usual = config.prompt_field, config.answer_field
        if fields.names != usual and not columns:
            said = (
                "%s: two columns, %r with prompts and %r with answers by its first line; if that is a row, too, give "
            )
            log.info(said + "data.columns=[%s,%s]", path, *fields.names, *usual)
    return str(fields), found


def _check_columns(path: Path, found: Sequence[Conversation], fields: Fields) -> None:
    """Raises UserError where all prompts are numbers, and says so where all answers are: sums have such."""
    remedy = "data.prompt_field=NAME data.answer_field=NAME"
    check_numbers(prompts_of(found), f"{fields.names[0]!r} in {path}", found[0].where, remedy)
    if len(found) > 1 and all(NUMBER.fullmatch(one.messages[-1]["content"].strip()) for one in found):
        log.warning("%s: all %d answers (%r) are numbers", path, len(found), fields.names[1])


def _parallel(prompts: Path, answers: Path) -> Iterator[Conversation]:
    """Line n of one file and line n of the other; a pair of empty lines is left out."""
    with readable(prompts), readable(answers):
        for number, (prompt, answer) in enumerate(zip_longest(_lines(prompts), _lines(answers)), 1):
            if prompt is None or answer is None:
                short, long = (prompts, answers) if prompt is None else (answers, prompts)
                raise UserError(
                    f"{long} goes on after line {number - 1}, where {short} ends",
                    "line n of one file is the answer to line n of the other",
                    "name two files of as many lines",
                )
            where = f"{prompts}:{number}"
            if prompt.strip() or answer.strip():
                messages = [
                    message("user", prompt.strip(), "prompt", where),
                    message("assistant", answer.strip(), "answer", f"{answers}:{number}"),
                ]
                check_turns(messages, f"{where} and {answers}:{number}")
                yield Conversation(messages, where)


def _lines(path: Path) -> Iterator[str]:
    for _, text, _, _ in lines(Part(str(path), split_name(str(path))[1], encoding="utf-8")):
        if isinstance(text, UserError):
            raise text
        yield text


def some(found: list[T], path: Path) -> list[T]:
    """The rows of a file. Raises UserError where it has none."""
    if not found:
        empty = not path.stat().st_size
        raise UserError(f"{path}: {'empty' if empty else 'no rows'}", "there is a row at least", "name another file")
    return found


def prompts_of(conversations: Sequence[Conversation]) -> list[str]:
    """What was asked in each, as one text."""
    return ["\n\n".join(one["content"] for one in each.messages[:-1]) for each in conversations]
