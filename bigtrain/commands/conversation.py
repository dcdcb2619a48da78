"""`bigtrain generate chat=true` on a terminal: a message, an answer, and so on."""

from __future__ import annotations

import re
from typing import Any

from bigtrain.commands.writing import Writer
from bigtrain.errors import UserError
from bigtrain.generation.chat import Chat, Message
from bigtrain.generation.generate import check_prompt
from bigtrain.log import log

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed


def printable(text: str) -> str:
    """Text for a terminal: what would move its cursor or change its settings is shown as an escape, `\\x1b`."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def opening(system: str | None) -> list[Message]:
    """What stands before the first message of a user."""
    return [] if system is None else [{"role": "system", "content": system}]


def converse(writer: Writer, chat: Chat) -> dict[str, Any]:
    """Until the end of input (Ctrl-D). A message that cannot be read is refused, and the next one asked for."""
    first = opening(writer.config.system)
    if first:
        chat.encode([*first, {"role": "user", "content": "?"}], "system=")
    messages: list[Message] = []
    turn = 0
    log.info("a conversation with %s; Ctrl-D ends it", writer.source.folder)
    while True:
        try:
            text = input("> ")
        except EOFError:
            print()
            return {"printed": True, "messages": [*first, *messages]}
        if not text.strip():
            continue
        asked = [*messages, {"role": "user", "content": text}]
        try:
            asked, ids = _fitted(writer, chat, first, asked)
        except UserError as error:
            log.error("%s", error)
            continue
        parts: list[str] = []

        def say(new: str, parts: list[str] = parts) -> None:
            parts.append(new)
            print(printable(new), end="", flush=True)

        # The number of the turn: with the same seed another answer to the same words.
        for _ in writer.results([(turn, "", ids)], on_text=say):
            print(flush=True)
        turn += 1
        messages = [*asked, {"role": "assistant", "content": "".join(parts)}]


def _fitted(writer: Writer, chat: Chat, first: list[Message], asked: list[Message]) -> tuple[list[Message], list[int]]:
    """The messages and their ids, without the oldest turns where the model has no positions for them and an answer.

    Raises UserError for a message that cannot be read, or is too long by itself.
    """
    longest = writer.model.config.max_seq_len
    room = longest - min(writer.config.max_new_tokens, longest // 4)
    kept = asked
    while len(ids := chat.encode([*first, *kept], "your message")) > room and len(kept) > 1:
        kept = kept[2:]
    check_prompt(writer.model, ids)
    if left := (len(asked) - len(kept)) // 2:
        log.warning("the oldest %d turns are left out: model.max_seq_len=%d is full", left, longest)
    return kept, ids
