"""What people see of a run: one live line on a terminal, a line per record elsewhere."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections import deque
from typing import Any

import torch
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bigtrain.log import log
from bigtrain.units import clock, gib, si

_NOT_METRICS = {"step", "tokens", "seconds"}
_RECORDS_BEHIND_THE_RATE = 20
_BAR_WIDTH = 16


class Progress:
    """Shows the records that go to metrics.jsonl. Usable as a context manager.

    `enabled` is false on all ranks but 0: nothing is shown. Where the log is quiet, lines go to log.txt only.
    `console` stands for stderr, where a terminal is looked for.
    """

    def __init__(self, total_steps: int | None, *, enabled: bool = True, console: Console | None = None) -> None:
        self.enabled = enabled
        self._total = total_steps
        self._validation: dict[str, Any] = {}
        self._times: deque[tuple[int, float]] = deque(maxlen=_RECORDS_BEHIND_THE_RATE)
        self._live: Live | None = None
        console = console or Console(stderr=True)
        quiet = all(handler.level > logging.INFO for handler in _stderr_handlers())
        if enabled and not quiet and console.is_terminal and not console.is_dumb_terminal:
            # No refreshing thread: the line changes with a record, and takes no time from the training in between.
            self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
            console.show_cursor(True)  # where it would stay hidden after a kill -9
            for handler in _stderr_handlers():
                handler.setStream(FileProxy(console, handler.stream))

    def train(self, record: dict[str, Any]) -> None:
        """A record of split `train`."""
        if not self.enabled:
            return
        self._times.append((record["step"], time.monotonic()))
        step = f"step {record['step']}" + (f"/{self._total}" if self._total else "")
        parts = self._parts(record)
        # The live line stands for the log line on stderr; log.txt has every one.
        log.log(logging.INFO if self._live is None else logging.DEBUG, "%s  %s", step, "  ".join(parts))
        if self._live is not None:
            self._live.update(self._line(step, record["step"], parts), refresh=True)

    def evaluation(self, record: dict[str, Any]) -> None:
        """A record of another split: always a line of its own."""
        if record["split"] == "validation":
            self._validation = record
        metrics = [
            f"{name} {value:.4f}"
            for name, value in record.items()
            if isinstance(value, int | float) and name not in _NOT_METRICS
        ]
        self.message(f"step {record['step']}  {record['split']}: {'  '.join(metrics)}")

    def message(self, text: str) -> None:
        """A line of its own."""
        if self.enabled:
            log.info("%s", text)

    def total(self, steps: int | None) -> None:
        """The number of steps, where it is planned on the way."""
        self._total = steps

    def close(self) -> None:
        """Leave the last line where it is and give stderr back."""
        if self._live is not None:
            for handler in _stderr_handlers():
                if isinstance(handler.stream, FileProxy):
                    handler.setStream(handler.stream.rich_proxied_file)
            self._live.stop()
            self._live = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _parts(self, record: dict[str, Any]) -> list[str]:
        """What is known of a step, the most telling first: a narrow terminal shows the first of them."""
        left = self._seconds_left()
        epochs = [(name.replace("_", " ", 1), passes) for name, passes in record.items() if name.startswith("epochs")]
        parts = [
            f"loss {record['loss']:.4f}",
            self._measured(),
            f"{si(record['tokens_per_second'])} tok/s" if record.get("tokens_per_second") else "",
            f"{clock(left)} left" if left is not None else "",
            f"mfu {record['mfu']:.1%}" if record.get("mfu") else "",
            gib(peak_memory_bytes()),
            f"lr {record['lr']:.2e}" if "lr" in record else "",
            f"grad {record['grad_norm']:.3f}" if "grad_norm" in record else "",
            *(f"{name} {passes:.2f}" for name, passes in epochs),
        ]
        return [part for part in parts if part]

    def _measured(self) -> str:
        """The last evaluation in a word, in bits per byte where the bytes are known."""
        if "bits_per_byte" in self._validation:
            return f"val {self._validation['bits_per_byte']:.3f} bits/byte"
        return f"val {self._validation['loss']:.4f}" if self._validation else ""

    def _line(self, step: str, done: int, parts: list[str]) -> Table:
        assert self._live is not None
        room = self._live.console.width - len(step) - 1
        line = Table.grid(padding=(0, 1))
        bar = []
        if self._total and room >= 2 * _BAR_WIDTH:
            bar = [ProgressBar(self._total, done, width=_BAR_WIDTH, complete_style="green", finished_style="green")]
            room -= _BAR_WIDTH + 1
        line.add_row(Text(step, "bold"), *bar, Text(_fitting(parts, room), no_wrap=True, overflow="ellipsis"))
        return line

    def _seconds_left(self) -> float | None:
        """At the rate of the last records, evaluations and saves included; None before there is one."""
        (first, began), (last, ended) = self._times[0], self._times[-1]
        if self._total is None or last <= first:
            return None
        return max(0, self._total - last) * (ended - began) / (last - first)


def _stderr_handlers() -> list[logging.StreamHandler[Any]]:
    return [handler for handler in log.handlers if type(handler) is logging.StreamHandler]


def _fitting(parts: list[str], width: int) -> str:
    """As many of the first parts as fit into `width` characters, at least one."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + 3 + len(part) > width:
            break
        text += f" · {part}"
    return text


def peak_memory_bytes() -> int:
    """The most this process has held: on the device where there is one, else of the machine's memory."""
    if torch.cuda.is_available() and (held := torch.cuda.max_memory_allocated()):
        return held
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
