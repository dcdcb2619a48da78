"""A process that hangs is ended, and says where it hung: a job that waits for ever costs money and tells nobody."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from bigtrain.errors import LostProcess
from bigtrain.log import files, log


class Watchdog:
    """While entered, ends the process with exit code 5 once it has gone `minutes` without a `beat`.

    The stacks of all threads go to the log files before, or to standard error where there are none. minutes: None
    watches nothing. report: called with what happened, to leave a word in the run folder.
    """

    def __init__(self, minutes: float | None, rank: int, report: Callable[[str], None]) -> None:
        self.minutes, self.rank, self.report = minutes, rank, report
        self._idle, self._left = 0.0, threading.Event()

    def beat(self) -> None:
        """Say that there is progress."""
        self._idle = 0.0

    def __enter__(self) -> Watchdog:
        self.beat()
        if self.minutes is not None:
            threading.Thread(target=self._watch, args=(60 * self.minutes,), name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def _watch(self, limit: float) -> None:
        """Add up the naps, not the clock: a process that was stopped and continued did not hang."""
        nap = min(1.0, limit / 10)
        while not self._left.wait(nap):
            self._idle += nap
            if self._idle > limit:
                self._end()

    def _end(self) -> None:
        message = f"process {self.rank} hangs: no progress for {self.minutes:g} minutes (parallel.hang_minutes)"
        log.error("%s; the stacks of its threads follow", message)
        streams: list[Any] = [handler.stream for handler in files()] or [sys.stderr]
        for stream in streams:
            faulthandler.dump_traceback(stream)
        try:
            self.report(message)
        finally:
            os._exit(LostProcess.exit_code)
