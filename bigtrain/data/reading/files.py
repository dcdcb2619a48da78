"""Files near and far: local paths and fsspec URLs, found, measured, opened and unpacked."""

from __future__ import annotations

import contextlib
import glob
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from bigtrain.data.reading.archives import Counted, Stream, Unpacked
from bigtrain.data.reading.own_folders import is_own, without_own
from bigtrain.errors import UserError

COMPRESSIONS = {".gz": "gz", ".zst": "zst", ".xz": "xz", ".bz2": "bz2"}
_BUFFER = 1 << 20


class Stamp(NamedTuple):
    """What changes when a file does."""

    size: int  # bytes, as stored
    version: str  # time of change, or what a remote file system has for that


def is_url(path: str) -> bool:
    """Whether a path is an fsspec URL, chained ones (`zip://a.txt::b.zip`) included."""
    return "://" in path


def expand(
    given: str, key: str, wanted: Callable[[str], bool], hint: str, linked: Callable[[str], None] = lambda path: None
) -> list[str]:
    """The files of one entry of `data.files`: a file, a folder (searched to the bottom), or a glob, in sorted order.

    key: named in errors. wanted: which files of a folder are meant. hint: what those are. linked: called with each
    folder in a folder that is a link, which is not followed. Raises UserError.
    """
    near = given.removeprefix("file://")
    return _expand_far(given, key, wanted, hint) if is_url(near) else _expand_near(near, key, wanted, hint, linked)


def split_name(path: str) -> tuple[str, str | None]:
    """Extension and compression of a path or URL: `a.jsonl.gz` -> (`.jsonl`, `gz`)."""
    path = path.partition("::")[0]
    name = Path(path.partition("?")[0] if path.startswith("http") and is_url(path) else path)
    compression = COMPRESSIONS.get(name.suffix.lower())
    return Path(name.stem if compression else name.name).suffix.lower(), compression


def identity(path: str) -> str:
    """A name that two ways to the same file share."""
    return path if is_url(path) else str(Path(path).resolve())


def stamp(path: str) -> Stamp:
    """Size and version of a file. Raises UserError."""
    with readable(path):
        if not is_url(path):
            status = os.stat(path)  # noqa: PTH116  # a path of our own making
            return Stamp(status.st_size, str(status.st_mtime_ns))
        system, inside = _system(path)
        with _far_errors():
            about = system.info(inside)
        version = next(
            (about[name] for name in ("ETag", "etag", "mtime", "LastModified", "created") if name in about), ""
        )
        return Stamp(int(about.get("size") or 0), str(version))


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file as they are stored; it can be sought. Raises UserError where it cannot be opened."""
    with readable(path), contextlib.ExitStack() as stack:
        if is_url(path):
            system, inside = _system(path)
            with _far_errors():
                raw = stack.enter_context(system.open(inside, "rb"))
            yield io.BufferedReader(_Far(raw), _BUFFER)
        else:
            yield stack.enter_context(open(path, "rb"))


@contextlib.contextmanager
def unpacked(path: str, compression: str | None, progress: Callable[[int], None] | None = None) -> Iterator[Stream]:
    """The bytes of a file, out of their archive. Raises UserError, while reading too: a damaged or cut archive.

    progress: called with numbers of bytes as they are stored, when these have been read.
    """
    with opened(path) as stored:
        file = cast(BinaryIO, Counted(stored, progress)) if progress else stored
        yield Unpacked(path, compression, file) if compression else file


@contextlib.contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Turn the operating system's refusal to read `path` into a UserError; a pipe could be read only once."""
    if not is_url(str(path)):
        _check_regular(Path(path))
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or error}", "input must be a readable file", "check the path and its permissions"
        ) from error


def _check_regular(path: Path) -> None:
    try:
        odd = path.exists() and not (path.is_file() or path.is_dir())
    except OSError:  # a name that is too long: for `open` to say
        odd = False
    if odd:
        raise UserError(f"{path}: a pipe or a device", "input must be a regular file", "write it to a file first")


def _expand_near(
    given: str, key: str, wanted: Callable[[str], bool], hint: str, linked: Callable[[str], None]
) -> list[str]:
    path = Path(given).expanduser()
    if path.is_dir():
        found = _inside(path, wanted, linked)
        if not found:
            raise _nothing_inside(given, key, hint)
        return found
    if path.exists():
        return [str(path)]
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # patterns may be absolute
    files = without_own([match for match in matches if Path(match).is_file()], str(path))
    if not files:
        place = "" if path.is_absolute() else f"; it is relative to {Path.cwd()}"
        raise _nothing_there(given, key, place)
    return files


def _inside(folder: Path, wanted: Callable[[str], bool], linked: Callable[[str], None]) -> list[str]:
    """Files below `folder` in the order of their relative paths; hidden ones and bigtrain's own are left out."""
    found = []
    for place, folders, names in os.walk(folder):
        if Path(place) != folder and is_own(Path(place), names):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in folders):
            if path.is_symlink():
                linked(str(path))
        paths = [Path(place, name) for name in names if not name.startswith(".")]
        found += [path for path in paths if wanted(str(path))]
    return [str(path) for path in sorted(found, key=lambda path: path.relative_to(folder).as_posix())]


def _expand_far(given: str, key: str, wanted: Callable[[str], bool], hint: str) -> list[str]:
    system, inside = _system(given, key)
    with readable(given), _far_errors():
        if "*" in inside or "[" in inside:  # `?` belongs to web addresses
            found = [name for name in system.glob(inside) if system.isfile(name)]
        elif system.isdir(inside):
            names = ((name, name.removeprefix(inside).strip("/").split("/")) for name in system.find(inside))
            found = [name for name, parts in names if wanted(name) and not any(part.startswith(".") for part in parts)]
            if not found:
                raise _nothing_inside(given, key, hint)
        else:
            found = [inside] if system.exists(inside) else []
    if not found:
        raise _nothing_there(given, key, "")
    head, chained, rest = given.partition("::")
    scheme = head.partition("://")[0]
    return [f"{name if is_url(name) else f'{scheme}://{name}'}{chained}{rest}" for name in sorted(found)]


def _nothing_inside(given: str, key: str, hint: str) -> UserError:
    return UserError(f"{key}={given}: no text files in this folder", hint, "name a folder with text files")


def _nothing_there(given: str, key: str, place: str) -> UserError:
    what = "no file matches" if glob.has_magic(given) else "no such file"
    return UserError(f"{key}={given}: {what}", "input must exist", f"check the path{place}")


def _system(url: str, key: str = "data.files") -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Raises UserError where there is none for its scheme."""
    import fsspec  # type: ignore[import-untyped]
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    scheme = url.partition("://")[0]
    try:
        with _far_errors():
            return url_to_fs(url)  # type: ignore[no-any-return]
    except ImportError as error:
        raise UserError(
            f"{key}={url}", f"{scheme}:// needs a package: {error}", "install it beside bigtrain"
        ) from error
    except ValueError as error:
        known = ", ".join(sorted(fsspec.available_protocols()))
        raise UserError(f"{key}={url}: {error}", f"a URL begins with one of {known}", "correct the URL") from error


class _Far(io.RawIOBase):
    """A remote file whose troubles, of whichever library, are OSErrors."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Whether the remote file is."""
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; returns the new offset."""
        with _far_errors():
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """The offset."""
        return int(self._file.tell())

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer; returns the number of bytes."""
        with _far_errors():
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


@contextlib.contextmanager
def _far_errors() -> Iterator[None]:
    """What a remote file system's library raises, as OSError; ImportError and ValueError speak for themselves."""
    try:
        yield
    except (OSError, ImportError, ValueError, UserError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
