"""`data=stdlib`: the source of Python's standard library, real text that every machine with Python already has."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from bigtrain.errors import UserError
from bigtrain.log import log

_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"}


def python_files(root: Path | None = None) -> list[Path]:
    """The library's *.py files in UTF-8, in the order of their paths.

    Tests, installed packages and what the build of this very Python has generated (`config-*`, `_sysconfigdata*`) are
    left out. root: the library's folder, by default that of the running Python. Raises UserError where it holds no
    source: some distributions ship bytecode only.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _FOLDERS and not name.startswith("config-")]
        found += [
            Path(folder, name) for name in names if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    found.sort(key=lambda path: path.relative_to(root).as_posix())
    files = [path for path in found if _is_utf8(path)]
    if len(files) < len(found):
        log.info("data=stdlib: %d of %d files are not UTF-8 and are left out", len(found) - len(files), len(found))
    if not files:
        raise UserError(
            f"data=stdlib: no Python source in {root}",
            "the standard library must be there as .py files",
            "name text of your own with data.files=[GLOB,...]",
        )
    return files


def _is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
