"""Errors and signals become messages on standard error, lines in the run's log files, and exit codes."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from bigtrain import log as logs
from bigtrain import stops
from bigtrain.errors import BigtrainError, DiskFull, Stopped, UserError
from bigtrain.log import log

# What Click raises for a mistyped command line. Typer exports only a subclass, and brings its own Click since 0.26.
_USAGE: type[Exception] = typer.BadParameter.__mro__[1]

# What the operating system refuses for reasons that the user can change -> the remedy.
_REFUSALS = {
    **dict.fromkeys((errno.EACCES, errno.EROFS, errno.EPERM), "choose another place, or change its permissions"),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP), "choose another path"),
}


def rank() -> int:
    """The number of this process among those of the run, from the launcher's environment."""
    return _number("RANK", 0)


def world_size() -> int:
    """How many processes the launcher has started."""
    return _number("WORLD_SIZE", 1)


def _number(variable: str, unset: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else unset


def _check_launcher() -> None:
    """Raises UserError where a variable of the launcher is no number."""
    for variable in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        if not (text := os.environ.get(variable, "0")).isdecimal():
            rule = "a launcher gives each process its number and how many there are"
            raise UserError(f"{variable}={text} in the environment", rule, f"unset {variable}, or start by torchrun")


def guarded(run: Callable[[], int | None]) -> int:
    """Run the command line to its exit code: those of `errors.py`, 0 for done, 1 for a bug, 130 for a second Ctrl-C."""
    _ready_streams()
    logs.setup(rank=rank())
    code = _attempt(run)
    report = os.environ.get("BIGTRAIN_EXIT_CODE_FILE")  # for the local launcher
    if report:
        Path(f"{report}.rank{rank()}").write_text(str(code), encoding="ascii")
    if world_size() > 1:  # gloo's threads can abort the interpreter on its way out
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _ready_streams() -> None:
    """Point closed standard streams at nothing: the next file that is opened would take their place.

    Characters that standard output's encoding lacks are written as escapes, as on standard error.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _attempt(run: Callable[[], int | None]) -> int:
    try:
        _check_launcher()
        with stops.handled(_stop):
            if world_size() > 1:
                from bigtrain.parallel.launch import follow_launcher

                follow_launcher()
            return run() or 0
    except Stopped as error:
        _say(str(error))
        return Stopped.exit_code
    except BigtrainError as error:
        _say(f"error: {error}")
        return error.exit_code
    except _USAGE as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "bigtrain"
        remedy = _setting(error, path.split()[-1]) or f"`{path} --help` lists the options"
        _say(f"error: {error.format_message()}\n  remedy: {remedy}")  # type: ignore[attr-defined]
        return UserError.exit_code
    except SystemExit as error:  # completion, and Click's own answer to a closed pipe
        return error.code if isinstance(error.code, int) else 0
    except OSError as error:
        return _system_error(error)
    except Exception as error:
        return _bug(error)


def _setting(error: Exception, verb: str) -> str | None:
    """What to give for an unknown option that is a setting, by our name or another's."""
    from bigtrain.config.suggest import unknown_option
    from bigtrain.schema import ROOTS

    option = getattr(error, "option_name", None)
    return unknown_option(verb, option) if option and verb in ROOTS else None


def _stop(number: int, frame: Any) -> None:
    """Turn a stop signal into `Stopped`; a second Ctrl-C leaves at once. Training puts its own handler here."""
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    stops.note(number)
    stops.check()


def _say(message: str, error: BaseException | None = None) -> None:
    """One block on stderr, and into the run's log files if they are open, there with the traceback of a bug."""
    if rank() == 0 or error is not None:  # what every process is told, one of them says
        print(message, file=sys.stderr)
    information = (type(error), error, error.__traceback__) if error else None
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, message, (), information)
    for handler in logs.files():
        handler.handle(record)


def _system_error(error: OSError) -> int:
    """A full disk, and a place where the user may not write, are no bugs."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        _say(f"error: no space left on the disk: {error}; free some and run the same command again")
        return DiskFull.exit_code
    if error.errno in _REFUSALS and error.filename:
        rule = f"the file system refuses: {error.strerror}"
        _say(f"error: {UserError(str(error.filename)[:200], rule, _REFUSALS[error.errno])}")
        return UserError.exit_code
    return _bug(error)


def _bug(error: Exception) -> int:
    """One line for people; the traceback is for the log file."""
    if "1" in (os.environ.get("BIGTRAIN_DEBUG"), os.environ.get("HYDRA_FULL_ERROR")):
        traceback.print_exception(error)
    notes = [f"{logs.NOTE}{handler.baseFilename}" for handler in logs.files()]
    notes += [note for note in getattr(error, "__notes__", ()) if note.startswith(logs.NOTE)]
    where = notes[0] if notes else "BIGTRAIN_DEBUG=1 shows the traceback"
    first = (str(error).splitlines() or [""])[0]
    _say(f"error: {type(error).__name__}: {first} ({where})", error)
    return 1
