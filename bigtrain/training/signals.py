"""Stop signals as a flag that the loop reads at its own time."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

from bigtrain.errors import Stopped
from bigtrain.log import log

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopFlag:
    """While entered, SIGTERM, SIGINT and SIGUSR1 raise the flag; a second SIGINT leaves at once with 130.

    As long as `nothing_to_save` is set a signal ends the process at once instead: there is no step to lose.
    """

    def __init__(self, *, alone: bool) -> None:
        self.raised: str | None = None
        self.nothing_to_save = alone  # several processes leave together, at the top of the loop

    def __enter__(self) -> StopFlag:
        self.before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.raised and number == signal.SIGINT:
            os._exit(130)
        self.raised = name
        if self.nothing_to_save:
            raise Stopped(f"stopped by {name} before it did a step: the same command goes on from here")
        log.warning("%s: saving a checkpoint and stopping (Ctrl-C again leaves at once)", name)
