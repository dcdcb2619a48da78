"""The dataclasses of `bigtrain.schema` as a tree of dotted keys.

A config travels as a plain nested dict. Where a field is typed `Any` (`model`, `optimizer`, ...), the node's own `name`
chooses its dataclass from `CHOICES`, or from the entry points of other packages.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from bigtrain.errors import UserError
from bigtrain.options import REQUIRED
from bigtrain.schema import CHOICES

Plain = dict[str, Any]

_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Key:
    """One key of a config: its dotted name, its dataclass field and its type."""

    name: str
    field: dataclasses.Field[Any]
    hint: Any

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return isinstance(self.field.default, str) and self.field.default == REQUIRED

    @property
    def default(self) -> Any:
        """The dataclass's default as plain data; `???` where a value is required."""
        if self.field.default_factory is not dataclasses.MISSING:
            return plain(self.field.default_factory())
        return plain(self.field.default)


def plain(value: Any) -> Any:
    """Dataclasses as dicts, enums as their names, tuples as lists: what YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def node_class(group: str, node: Any) -> Any:
    """The dataclass that a node's `name` chooses; NoneType while nothing is chosen. Raises UserError.

    A package adds a choice with an entry point in the group `bigtrain.<group>` (say `bigtrain.model`) whose name is
    the node's `name` and whose object is a dataclass like its neighbours in `bigtrain.schema`.
    """
    if node is None or node == REQUIRED:
        return types.NoneType
    name = node.get("name") if isinstance(node, dict) else None
    if isinstance(name, str):
        if name in CHOICES[group]:
            return CHOICES[group][name]
        for entry in importlib.metadata.entry_points(group=f"bigtrain.{group}", name=name):
            return entry.load()
    raise UserError(
        f"{group}.name={name}" if name is not None else f"{group} without a name",
        f"the key `name` of {group} says which kind it is: {', '.join(CHOICES[group])}",
        f"write `name: {next(iter(CHOICES[group]))}` into its YAML file, or choose one with {group}=OPTION",
    )


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def children(cls: type, node: Plain) -> dict[str, Any]:
    """Field names and types of a dataclass node, the chosen dataclass in the place of `Any`."""
    return {name: node_class(name, node.get(name)) if hint is Any else hint for name, hint in _hints(cls).items()}


def without_none(hint: Any) -> tuple[Any, bool]:
    """`X | None` -> (X, True); X -> (X, False)."""
    if get_origin(hint) in (Union, types.UnionType):
        rest = [part for part in get_args(hint) if part is not types.NoneType]
        return rest[0], len(rest) < len(get_args(hint))
    return hint, False


def entry_class(hint: Any) -> Any:
    """The dataclass of the entries of a mapping such as `data.sources`; None for other types."""
    kind = get_args(hint)[1] if get_origin(hint) is dict else None
    return kind if dataclasses.is_dataclass(kind) else None


def entries(hint: Any, below: Any) -> Iterator[tuple[str, Plain]]:
    """The entries of a mapping of dataclasses, each with its keys; none for other types."""
    if entry_class(hint) and isinstance(below, dict):
        yield from ((str(name), entry if isinstance(entry, dict) else {}) for name, entry in below.items())


def lookup(cls: type, node: Plain, key: str) -> Any:
    """The type of a dotted key: a dataclass for a section, None for an unknown key."""
    hint: Any = cls
    here: Any = node
    for part in key.split("."):
        if dataclasses.is_dataclass(hint):
            hint = children(hint, here if isinstance(here, dict) else {}).get(part)  # type: ignore[arg-type]
        elif get_origin(hint) is dict:
            hint = get_args(hint)[1]
        else:
            return None
        here = here.get(part) if isinstance(here, dict) else None
    return hint


def below_mapping(cls: type, node: Plain, key: str) -> bool:
    """Whether a dotted key holds a NAME that users make up, such as `data.sources.books.weight`."""
    above = (key[:place] for place, mark in enumerate(key) if mark == ".")
    return any(get_origin(lookup(cls, node, section)) is dict for section in above)


def keys(cls: type, node: Plain, prefix: str = "") -> Iterator[Key]:
    """Every leaf key below a dataclass, in the order of its fields; of a mapping, those of the entries it has."""
    hints = children(cls, node)
    for field in dataclasses.fields(cls):
        hint, below = hints[field.name], node.get(field.name)
        if dataclasses.is_dataclass(hint):
            yield from keys(hint, below if isinstance(below, dict) else {}, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            yield Key(prefix + field.name, field, hint)
        for name, entry in entries(hint, below):
            yield from keys(entry_class(hint), entry, f"{prefix}{field.name}.{name}.")


def defaults(cls: type, node: Plain) -> Plain:
    """The default of every key, nested: what interpolations may refer to besides what the YAML files list."""
    hints = children(cls, node)
    result: Plain = {}
    for field in dataclasses.fields(cls):
        hint, below = hints[field.name], node.get(field.name)
        if dataclasses.is_dataclass(hint):
            result[field.name] = defaults(hint, below if isinstance(below, dict) else {})  # type: ignore[arg-type]
        else:
            result[field.name] = Key(field.name, field, hint).default
        for name, entry in entries(hint, below):
            result[field.name][name] = defaults(entry_class(hint), entry)
    return result


def describe(hint: Any) -> str:
    """A type in words: `a whole number or null`."""
    hint, optional = without_none(hint)
    if get_origin(hint) is list:
        text = f"a list, each {describe(get_args(hint)[0])}"
    elif get_origin(hint) is tuple:
        text = f"a list of {len(get_args(hint))}, each {describe(get_args(hint)[0])}"
    elif entry_class(hint):
        text = "a section of keys for each NAME"
    elif get_origin(hint) is dict:
        text = f"NAME: VALUE pairs, each value {describe(get_args(hint)[1])}"
    elif isinstance(hint, type) and issubclass(hint, Enum):
        text = f"one of {', '.join(hint.__members__)}"
    else:
        text = _NAMES.get(hint, "a section of keys")
    return f"{text} or null" if optional else text
