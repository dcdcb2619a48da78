"""What a label field says: names of labels, as numbers of a head's outputs, or scores."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.reading.fields import unicode
from bigtrain.data.tasks.rows import Rows
from bigtrain.errors import UserError, kind_of

Names = list[tuple[str, ...]]  # the labels of each row


def several_labels(rows: Rows) -> bool:
    """Whether a row has a list of labels."""
    return any(isinstance(value, list) for value in rows.values)


def label_names(rows: Rows, field: str, *, several: bool = False, separator: str | None = None) -> Names:
    """The labels of each row: one, or with `several` any number of different ones, in their order.

    A label is a name: numbers and truth values become text as they are written in JSON. separator: what stands between
    the labels of a text. Raises UserError, with file and line, for an empty label or one that is no name.
    """
    return [
        _names(value, field, rows.where(row), several=several, separator=separator)
        for row, value in enumerate(rows.values)
    ]


def _names(value: Any, field: str, where: str, *, several: bool, separator: str | None) -> tuple[str, ...]:
    if not several:
        return (_name(value, field, where),)
    if isinstance(value, str):
        parts = value.split(separator) if separator else [value]
        values: list[Any] = [part for part in parts if part.strip()]
    else:
        values = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(_name(one, field, where) for one in values))


def _name(value: Any, field: str, where: str) -> str:
    name = str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value
    if not isinstance(name, str):
        rule = "a label is a string or a number"
        if isinstance(name, list):
            rule += "; a list of them is for a model that was trained with objective.multi_label=true"
        raise UserError(f"{where}: label {field!r} is {kind_of(name)}", rule, "correct the row")
    if not name.strip():
        raise UserError(f"{where}: label {field!r} is empty", "every row has a label", "correct or remove the row")
    return unicode(name, f"{where}: label {field!r}").strip()


def label_scores(rows: Rows, field: str) -> NDArray[np.float32]:
    """(N,): the label of each row as a number. Raises UserError, with file and line, for one that is none."""
    return np.array([_score(value, field, rows.where(row)) for row, value in enumerate(rows.values)], np.float32)


def _score(value: Any, field: str, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or abs(number) > float(np.finfo(np.float32).max):
        rule = "objective=regress learns a finite number for each row"
        raise UserError(f"{where}: label {field!r} is {value!r}", rule, "correct the row, or set data.label_field=")
    return number


def sorted_labels(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """All labels that occur."""
    return tuple(sorted({name for row in names for name in row}))


def label_numbers(rows: Rows, names: Names, labels: Sequence[str]) -> NDArray[np.int64]:
    """(N,): the place of each row's one label in `labels`. Raises UserError, with file and line: it is not there."""
    places = _places(rows, names, labels)
    return np.array([row[0] for row in places], np.int64)


def label_flags(rows: Rows, names: Names, labels: Sequence[str]) -> NDArray[np.float32]:
    """(N, C): 1 where a row has a label of `labels`. Raises UserError, with file and line: one is not there."""
    flags = np.zeros((len(rows), len(labels)), np.float32)
    for row, places in enumerate(_places(rows, names, labels)):
        flags[row, places] = 1
    return flags


def _places(rows: Rows, names: Names, labels: Sequence[str]) -> list[list[int]]:
    place_of = {label: place for place, label in enumerate(labels)}
    for row, found in enumerate(names):
        for name in found:
            if name not in place_of:
                raise unknown_label(rows.where(row), name, labels)
    return [[place_of[name] for name in found] for found in names]


def unnamed(labels: Sequence[str]) -> bool:
    """Whether nobody has said what the labels are called: they have the names that transformers gives them."""
    return list(labels) == [f"LABEL_{number}" for number in range(len(labels))]


class UnknownLabel(UserError):
    """A row has a label that the model does not have."""


def unknown_label(where: str, name: str, labels: Sequence[str]) -> UnknownLabel:
    """The error for a label that a model does not have."""
    known = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
    near = difflib.get_close_matches(name, labels, 1)
    remedy = (
        "correct the row, or train on rows that have this label: objective.new_head=true where the model has others"
    )
    if unnamed(labels):
        remedy = "when you fine-tune it, name its outputs in their order: objective.labels=[NAME,...]; or draw others: "
        remedy += "objective.new_head=true"
    return UnknownLabel(
        f"{where}: label {name!r}" + (f" (is {near[0]!r} meant?)" if near else ""),
        f"the model knows the labels it was trained on: {known}",
        remedy,
    )
