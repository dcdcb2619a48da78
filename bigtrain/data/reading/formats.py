"""The formats of raw text: what each file holds, one row or page after the other."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from bigtrain.data.reading import files, html, json_values, tables
from bigtrain.data.reading.archives import Stream
from bigtrain.data.reading.encodings import Decoder, Line, is_wide, marked
from bigtrain.data.reading.items import Item, Page
from bigtrain.data.reading.lines import Block, Part, blocks, contents, lines, too_long, whole
from bigtrain.data.schema import DocumentUnit, Format
from bigtrain.errors import UserError, kind_of

LONGEST_TEXT = 8 << 20  # bytes of a txt, md or py file that are one document; a longer file is cut into several
_BLOCK = 1 << 20
_LINE_END, _BLANK_LINE = re.compile(rb"\n"), re.compile(rb"\n[ \t\r]*\n")
_PACKAGES = {Format.parquet: ["pyarrow"], Format.html: ["trafilatura", "lxml_html_clean"], "zst": ["zstandard"]}


def check_packages(used: set[tuple[Format, str | None]]) -> None:
    """Raises UserError where a format or a compression needs a package that is not installed."""
    for name in sorted({str(name) for pair in used for name in pair if name}):
        for package in _PACKAGES.get(name, []):
            if importlib.util.find_spec(package) is None:
                raise UserError(
                    f"input in the format {name}",
                    f"it is read by the package {package.replace('_', '-')}, which is not installed",
                    "pip install 'bigtrain[data]'",
                )


def read_text(part: Part) -> Iterator[Item]:
    """The whole file is one document, or each line or paragraph of it that is not blank is one.

    A whole file that is longer than LONGEST_TEXT is several documents, cut at blank lines.
    """
    if part.document is not DocumentUnit.file:
        yield from _parts_of_text(part)
        return
    with contents(part) as (stream, encoding, label):
        decoder = Decoder(encoding, part.path, from_start=part.start == 0)
        for chunk in _chunks(stream, part.max_row_bytes, part.line):
            if chunk.content is None:
                yield Item(chunk.line, too_long(f"{part.path}:{chunk.line}", "line", part.max_row_bytes))
                continue
            try:
                text, found, replacements = decoder.whole(chunk.content)
            except UserError as error:
                yield Item(chunk.line, error)
            else:
                replacements = text.count("\ufffd") if label else replacements
                yield Item(chunk.line if chunk.line > 1 else None, text, label or found, replacements)


def _parts_of_text(part: Part) -> Iterator[Item]:
    """Lines, or what stands between blank ones, without the line end behind them; a line that is wrong ends one too."""
    held, size = list[Line](), 0
    for line in lines(part):
        if isinstance(line.content, UserError) or line.content.isspace():
            yield from _joined(held)
            size = 0
            if isinstance(line.content, UserError):
                yield Item(line.number, line.content)
            continue
        size += len(line.content)
        if size <= part.max_row_bytes:
            held.append(line)
        elif held:
            yield Item(held[0].number, too_long(f"{part.path}:{held[0].number}", "paragraph", part.max_row_bytes))
            held.clear()
        if part.document is DocumentUnit.line:
            yield from _joined(held)
            size = 0
    yield from _joined(held)


def _joined(held: list[Line]) -> Iterator[Item]:
    """The document of some lines, which are held no longer."""
    if held:
        text = "".join(line.content for line in held if isinstance(line.content, str)).rstrip("\r\n")
        encoding = next((line.encoding for line in held if line.encoding != "utf-8"), "utf-8")
        yield Item(held[0].number, text, encoding, sum(line.replacements for line in held))
        held.clear()


def read_html(part: Part) -> Iterator[Item]:
    """The main text of a page, below its title."""
    content = whole(part)
    decoded = Decoder(part.encoding, part.path, declared=html.declared_encoding(content)).whole(content)
    try:
        text = html.main_text(decoded.text)
    except Exception as error:  # one page in a million must not end the run, whatever a library makes of it
        raise UserError(
            f"{part.path}: {type(error).__name__}: {error}",
            "trafilatura finds the text of a page",
            "leave the page out, or give data.on_error=skip",
        ) from error
    yield Item(None, Page(text, decoded.text), decoded.encoding, decoded.replacements)


def read_jsonl(part: Part) -> Iterator[Item]:
    """One JSON object a line."""
    for number, text, encoding, replacements in lines(part):
        if isinstance(text, UserError):
            yield Item(number, text)
        elif not text.isspace():
            yield Item(number, _json_row(text, part.path, number), encoding, replacements)


def _json_row(text: str, path: str, number: int) -> dict[str, Any] | UserError:
    where = f"{path}:{number}"
    try:
        row = json.loads(text.rstrip("\r\n"))  # else a line that breaks off has its fault in column 1 of the next
    except (ValueError, RecursionError) as error:
        problem = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        return UserError(
            f"{where}: not JSON ({problem})", "a jsonl file holds one JSON object a line", "correct that line"
        )
    if isinstance(row, dict):
        return row
    return UserError(
        f"{where}: {kind_of(row)}",
        "a jsonl file holds one JSON object a line",
        'write rows like {"text": "..."}',
    )


READERS: dict[Format, Callable[[Part], Iterator[Item]]] = {
    Format.txt: read_text,
    Format.md: read_text,
    Format.py: read_text,
    Format.html: read_html,
    Format.jsonl: read_jsonl,
    Format.json: json_values.read_json,
    Format.csv: tables.read_csv,
    Format.tsv: tables.read_tsv,
    Format.parquet: tables.read_parquet,
}


def cut(part: Part, format: Format, size: int) -> list[tuple[int, int]]:
    """Where pieces of about `size` bytes begin: offset (parquet: row group) and line (parquet: row).

    The first is always (0, 1). Only local files that are not compressed are cut, and parquet. Raises UserError.
    """
    if format is Format.parquet:
        return tables.cut_parquet(part, size)
    beginning = [(0, 1)]
    if part.compression or files.is_url(part.path) or format in (Format.html, Format.json):
        return beginning
    with files.opened(part.path) as file:
        head = file.read(4)
        if is_wide(part.encoding) or (part.encoding == "auto" and marked(head)):
            return beginning
        file.seek(0)
        if format is Format.csv:
            return tables.cut_csv(part, size)
        if format in (Format.jsonl, Format.tsv) or part.document is DocumentUnit.line:
            return _cut_lines(file, size)
        if part.document is DocumentUnit.paragraph:
            return _cut_lines(file, size, _BLANK_LINE)
        offset, found = 0, []
        for chunk in _chunks(file, part.max_row_bytes):
            found.append((offset, chunk.line))
            offset += chunk.size
    return found or beginning


def _cut_lines(file: Stream, size: int, end: re.Pattern[bytes] = _LINE_END) -> list[tuple[int, int]]:
    """Cuts after line ends, or others."""
    found, line, offset = [(0, 1)], 1, 0
    while block := file.read(_BLOCK):
        begin = 0
        while match := end.search(block, max(begin, found[-1][0] + size - offset - 1)):
            line += block.count(b"\n", begin, match.end())
            begin = match.end()
            found.append((offset + begin, line))
        line += block.count(b"\n", begin)
        offset += len(block)
    return found if found[-1][0] < offset or len(found) == 1 else found[:-1]


def _chunks(stream: Stream, longest: int, line: int = 1) -> Iterator[Block]:
    """Cut text into blocks of LONGEST_TEXT bytes at most, each at its last blank line, else its last line end.

    A block that has been cut is not cut again, so that a piece of a file gives what the whole file gave.
    """
    held = b""
    for block in blocks(stream, longest, line):
        if block.content is None:
            if held:
                yield Block(held, line, len(held))
            yield block
            held, line = b"", block.line + 1
            continue
        held += block.content
        while len(held) > LONGEST_TEXT:
            end = held.rfind(b"\n\n", LONGEST_TEXT // 2, LONGEST_TEXT) + 2
            end = end if end > 1 else held.rfind(b"\n", 0, LONGEST_TEXT) + 1 or held.find(b"\n", LONGEST_TEXT) + 1
            if not end:
                break
            yield Block(held[:end], line, end)
            held, line = held[end:], line + held.count(b"\n", 0, end)
    if held:
        yield Block(held, line, len(held))
