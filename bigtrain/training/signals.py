"""Stop signals as a flag that the loop reads at its own time."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

from bigtrain import stops
from bigtrain.errors import Stopped
from bigtrain.log import log


class StopFlag:
    """While entered, a stop signal raises the flag; a second SIGINT leaves at once with 130.

    As long as `nothing_to_save` is set a signal ends the process at once instead: there is no step to lose. One that
    came before, and was lost in an import, has raised the flag from the start.
    """

    def __init__(self, *, alone: bool) -> None:
        self.raised: str | None = None
        self.nothing_to_save = alone  # several processes leave together, at the top of the loop

    def __enter__(self) -> StopFlag:
        self.raised = stops.came()
        self._handled = stops.handled(self._handle)
        self._handled.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled.__exit__(kind, error, trace)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.raised and number == signal.SIGINT:
            os._exit(130)
        self.raised = name = stops.note(number)
        if self.nothing_to_save:
            raise Stopped(f"stopped by {name} before it did a step: the same command goes on from here")
        log.warning("%s: saving a checkpoint and stopping (Ctrl-C again leaves at once)", name)
