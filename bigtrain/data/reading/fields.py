"""Fields of rows: values by name or dotted path, and the text in them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from bigtrain.errors import UserError, kind_of


def nearest(field: str, names: Iterable[str]) -> str | None:
    """The name that is most like a field's, whatever the case, if one is like it."""
    small = {name.lower(): name for name in names}
    return next((small[name] for name in difflib.get_close_matches(field.lower(), small, 1)), None)


def value_at(row: dict[str, Any], field: str, where: str, key: str) -> Any:
    """The value of a field: a name, or a dotted path into nested objects. Raises UserError, naming the fields."""
    if field in row:
        return row[field]
    value: Any = row
    for name in field.split("."):
        if not isinstance(value, dict) or name not in value:
            there = ", ".join(sorted(value)) if isinstance(value, dict) else f"none inside {kind_of(value)}"
            near = nearest(field, value) if isinstance(value, dict) and value is row else None
            raise UserError(
                f"{where}: no field {field!r}",
                f"every row has the field; the fields here: {there}",
                f"give {key}={near}, if that is meant, or another of these" if near else f"set {key}= to one of these",
            )
        value = value[name]
    return value


def texts_at(row: dict[str, Any], fields: Sequence[str], where: str, key: str) -> tuple[list[str], tuple[str, ...]]:
    """The texts of fields, and those fields of several that are missing or null. Raises UserError where all are."""
    missing = tuple(field for field in fields if not _is_there(row, field)) if len(fields) > 1 else ()
    if len(missing) == len(fields):
        missing = ()  # the error is that of the first one
    return [text_at(row, field, where, key) for field in fields if field not in missing], missing


def _is_there(row: dict[str, Any], field: str) -> bool:
    value: Any = row.get(field)
    if field not in row:
        value = row
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
    return value is not None


def text_at(row: dict[str, Any], field: str, where: str, key: str) -> str:
    """The text of a field; a list of strings is its lines. Raises UserError where it is no Unicode text."""
    value = value_at(row, field, where, key)
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        given = f"{where}: field {field!r} is {kind_of(value)}"
        raise UserError(given, "text is a string", f"correct the row, or set {key}=")
    return unicode(value, f"{where}: field {field!r}")


def unicode(text: str, what: str) -> str:
    """The text. Raises UserError where it holds half of a surrogate pair, which JSON has and UTF-8 has not."""
    if not is_unicode(text):
        given = f"{what} holds half of a surrogate pair (\\ud800 to \\udfff)"
        raise UserError(given, "text is Unicode", "correct the row")
    return text


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold the text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
