"""Config of the data; that of the tokenizer is in `tokenizer_schema.py` and can be had from here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from bigtrain.data.tasks.schema import AugmentConfig
from bigtrain.data.tokenizer_schema import (
    AutoTokenizerConfig,
    BPEConfig,
    BytesConfig,
    CharsConfig,
    FileTokenizerConfig,
    TokenizerConfig,
    TrainableTokenizerConfig,
    UnigramConfig,
    WordBoundaries,
    WordPieceConfig,
    WordsConfig,
)
from bigtrain.errors import UserError
from bigtrain.options import REQUIRED, option

__all__ = [
    "AutoTokenizerConfig",
    "BPEConfig",
    "Builtin",
    "BytesConfig",
    "CharsConfig",
    "DataConfig",
    "DocumentUnit",
    "FileTokenizerConfig",
    "Format",
    "LabelsConfig",
    "OnError",
    "RowsConfig",
    "SetConfig",
    "SourceConfig",
    "SplitBy",
    "TokenizerConfig",
    "TrainableTokenizerConfig",
    "UnigramConfig",
    "WordBoundaries",
    "WordPieceConfig",
    "WordsConfig",
    "check_encoding",
    "check_text_field",
]


class Builtin(StrEnum):
    """Data that every machine has."""

    stdlib = "stdlib"


class SplitBy(StrEnum):
    """How the validation part is held out."""

    document = "document"
    tail = "tail"


class Format(StrEnum):
    """How a file holds text."""

    txt = "txt"
    md = "md"
    jsonl = "jsonl"
    json = "json"
    html = "html"
    csv = "csv"
    tsv = "tsv"
    parquet = "parquet"
    py = "py"

    @property
    def has_fields(self) -> bool:
        """Whether it holds rows, whose text stands in a field."""
        return self not in (Format.txt, Format.md, Format.html, Format.py)


class DocumentUnit(StrEnum):
    """What of a txt or md file is a document."""

    file = "file"
    line = "line"
    paragraph = "paragraph"


class OnError(StrEnum):
    """What a row or file that cannot be read does."""

    stop = "stop"
    skip = "skip"


def check_text_field(names: list[str]) -> None:
    """Raises UserError where no field is named."""
    if not names or "" in names:
        raise UserError(f"data.text_field={names}", "text stands in a field or column", "name it: data.text_field=NAME")


def check_encoding(key: str, name: str) -> None:
    """Raises UserError where `name` is neither `auto` nor an encoding that Python knows."""
    try:
        known = name == "auto" or isinstance(bytes(4).decode(name), str)
    except (LookupError, ValueError):
        known = False
    if not known:
        raise UserError(
            f"{key}={name}",
            "an encoding is auto or has a name that Python knows",
            f"give {key}=auto, utf-8, cp1252, gb18030, shift_jis or another of them",
        )


def check_columns(prefix: str, columns: list[str], delimiter: str | None) -> None:
    """Raises UserError where columns share a name, or the delimiter is none."""
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        given = f"{prefix}.columns={columns}: {repeated[0]!r} twice"
        raise UserError(given, "columns have names of their own", "rename one")
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        rule = "one character stands between the fields of a csv file"
        raise UserError(f"{prefix}.delimiter={delimiter!r}", rule, f"give {prefix}.delimiter=';', or what it is")


@dataclass
class SourceConfig:
    """One of several sources of text: what it leaves out is taken from the key of the same name in `data`."""

    files: list[str] = option(list, "raw input: files, globs, folders or URLs")
    weight: float = option(
        1.0, "copies of its training documents: 0.5 keeps half of them, chosen by a hash; 2 gives each twice", above=0
    )
    format: Format | None = option(None, "format of the files; null: data.format")
    encoding: str | None = option(None, "encoding of the files; null: data.encoding")
    text_field: list[str] = option(list, "fields or columns with the text; empty: data.text_field")
    group_field: str | None = option(None, "field or column that names the group; null: data.group_field")
    document: DocumentUnit | None = option(None, "what of a txt or md file is a document; null: data.document")
    columns: list[str] = option(list, "names of columns without a header line; empty: data.columns")
    delimiter: str | None = option(None, "what stands between the fields of csv files; null: data.delimiter")
    clean: str | None = option(None, "an option of the group clean, for this source; null: what clean= says")

    def check_as(self, key: str) -> None:
        """Rules for the source with this key. Raises UserError."""
        if not self.files:
            raise UserError(f"{key} without files", "a source has text", f"give {key}.files=[GLOB,...]")
        if "" in self.text_field:
            raise UserError(f"{key}.text_field={self.text_field}", "a field has a name", "name it")
        if self.encoding is not None:
            check_encoding(f"{key}.encoding", self.encoding)
        check_columns(key, self.columns, self.delimiter)


@dataclass
class SetConfig:
    """One prepared set of a mixture."""

    path: str = option(REQUIRED, "the prepared set, an output of `bigtrain prepare`")
    weight: float = option(1.0, "its share of the training tokens, divided by the sum of all weights", above=0)


SOURCES = ("files", "sources", "path", "sets", "builtin")  # the keys of `DataConfig` that name text


@dataclass
class DataConfig:
    """Where text comes from: exactly one of `files`, `sources`, `path`, `sets` and `builtin`."""

    # What a verb offers where none is named; `prepare` and `evaluate` take fewer.
    places: ClassVar[tuple[str, ...]] = (
        "data.files=[GLOB,...]",
        "data.sources.NAME.files=[GLOB,...]",
        "data.path=DIR",
        "data.sets.NAME.path=DIR",
    )

    files: list[str] = option(list, "raw input: files, globs, folders or URLs; the extension says the format")
    path: str | None = option(None, "one prepared set, the output of `bigtrain prepare`")
    builtin: Builtin | None = option(None, "stdlib: the source of Python's standard library on this machine")
    sources: dict[str, SourceConfig] = option(dict, "raw input from several places: data.sources.NAME.files=[GLOB,...]")
    sets: dict[str, SetConfig] = option(dict, "a weighted mixture of prepared sets: data.sets.NAME.path=DIR")
    text_field: list[str] = option(
        lambda: ["text"], "field or column that holds the text: a dotted path, or several, joined by a blank line"
    )
    group_field: str | None = option(
        None, "field or column whose value keeps documents together: no group is in two parts of the split"
    )
    format: Format | None = option(None, "format of all files; null: the extension says it")
    encoding: str = option(
        "auto",
        "of text files: auto (byte order mark, UTF-8, else detected; what is unreadable is replaced and counted)"
        " or a name such as utf-8, in which every byte must make sense",
    )
    document: DocumentUnit = option(
        DocumentUnit.file,
        "what of a txt or md file is a document: file, line, or paragraph (what stands between blank lines)",
    )
    columns: list[str] = option(list, "names of the columns of csv and tsv files that have no header line")
    delimiter: str | None = option(None, "character between the fields of csv files; null: a comma")
    on_error: OnError = option(OnError.stop, "a row or file that cannot be read: stop, or skip it and count it")
    max_errors: int | None = option(
        100, "with on_error=skip: more errors than this stop after all; null: no limit", at_least=0
    )
    max_row_bytes: int = option(
        64 << 20, "longest line, row or page that is read, in bytes: what one document may take in memory", at_least=1
    )
    validation_fraction: float = option(0.05, "share of the text held out for validation", at_least=0, below=1)
    test_fraction: float = option(0.0, "share of the text held out for a final test", at_least=0, below=1)
    split_by: SplitBy = option(
        SplitBy.document,
        "document: whole documents, chosen by a hash of their content; tail: the last part of the text",
    )
    loss_between: list[str] = option(
        list,
        "a loss mask: only tokens between these two strings of a text, and those of the second, are learned; with one"
        " string, what stands behind it; empty: everything",
    )
    sample: int | None = option(None, "prepare about this many documents, spread over the input; null: all", at_least=1)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        check_text_field(self.text_field)
        check_encoding("data.encoding", self.encoding)
        check_columns("data", self.columns, self.delimiter)
        for name, source in self.sources.items():
            source.check_as(f"data.sources.{name}")
        if self.validation_fraction + self.test_fraction >= 1:
            raise UserError(
                f"data.validation_fraction={self.validation_fraction} and data.test_fraction={self.test_fraction}",
                "something must be left to train on",
                "give smaller shares",
            )
        if len(self.loss_between) > 2 or "" in self.loss_between:
            raise UserError(
                f"data.loss_between={self.loss_between}",
                "what is learned stands between two strings, or behind one",
                "give data.loss_between=[BEGIN,END]",
            )
        self._check_one_place()

    def _check_one_place(self) -> None:
        named = [f"data.files={self.files}" if self.files else "", f"data.path={self.path}" if self.path else ""]
        named += [f"data={self.builtin}" if self.builtin else ""]
        named += [f"data.sources.{name}" for name in list(self.sources)[:1]]
        named += [f"data.sets.{name}" for name in list(self.sets)[:1]]
        named = [name for name in named if name]
        if len(named) != 1:
            raise UserError(
                " and ".join(named) or "no data",
                "exactly one source of text is named: there is no silent default",
                f"give one of {', '.join(self.places)} and data=stdlib (data=own undoes a recipe's choice)",
            )


@dataclass
class LabelsConfig:
    """How rows of files say what is to be learned, or measured."""

    columns: list[str] = option(list, "names of the columns of csv and tsv files that have no header line")
    pair_field: str | None = option(
        None, "column or field with a second text: another segment for BERT, joined by a blank line for other models"
    )
    label_field: str = option("label", "column or field with the label")
    label_separator: str | None = option(
        None, "what stands between several labels of a row, such as a comma; a JSON list needs none"
    )


@dataclass
class TagsConfig:
    """Where words and their tags stand (objective=tag, and taggers in evaluate)."""

    words_field: str | None = option(
        None, "list of words in a row, or column of text by its number; null: words or tokens, or the first column"
    )
    tags_field: str | None = option(
        None, "list of tags in a row, or column of text by its number; null: tags or ner_tags, or the last column"
    )


@dataclass
class RowsConfig(LabelsConfig, TagsConfig):
    """Labelled rows for fine-tuning: csv or tsv with a header line, jsonl, json or parquet; tags also in columns."""

    train: str | None = option(None, "training rows: csv, tsv, jsonl, json or parquet")
    validation: str | None = option(
        None, "validation rows: csv, tsv, jsonl, json or parquet; null: data.validation_fraction of the training rows"
    )
    text_field: list[str] = option(
        lambda: ["text"], "column or field with the text: a dotted path, or several, joined by a blank line"
    )
    augment: AugmentConfig = option(AugmentConfig, "changes of training texts, drawn anew in every pass")
