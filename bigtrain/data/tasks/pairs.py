"""Files of preferences -> pairs of conversations that differ in their last answer, every row checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bigtrain.data.reading.files import split_name
from bigtrain.data.tasks.conversations import LISTS, some
from bigtrain.data.tasks.forms import PAIR, Message, Row, answers, check_fields, check_turns, pair_fields
from bigtrain.data.tasks.forms_schema import FormsConfig
from bigtrain.data.tasks.rows import records
from bigtrain.errors import UserError


@dataclass(frozen=True)
class Pair:
    """Messages {"role", "content"}, the last of them the user's, and the better and the worse answer to them."""

    prompt: list[Message]
    chosen: Message
    rejected: Message
    where: str

    @property
    def conversations(self) -> tuple[list[Message], list[Message]]:
        """What is read with the better answer, and with the worse one."""
        return [*self.prompt, self.chosen], [*self.prompt, self.rejected]


def read_pairs(path: Path, config: FormsConfig) -> tuple[str, list[Pair]]:
    """How the rows of a file were understood, and all of them.

    Raises UserError with file and line: what `read_conversations` refuses, conversations that differ before their last
    answer, and answers that are the same.
    """
    found, fields = [], None
    for line, row in records(path, (*LISTS, *PAIR) if split_name(str(path))[0] == ".json" else ()):
        where = f"{path}:{line}"
        fields = fields or pair_fields(config, row, where)
        check_fields(fields, row, where)
        found.append(_pair(fields.prompt(row, where), row, where))
    return str(fields), some(found, path)


def _pair(prompt: list[Message], row: Row, where: str) -> Pair:
    chosen, rejected = (_whole(prompt, answers(row[name], name, where)) for name in PAIR)
    for name, conversation in zip(PAIR, (chosen, rejected), strict=True):
        check_turns(conversation, f"{where}: {name}")
    if chosen[:-1] != rejected[:-1]:
        raise UserError(
            f"{where}: chosen and rejected differ before their last message",
            "a pair is two answers to the same prompt",
            "correct the row, or leave it out",
        )
    if chosen[-1]["content"].strip() == rejected[-1]["content"].strip():
        raise UserError(f"{where}: chosen and rejected are the same", "one answer is preferred", "leave the row out")
    return Pair(chosen[:-1], chosen[-1], rejected[-1], where)


def _whole(prompt: Sequence[Message], answer: Sequence[Message]) -> list[Message]:
    """The conversation that ends with an answer. Data may repeat the prompt in front of it, with the system or not."""
    n_system = int(bool(prompt) and prompt[0]["role"] == "system")
    system, asked = [*prompt[:n_system]], [*prompt[n_system:]]
    if prompt and [*answer[: len(prompt)]] == [*prompt]:
        return [*answer]
    if [*answer[: len(asked)]] == asked:
        return [*system, *answer]
    return [*prompt, *answer]


def pair_prompts(pairs: Sequence[Pair]) -> list[str]:
    """What was asked in each, as one text."""
    return ["\n\n".join(one["content"] for one in pair.prompt) for pair in pairs]
