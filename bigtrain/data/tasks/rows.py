"""Labelled rows for classifiers: csv or tsv with a header line, jsonl, json or parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigtrain.data.reading.fields import text_at, value_at
from bigtrain.data.reading.files import readable, split_name
from bigtrain.data.reading.formats import read_jsonl
from bigtrain.data.reading.json_values import read_json
from bigtrain.data.reading.lines import Part
from bigtrain.data.reading.tables import read_csv, read_parquet, read_tsv
from bigtrain.errors import UserError

_READERS = {".csv": read_csv, ".tsv": read_tsv, ".jsonl": read_jsonl, ".json": read_json, ".parquet": read_parquet}


@dataclass
class Rows:
    """Texts, their labels, and the lines of the file they stand in."""

    path: Path
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def numbers(self, labels: Sequence[str]) -> list[int]:
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
    extension, compression = split_name(str(path))
    if extension not in _READERS:
        raise UserError(
            f"{path}: unknown format {extension!r}",
            f"the extension says the format: {' '.join(_READERS)}",
            "rename or convert the file",
        )
    columns = dict.fromkeys(text_field, "data.text_field") | ({pair_field: "data.pair_field"} if pair_field else {})
    fields = tuple(dict.fromkeys([*columns, label_field]))
    rows = Rows(path)
    with readable(path):
        for line, row, _, _ in _READERS[extension](Part(str(path), compression, encoding="utf-8", fields=fields)):
            if isinstance(row, UserError):
                raise row
            assert isinstance(row, dict)
            assert line is not None  # these readers count lines
            where = f"{path}:{line}"
            rows.texts.append("\n\n".join(text_at(row, name, where, key) for name, key in columns.items()))
            rows.labels.append(_label(value_at(row, label_field, where, "data.label_field"), label_field, where))
            rows.lines.append(line)
        empty = not path.stat().st_size
    if not rows.texts:
        raise UserError(
            f"{path}: {'empty' if empty else 'no rows'}",
            "labelled data has at least one row",
            "name a file that holds rows",
        )
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
