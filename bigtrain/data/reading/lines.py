"""Files as lines: read in blocks of a megabyte, none held longer than needed, none longer than allowed."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, cast

from bigtrain.data.reading import files
from bigtrain.data.reading.archives import Stream
from bigtrain.data.reading.encodings import Decoder, Line, guess, is_wide, marked
from bigtrain.data.schema import DocumentUnit
from bigtrain.errors import UserError

_BLOCK = 1 << 20
_HEAD = 1 << 20  # bytes that the encoding of a JSON file is told by


@dataclass(frozen=True)
class Part:
    """What of a file is to be read, and how."""

    path: str
    compression: str | None = None
    encoding: str = "auto"
    fields: tuple[str, ...] = ()  # that are asked for, of files that hold rows
    columns: tuple[str, ...] = ()  # names of a csv or tsv file's, where it has no header line
    delimiter: str = ","  # of a csv file
    document: DocumentUnit = DocumentUnit.file  # what is one of a txt or md file
    max_row_bytes: int = 64 << 20
    start: int = 0  # byte (parquet: row group)
    stop: int | None = None
    line: int = 1  # number of the first line (parquet: row)
    progress: Callable[[int], None] | None = None  # called with numbers of stored bytes that have been read


class Block(NamedTuple):
    """Whole lines, the last line of a file with or without its end; or, as None, a line that is too long."""

    content: bytes | None
    line: int
    size: int  # bytes in the file


def blocks(stream: Stream, longest: int, line: int = 1) -> Iterator[Block]:
    """Cut a stream at line ends."""
    held, passed = b"", 0  # the beginning of a line; the bytes of one that is too long
    size = min(_BLOCK, longest)
    while data := stream.read(size):
        first = data.find(b"\n") + 1
        if passed or len(held) + (first or len(data)) > longest:
            passed += len(held) + (first or len(data))
            held = b""
            if not first:
                continue
            yield Block(None, line, passed)
            passed, line, data = 0, line + 1, data[first:]
        end = data.rfind(b"\n") + 1
        if end:
            content = held + data[:end]
            yield Block(content, line, len(content))
            held, line = b"", line + content.count(b"\n")
        held += data[end:]
    if passed:
        yield Block(None, line, passed)
    elif held:
        yield Block(held, line, len(held))


def lines(part: Part, begun: Callable[[Block], None] = lambda block: None) -> Iterator[Line]:
    """The lines of a part with their ends; one that cannot be read is a UserError. begun: called with each block."""
    with contents(part) as (stream, encoding, label):
        decoder = Decoder(encoding, part.path, from_start=part.start == 0)
        for block in blocks(stream, part.max_row_bytes, part.line):
            begun(block)
            if block.content is None:
                where = f"{part.path}:{block.line}"
                yield Line(block.line, too_long(where, "line", part.max_row_bytes))
            elif label is None:
                yield from decoder.lines(block.content, block.line)
            else:
                yield from (_relabelled(line, label) for line in decoder.lines(block.content, block.line))


def _relabelled(line: Line, encoding: str) -> Line:
    """A line that was transcoded to UTF-8, with the name of its own encoding; its U+FFFD are counted."""
    if isinstance(line.content, UserError):
        return line
    return Line(line.number, line.content, encoding, line.content.count("\ufffd"))


@contextlib.contextmanager
def contents(part: Part) -> Iterator[tuple[Stream, str, str | None]]:
    """The bytes of a part, out of their archive, the encoding to read them in, and its name where it is another.

    Text in UTF-16 and UTF-32 comes in UTF-8, so that all bytes can be cut at line ends.
    """
    with files.unpacked(part.path, part.compression, part.progress) as stream:
        if part.start or part.stop is not None:
            cast(BinaryIO, stream).seek(part.start)
            yield _Section(stream, part.stop - part.start if part.stop is not None else None), part.encoding, None
            return
        if part.encoding == "auto":
            head = _head(stream, 4)
            stream, wide = _Prefixed(head, stream), marked(head)
            errors = "replace"
        else:
            wide, errors = part.encoding if is_wide(part.encoding) else None, "strict"
        if wide:
            yield _Transcoded(stream, wide, errors, part.path), "utf-8", wide
        else:
            yield stream, part.encoding, None


def characters(part: Part) -> Iterator[str]:
    """The text of a file in blocks that end anywhere, for formats whose rows are not lines."""
    with files.unpacked(part.path, part.compression, part.progress) as stream:
        head = _head(stream, _HEAD)
        encoding = guess(head) if part.encoding == "auto" else part.encoding
        errors = "replace" if part.encoding == "auto" else "strict"
        transcoded = _Transcoded(_Prefixed(head, stream), encoding, errors, part.path)
        while text := transcoded.text(_BLOCK):
            yield text


def whole(part: Part) -> bytes:
    """All bytes of a file. Raises UserError where they are too many."""
    with files.unpacked(part.path, part.compression, part.progress) as stream:
        held, n_held = [], 0
        while data := stream.read(_BLOCK):
            n_held += len(data)
            if n_held > part.max_row_bytes:
                raise too_long(part.path, "page", part.max_row_bytes)
            held.append(data)
    return b"".join(held)


def too_long(where: str, what: str, longest: int) -> UserError:
    """The error for something that would not fit into memory."""
    return UserError(
        f"{where}: a {what} of more than {longest:,} bytes",
        f"data.max_row_bytes={longest} bounds what one {what} takes in memory",
        "cut it into several documents, or give a larger data.max_row_bytes",
    )


def _head(stream: Stream, size: int) -> bytes:
    """The first bytes, as many as there are up to `size`: a stream may give fewer at a time."""
    head = b""
    while len(head) < size and (data := stream.read(size - len(head))):
        head += data
    return head


class _Section:
    """A number of bytes from where a stream stands."""

    def __init__(self, stream: Stream, size: int | None) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int, /) -> bytes:
        if self._left is None:
            return self._stream.read(size)
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


class _Prefixed:
    """A stream whose first bytes have been looked at."""

    def __init__(self, head: bytes, stream: Stream) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._stream.read(size)


class _Transcoded:
    """Text of any encoding, as UTF-8 or as it is."""

    def __init__(self, stream: Stream, encoding: str, errors: str, path: str) -> None:
        self._stream, self._encoding, self._path = stream, encoding, path
        self._decoder, self._replaces = codecs.getincrementaldecoder(encoding)(errors), errors == "replace"
        self._offset = 0

    def text(self, size: int) -> str:
        """Characters of about `size` bytes; none at the end. Raises UserError."""
        while True:
            data = self._stream.read(size)
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{self._path}: not {self._encoding} (near byte offset {self._offset + error.start})",
                    f"data.encoding={self._encoding} reads every byte",
                    "name another encoding, or give data.encoding=auto",
                ) from None
            if not self._offset:
                text = text.removeprefix("\ufeff")
            if self._replaces:
                text = text.replace("\0", "\ufffd")
            self._offset += len(data)
            if text or not data:
                return text

    def read(self, size: int, /) -> bytes:
        return self.text(size).encode("utf-8")
