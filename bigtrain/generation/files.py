"""Prompts from a JSON Lines file, and the file of what became of them: a killed run loses no row that was done."""

from __future__ import annotations

import fcntl
import glob
import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.data.reading.fields import unicode
from bigtrain.data.reading.files import readable, split_name
from bigtrain.data.reading.formats import read_jsonl
from bigtrain.data.reading.lines import Part
from bigtrain.errors import RunBusy, UserError, kind_of
from bigtrain.storage import disk_full_is_an_error, write_bytes, write_json

ROW_RULE = 'a row has a "prompt" that is text, or "messages" that are a list, not both'


@dataclass(frozen=True)
class PromptRow:
    """One row of a file: `where` is its file and line, `fields` all it holds."""

    where: str
    fields: dict[str, Any]


def read_prompts(path: Path, results: Collection[str]) -> list[PromptRow]:
    """All rows. Raises UserError with file and line: no JSON, no prompt, a field that the `results` would overwrite."""
    if not path.is_file():
        raise UserError(f"prompts={path}", "there is no such file", "check the path")
    rows = []
    with readable(path):
        for line, fields, _, _ in read_jsonl(Part(str(path), split_name(str(path))[1], encoding="utf-8")):
            if isinstance(fields, UserError):
                raise fields
            assert isinstance(fields, dict)
            rows.append(PromptRow(f"{path}:{line}", fields))
            _check(rows[-1], results)
    if not rows:
        raise UserError(f"prompts={path}: no rows", "there must be a prompt to continue", "name a file that holds rows")
    return rows


def _check(row: PromptRow, results: Collection[str]) -> None:
    prompt, messages = row.fields.get("prompt"), row.fields.get("messages")
    if (prompt is None) == (messages is None):
        there = ", ".join(sorted(row.fields)) or "none"
        raise UserError(f"{row.where}: fields {there}", ROW_RULE, "correct the row")
    name = "messages" if prompt is None else "prompt"
    if not isinstance(messages or [], list) or not isinstance(prompt or "", str):
        raise UserError(f"{row.where}: {name} is {kind_of(row.fields[name])}", ROW_RULE, "correct the row")
    if messages == []:
        raise UserError(f"{row.where}: messages are empty", "there is one to answer", "correct the row")
    unicode(json.dumps(row.fields[name], ensure_ascii=False), f"{row.where}: {name}")
    if taken := [name for name in results if name in row.fields]:
        raise UserError(
            f"{row.where}: a field {taken[0]!r}",
            "this is where the result goes; other fields are kept",
            "give the field another name",
        )


class Output:
    """The output file. Until all rows are done there are only parts beside it: a line for each row that is.

    `FILE.settings.json` says what it is made from; another command does not write into it.
    """

    def __init__(self, path: Path, rank: int = 0) -> None:
        self.path = path
        self._settings = path.with_name(f"{path.name}.settings.json")
        self._part = path.with_name(f"{path.name}.part-{rank}")
        self._lock: int | None = None

    def claim(self, settings: dict[str, Any], *, lock: bool = True) -> None:
        """Begin the file, or go on with it; with `lock` hold it until `close`, or the end of this process.

        Raises UserError where it is another command's, RunBusy while another process writes it.
        """
        if not self._settings.exists():
            if self.path.exists():
                raise UserError(
                    f"output={self.path}",
                    "a file is there that was not made here; nothing is overwritten",
                    "name another file, or remove it",
                )
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                rule = f"{self.path.parent} is to be a folder, and a file is in the way"
                raise UserError(f"output={self.path}", rule, "name another place") from None
            write_json(self._settings, settings)
        try:
            before = json.loads(self._settings.read_bytes())
        except ValueError:
            before = {}
        if changed := [key for key in settings if before.get(key) != settings[key]]:
            raise UserError(
                f"output={self.path}: made with other settings: {', '.join(changed)}",
                "a file holds the rows of one command",
                f"name another output=, or remove {self._settings} and the file",
            )
        if lock and self._lock is None:
            self._lock = os.open(self._settings, os.O_RDONLY)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise RunBusy(f"{self.path} is being written by another process: wait for it, or stop it") from None

    def close(self) -> None:
        """Let others have the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def whole(self) -> bool:
        """Whether nothing is left to do."""
        return self.path.exists()

    def done(self) -> dict[int, dict[str, Any]]:
        """The results of all rows that any process has done, by number."""
        results = {}
        for part in self._parts():
            for line in part.read_bytes().split(b"\n")[:-1]:  # what a kill left of a last line has no end
                entry = json.loads(line)
                results[int(entry["row"])] = entry["result"]
        return results

    def repair(self) -> None:
        """Cut off what a kill left of a last line."""
        if self._part.exists():
            content = self._part.read_bytes()
            os.truncate(self._part, content.rfind(b"\n") + 1)

    def append(self, number: int, result: dict[str, Any]) -> None:
        """Keep the result of a row."""
        with disk_full_is_an_error(self._part), open(self._part, "ab") as file:
            file.write(_line({"row": number, "result": result}))

    def finish(self, rows: list[PromptRow]) -> None:
        """Write the file, in the order of the rows, and remove the parts."""
        results = self.done()
        lines = [_line({**row.fields, **results[number]}) for number, row in enumerate(rows)]
        write_bytes(self.path, b"".join(lines))
        self.remove_parts()

    def remove_parts(self) -> None:
        """Once the file is whole they are of no use."""
        for part in self._parts():
            part.unlink()

    def _parts(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{glob.escape(self.path.name)}.part-*"))


def _line(value: dict[str, Any]) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair in a field that is only kept
        return json.dumps(value).encode("ascii") + b"\n"
