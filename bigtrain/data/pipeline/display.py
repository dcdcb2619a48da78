"""What people see of a preparation: a bar for each stage on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bigtrain.log import log
from bigtrain.units import clock, si

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_SECONDS_BETWEEN_LINES = 10


class Stage:
    """One stage: `total` units of work, of which some may have been done by an earlier command."""

    def __init__(self, name: str, unit: str, total: float, live: Progress | None) -> None:
        self.name, self._unit, self._total, self._live = name, unit, total, live
        self._done = self._before = self._partly = 0.0
        self._began = self._said = time.monotonic()
        self._task = live.add_task(name, total=total, rate="") if live else None

    def found(self, amount: float) -> None:
        """Work that an earlier command has done: it counts for the end, not for the rate."""
        self._done += amount
        self._before += amount

    def begin(self, amount: float) -> None:
        """Some of the work that the next `advance` will count as a whole."""
        self._partly += amount
        self._show()

    def advance(self, amount: float) -> None:
        """Work that has been done."""
        self._done, self._partly = self._done + amount, 0.0
        self._show()

    def _show(self) -> None:
        now, done = time.monotonic(), self._done + self._partly
        if self._live and self._task is not None:
            self._live.update(self._task, completed=done, rate=self._rate(now))
        elif now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            log.info("%s: %.0f%%, %s", self.name, 100 * done / max(self._total, 1), self._rate(now))

    def finish(self) -> None:
        """Leave a line, where the stage took its time."""
        now = time.monotonic()
        if now - self._began >= _SECONDS_BETWEEN_LINES:
            log.info("%s: done in %s, %s", self.name, clock(now - self._began), self._rate(now))
        if self._live and self._task is not None:
            self._live.remove_task(self._task)

    def _rate(self, now: float) -> str:
        """`3.2 MB/s, 1:20 left`."""
        new, seconds = self._done + self._partly - self._before, now - self._began
        if not new or not seconds:
            return ""
        left = (self._total - self._before - new) * seconds / new
        return f"{si(new / seconds)}{self._unit}/s" + (f", {clock(left)} left" if left > 0 else "")


class Display:
    """Shows stages one after the other. Usable as a context manager. `console` stands for stderr."""

    def __init__(self, console: Console | None = None) -> None:
        quiet = all(handler.level > logging.INFO for handler in _stderr_handlers())
        self._live = None if quiet or not (console or sys.stderr.isatty()) else _bars(console)

    @contextlib.contextmanager
    def stage(self, name: str, total: float, unit: str = "B") -> Iterator[Stage]:
        """Show one stage for the time of the block."""
        stage = Stage(name, unit, total, self._live)
        yield stage
        stage.finish()

    def __enter__(self) -> Display:
        if self._live:
            from rich.file_proxy import FileProxy

            self._live.start()
            self._streams = [(handler, handler.stream) for handler in _stderr_handlers()]
            for handler, stream in self._streams:
                handler.setStream(FileProxy(self._live.console, stream))
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            for handler, stream in self._streams:
                handler.setStream(stream)
            self._live.stop()


def _bars(console: Console | None) -> Progress | None:
    """Rich takes its time to import, and is for terminals only."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = console or Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    texts = [TextColumn(form) for form in ("{task.description:>10}", "{task.percentage:3.0f}%", "{task.fields[rate]}")]
    columns = (texts[0], BarColumn(), *texts[1:])
    return Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)


def _stderr_handlers() -> list[logging.StreamHandler[Any]]:
    return [handler for handler in log.handlers if type(handler) is logging.StreamHandler]
