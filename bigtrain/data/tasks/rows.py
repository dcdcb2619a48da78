"""Rows with labels: csv or tsv, jsonl, json or parquet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigtrain.data.reading.fields import nearest, text_at, value_at
from bigtrain.data.reading.files import readable, split_name
from bigtrain.data.reading.formats import read_jsonl
from bigtrain.data.reading.json_values import read_json
from bigtrain.data.reading.lines import Part
from bigtrain.data.reading.tables import read_csv, read_parquet, read_tsv
from bigtrain.errors import UserError

JOINT = "\n\n"  # between the texts of a row
_READERS = {".csv": read_csv, ".tsv": read_tsv, ".jsonl": read_jsonl, ".json": read_json, ".parquet": read_parquet}
TABLES = (".csv", ".tsv")
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?")


@dataclass
class Rows:
    """Texts and what the label field says of them, as it is, with the lines of the file they stand in."""

    path: Path
    texts: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    pairs: list[str] = field(default_factory=list)  # second texts; empty where there are none

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, row: int) -> str:
        """File and line of a row."""
        return f"{self.path}:{self.lines[row]}"

    def whole(self, row: int) -> str:
        """A row's text, and the second one below it."""
        return JOINT.join((self.texts[row], self.pairs[row])) if self.pairs else self.texts[row]

    def taken(self, places: Iterable[int]) -> Rows:
        """These rows, in this order."""
        chosen = list(places)
        pairs = [self.pairs[place] for place in chosen] if self.pairs else []
        texts, values = [self.texts[place] for place in chosen], [self.values[place] for place in chosen]
        return Rows(self.path, texts, values, [self.lines[place] for place in chosen], pairs)


def read_rows(
    path: Path, text_field: Sequence[str], label_field: str, pair_field: str | None = None, columns: Sequence[str] = ()
) -> Rows:
    """Every row of a file; several text fields are joined by a blank line.

    csv: RFC 4180, quotes around fields with commas, quotes or line breaks. tsv: fields as they are, without quoting.
    columns: their names, where a csv or tsv file has no header line. Raises UserError with file and line: an unknown
    format, a missing column, a row with too few or too many fields, a text that is none or empty, a column of numbers
    as text, no rows.
    """
    names = dict.fromkeys(text_field, "data.text_field")
    fields = tuple(dict.fromkeys([*names, *([pair_field] if pair_field else []), label_field]))
    rows = Rows(path)
    headless = not columns and split_name(str(path))[0] in TABLES
    for line, row in records(path, fields, columns):
        if headless and not any(nearest(field, row) for field in fields):
            raise UserError(
                f"{path}:1: no column {' and no column '.join(map(repr, fields))}",
                f"the first line names the columns: {', '.join(row)}"[:300],
                "where it is a row already, name them in their order: data.columns=[NAME,...]; else set "
                "data.text_field= and data.label_field=",
            )
        where = f"{path}:{line}"
        texts = [text_at(row, name, where, key) for name, key in names.items()]
        rows.texts.append(_filled(JOINT.join(texts), " and ".join(names), where))
        if pair_field:
            pair = text_at(row, pair_field, where, "data.pair_field")
            rows.pairs.append(_filled(pair, pair_field, where))
        rows.values.append(value_at(row, label_field, where, "data.label_field"))
        rows.lines.append(line)
    if not rows.texts:
        empty = not path.stat().st_size
        raise UserError(
            f"{path}: {'empty' if empty else 'no rows'}",
            "labelled data has at least one row",
            "name a file that holds rows",
        )
    check_numbers(rows.texts, f"data.text_field={next(iter(names))} in {path}", rows.where(0), "data.text_field=NAME")
    check_numbers(rows.pairs, f"data.pair_field={pair_field} in {path}", rows.where(0), "data.pair_field=NAME")
    return rows


def records(
    path: Path,
    fields: tuple[str, ...],
    columns: Sequence[str] = (),
    unknown: tuple[str, str] = ("", "rename or convert the file"),
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line and fields of each row of a csv, tsv, jsonl, json or parquet file. Raises UserError with file and line.

    fields: what a JSON object holds that is a row itself, not a list of rows. unknown: what the error about another
    format adds to its rule, and its remedy.
    """
    extension, compression = split_name(str(path))
    if extension not in _READERS:
        more, remedy = unknown
        rule = f"the extension says the format: {' '.join(_READERS)}{more}"
        raise UserError(f"{path}: unknown format {extension!r}", rule, remedy)
    if columns and extension not in TABLES:
        raise UserError(
            f"data.columns={list(columns)} with {path}",
            f"only tables without a header line ({' '.join(TABLES)}) need names",
            "leave data.columns out",
        )
    part = Part(str(path), compression, encoding="utf-8", fields=fields, columns=tuple(columns))
    with readable(path):
        for line, row, _, _ in _READERS[extension](part):
            if isinstance(row, UserError):
                raise row
            assert isinstance(row, dict)
            assert line is not None  # these readers count lines
            yield line, row


def _filled(text: str, name: str, where: str) -> str:
    if text.strip():
        return text
    raise UserError(f"{where}: field {name!r} is empty", "every row has a text", "correct or remove the row")


def check_numbers(texts: Sequence[str], given: str, where: str, remedy: str) -> None:
    """Raises UserError where every text is a number: an id or a year was named by mistake. where: of the first."""
    if len(texts) > 1 and all(NUMBER.fullmatch(text.strip()) for text in texts):
        raise UserError(
            f"{given}: all {len(texts)} texts are numbers, the first ({where}) is {texts[0].strip()}",
            "a text is made of words",
            f"name the column that holds the text: {remedy}",
        )
