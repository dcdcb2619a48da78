"""`option()`: a config field with its meaning and its bounds beside its default.

The meaning is what `bigtrain configs GROUP` prints; the bounds are checked after composing, and where a model's
config.json is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

# What each bound is called in errors, and whether a value keeps it.
BOUNDS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "above": ("above", lambda value, bound: value > bound),
    "at_least": ("at least", lambda value, bound: value >= bound),
    "below": ("below", lambda value, bound: value < bound),
    "at_most": ("at most", lambda value, bound: value <= bound),
}

REQUIRED: Any = "???"  # OmegaConf's MISSING: reading a config that still holds it is an error that names the key


def option(
    default: Any | Callable[[], Any],
    meaning: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    may_be_empty: bool = False,
) -> Any:
    """A dataclass field. Pass `list`, `dict` or another factory for mutable defaults; bounds do not apply to null.

    may_be_empty: text that means something without a character; else it is refused, as `run.dir=$UNSET` should be.
    """
    bounds = {"above": above, "at_least": at_least, "below": below, "at_most": at_most}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    metadata = {"meaning": meaning, "bounds": given, "may_be_empty": may_be_empty}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
