"""Conversations: the chat template of a tokenizer, rendered where a stranger's template can do no harm."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import tokenizers

from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer

Message = dict[str, Any]  # role and content, and what else the template reads


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
        backend = tokenizers.Tokenizer.from_str(json.dumps(tokenizer.spec))
        backend.encode_special_tokens = False
        self._backend = backend
        self._marks = [token["content"] for token in tokenizer.spec["added_tokens"] if token["special"]]
        self._names = {key: _content(value) for key, value in tokenizer.config.items() if key.endswith("_token")}

    def encode(self, messages: list[Message], where: str) -> list[int]:
        """The ids of a conversation whose next message is the model's. Raises UserError, naming `where`."""
        for message in messages:
            if not isinstance(message, dict) or not isinstance(message.get("role"), str) or "content" not in message:
                rule = 'a message is an object like {"role": "user", "content": "..."}'
                raise UserError(f"{where}: message {json.dumps(message, ensure_ascii=False)[:200]}", rule, "correct it")
            text = json.dumps(message, ensure_ascii=False)
            if found := next((mark for mark in self._marks if mark in text), None):
                raise UserError(
                    f"{where}: a message holds {found}",
                    "this is a special token, with which the template marks turns: a message could forge one",
                    "take it out of the message",
                )
        try:
            text = self._template.render(messages=messages, add_generation_prompt=True, **self._names)
        except Exception as error:  # whatever a template does
            raise UserError(
                f"{where}: the chat template says: {error}"[:500],
                f"the template of {self._where} reads the messages, their roles and their order",
                "correct the messages",
            ) from None
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _compile(source: str, where: str) -> Any:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def to_json(value: Any, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise UserError(
            f"{where}: chat template: {error}", "a chat template is a Jinja template", "restore the file"
        ) from None
