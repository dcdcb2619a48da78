"""What a reader of any format gives."""

from __future__ import annotations

from typing import Any, NamedTuple

from bigtrain.errors import UserError


class Page(NamedTuple):
    """A web page: its main text, and all of it."""

    text: str
    page: str


class Item(NamedTuple):
    """A text, a page, a row of fields, or what is wrong with it."""

    line: int | None  # on which it begins (parquet, JSON in one line: number of the row); None: the file
    content: str | Page | dict[str, Any] | UserError
    encoding: str = "utf-8"
    replacements: int = 0  # unreadable places, now U+FFFD
