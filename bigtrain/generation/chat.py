"""Conversations: the chat template of a tokenizer, rendered where a stranger's template can do no harm."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from bigtrain.data.tasks.packed import Scored
from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer
from bigtrain.tokenizer.chat import plain_jinja

Message = dict[str, Any]  # role and content, and what else the template reads

_AT_ONCE = 1000  # conversations whose texts are encoded together


class Chat:
    """Messages -> the ids of a prompt that asks for the next answer.

    As transformers' `apply_chat_template` renders, with jinja2's immutable sandbox. The marks of a template are special
    tokens; a message may not hold one, or it could end its turn and speak in another role.
    """

    def __init__(self, tokenizer: Tokenizer, where: str) -> None:
        """where: what the error names that says there is no template."""
        source = tokenizer.config.get("chat_template")
        if isinstance(source, list):  # several by name; the plain one is the default
            named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
            source = named.get("default")
        if not isinstance(source, str):
            raise UserError(
                f"{where}: no chat_template.jinja, and no chat_template in tokenizer_config.json",
                "the template says how messages become one text: base models have none",
                "name a model that was trained to chat, or give the text as it is with prompt=",
            )
        self._where, self._template = where, _compile(source, where)
        self._backend = tokenizer.marked
        marks = [token["content"] for token in tokenizer.spec["added_tokens"] if token["special"]]
        longest_first = sorted(marks, key=len, reverse=True)
        self._mark = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._names = {key: _content(value) for key, value in tokenizer.config.items() if key.endswith("_token")}

    def encode(self, messages: list[Message], where: str) -> list[int]:
        """The ids of a conversation whose next message is the model's. Raises UserError, naming `where`."""
        self._check(messages, where)
        return self._ids([self.text(messages, where)])[0]

    def text(self, messages: Sequence[Message], where: str, *, asking: bool = True) -> str:
        """The conversation as one text; `asking`: with what stands before the next answer. Raises UserError."""
        try:
            given = {"messages": list(messages), "tools": None, "documents": None, "add_generation_prompt": asking}
            text = self._template.render(given, **self._names)
        except Exception as error:  # whatever a template does
            raise UserError(
                f"{where}: the chat template says: {error}"[:500],
                f"the template of {self._where} reads the messages, their roles and their order",
                "correct the messages",
            ) from None
        return str(text)

    def encode_answered(self, conversations: Sequence[tuple[Sequence[Message], str]]) -> Iterator[Scored]:
        """Conversations, each with the place that errors name, as a model learns to write their answers.

        Learned is every answer with the token that ends it; a conversation ends with its last answer.

        What stands before an answer has the ids of `encode`: where a token would reach over that border, the text is
        encoded in parts. Raises UserError.
        """
        for start in range(0, len(conversations), _AT_ONCE):
            some = [self.answers(messages, where) for messages, where in conversations[start : start + _AT_ONCE]]
            borders = [[edge for answer in answers for edge in answer] for _, answers in some]
            texts = [text[:edge] for (text, _), edges in zip(some, borders, strict=True) for edge in edges]
            ids = iter(self._ids(texts))
            for (text, _), edges in zip(some, borders, strict=True):
                yield self._answered(text, edges, list(itertools.islice(ids, len(edges))))

    def answers(self, messages: Sequence[Message], where: str) -> tuple[str, list[tuple[int, int]]]:
        """The text of a conversation, and where each answer of the assistant stands in it, with the mark that ends it.

        An answer begins where the model would be asked for it. Raises UserError where the template does not fit.
        """
        self._check(messages, where)
        text = self.text(messages, where, asking=False)
        found: list[tuple[int, int]] = []
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, content = self.text(messages[:number], where), message["content"].strip()
            at = text.find(content, len(before)) if text.startswith(before) else -1
            end = self._mark.search(text, at + len(content)) if at >= 0 else None
            if end is None:
                raise UserError(
                    f"{where}: the chat template of {self._where} does not say where answer {len(found) + 1} ends",
                    "an answer follows what the model is asked with, unchanged, and a special token ends it",
                    "choose objective.template=plain or chatml, or write {{ eos_token }} behind what it says",
                )
            found.append((len(before), end.end()))
        return text, found

    def end_of_answer(self) -> str:
        """The special token that ends an answer. Raises UserError where there is none."""
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        text, [(_, end)] = self.answers(messages, "a question and its answer")
        return [match[0] for match in self._mark.finditer(text[:end])][-1]

    def _answered(self, text: str, edges: list[int], prefixes: list[list[int]]) -> Scored:
        """edges: where answers begin and end, in turn; prefixes: the ids of the text up to each of them."""
        ids = prefixes[-1]
        lengths = [len(prefix) for prefix in prefixes]
        if any(ids[:length] != prefix for length, prefix in zip(lengths, prefixes, strict=True)):
            # A mark before a part is what stands there in the text as well: a part is not the beginning of a text.
            mark = next(self._mark.finditer(text))[0]
            parts = [text[start:end] for start, end in itertools.pairwise([0, *edges])]
            first, *others = self._ids([parts[0], *(mark + part for part in parts[1:])])
            pieces = [first, *(part[1:] for part in others)]
            ids = [id_ for piece in pieces for id_ in piece]
            lengths = np.cumsum([len(piece) for piece in pieces]).tolist()
        written = np.zeros(len(ids), np.bool_)
        for start, end in zip(lengths[::2], lengths[1::2], strict=True):
            written[start:end] = True
        return Scored(np.array(ids, np.uint32), written)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _check(self, messages: Sequence[Message], where: str) -> None:
        for message in messages:
            if not isinstance(message, dict) or not isinstance(message.get("role"), str) or "content" not in message:
                rule = 'a message is an object like {"role": "user", "content": "..."}'
                raise UserError(f"{where}: message {json.dumps(message, ensure_ascii=False)[:200]}", rule, "correct it")
            if found := self._mark.search(json.dumps(message, ensure_ascii=False)):
                raise UserError(
                    f"{where}: a message holds {found[0]}",
                    "this is a special token, with which the template marks turns: a message could forge one",
                    "take it out of the message",
                )


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _compile(source: str, where: str) -> Any:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def to_json(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(plain_jinja(source))
    except Exception as error:  # constant expressions are computed here
        raise UserError(
            f"{where}: chat template: {error}"[:500], "a chat template is a Jinja template", "restore the file"
        ) from None
