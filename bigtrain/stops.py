"""Stop signals, and whether one has come: a library may swallow what is raised at one, or break on it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from bigtrain.errors import DiskFull, Diverged, GateMissed, Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)

_came: str | None = None


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let `handler`, which is to call `note`, have the stop signals; what breaks after one comes out as Stopped.

    A SIGHUP that is ignored, as under nohup, stays ignored. Python delivers signals to the main thread only.
    """
    global _came
    noted, before = _came, {}
    if threading.current_thread() is threading.main_thread():
        wanted = [n for n in SIGNALS if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    except Exception as error:
        if (ended := outcome(error)) is not error:
            raise ended from error
        raise
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        _came = noted


def note(number: int) -> str:
    """Remember that this signal has come; returns its name."""
    global _came
    _came = signal.Signals(number).name
    return _came


def came() -> str | None:
    """The name of the stop signal that has come."""
    return _came


def check() -> None:
    """Raises Stopped where a signal has come, and what was raised at it is lost."""
    if _came:
        raise Stopped(f"stopped by {_came}: the same command again goes on from here")


def outcome(error: BaseException) -> BaseException:
    """How a block that raised `error` has ended: once a stop signal has come as Stopped, unless its reason matters."""
    if _came is None or isinstance(error, Stopped | DiskFull | Diverged | GateMissed | SystemExit):
        return error
    return Stopped(f"stopped by {_came}: the same command again goes on from here")
