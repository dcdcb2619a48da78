"""Labelled rows for classifiers: csv or tsv with a header line, or jsonl."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigtrain.data.sources import decode, json_rows, readable, text_at, value_at
from bigtrain.errors import UserError


@dataclass
class Rows:
    """Texts, their labels, and the lines of the file they stand in."""

    path: Path
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def numbers(self, labels: list[str]) -> list[int]:
        """The place of each label in `labels`. Raises UserError, with file and line, for one that is not there."""
        places = {label: place for place, label in enumerate(labels)}
        for line, label in zip(self.lines, self.labels, strict=True):
            if label not in places:
                known = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
                raise UserError(
                    f"{self.path}:{line}: label {label!r}",
                    f"the model knows the labels it was trained on: {known}",
                    "correct the row, or train on rows that have this label",
                )
        return [places[label] for label in self.labels]


def read_rows(path: Path, text_field: list[str], label_field: str, pair_field: str | None = None) -> Rows:
    """Every row of a file; several text fields, and the pair, are joined by a blank line.

    csv: RFC 4180, quotes around fields with commas, quotes or line breaks. tsv: fields as they are, without quoting.
    Raises UserError with file and line: an unknown format, a missing column, a row with too few or too many fields,
    an empty label, a text that is not a string, no rows.
    """
    readers = {".csv": _csv_rows, ".tsv": _tsv_rows, ".jsonl": json_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{path}: unknown format {path.suffix!r}",
            f"the extension says the format: {' '.join(readers)}",
            "rename or convert the file",
        )
    columns = dict.fromkeys(text_field, "data.text_field") | ({pair_field: "data.pair_field"} if pair_field else {})
    rows = Rows(path)
    with readable(path):
        for line, row in reader(path):
            where = f"{path}:{line}"
            rows.texts.append("\n\n".join(text_at(row, name, where, key) for name, key in columns.items()))
            rows.labels.append(_label(value_at(row, label_field, where, "data.label_field"), label_field, where))
            rows.lines.append(line)
    if not rows.texts:
        raise UserError(f"{path}: no rows", "labelled data has at least one row", "name a file that holds rows")
    return rows


def _label(value: Any, label_field: str, where: str) -> str:
    """A label is a name: numbers and truth values become text as they are written in JSON."""
    label = str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value
    if not isinstance(label, str):
        kind = "null" if label is None else f"a JSON {type(label).__name__}"
        raise UserError(
            f"{where}: label {label_field!r} is {kind}", "a label is a string or a number", "correct the row"
        )
    if not label.strip():
        raise UserError(
            f"{where}: label {label_field!r} is empty", "every row has a label", "correct or remove the row"
        )
    return label.strip()


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return _table(path, csv.reader(_lines(path), strict=True))


def _tsv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return _table(path, csv.reader(_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE))


def _lines(path: Path) -> io.StringIO:
    return io.StringIO(decode(path.read_bytes(), str(path)), newline="")


def _table(path: Path, reader: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows below the header as objects, each with the line it begins at."""
    limit = csv.field_size_limit(sys.maxsize)  # a text may be longer than the module's 128 kB
    try:
        header, line = next(reader, None), reader.line_num
        if header is None:
            raise UserError(f"{path}: empty", "the first line names the columns", "name a file that holds rows")
        if repeated := sorted({name for name in header if header.count(name) > 1}):
            raise UserError(f"{path}:1: column {repeated[0]!r} twice", "columns have names of their own", "rename one")
        for values in reader:
            first, line = line + 1, reader.line_num
            if not values:
                continue
            if len(values) != len(header):
                raise UserError(
                    f"{path}:{first}: {len(values)} fields",
                    f"the header has {len(header)}: {', '.join(header)}",
                    "correct the row; in a csv file quote a text that holds commas",
                )
            yield first, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: {error}", "csv as in RFC 4180", "correct the quotes") from error
    finally:
        csv.field_size_limit(limit)
