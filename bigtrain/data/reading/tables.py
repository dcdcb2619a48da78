"""Tables: csv and tsv with a header line, and parquet. Rows become objects."""

from __future__ import annotations

import contextlib
import csv
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.reading import files
from bigtrain.data.reading.fields import nearest
from bigtrain.data.reading.items import Item
from bigtrain.data.reading.lines import Block, Part, lines, too_long
from bigtrain.errors import UserError

_BUFFER = 1 << 20
_MARKS = {"\t": "a tab", ",": "a comma"}
_BATCH_BYTES = 2 << 20  # of the rows of a parquet file that are in memory at once, beside the pages they stand in


def read_csv(part: Part) -> Iterator[Item]:
    """RFC 4180: quotes around fields with commas, quotes or line breaks."""
    return _table(part, _csv(part))


def _csv(part: Part) -> dict[str, Any]:
    return {"strict": True, "delimiter": part.delimiter}


def read_tsv(part: Part) -> Iterator[Item]:
    """Fields as they are, without quoting."""
    return _table(part, {"delimiter": "\t", "quoting": csv.QUOTE_NONE})


class _Lines:
    """The lines that a csv reader asks for; remembers where its row began and how it was encoded."""

    def __init__(self, part: Part, begun: Callable[[Block], None] = lambda block: None) -> None:
        self._lines, self._part = lines(part, begun), part
        self.line = part.line  # number of the next line
        self.begin_row()

    def begin_row(self) -> None:
        """The next line is the first of a row."""
        self.first, self.size, self.encoding, self.replacements = self.line, 0, "utf-8", 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, text, encoding, replacements = next(self._lines)
        self.line = number + 1
        if isinstance(text, UserError):
            raise text
        self.size += len(text)
        if self.size > self._part.max_row_bytes:
            raise too_long(f"{self._part.path}:{self.first}", "row", self._part.max_row_bytes)
        if encoding != "utf-8":
            self.encoding = encoding
        self.replacements += replacements
        return text


def _table(part: Part, dialect: dict[str, Any]) -> Iterator[Item]:
    """The rows below the header, each with the line it begins at. Raises UserError where there is no good header."""
    header = list(part.columns) or None
    if part.start and header is None:
        header = _header(replace(part, start=0, stop=None, line=1, progress=None), dialect)
    for line, values, encoding, replacements in _records(_Lines(part), part.path, dialect):
        if header is None:
            header = _names(part, values, dialect["delimiter"])
        elif isinstance(values, UserError):
            yield Item(line, values)
        elif values:
            yield Item(line, _row(part, header, values, f"{part.path}:{line}"), encoding, replacements)


def cut_csv(part: Part, size: int) -> list[tuple[int, int]]:
    """Places between records at which pieces of about `size` bytes begin, each with its line.

    Only who reads a file from its beginning knows them: a quote opens a text, or is a character inside of one.
    """
    found, places = [(0, 1)], _Places()
    source = _Lines(part, places.begin)
    for _ in _records(source, part.path, _csv(part)):
        if places.end >= found[-1][0] + size and (place := places.of(source.line)) >= found[-1][0] + size:
            found.append((place, source.line))
    return found if found[-1][0] < places.end or len(found) == 1 else found[:-1]


class _Places:
    """Where the lines of the block at hand begin, in bytes of the file."""

    def __init__(self) -> None:
        self.end = 0  # of the block
        self._ends: NDArray[np.intp] | None = None  # of its lines, from its beginning

    def begin(self, block: Block) -> None:
        """The next block."""
        self._block, self._ends = block, None
        self.end += block.size

    def of(self, line: int) -> int:
        """The place of a line of the block, or of the first one behind it."""
        begin, number = self.end - self._block.size, line - self._block.line
        if self._ends is None:
            self._ends = np.flatnonzero(np.frombuffer(self._block.content or b"", np.uint8) == ord("\n")) + 1
        if number == 0:
            return begin
        return begin + int(self._ends[number - 1]) if number <= len(self._ends) else self.end


def _records(
    source: _Lines, path: str, dialect: dict[str, Any]
) -> Iterator[tuple[int, list[str] | UserError, str, int]]:
    """Line, fields, encoding and replacements of each record."""
    # A text may be longer than the module's 128 kB. It stays so: other threads may be reading, too.
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(source, **dialect)
    while True:
        source.begin_row()
        values: list[str] | UserError
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            values = UserError(f"{path}:{source.first}: {error}", "csv as in RFC 4180", "correct the quotes")
        except UserError as error:
            values = error
        yield source.first, values, source.encoding, source.replacements


def _header(part: Part, dialect: dict[str, Any]) -> list[str]:
    first = next(values for _, values, _, _ in _records(_Lines(part), part.path, dialect))
    return _names(part, first, dialect["delimiter"])


def _names(part: Part, header: list[str] | UserError, delimiter: str) -> list[str]:
    """The names of the columns. Raises UserError."""
    if isinstance(header, UserError):
        raise header
    _check_delimiter(part, header, delimiter)
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise UserError(f"{part.path}:1: column {repeated[0]!r} twice", "columns have names of their own", "rename one")
    return header


def _check_delimiter(part: Part, header: list[str], delimiter: str) -> None:
    """Raises UserError where the columns that are asked for may be in a header that is read as a single one."""
    name = header[0] if len(header) == 1 else ""
    other = next((mark for mark in "\t;|," if mark in name and mark != delimiter), None)
    if other is None or not part.fields or name in part.fields:
        return
    way = {"\t": "data.format=tsv", ",": "data.format=csv"}.get(other, f"data.delimiter={other!r}")
    raise UserError(
        f"{part.path}:1: no field {part.fields[0]!r} in the header {name!r}",
        f"the fields of this file are read with {_MARKS.get(delimiter, repr(delimiter))} between them",
        f"give {way} (for rows of finetune: write the file with commas)",
    )


def _row(part: Part, header: list[str], values: list[str], where: str) -> dict[str, Any] | UserError:
    if len(values) == len(header):
        return dict(zip(header, values, strict=True))
    return UserError(
        f"{where}: {len(values)} fields",
        f"{'data.columns' if part.columns else 'the header'} has {len(header)}: {', '.join(header)}",
        "correct the row; in a csv file quote a text that holds commas",
    )


def read_parquet(part: Part) -> Iterator[Item]:
    """Rows with the columns that are asked for (none: all), a few at a time. Raises UserError where one is missing."""
    with _parquet(part) as file:
        columns = _columns(part, file.schema_arrow.names)
        number = part.line
        for group in range(part.start, file.num_row_groups if part.stop is None else part.stop):
            about = file.metadata.row_group(group)
            size = max(1, min(1024, _BATCH_BYTES * about.num_rows // max(1, about.total_byte_size)))
            for batch in file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
                yield from _rows(batch, part.path, number)
                number += batch.num_rows


def _rows(batch: Any, path: str, first: int) -> Iterator[Item]:
    """The rows of a batch; pyarrow notices only here where text is not UTF-8."""
    try:
        yield from (Item(number, row) for number, row in enumerate(batch.to_pylist(), first))
    except UnicodeDecodeError as error:
        if batch.num_rows > 1:
            for place in range(batch.num_rows):
                yield from _rows(batch.slice(place, 1), path, first + place)
        else:
            rule = "text in a parquet file is UTF-8"
            yield Item(
                first, UserError(f"{path}:{first}: {error}", rule, "write the file again from the original text")
            )


def cut_parquet(part: Part, size: int) -> list[tuple[int, int]]:
    """Row groups at which pieces of about `size` bytes begin, each with the number of its first row."""
    found, row, held = [(0, 1)], 1, 0
    with _parquet(part) as file:
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            if held and held + about.total_byte_size > size:
                found.append((group, row))
                held = 0
            held, row = held + about.total_byte_size, row + about.num_rows
    return found


def _columns(part: Part, there: list[str]) -> list[str]:
    """The columns of the wanted fields: `a.b` is the column of that name, else a field inside the column `a`."""
    wanted = [field if field in there else field.partition(".")[0] for field in part.fields]
    for field, column in zip(part.fields, wanted, strict=True):
        if column not in there:
            near = nearest(field, there)
            raise UserError(
                f"{part.path}: no column {field!r}",
                f"every row has the field; the columns here: {', '.join(there)}",
                "set data.text_field= (or data.group_field=, data.label_field=) to "
                + (f"{near}, if that is meant, or another of these" if near else "one of these"),
            )
    return list(dict.fromkeys(wanted)) or there


@contextlib.contextmanager
def _parquet(part: Part) -> Iterator[Any]:
    """The open file. One that is packed once more is unpacked into a temporary file first: it must be sought."""
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    raw: BinaryIO
    with contextlib.ExitStack() as stack:
        try:
            if part.compression:
                raw = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile()))
                with files.unpacked(part.path, part.compression, part.progress) as stream:
                    while data := stream.read(_BUFFER):
                        raw.write(data)
                raw.seek(0)
            else:
                raw = stack.enter_context(files.opened(part.path))
            yield stack.enter_context(parquet.ParquetFile(raw, pre_buffer=False, buffer_size=_BUFFER))
        except (pyarrow.ArrowException, OSError) as error:  # damaged pages are an OSError without a number
            if getattr(error, "errno", None) is not None:
                raise
            raise UserError(
                f"{part.path}: {str(error).splitlines()[0]}",
                "a parquet file can be read to its end",
                "write the file again, or leave it out",
            ) from error
