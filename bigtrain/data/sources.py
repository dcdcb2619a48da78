"""Raw text: which files are read, and how each format becomes documents. Nothing is held but the document at hand."""

from __future__ import annotations

import contextlib
import glob
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.data.schema import DataConfig
from bigtrain.data.stdlib import python_files
from bigtrain.errors import UserError

_BOM = "\ufeff"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Document:
    """A text and where it comes from: the file, and the line of the row where a file holds several documents."""

    text: str
    file: Path
    line: int | None = None


@dataclass(frozen=True)
class Source:
    """A file to read, and the name of its format."""

    path: Path
    format: str


def documents(config: DataConfig) -> Iterator[Document]:
    """Every document of `data.files` or `data=stdlib` that holds text, in a fixed order.

    Raises UserError, with file and line: a file that is missing, unreadable, binary, not UTF-8 or of an unknown
    format; a row that is not JSON or lacks the field; no text at all.
    """
    return read(find(config), config.text_field)


def find(config: DataConfig) -> list[Source]:
    """The files that `data.files` or `data=stdlib` names, each once. Raises UserError."""
    if config.builtin:
        return [Source(path, "py") for path in python_files()]
    found: dict[Path, Source] = {}
    for given in config.files:
        for path in _expand(given):
            found.setdefault(path.resolve(), Source(path, _format(path)))
    return list(found.values())


def read(sources: list[Source], text_field: list[str]) -> Iterator[Document]:
    """The documents of `sources`; empty ones are left out. Raises UserError, see `documents`."""
    empty = True
    for source in sources:
        with readable(source.path):
            for document in READERS[source.format](source.path, text_field):
                if document.text:
                    empty = False
                    yield document
    if empty:
        names = ", ".join(str(source.path) for source in sources[:3]) + (", ..." if len(sources) > 3 else "")
        raise UserError(f"no text in {names}", "at least one document must not be empty", "name files that hold text")


def read_text(path: Path, text_field: list[str]) -> Iterator[Document]:
    """The whole file is one document."""
    yield Document(decode(path.read_bytes(), str(path)), path)


def read_jsonl(path: Path, text_field: list[str]) -> Iterator[Document]:
    """One JSON object a line, one document each."""
    for line, row in json_rows(path):
        parts = [text_at(row, field, f"{path}:{line}", "data.text_field") for field in text_field]
        yield Document("\n\n".join(parts), path, line)


READERS: dict[str, Callable[[Path, list[str]], Iterator[Document]]] = {
    "txt": read_text,
    "md": read_text,
    "jsonl": read_jsonl,
    "py": read_text,
}
EXTENSIONS = {".txt": "txt", ".md": "md", ".jsonl": "jsonl"}  # what `data.files` takes


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a jsonl file, each with its line number; blank lines are skipped. Raises UserError."""
    with open(path, "rb") as file:
        for line, raw in enumerate(file, 1):
            where = f"{path}:{line}"
            text = decode(raw, where)
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                problem = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
                raise UserError(
                    f"{where}: not JSON ({problem})", "a jsonl file holds one JSON object a line", "correct that line"
                ) from None
            if not isinstance(row, dict):
                raise UserError(
                    f"{where}: a JSON {type(row).__name__}",
                    "a jsonl file holds one JSON object a line",
                    'write rows like {"text": "..."}',
                )
            yield line, row


def value_at(row: dict[str, Any], field: str, where: str, key: str) -> Any:
    """The value of a field: a name, or a dotted path into nested objects. Raises UserError, naming the fields."""
    if field in row:
        return row[field]
    value: Any = row
    for name in field.split("."):
        if not isinstance(value, dict) or name not in value:
            there = ", ".join(sorted(value)) if isinstance(value, dict) else f"none inside a {type(value).__name__}"
            raise UserError(
                f"{where}: no field {field!r}",
                f"every row has the field; the fields here: {there}",
                f"set {key}= to one of these",
            )
        value = value[name]
    return value


def text_at(row: dict[str, Any], field: str, where: str, key: str) -> str:
    """The text of a field. Raises UserError where it is not a string of Unicode characters."""
    value = value_at(row, field, where, key)
    if not isinstance(value, str):
        kind = "null" if value is None else f"a JSON {type(value).__name__}"
        raise UserError(
            f"{where}: field {field!r} is {kind}", "text is a JSON string", f"correct the row, or set {key}="
        )
    with contextlib.suppress(UnicodeEncodeError):
        value.encode("utf-8")
        return value
    raise UserError(
        f"{where}: field {field!r} holds half of a surrogate pair (\\ud800 to \\udfff)",
        "text is Unicode",
        "correct the row",
    )


def decode(content: bytes, where: str) -> str:
    """UTF-8 bytes as text, without a byte order mark. Raises UserError for binary content and other encodings."""
    if b"\0" in content:
        kind = "UTF-16" if content.startswith(_UTF16) else "binary"
        raise UserError(
            f"{where}: {kind} (a NUL byte at byte offset {content.index(0)})",
            "input is text in UTF-8",
            "convert it to UTF-8" if kind == "UTF-16" else "name text files only",
        )
    try:
        return content.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: not UTF-8 (byte 0x{content[error.start]:02x} at byte offset {error.start})",
            "input is text in UTF-8",
            "convert it, for example with `iconv -f ISO-8859-1 -t UTF-8`",
        ) from None


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to read `path` into a UserError; a pipe could be read only once."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{path}: a pipe or a device", "input must be a regular file", "write it to a file first")
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or error}", "input must be a readable file", "check the path and its permissions"
        ) from error


def _expand(given: str) -> list[Path]:
    """The files of one entry of `data.files`: a file, a folder (searched to the bottom), or a glob, in sorted order."""
    path = Path(given).expanduser()
    if path.is_dir():
        inside = _inside(path)
        if not inside:
            raise UserError(
                f"data.files={given}: no text files in this folder", _supported(), "name a folder with text files"
            )
        return inside
    if path.exists():
        return [path]
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207  # patterns may be absolute
    files = [match for match in matches if match.is_file()]
    if not files:
        wild, place = glob.has_magic(given), "" if path.is_absolute() else f"; it is relative to {Path.cwd()}"
        raise UserError(
            f"data.files={given}: {'no file matches' if wild else 'no such file'}",
            "input must exist",
            f"check the path{place}",
        )
    return files


def _inside(folder: Path) -> list[Path]:
    """Files of a known format below `folder`, hidden ones left out, in the order of their relative paths."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(place, name) for name in names if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in EXTENSIONS]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _format(path: Path) -> str:
    try:
        return EXTENSIONS[path.suffix.lower()]
    except KeyError:
        raise UserError(
            f"{path}: unknown format {path.suffix!r}", _supported(), "rename or convert the file, or leave it out"
        ) from None


def _supported() -> str:
    return f"the extension says the format: {' '.join(EXTENSIONS)}"
