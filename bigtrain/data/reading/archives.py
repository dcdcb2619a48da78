"""Compressed files, unpacked as they are read; a damaged or cut one is an error, not an end."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from bigtrain.errors import UserError


class Stream(Protocol):
    """Bytes from the start to the end."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class Counted:
    """A file that says how much of it has been read."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        self._file, self._progress = file, progress
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        data = self._file.read(size)
        self._progress(len(data))
        return data


class Unpacked:
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
