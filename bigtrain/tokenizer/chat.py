"""How a conversation becomes text: Jinja templates as transformers' `apply_chat_template` renders them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bigtrain.errors import UserError


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
# No special tokens, so that any vocabulary will do.
_PLAIN = """\
{%- for message in messages %}
{{- message['role'] | capitalize + ': ' + message['content'] | trim + '\\n\\n' }}
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
_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")


def chat_template(name: str) -> ChatTemplate:
    """A named template, or that of a file. Raises UserError."""
    if name in _NAMED:
        return _NAMED[name]
    path = Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"tokenizer.chat_template={name}: {error}",
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
        environment.parse(_GENERATION.sub("", text))
    except TemplateSyntaxError as error:
        raise UserError(
            f"{path}, line {error.lineno}: {error.message}", "a chat template is Jinja", "correct the template"
        ) from error
