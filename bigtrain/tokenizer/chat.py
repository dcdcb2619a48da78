"""How a conversation becomes text: Jinja templates as transformers' `apply_chat_template` renders them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bigtrain.errors import UserError
from bigtrain.tokenizer.base import Tokenizer
from bigtrain.tokenizer.files import special, with_tokens


@dataclass(frozen=True)
class ChatTemplate:
    """A template and the special tokens it writes."""

    text: str
    special_tokens: tuple[str, ...] = ()


# OpenAI's ChatML, as Qwen and many others have it.
_CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
# Meta's prompt format of Llama 3 (github.com/meta-llama/llama3, llama/tokenizer.py), without tools.
_LLAMA3 = """\
{{- '<|begin_of_text|>' }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
# No special tokens but the one that ends a document, so that any vocabulary will do.
_PLAIN = """\
{%- for message in messages %}
{{- message['role'] | capitalize + ': ' + message['content'] | trim }}
{%- if message['role'] == 'assistant' %}{{ eos_token or '' }}{% endif %}
{{- '\\n\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- 'Assistant:' }}
{%- endif %}
"""
_NAMED = {
    "chatml": ChatTemplate(_CHATML, ("<|im_start|>", "<|im_end|>")),
    "llama3": ChatTemplate(_LLAMA3, ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    "plain": ChatTemplate(_PLAIN),
}
# Marks what the assistant says; known to transformers, not to Jinja itself.
_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")


def plain_jinja(text: str) -> str:
    """A template without the marks that only transformers knows; the blanks around them are taken off as before."""
    return _GENERATION.sub(lambda mark: mark[1] + ("endif" if mark[2] else "if true") + mark[3], text)


def with_template(tokenizer: Tokenizer, name: str, *, grow: bool) -> Tokenizer:
    """A tokenizer with a chat template and the special tokens that this writes.

    name: `auto` is its own, or `plain` where it has none; else a named one, or a file. grow: tokens that are missing
    are added. Raises UserError for what `chat_template` refuses, and where tokens are missing that may not be added.
    """
    if name == "auto" and tokenizer.config.get("chat_template"):
        return tokenizer
    template = chat_template("plain" if name == "auto" else name, "objective.template")
    there = {token["content"] for token in tokenizer.spec["added_tokens"] if token["special"]}
    missing = [token for token in template.special_tokens if token not in there]
    if missing and not grow:
        raise UserError(
            f"objective.template={name} with a tokenizer that lacks {' '.join(missing)}",
            "the template marks turns with special tokens, and each needs a row of the embedding",
            "give model.resize_vocab=true, which adds them, or objective.template=plain, which needs none",
        )
    spec = with_tokens(tokenizer.spec, special(*missing)) if missing else tokenizer.spec
    return Tokenizer(spec, {**tokenizer.config, "chat_template": template.text})


def chat_template(name: str, key: str = "tokenizer.chat_template") -> ChatTemplate:
    """A named template, or that of a file; `key` is named in errors. Raises UserError."""
    if name in _NAMED:
        return _NAMED[name]
    path = Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{key}={name}: {error}",
            f"a template is one of {', '.join(_NAMED)}, or a readable file",
            "check the name or the path",
        ) from error
    _check(path, text)
    return ChatTemplate(text)


def _check(path: Path, text: str) -> None:
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    try:
        environment.parse(plain_jinja(text))
    except TemplateSyntaxError as error:
        raise UserError(
            f"{path}, line {error.lineno}: {error.message}", "a chat template is Jinja", "correct the template"
        ) from error
