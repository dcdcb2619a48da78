"""Raw text: which files are read, in which pieces, and how their rows and pages become documents.

Nothing is held but the piece at hand: lines, rows and pages are read one by one, up to `data.max_row_bytes` each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from bigtrain.data.reading import files
from bigtrain.data.reading.fields import text_at, texts_at, value_at
from bigtrain.data.reading.formats import READERS, check_packages, cut
from bigtrain.data.reading.items import Item, Page
from bigtrain.data.reading.lines import Part, too_long
from bigtrain.data.reading.stdlib import python_files
from bigtrain.data.schema import DataConfig, DocumentUnit, Format, OnError, SourceConfig
from bigtrain.errors import UserError, kind_of

EXTENSIONS = {
    ".txt": Format.txt,
    ".md": Format.md,
    ".jsonl": Format.jsonl,
    ".json": Format.json,
    ".html": Format.html,
    ".csv": Format.csv,
    ".tsv": Format.tsv,
    ".parquet": Format.parquet,
    ".py": Format.py,
    ".text": Format.txt,
    ".markdown": Format.md,
    ".ndjson": Format.jsonl,
    ".htm": Format.html,
}
TEXTS, TABLES = {Format.txt, Format.md}, {Format.csv, Format.tsv}  # formats that keys of their own are for
FILES, STDLIB = "files", "stdlib"  # names of the source where `data.sources` gives none


@dataclass(frozen=True, slots=True)
class Document:
    """A text and where it comes from."""

    text: str
    file: str  # path or URL
    line: int | None = None  # on which its row begins (parquet: the row's number); None: the file is the document
    source: str = FILES
    group: str | None = None  # value of `data.group_field`
    encoding: str = "utf-8"  # that the text was read in
    replacements: int = 0  # unreadable places, now U+FFFD
    missing: tuple[str, ...] = ()  # those of several fields in which its row has no text
    page: str | None = None  # of which the text is the main text


@dataclass(frozen=True)
class Source:
    """A file to read and how; the same everywhere, so that it may travel between processes."""

    path: str  # path or URL
    format: Format
    compression: str | None  # gz zst xz bz2
    name: str  # of data.sources.NAME, else `files` or `stdlib`
    settings: SourceConfig  # with nothing left out: what `data` says is filled in
    max_row_bytes: int


@dataclass(frozen=True)
class Piece:
    """A part of a file: bytes from `start` to `stop` (parquet: row groups), None for the end; begins at line `line`."""

    source: Source
    start: int = 0
    stop: int | None = None
    line: int = 1


def find(config: DataConfig, left_out: dict[str, str] | None = None) -> list[Source]:
    """The files that `data.files`, `data.sources` or `data=stdlib` names, each once, in a fixed order.

    left_out: takes what else the folders hold, by path, with the kind of each. Raises UserError: nothing there, an
    unknown format, a file in two sources, a package that is not installed.
    """
    if config.builtin:
        settings = SourceConfig(files=[STDLIB], encoding="utf-8")
        found = [_source(config, STDLIB, str(path), settings) for path in python_files()]
    elif config.sources:
        found = [each for name, source in config.sources.items() for each in _find(config, name, source, left_out)]
    else:
        found = _find(config, FILES, SourceConfig(files=config.files), left_out)
    _check_read(config, found)
    seen: dict[str, Source] = {}
    for source in found:
        other = seen.setdefault(files.identity(source.path), source)
        if other is not source:
            raise UserError(
                f"{source.path} is in data.sources.{other.name} and data.sources.{source.name}",
                "a file belongs to one source",
                "name it once",
            )
    check_packages({(source.format, source.compression) for source in found})
    return found


def pieces(source: Source, size: int) -> list[Piece]:
    """A file in pieces of about `size` bytes, a function of its content alone; read in order they give the whole.

    Local files of lines that are not compressed are cut at line ends (csv: at those that end a record; txt, md and py:
    where a document ends, and a long text becomes several, see `formats.LONGEST_TEXT`), parquet files between row
    groups; other files are one piece, and so is a file that cannot be read, for `read` to say so. (Where lines are not
    UTF-8, data.encoding=auto tells the encoding of each piece by itself.)
    """
    try:
        cuts = cut(_part(Piece(source)), source.format, size)
    except UserError:
        cuts = [(0, 1)]
    stops = [start for start, _ in cuts[1:]]
    return [Piece(source, start, stop, line) for (start, line), stop in zip(cuts, [*stops, None], strict=True)]


def read(
    piece: Piece,
    problem: Callable[[UserError], None],
    empty: Callable[[Document], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Document]:
    """The documents of a piece, in order; those without a character are given to `empty` and left out.

    problem: called for a row or file that cannot be read (a row that is not JSON or lacks the field, a damaged archive,
    a file that is gone, ...), with file and line; it may raise. What comes after is read where that is possible.
    progress: called with numbers of stored bytes that have been read.
    """
    source = piece.source
    try:
        with files.readable(source.path):
            for item in READERS[source.format](_part(piece, progress)):
                try:
                    document = _document(source, item)
                except UserError as error:
                    problem(error)
                    continue
                if document.text:
                    yield document
                elif empty:
                    empty(document)
    except UserError as error:
        problem(error)


class TooManyErrors(UserError):
    """More than data.max_errors: with a higher limit the same command goes on."""


class Problems:
    """What `data.on_error` does with the rows and files that cannot be read: call it with each UserError."""

    def __init__(self, on_error: OnError, most: int | None) -> None:
        self._stop, self._most = on_error is OnError.stop, most
        self.count = 0

    def __call__(self, error: UserError, n: int = 1) -> None:
        """Count the error, the last of `n`. Raises it where it is the first, or one too many."""
        if self._stop or isinstance(error, TooManyErrors):
            raise error
        self.count += n
        if self._most is not None and self.count > self._most:
            raise TooManyErrors(
                f"{error.given} (and {self._most} before)",
                f"data.on_error=skip goes on after {self._most} errors at most; this one: {error.rule}",
                f"{error.remedy}; or give data.max_errors=NUMBER, null for no limit",
            )


def documents(config: DataConfig) -> Iterator[Document]:
    """Every document of `data.files`, `data.sources` or `data=stdlib` that holds text, in a fixed order.

    Raises UserError, with file and line, for what cannot be read (see `data.on_error`), and for no text at all.
    """
    found, problem, nothing = find(config), Problems(config.on_error, config.max_errors), True
    for source in found:
        for document in read(Piece(source), problem):
            nothing = False
            yield document
    if nothing:
        raise no_text(found)


def no_text(sources: list[Source]) -> UserError:
    """The error for files without a character."""
    names = ", ".join(source.path for source in sources[:3]) + (", ..." if len(sources) > 3 else "")
    return UserError(f"no text in {names}", "at least one document must not be empty", "name files that hold text")


def _find(config: DataConfig, name: str, given: SourceConfig, left_out: dict[str, str] | None) -> list[Source]:
    """The files of one source."""
    key = f"data.sources.{name}.files" if config.sources else "data.files"
    settings = replace(
        given,
        format=given.format or config.format,
        encoding=given.encoding or config.encoding,
        text_field=given.text_field or config.text_field,
        group_field=given.group_field or config.group_field,
        document=given.document or config.document,
        columns=given.columns or config.columns,
        delimiter=given.delimiter or config.delimiter,
    )

    passed: dict[str, str] = {} if left_out is None else left_out

    def wanted(file: str) -> bool:
        extension, _ = files.split_name(file)
        is_wanted = settings.format is not None or extension in EXTENSIONS
        if not is_wanted:
            passed[file] = extension or "no extension"
        return is_wanted

    def linked(folder: str) -> None:
        passed[folder] = "links to folders"

    found: dict[str, Source] = {}
    for entry in settings.files:
        for path in files.expand(entry, key, wanted, _supported(), linked):
            found.setdefault(files.identity(path), _source(config, name, path, settings))
    return list(found.values())


def _check_read(config: DataConfig, found: list[Source]) -> None:
    """Raises UserError for a key that says how files of a format are read where there are none."""
    given: dict[str, DataConfig | SourceConfig] = {"": config, **config.sources}
    for name, of in given.items():
        formats = {source.format for source in found if name in ("", source.name)}
        for key, read, value in (
            ("document", TEXTS, of.document if of.document is not DocumentUnit.file else None),
            ("columns", TABLES, of.columns),
            ("delimiter", {Format.csv}, of.delimiter),
        ):
            if value and not formats & read:
                named = f"data.sources.{name}.{key}" if name else f"data.{key}"
                raise UserError(
                    f"{named}={value} with {' and '.join(sorted(formats))} files",
                    f"it is for {' and '.join(sorted(read))} files",
                    f"leave {named}= out",
                )


def _source(config: DataConfig, name: str, path: str, settings: SourceConfig) -> Source:
    extension, compression = files.split_name(path)
    if settings.format is None and extension not in EXTENSIONS:
        raise UserError(
            f"{path}: unknown format {extension!r}",
            _supported(),
            "rename or convert the file, leave it out, or name it: data.format=txt",
        )
    format = settings.format or EXTENSIONS[extension]
    return Source(path, format, compression, name, settings, config.max_row_bytes)


def _supported() -> str:
    extensions, packed = " ".join(EXTENSIONS), " ".join(files.COMPRESSIONS)
    return f"the extension says the format: {extensions}, each also {packed}"


def _part(piece: Piece, progress: Callable[[int], None] | None = None) -> Part:
    source = piece.source
    assert source.settings.encoding is not None  # filled in by `find`
    return Part(
        source.path,
        source.compression,
        source.settings.encoding,
        tuple(source.settings.text_field + ([source.settings.group_field] if source.settings.group_field else [])),
        columns=tuple(source.settings.columns),
        delimiter=source.settings.delimiter or ",",
        document=source.settings.document or DocumentUnit.file,
        max_row_bytes=source.max_row_bytes,
        start=piece.start,
        stop=piece.stop,
        line=piece.line,
        progress=progress,
    )


def _document(source: Source, item: Item) -> Document:
    """The document of what a reader found. Raises UserError."""
    content, group, missing, page = item.content, None, tuple[str, ...](), None
    if isinstance(content, UserError):
        raise content
    if isinstance(content, Page):
        content, page = content
    elif not isinstance(content, str):
        where, row = f"{source.path}:{item.line}", content
        if source.settings.group_field:
            group = _group(row, source.settings.group_field, where)
        fields = source.settings.text_field
        for field in fields if source.format in TABLES else ():
            value_at(row, field, where, "data.text_field")  # columns are in every row: one that is not there is none
        texts, missing = texts_at(row, fields, where, "data.text_field")
        content = "\n\n".join(filter(None, texts))
        if len(content) > source.max_row_bytes:
            raise too_long(where, "row", source.max_row_bytes)
    told = (item.encoding, item.replacements, missing, page)
    return Document(content, source.path, item.line, source.name, group, *told)


def _group(row: dict[str, Any], field: str, where: str) -> str | None:
    """The name of a row's group: a text, a number, or none. Raises UserError."""
    value = value_at(row, field, where, "data.group_field")
    if isinstance(value, str):
        return text_at(row, field, where, "data.group_field")
    if value is None or isinstance(value, bool | int | float):
        return None if value is None else str(value)
    raise UserError(
        f"{where}: group {field!r} is {kind_of(value)}",
        "a group is a text or a number",
        "correct the row, or set data.group_field=",
    )
