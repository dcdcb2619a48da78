"""The work folder of a set that is being made: who holds it, and what of an earlier command is in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from bigtrain.data.reading.own_folders import PREPARING as SUFFIX
from bigtrain.errors import RunBusy, UserError
from bigtrain.log import log
from bigtrain.storage import sync_file, sync_folder, write_json

_PLAN, _HOLDER = "plan.json", "holder"


class WorkFolder:
    """`OUTPUT.preparing`, held by this process."""

    def __init__(self, path: Path, *, locked: bool) -> None:
        self.path, self.locked = path, locked
        self.continued = False  # whether it holds results of the same plan
        self.reading = False  # whether input is being read: a UserError of a later stage is met again by every command

    def begin(self, fingerprint: str) -> None:
        """Keep what is there if it belongs to the same plan, else begin anew."""
        try:
            self.continued = json.loads((self.path / _PLAN).read_bytes()) == {"fingerprint": fingerprint}
        except (OSError, ValueError):
            self.continued = False
        if self.continued:
            for left in self.path.rglob("*.tmp") if self.locked else []:
                shutil.rmtree(left, ignore_errors=True)
            return
        _empty(self.path)
        write_json(self.path / _PLAN, {"fingerprint": fingerprint})

    def publish(self, folder: Path, final: Path) -> None:
        """Make a folder inside this one the set `final`, durably."""
        for path in folder.iterdir():
            sync_file(path)
        sync_folder(folder)
        os.rename(folder, final)
        sync_folder(final.parent)

    def has_results(self) -> bool:
        """Whether there is anything that a second command would not have to do again."""
        return any(self.path.glob("*/*/done.json"))


@contextlib.contextmanager
def held(final: Path, *, wait: bool) -> Iterator[WorkFolder]:
    """The work folder beside `final`, for this process alone; removed at the end.

    Where the block raises and there are results, it stays: the same command goes on from them, and so does one with
    another data.on_error. But of bad input that was read to the end nothing stays. Raises RunBusy where another living
    process holds it and `wait` is False, UserError where it is somebody else's folder.
    """
    path = final.with_name(final.name + SUFFIX)
    descriptor, locked = _locked(path, wait=wait)
    try:
        _check_own(path)
        work = WorkFolder(path, locked=locked)
        try:
            (path / _HOLDER).write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
            yield work
        except BaseException as error:
            if not work.has_results() or (isinstance(error, UserError) and not work.reading):
                _remove(path)
            elif not isinstance(error, KeyboardInterrupt | SystemExit):
                log.info("what is done so far stays in %s", path)
            raise
        _remove(path)
    finally:
        os.close(descriptor)


def _empty(path: Path) -> None:
    """Delete everything but the file that says whose folder it is."""
    for entry in path.iterdir():
        if entry.name != _HOLDER:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _remove(path: Path) -> None:
    """Delete the folder; what a kill leaves of it can still be told from somebody else's."""
    with contextlib.suppress(OSError):
        _empty(path)
        (path / _HOLDER).unlink(missing_ok=True)
        path.rmdir()


def remove_finished(final: Path) -> None:
    """Delete the work folder of a set that is whole: a command may have been killed in between."""
    path = final.with_name(final.name + SUFFIX)
    if path.is_dir():
        with contextlib.suppress(RunBusy, UserError), held(final, wait=False):
            pass


def _locked(path: Path, *, wait: bool) -> tuple[int, bool]:
    """Make the folder and take its lock, which the kernel gives back however this process ends.

    Returns its descriptor, and whether there are locks: some network file systems have none.
    """
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # removed by its holder in between
            continue
        except FileExistsError:  # and so may be what `mkdir` has run into, unless it is no folder
            if path.is_file():
                raise
            continue
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise RunBusy(_busy(path)) from None
                log.info("waiting for another process that is preparing the same set")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:
                return descriptor, False
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor, True
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _busy(path: Path) -> str:
    try:
        holder = (path / _HOLDER).read_text(encoding="utf-8").strip()
    except OSError:
        holder = "another process"
    output = path.with_name(path.name.removesuffix(SUFFIX))
    return f"{output} is being prepared by {holder}\n  remedy: wait for it, or choose another output="


def _check_own(path: Path) -> None:
    """Raises UserError where the folder holds what no preparation leaves."""
    names = {entry.name for entry in path.iterdir()}
    if names and not names & {_PLAN, _HOLDER}:
        raise UserError(
            f"{path} is in the way", "work in progress is kept there", "move that folder, or choose another output="
        )
