"""Files near and far: local paths and fsspec URLs, found, measured, opened and unpacked."""

from __future__ import annotations

import bz2
import contextlib
import glob
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from bigtrain.data.reading.own_folders import is_own, without_own
from bigtrain.errors import UserError

COMPRESSIONS = {".gz": "gz", ".zst": "zst", ".xz": "xz", ".bz2": "bz2"}
_BUFFER = 1 << 20


class Stream(Protocol):
    """Bytes from the start to the end."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class Stamp(NamedTuple):
    """What changes when a file does."""

    size: int  # bytes, as stored
    version: str  # time of change, or what a remote file system has for that


def is_url(path: str) -> bool:
    """Whether a path is an fsspec URL, chained ones (`zip://a.txt::b.zip`) included."""
    return "://" in path


def expand(given: str, key: str, wanted: Callable[[str], bool], hint: str) -> list[str]:
    """The files of one entry of `data.files`: a file, a folder (searched to the bottom), or a glob, in sorted order.

    key: named in errors. wanted: which names of a folder are meant. hint: what those are. Raises UserError.
    """
    near = given.removeprefix("file://")
    return _expand_far(given, key, wanted, hint) if is_url(near) else _expand_near(near, key, wanted, hint)


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
        file = cast(BinaryIO, _Counted(stored, progress)) if progress else stored
        yield _Unpacked(path, compression, file) if compression else file


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


class _Counted:
    """A file that says how much of it has been read."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        self._file, self._progress = file, progress
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._progress(len(data))
        return data


class _Unpacked:
    """The content of a compressed file."""

    def __init__(self, path: str, compression: str, file: BinaryIO) -> None:
        self._path, self._compression = path, compression
        self._stream: Stream = _UNPACKERS[compression](file)

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end. Raises UserError where the archive is damaged."""
        try:
            return self._stream.read(size)
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's, not the archive's
            raise UserError(
                f"{self._path}: a damaged .{self._compression} file ({error})",
                "an archive can be unpacked to its end",
                "fetch or pack the file again, or leave it out",
            ) from error


class _Zst:
    """Zstandard frames, one after the other. The library's own reader takes a cut file for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file, self._error = file, zstandard.ZstdError
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._frame: Any = None
        self._packed = self._ready = b""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        while not self._ready and self._fill():
            pass
        result, self._ready = self._ready[:size], self._ready[size:]
        return result

    def _fill(self) -> bool:
        """Unpack a little more. False at the end."""
        self._packed = self._packed or self._file.read(1 << 16)
        if not self._packed:
            if self._frame is not None:
                raise EOFError("it ends too early")
            return False
        if self._frame is None:
            self._frame = self._unpacker.decompressobj()
        try:
            self._ready = self._frame.decompress(self._packed)
        except self._error as error:
            raise EOFError(str(error)) from error
        self._packed = b""
        if self._frame.eof:
            self._packed, self._frame = self._frame.unused_data, None
        return True


_UNPACKERS: dict[str, Callable[[BinaryIO], Any]] = {
    "gz": lambda file: gzip.GzipFile(fileobj=file),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zst": _Zst,
}


def _expand_near(given: str, key: str, wanted: Callable[[str], bool], hint: str) -> list[str]:
    path = Path(given).expanduser()
    if path.is_dir():
        found = _inside(path, wanted)
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


def _inside(folder: Path, wanted: Callable[[str], bool]) -> list[str]:
    """Files below `folder` in the order of their relative paths; hidden ones and bigtrain's own are left out."""
    found = []
    for place, folders, names in os.walk(folder):
        if Path(place) != folder and is_own(Path(place), names):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".") and wanted(name)]
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
