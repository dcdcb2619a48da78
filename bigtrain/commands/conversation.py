"""`bigtrain generate chat=true` on a terminal: a message, an answer, and so on."""

from __future__ import annotations

from typing import Any

from bigtrain.commands.writing import Writer
from bigtrain.errors import UserError
from bigtrain.generation.chat import Chat, Message
from bigtrain.generation.generate import check_prompt
from bigtrain.log import log


def converse(writer: Writer, chat: Chat) -> dict[str, Any]:
    """Until the end of input (Ctrl-D). A message that cannot be read is refused, and the next one asked for."""
    messages: list[Message] = []
    log.info("a conversation with %s; Ctrl-D ends it", writer.source.folder)
    while True:
        try:
            text = input("> ")
        except EOFError:
            print()
            return {"printed": True, "messages": messages}
        if not text.strip():
            continue
        asked = [*messages, {"role": "user", "content": text}]
        try:
            ids = chat.encode(asked, "your message")
            check_prompt(writer.model, ids)
        except UserError as error:
            log.error("%s", error)
            continue
        parts: list[str] = []

        def say(new: str, parts: list[str] = parts) -> None:
            parts.append(new)
            print(new, end="", flush=True)

        # The number of the turn: with the same seed another answer to the same words.
        for _ in writer.results([(len(messages) // 2, "", ids)], on_text=say):
            print(flush=True)
        messages = [*asked, {"role": "assistant", "content": "".join(parts)}]
