"""Logging: one line per event on stderr, and in the run folder once there is one. Results never go through here."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

log = logging.getLogger("bigtrain")

NOTE = "traceback in "  # on an error whose traceback is in a file that is closed by now

_FORMAT = logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%Y-%m-%dT%H:%M:%S")


def setup(*, quiet: bool = False, rank: int = 0) -> None:
    """Send log lines to stderr: warnings only with `quiet`, and on ranks other than 0."""
    log.handlers.clear()
    log.propagate = False
    log.setLevel(logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FORMAT)
    handler.setLevel(logging.WARNING if quiet or rank else logging.INFO)
    log.addHandler(handler)


def to_file(path: Path) -> logging.Handler:
    """Also append every line to `path` (`log.txt` of rank 0, `logs/rank-N.log` of the others)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_FORMAT)
    log.addHandler(handler)
    return handler


def files() -> list[logging.FileHandler]:
    """The open log files."""
    return [handler for handler in log.handlers if isinstance(handler, logging.FileHandler)]
