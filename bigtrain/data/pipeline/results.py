"""Results of parts: folders that are either whole or absent, and are known to be whole when they are found again.

Nothing is synced here: that would take longer than the work on a small part. After a loss of power a result may
therefore be torn, so each carries the size and a checksum of its files.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

_LIST = "done.json"
_CHUNK = 1 << 20


@contextlib.contextmanager
def result(final: Path) -> Iterator[Path]:
    """A temporary folder that becomes `final` when the block ends well; that of another worker is as good."""
    temporary = final.with_name(f"{final.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        files = {path.name: _sum(path) for path in sorted(temporary.iterdir())}
        (temporary / _LIST).write_text(json.dumps(files), encoding="utf-8")
        try:
            os.rename(temporary, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether a result is there with the bytes that were written; a torn one is removed."""
    if not folder.is_dir():
        return False
    try:
        files = json.loads((folder / _LIST).read_bytes())
        whole = all(_sum(folder / name) == list(entry) for name, entry in files.items())
    except (OSError, ValueError):
        whole = False
    if not whole:
        shutil.rmtree(folder)
    return whole


def _sum(path: Path) -> list[int]:
    """Size and CRC-32."""
    size = checksum = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
    return [size, checksum]
