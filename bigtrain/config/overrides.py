"""KEY=VALUE: the type of the key decides what the value means.

Text and paths are verbatim. A list of texts is `[a b, "c,d"]`, and anything else is a list of one. Numbers, booleans
and lists of numbers follow Hydra's grammar. Under --multirun an unquoted comma sweeps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from bigtrain.config.fields import without_none
from bigtrain.data.reading.fields import is_unicode
from bigtrain.errors import UserError

_KEY = re.compile(r"[\w-]+(?:[./@][\w-]+)*")
_QUOTED = r"""\s*(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)')\s*"""
_ELEMENT = re.compile(rf"(?:{_QUOTED}|(?P<bare>[^,]*))(?:,|\Z)", re.DOTALL)
_CHOICE = re.compile(r"\s*choice\((.*)\)\s*", re.DOTALL)
_ESCAPED = re.compile(r"((?:\\\\)*)\\\$\{")
_INTERPOLATION = re.compile(r"(\\*)\$\{")


@dataclass(frozen=True)
class Override:
    """One KEY=VALUE as it was typed."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}={self.text}"


def split(line: str) -> Override:
    """Cut at the first `=`. Raises UserError where the line is no plain KEY=VALUE."""
    key, equals, text = line.partition("=")
    require_unicode(line)
    if key.startswith("~"):
        raise UserError(line, "keys cannot be removed, only set", f"give {key[1:]}=null")
    if not equals:
        remedy = f"give {line}=VALUE; `bigtrain configs` lists the keys"
        raise UserError(line, "settings are KEY=VALUE, options begin with --", remedy)
    if key[-1:] in ("<", ">", "!"):
        raise UserError(line, "settings are KEY=VALUE, cut at the first `=`", f"give {key[:-1]}='{key[-1]}={text}'")
    if not _KEY.fullmatch(key.lstrip("+")):
        raise UserError(line, "a key is made of letters, digits, `_` and dots", "`bigtrain configs` lists the keys")
    return Override(key, text)


def require_unicode(text: str) -> None:
    """Raises UserError for what a shell has given in another encoding."""
    if not is_unicode(text):
        remedy = "give the value in UTF-8; rename the file where it is a path"
        raise UserError(repr(text), "values are UTF-8", remedy)


def is_verbatim(hint: Any) -> bool:
    """Whether values of this type are taken as they are typed."""
    return without_none(hint)[0] is str


def is_texts(hint: Any) -> bool:
    """Whether this type is a list of texts."""
    return get_origin(hint) is list and get_args(hint)[0] is str


def elements(text: str) -> list[str]:
    """Cut at commas outside quotes. Quotes count only where they wrap a whole element, so apostrophes are letters."""
    result: list[str] = []
    position = 0
    while True:
        match = _ELEMENT.match(text, position)
        assert match is not None  # `bare` matches anything
        quoted = match["double"] if match["double"] is not None else match["single"]
        result.append(match["bare"].strip() if quoted is None else re.sub(r"""\\(["'\\])""", r"\1", quoted))
        position = match.end()
        if position == len(text):  # a comma at the end adds nothing
            return result


def texts(text: str) -> list[str]:
    """The value of a list of texts: `[a, b]`, one text, or nothing (empty, `[]`, `null`)."""
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        return elements(inner[1:-1]) if inner[1:-1].strip() else []
    return [] if inner in ("", "null") else [text]


def unquoted(text: str) -> str:
    """Take one pair of wrapping quotes away."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def parse(override: Override, hint: Any, *, in_mapping: bool = False) -> Any:
    """The value of an override for a key of the given type, not yet checked. Raises UserError for a sweep."""
    if is_verbatim(hint):
        if without_none(hint)[1] and override.text == "null":
            return None
        return unquoted(override.text) if in_mapping else override.text
    if is_texts(hint):
        return texts(override.text)
    return _grammar(override)


def _grammar(override: Override) -> Any:
    """Hydra's reading of a value; the text itself where it makes no sense to Hydra, for the type check to refuse."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(f"key={override.text}")
    except HydraException:
        return override.text
    if parsed.is_sweep_override():
        remedy = "add -m (--multirun) to run once for each value"
        raise UserError(str(override), "one run takes one value of each key", remedy)
    return _primitive(parsed.value())


def _primitive(value: Any) -> Any:
    from hydra.core.override_parser.types import QuotedString

    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_primitive(item) for item in value]
    if isinstance(value, dict):
        return {str(_primitive(key)): _primitive(item) for key, item in value.items()}
    return value


def escape(value: Any) -> Any:
    """Text in which `${` means just that to OmegaConf."""
    if isinstance(value, str):
        return _INTERPOLATION.sub(r"\1\1\\${", value)
    return [escape(item) for item in value] if isinstance(value, list) else value


def unescape(value: Any) -> Any:
    """The inverse of `escape`."""
    if isinstance(value, str):
        return _ESCAPED.sub(lambda match: match[1][: len(match[1]) // 2] + "${", value)
    return [unescape(item) for item in value] if isinstance(value, list) else value


def to_hydra(override: Override, hint: Any) -> str:
    """The same setting for Hydra's sweeper: text quoted, an unquoted comma left as a sweep."""
    if is_verbatim(hint):
        optional = without_none(hint)[1]
        chosen = _CHOICE.fullmatch(override.text)
        values = elements(chosen[1] if chosen else override.text)
        text = ",".join("null" if optional and each == "null" else _quoted(each) for each in values)
    elif is_texts(hint):
        lists = re.split(r"(?<=\])\s*,\s*(?=\[)", override.text.strip())  # [a,b],[c]: two lists
        if not lists[0].startswith("["):
            lists = elements(override.text)
        text = ",".join("[" + ",".join(map(_quoted, texts(each))) + "]" for each in lists)
    else:
        text = override.text
    return f"++{override.key}={text}"


def from_hydra(line: str) -> str:
    """The KEY=VALUE to type for one override that Hydra's sweeper made."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(line)
    return f"{parsed.key_or_group}={_typed(unescape(_primitive(parsed.value())))}"


def _typed(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ",".join(_listed(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_listed(item)}" for key, item in value.items()) + "}"
    return str(value)


def quoted(text: str) -> str:
    """One element of a list or of a sweep, whatever commas it holds: `elements` gives the text back."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _listed(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else _typed(value)


def _quoted(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return str(QuotedString(escape(text), Quote.single).with_quotes())
