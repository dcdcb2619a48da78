"""Files that are either whole or absent: write under a temporary name, fsync, rename. Checksums. No torch here."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigtrain.errors import DiskFull

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REPLACED = ".replaced"  # what a folder is called while another takes its place


@contextlib.contextmanager
def disk_full_is_an_error(path: Path) -> Iterator[None]:
    """Turn the operating system's "no space left" into `DiskFull` (exit code 6), which names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"no space left on the disk of {path}: free some and run the same command again") from error
        raise


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the bytes of `path` durable."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, atomically and durably."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with disk_full_is_an_error(path):
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Replace `path` by `content` in UTF-8, atomically and durably."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON, atomically and durably."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(parent: Path) -> None:
    """Delete what killed writers left in `parent` under temporary names; what they were about to replace is back."""
    for path in parent.glob(f"*{_REPLACED}"):
        final = path.with_name(path.name.removesuffix(_REPLACED))
        shutil.rmtree(path, ignore_errors=True) if final.exists() else os.rename(path, final)
    for path in parent.glob("*.tmp"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def _replaced(final: Path) -> Iterator[None]:
    """Take a folder away while another takes its place; it is back where that fails, and deleted where it does not."""
    aside = final.with_name(f"{final.name}{_REPLACED}")
    os.rename(final, aside)
    try:
        yield
    except BaseException:
        if not final.exists():
            os.rename(aside, final)
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def new_folder(final: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `final`, which becomes `final` when the block ends well and vanishes when it does not.

    Every file in it is synced before the rename. `final` must not exist then, unless it is to be replaced: it is
    deleted last, and `remove_leftovers` brings it back where a kill came between the two renames.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f"{final.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with disk_full_is_an_error(final):
            temporary.mkdir()
            yield temporary
            for path in sorted(temporary.rglob("*")):
                sync_folder(path) if path.is_dir() else sync_file(path)
            sync_folder(temporary)
            with _replaced(final) if replace and final.exists() else contextlib.nullcontext():
                os.rename(temporary, final)
                sync_folder(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class JsonLines:
    """An append-only file of JSON objects, one a line, that can be cut back to an earlier length."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, value: dict[str, Any]) -> None:
        """Add one line."""
        line = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
        with disk_full_is_an_error(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(line)

    def size(self) -> int:
        """Length in bytes; 0 where there is no file yet."""
        return self.path.stat().st_size if self.path.exists() else 0

    def sync(self) -> int:
        """Make all lines durable; returns the length in bytes."""
        if self.path.exists():
            sync_file(self.path)
        return self.size()

    def truncate(self, size: int) -> None:
        """Cut the file back to `size` bytes: what came later belongs to steps that will run again."""
        if self.size() > size:
            os.truncate(self.path, size)

    def read(self) -> list[dict[str, Any]]:
        """All whole lines."""
        if not self.path.exists():
            return []
        *whole, _ = self.path.read_bytes().split(b"\n")  # `splitlines` would also cut at what JSON leaves unescaped
        return [json.loads(line) for line in whole]
