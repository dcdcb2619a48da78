"""JSON files: an array of objects, objects one after the other, one object, or an object that holds one such array."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from bigtrain.data.reading.items import Item
from bigtrain.data.reading.lines import Part, characters, too_long
from bigtrain.errors import UserError, kind_of

_SPACE = re.compile(r"[ \t\r\n]*")
_NEAR = 64  # an error this close to the end of what has been read may be gone when there is more
_DECODER = json.JSONDecoder()


def read_json(part: Part) -> Iterator[Item]:
    """The objects of a file. Arrays, and objects one after the other, are read one by one.

    An object at the top is read as a whole, up to `max_row_bytes`: it is the one document if it has a field that is
    asked for, else the list of objects that it holds, if there is one such list.
    """
    window = _Window(part.path, characters(part), part.max_row_bytes)
    beginning = window.peek()
    if beginning == "[":
        yield from _elements(window)
    elif beginning:
        line, text, value = window.value()
        if not window.peek():
            yield from _only(part, line, text, value)
            return
        yield _item(part.path, line, value)
        while window.peek():
            line, text, value = window.value()
            yield _item(part.path, line, value)
        return
    if trailing := window.peek():
        raise window.error(f"{trailing!r} after the end")


def _elements(window: _Window) -> Iterator[Item]:
    """The elements of the array that begins here. Those on its own first line, where it may have all, are counted."""
    first, number = window.line, window.line
    window.skip("[")
    while (here := window.peek()) != "]":
        line, _, value = window.value()
        yield _item(window.path, number if line == first else line, value)
        number += 1
        here = window.peek()
        if here == ",":
            window.skip(",")
            if window.peek() != "]":
                continue
            raise window.error("a comma before the end of the array")
        if here != "]":
            raise window.error(f"{here!r} for a comma" if here else "the array has no end")
    window.skip("]")


def _only(part: Part, line: int, text: str, value: Any) -> Iterator[Item]:
    """What the only value of a file holds."""
    lists = [name for name, held in value.items() if _holds_rows(held)] if isinstance(value, dict) else []
    asked = {name for field in part.fields for name in (field, field.partition(".")[0])}
    if len(lists) != 1 or asked & value.keys():
        yield _item(part.path, line, value)
        return
    window = _Window(part.path, iter([text]), len(text), line)
    window.peek()
    window.skip("{")
    while True:
        _, _, name = window.value()
        window.peek()
        window.skip(":")
        window.peek()
        if name == lists[0]:
            yield from _elements(window)
            return
        window.value()
        window.peek()
        window.skip(",")


def _holds_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _item(path: str, line: int, value: Any) -> Item:
    if not isinstance(value, dict):
        return Item(
            line,
            UserError(
                f"{path}:{line}: {kind_of(value)}",
                "a json file holds objects: one, an array of them, or one after the other",
                'write objects like {"text": "..."}',
            ),
        )
    return Item(line, value)


class _Window:
    """The part of a JSON text that is held: what has been read of it and not yet given out."""

    def __init__(self, path: str, source: Iterator[str], longest: int, line: int = 1) -> None:
        self.path, self._source, self._longest = path, source, longest
        self._held, self._at, self.line, self._ended = "", 0, line, False

    def peek(self) -> str:
        """The next character that is no white space, from where the next value begins; "" at the end."""
        while True:
            space = _SPACE.match(self._held, self._at)
            assert space is not None  # it matches nothing, too
            self._move(space.end() - self._at)
            if self._at < len(self._held) or not self._more():
                return self._held[self._at : self._at + 1]

    def skip(self, mark: str) -> None:
        """Pass a character that is the next one."""
        self._move(len(mark))

    def value(self) -> tuple[int, str, Any]:
        """The line it begins on, the text and the value of the next value. Raises UserError."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._held, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos > len(self._held) - _NEAR or error.msg.startswith("Unterminated")
                if cut and len(self._held) - self._at > self._longest:
                    raise too_long(f"{self.path}:{self.line}", "JSON value", self._longest) from None
                if not cut or not self._more():
                    raise self._error_at(error) from None
            except (ValueError, RecursionError) as error:
                raise self.error(str(error)) from None
            else:
                line, text = self.line, self._held[self._at : end]
                self._move(end - self._at)
                return line, text, value

    def error(self, problem: str) -> UserError:
        """The error for what stands here."""
        return UserError(
            f"{self.path}:{self.line}: not JSON ({problem})",
            "a json file holds objects: one, an array of them, or one after the other",
            "correct the file",
        )

    def _error_at(self, error: json.JSONDecodeError) -> UserError:
        self._move(error.pos - self._at)
        return self.error(error.msg)

    def _move(self, size: int) -> None:
        self.line += self._held.count("\n", self._at, self._at + size)
        self._at += size

    def _more(self) -> bool:
        """Hold at least twice as much, so that a long value is not parsed too often. False at the end."""
        self._held, self._at = self._held[self._at :], 0
        texts, wanted = [self._held], max(1, len(self._held))
        while wanted > 0 and not self._ended:
            text = next(self._source, "")
            self._ended = not text
            texts.append(text)
            wanted -= len(text)
        grown = any(texts[1:])
        self._held = "".join(texts)
        return grown
