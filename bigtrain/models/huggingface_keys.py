"""Values of a config.json, checked one by one."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from bigtrain.errors import UserError, kind_of
from bigtrain.options import BOUNDS


class Key(NamedTuple):
    """A key of theirs, what transformers takes where it is absent (...: it must be there), and whether null will do."""

    name: str
    absent: Any = ...
    null: bool = False


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError that names the file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path.parent}: no {path.name}", "a model folder holds one", "name another folder") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}", "it must be readable JSON", "restore the file") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: {kind_of(content)}", "it must be a JSON object", "restore the file")
    return content


def value_of(path: Path, raw: dict[str, Any], key: Key) -> Any:
    """The value of a key, checked to be the kind of thing its default is: a size, a share or a switch."""
    value = raw.get(key.name, key.absent)
    if value is None and key.null:
        return None
    if isinstance(key.absent, bool):
        good = isinstance(value, bool)
    elif isinstance(key.absent, float):
        good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    else:
        good = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not good:
        given = f"no {key.name}" if value is ... else f"{key.name} {json.dumps(value)}"
        wanted = {bool: "true or false", float: "a number"}.get(type(key.absent), "a positive whole number")
        raise UserError(f"{path}: {given}", f"{key.name} must be {wanted}", "restore the file")
    return value


def check_bounds(path: Path, config: Any, keys: dict[str, Key]) -> None:
    """Raises UserError where a value is beyond what such a model may have, of all keys: they cost memory and time."""
    for field in dataclasses.fields(config):
        value, bounds = getattr(config, field.name), field.metadata.get("bounds", {})
        if field.name not in keys or value is None:
            continue
        for name, bound in bounds.items():
            words, holds = BOUNDS[name]
            if not holds(value, bound):
                key = keys[field.name].name
                rule = f"{key} must be {words} {bound}"
                raise UserError(f"{path}: {key} {json.dumps(value)}", rule, "restore the file")


def check_off(path: Path, raw: dict[str, Any], off: dict[str, tuple[Any, ...]], architecture: str) -> None:
    """Raises UserError for a feature that is not built here.

    off: by key, the values that leave it off; the first stands for an absent key.
    """
    for key, values in off.items():
        if raw.get(key, values[0]) not in values:
            raise unsupported(path, key, raw[key], f"only {key}={json.dumps(values[0])} is built for {architecture}")


def unsupported(path: Path, key: str, value: Any, rule: str) -> UserError:
    """What is said of a folder that needs something which is not built here."""
    given = f"{key} {json.dumps(value)}" if value != "" else key
    return UserError(f"{path}: {given}", rule, "name a model that does not need it")
