"""Folders that bigtrain makes: a search for raw text leaves them out, or its own output would become its input."""

from __future__ import annotations

import functools
import glob
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

PREPARING = ".preparing"  # ends the name of the work folder beside a set
_MANIFEST, _RUN = "manifest.json", {"config.yaml", "status.json"}
_FIRST_KEYS = (b'"bigtrain"', b'"body"')  # of the manifests of prepared sets and of checkpoints
_HEAD = 256  # bytes of a manifest that hold them


def is_own(folder: Path, names: Iterable[str]) -> bool:
    """Whether a folder with these entries is a prepared set, the work on one, a run or a checkpoint."""
    names = set(names)
    if folder.name.endswith(PREPARING) or names >= _RUN:
        return True
    if _MANIFEST not in names:
        return False
    try:
        with open(folder / _MANIFEST, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return any(key in head for key in _FIRST_KEYS)


def without_own(matches: list[str], pattern: str) -> list[str]:
    """The matches of a glob that lie in no such folder, but for folders that the pattern itself names."""

    @functools.cache
    def own(folder: Path) -> bool:
        return is_own(folder, os.listdir(folder))  # noqa: PTH208  # names are enough

    n_named = len(list(itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)))

    def found(match: str) -> list[Path]:
        parts = Path(match).parts
        return [Path(*parts[:n]) for n in range(n_named + 1, len(parts))]

    return [match for match in matches if not any(own(folder) for folder in found(match))]
