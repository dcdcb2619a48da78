"""A plain nested dict, checked key by key against the dataclasses, and the dataclasses it becomes."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable
from enum import Enum
from typing import Any, get_args, get_origin

from bigtrain.config import folders
from bigtrain.config.fields import Key, Plain, children, describe, entry_class, keys, without_none
from bigtrain.config.overrides import Override
from bigtrain.config.suggest import unknown_key
from bigtrain.errors import UserError
from bigtrain.options import BOUNDS, REQUIRED
from bigtrain.schema import ROOTS

Where = Callable[[str], str]  # dotted key -> " (FILE, line N)", or "" where the command line set it


class _MismatchError(Exception):
    """A value does not have the type of its key."""


def conform(verb: str, node: Plain, where: Where) -> Plain:
    """The config of a verb with every key present, each value checked and in plain form; `???` where one is missing.

    Raises UserError that names key, value, the expected type or bound and, through `where`, the file.
    """
    return _conform(verb, ROOTS[verb], node, where, "", node)


def _conform(verb: str, cls: type, node: Plain, where: Where, prefix: str, root: Plain) -> Plain:
    hints = children(cls, node)
    for name in node:
        if name not in hints:
            raise unknown_key(verb, root, Override(f"{prefix}{name}", _shown(node[name])), where(f"{prefix}{name}"))
    result: Plain = {}
    for field in dataclasses.fields(cls):
        key = Key(prefix + field.name, field, hints[field.name])
        if dataclasses.is_dataclass(key.hint):
            below = node.get(field.name, {})
            if below is not None and not isinstance(below, dict):
                raise section(key.name, below, where)
            result[field.name] = _conform(verb, key.hint, below or {}, where, f"{key.name}.", root)  # type: ignore[arg-type]
        elif entry_class(key.hint):
            result[field.name] = _conform_entries(verb, key, node.get(field.name), where, root)
        else:
            result[field.name] = _leaf(key, node[field.name], where) if field.name in node else key.default
    return result


def _conform_entries(verb: str, key: Key, below: Any, where: Where, root: Plain) -> Plain:
    """The entries of a mapping of dataclasses."""
    if below is not None and not isinstance(below, dict):
        rule = f"{key.name} is a section of keys for each NAME"
        example = next(iter(dataclasses.fields(entry_class(key.hint)))).name
        raise UserError(f"{key.name}={_shown(below)}{where(key.name)}", rule, f"give {key.name}.NAME.{example}=VALUE")
    result: Plain = {}
    for name, entry in (below or {}).items():
        place = f"{key.name}.{name}"
        if entry is not None and not isinstance(entry, dict):
            raise section(place, entry, where)
        result[str(name)] = _conform(verb, entry_class(key.hint), entry or {}, where, f"{place}.", root)
    return result


def section(key: str, value: Any, where: Where) -> UserError:
    """The error for a value given to a section of keys as a whole."""
    return UserError(
        f"{key}={_shown(value)}{where(key)}",
        f"{key} is a section of keys and holds no value itself",
        f"give {key}.KEY=VALUE; `bigtrain configs {key.partition('.')[0]}` lists the keys",
    )


def _leaf(key: Key, value: Any, where: Where) -> Any:
    """One value in its plain form, or the error for it."""
    if value == REQUIRED and (key.required or without_none(key.hint)[0] is not str):
        return REQUIRED  # for text with a default, `???` is text like any other

    def error(rule: str, remedy: str) -> UserError:
        return UserError(f"{key.name}={_shown(value)}{where(key.name)}", f"{key.name} {rule}", remedy)

    try:
        fitted = _fit(key.hint, value)
    except _MismatchError:
        raise error(f"is {describe(key.hint)}", _remedy(key, value)) from None
    if fitted == "" and not key.field.metadata.get("may_be_empty"):
        raise error("must not be empty", _remedy(key, value))
    values = [value for value in (fitted if isinstance(fitted, list) else [fitted]) if value is not None]
    if not all(math.isfinite(value) for value in values if isinstance(value, float)):
        raise error("is a finite number", f"give a number for {key.name}")
    for name, bound in key.field.metadata.get("bounds", {}).items():
        words, holds = BOUNDS[name]
        if not all(holds(value, bound) for value in values):
            raise error(f"must be {words} {bound}", f"give a value {words} {bound} ({key.field.metadata['meaning']})")
    return fitted


def _fit(hint: Any, value: Any) -> Any:
    """The value as the type wants it, in plain form; raises _MismatchError."""
    hint, optional = without_none(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if value is None and optional:
        return None
    if origin is list:
        items = [] if value is None else value if isinstance(value, list | tuple) else [value]
        return [_fit(arguments[0], item) for item in items]
    if origin is tuple and isinstance(value, list | tuple) and len(value) == len(arguments):
        return [_fit(argument, item) for argument, item in zip(arguments, value, strict=True)]
    if origin is dict and (value is None or isinstance(value, dict)):
        return {str(name): _fit(arguments[1], item) for name, item in (value or {}).items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        if isinstance(value, str) and value in hint.__members__:
            return value
    elif hint is bool:
        if isinstance(value, bool):
            return value
    elif hint is int:
        if (type(value) is int) or (isinstance(value, float) and value.is_integer()):
            return int(value)  # 1e9 as well
    elif hint is float:
        if type(value) in (int, float):
            return float(value)
    elif hint is str and (isinstance(value, str) or type(value) is int):
        return str(value)
    raise _MismatchError


def _remedy(key: Key, value: Any) -> str:
    hint, optional = without_none(key.hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        near = difflib.get_close_matches(str(value), hint.__members__, n=1)
        return f"did you mean {key.name}={near[0]}?" if near else f"choose one ({key.field.metadata['meaning']})"
    if hint is str and isinstance(value, int | float):
        return "put the text in quotes in the YAML file"
    return f"give {key.name}={'VALUE or null' if optional else 'VALUE'} ({key.field.metadata['meaning']})"


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 200 else text[:200] + "..."


def require(verb: str, node: Plain) -> None:
    """Raise UserError for the first required key that has no value yet."""
    for key in keys(ROOTS[verb], node):
        here: Any = node
        for part in key.name.split("."):
            here = here[part]
        if here is None and key.required:
            here = REQUIRED
        if here == REQUIRED and (key.required or without_none(key.hint)[0] is not str):
            raise _missing(verb, key)


def _missing(verb: str, key: Key) -> UserError:
    meaning = f"{key.name} is required: {key.field.metadata['meaning']}"
    if key.name in folders.groups():
        choices = " or ".join(f"{key.name}={option}" for option in folders.options(folders.search(), key.name))
        return UserError(f"bigtrain {verb} without {key.name}", meaning, f"give {choices}")
    return UserError(f"bigtrain {verb} without {key.name}", meaning, f"give {key.name}=VALUE")


def build(verb: str, node: Plain) -> Any:
    """The verb's dataclass for a config that has passed `conform`.

    Raises UserError where a value is missing, or two do not go together.
    """
    require(verb, node)
    config = _construct(ROOTS[verb], node)
    _check(config)
    return config


def _construct(hint: Any, value: Any) -> Any:
    hint, _ = without_none(hint)
    if value is None:
        return None
    if dataclasses.is_dataclass(hint):
        hints = children(hint, value)  # type: ignore[arg-type]
        return hint(**{name: _construct(hints[name], item) for name, item in value.items()})  # type: ignore[operator]
    if get_origin(hint) is tuple:
        return tuple(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint[value]
    if isinstance(value, list):
        return [_construct(get_args(hint)[0], item) for item in value]
    if isinstance(value, dict):
        return {name: _construct(get_args(hint)[1], item) for name, item in value.items()}
    return value


def _check(config: Any) -> None:
    """Every dataclass's own `check`, the innermost first."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for node in value.values() if isinstance(value, dict) else [value]:
            if dataclasses.is_dataclass(node):
                _check(node)
    if hasattr(config, "check"):
        config.check()
