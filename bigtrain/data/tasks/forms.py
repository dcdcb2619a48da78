"""The forms that conversations come in -> messages {"role", "content"} that alternate between user and assistant.

alpaca     instruction, input, output; also system, and history as pairs (Taori et al. 2023, Stanford Alpaca)
sharegpt   conversations: a list of {"from": "human" or "gpt", "value"}; also system
messages   messages: a list of {"role", "content"}, as OpenAI's API takes them
prompt     prompt, completion: texts, or lists of messages

Pairs have `chosen` and `rejected` in the place of the answer: texts, messages, or whole conversations, which may stand
alone (their common beginning is the prompt, as TRL's implicit prompts have it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigtrain.data.reading.fields import nearest, unicode
from bigtrain.data.tasks.forms_schema import Form, FormsConfig
from bigtrain.errors import UserError, kind_of

Message = dict[str, str]
Row = Mapping[str, Any]

_ROLES = {"human": "user", "gpt": "assistant"} | {role: role for role in ("system", "user", "assistant")}
_NAMES = (("role", "content"), ("from", "value"))  # of a message's fields
PAIR = ("chosen", "rejected")


@dataclass(frozen=True)
class Fields:
    """The form of a file's rows, and how to read them."""

    form: Form
    names: tuple[str, ...]  # that every row has
    prompt: Callable[[Row, str], list[Message]]  # (row, where) -> what stands before the answer; or all of it

    def __str__(self) -> str:
        return f"{self.form} ({', '.join(self.names)})"


def conversation_fields(config: FormsConfig, row: Row, where: str, *, table: bool = False) -> Fields:
    """The form that `config` names, or that the first row has. Raises UserError, listing fields and forms.

    Of a table with two columns of other names the first is the prompt, the second the answer.
    """
    prompt, answer = config.prompt_field, config.answer_field
    known = [
        Fields(Form.alpaca, ("instruction", "output"), _alpaca),
        Fields(Form.sharegpt, ("conversations",), _listed("conversations")),
        Fields(Form.messages, ("messages",), _listed("messages")),
        Fields(Form.prompt, (prompt, answer), _prompt(prompt)),
    ]
    if table and len(row) == 2 and config.settled_form() is Form.auto:
        first, second = row
        known.append(Fields(Form.prompt, (first, second), _prompt(first)))
    return _chosen(known, config, row, where, "data.prompt_field= and data.answer_field=")


def pair_fields(config: FormsConfig, row: Row, where: str) -> Fields:
    """The same for rows that hold two answers."""
    known = [
        Fields(Form.alpaca, ("instruction", *PAIR), _alpaca),
        Fields(Form.sharegpt, ("conversations", *PAIR), _listed("conversations")),
        Fields(Form.prompt, (config.prompt_field, *PAIR), _prompt(config.prompt_field)),
        Fields(Form.messages, ("messages", *PAIR), _listed("messages")),
        Fields(Form.messages, PAIR, _system),
    ]
    if config.form is Form.messages and "messages" not in row:
        known = known[-1:]
    return _chosen(known, config, row, where, "data.prompt_field=")


def _chosen(known: Sequence[Fields], config: FormsConfig, row: Row, where: str, keys: str) -> Fields:
    form = config.settled_form()
    for fields in known:
        if (form is Form.auto and row.keys() >= set(fields.names)) or form is fields.form:
            return fields
    raise UserError(
        f"{where}: the fields {', '.join(row) or 'none'}",
        f"rows come in one of these forms: {'; '.join(map(str, known))}",
        f"name the fields with {keys}, or convert the file",
    )


def check_fields(fields: Fields, row: Row, where: str) -> None:
    """Raises UserError where a row lacks one."""
    if missing := [name for name in fields.names if name not in row]:
        near = nearest(missing[0], row.keys() - {*fields.names})
        raise UserError(
            f"{where}: no field {missing[0]!r}",
            f"every row of the form {fields} has them; the fields here: {', '.join(row) or 'none'}",
            f"rename {near!r}, if that is meant" if near else "correct the row, or say the form: data.form=",
        )


def answer_of(fields: Fields, row: Row, where: str) -> list[Message]:
    """The answer of a conversation, where a field has it."""
    if fields.form in (Form.sharegpt, Form.messages):
        return []
    return answers(row[fields.names[-1]], fields.names[-1], where)


def answers(value: Any, name: str, where: str) -> list[Message]:
    """What the assistant says: a text, a message, or several."""
    if isinstance(value, str):
        return [message("assistant", value, name, where)]
    if found := [_message(one, name, where) for one in (value if isinstance(value, list) else [value])]:
        return found
    raise UserError(f"{where}: field {name!r} is an empty list", "an answer says something", "correct the row")


def _alpaca(row: Row, where: str) -> list[Message]:
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise UserError(f"{where}: field 'history'", "it is a list of pairs: a question, an answer", "correct the row")
    said = [(role, text, "history") for turn in history for role, text in zip(("user", "assistant"), turn, strict=True)]
    task, given = (message("user", row.get(name) or "", name, where) for name in ("instruction", "input"))
    asked = "\n\n".join(text for text in (task["content"], given["content"]) if text.strip())
    before = [message(role, text, name, where) for role, text, name in said]
    return [*_system(row, where), *before, message("user", asked, "instruction", where)]


def _listed(name: str) -> Callable[[Row, str], list[Message]]:
    def read(row: Row, where: str) -> list[Message]:
        if not isinstance(row[name], list):
            given = f"{where}: field {name!r} is {kind_of(row[name])}"
            raise UserError(given, "a conversation is a list of messages", "correct the row")
        return [*_system(row, where), *(_message(one, name, where) for one in row[name])]

    return read


def _prompt(name: str) -> Callable[[Row, str], list[Message]]:
    def read(row: Row, where: str) -> list[Message]:
        if isinstance(row[name], list):
            return [*_system(row, where), *(_message(one, name, where) for one in row[name])]
        return [*_system(row, where), message("user", row[name], name, where)]

    return read


def _system(row: Row, where: str) -> list[Message]:
    return [message("system", row["system"], "system", where)] if row.get("system") else []


def _message(value: Any, name: str, where: str) -> Message:
    """A message as any of the forms has it."""
    for role, content in _NAMES:
        if isinstance(value, dict) and {role, content} <= value.keys():
            if not isinstance(value[role], str) or value[role] not in _ROLES:
                raise UserError(
                    f"{where}: role {value[role]!r} in {name!r}",
                    f"those who speak are {', '.join(_ROLES)}",
                    "correct the row, or leave it out",
                )
            return message(_ROLES[value[role]], value[content], content, where)
    raise UserError(
        f"{where}: a message of {name!r} is {str(value)[:100]}",
        'a message is an object: {"role", "content"}, or {"from", "value"}',
        "correct the row",
    )


def message(role: str, value: Any, name: str, where: str) -> Message:
    """A message of a text. Raises UserError where it is none."""
    if not isinstance(value, str):
        given = f"{where}: field {name!r} is {kind_of(value)}"
        raise UserError(given, "what is said is a string", "correct the row")
    return {"role": role, "content": unicode(value, f"{where}: field {name!r}")}


def check_turns(messages: Sequence[Message], where: str) -> None:
    """Raises UserError where messages are empty, or do not alternate after what the system says."""
    turns = [one for one in messages if one["role"] != "system"]
    rule = "user and assistant alternate, the user begins"
    if len(messages) - len(turns) > 1 or (len(messages) > len(turns) and messages[0]["role"] != "system"):
        raise UserError(f"{where}: the system speaks in between", f"it speaks once, first; {rule}", "correct the row")
    for number, one in enumerate(turns):
        expected = ("user", "assistant")[number % 2]
        if one["role"] != expected:
            raise UserError(
                f"{where}: turn {number + 1} is the {one['role']}'s, not the {expected}'s",
                rule,
                "correct the row, or leave it out",
            )
        if not one["content"].strip():
            what = "answer" if expected == "assistant" else "prompt"
            raise UserError(f"{where}: an empty {what} (turn {number + 1})", "every turn says something", "correct it")
    if not turns or turns[-1]["role"] != "assistant":
        last = f"the {turns[-1]['role']} has the last word" if turns else "nobody says anything"
        raise UserError(f"{where}: {last}", f"{rule}, and the assistant ends", "correct the row, or leave it out")
