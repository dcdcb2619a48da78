"""`--nproc N`: N processes of this machine, under the environment variables that torchrun sets.

torchrun works as well, but answers every failure with 1; here the exit code is the run's own. No torch at import.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from bigtrain import stops
from bigtrain.errors import LostProcess
from bigtrain.log import log

EXIT_CODE_FILE = "BIGTRAIN_EXIT_CODE_FILE"
LAUNCHER = "BIGTRAIN_LAUNCHER"
_GRACE_SECONDS = 30.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def follow_launcher() -> None:
    """In a process that `launch` has started: a SIGTERM once the launcher is gone, which could no longer send one."""
    launcher = int(os.environ.pop(LAUNCHER, 0))  # what this process starts has another parent

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(0.5)
        log.error("the launcher is gone: its processes stop")
        os.kill(os.getpid(), signal.SIGTERM)

    if launcher:
        threading.Thread(target=watch, name="launcher", daemon=True).start()


def launch(nproc: int, argv: list[str]) -> int:
    """Run `bigtrain ARGV` in `nproc` processes and return the run's exit code: 5 when one of them was lost.

    Signals are passed on to all; when one fails, the others get a SIGTERM, and a SIGKILL 30 seconds later.
    """
    with tempfile.TemporaryDirectory(prefix="bigtrain-") as scratch:
        codes = Path(scratch) / "code"
        shared = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "WORLD_SIZE": str(nproc),
            "LOCAL_WORLD_SIZE": str(nproc),
            EXIT_CODE_FILE: str(codes),
            LAUNCHER: str(os.getpid()),
        }
        children: list[subprocess.Popen[bytes]] = []

        def forward(number: int, frame: FrameType | None) -> None:
            stops.note(number)
            for child in children:
                child.send_signal(number)

        with stops.handled(forward), _ended(children):
            for rank in range(nproc):
                stops.check()  # what came before has no child to go to
                environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                # A session of their own: the terminal's Ctrl-C reaches them once, through `forward`.
                command = [sys.executable, "-m", "bigtrain", *argv]
                children.append(subprocess.Popen(command, env=environment, start_new_session=True))
            lost = _wait(children)
            code = _exit_code(children, codes, lost)
            if code in (1, LostProcess.exit_code):  # of a process that was told so before it could listen
                stops.check()
        return code


@contextlib.contextmanager
def _ended(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """However the block ends, none of them outlives it."""
    try:
        yield
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()


def _wait(children: list[subprocess.Popen[bytes]]) -> list[int]:
    """Wait for all, ending the rest some time after the first failure; returns the ranks that something else killed."""
    lost: list[int] = []
    terminate_at = kill_at = math.inf
    while True:
        codes = [child.poll() for child in children]
        now = time.monotonic()
        failed = [rank for rank, code in enumerate(codes) if code]
        if failed and kill_at == math.inf:
            lost = [rank for rank in failed if children[rank].returncode < 0]
            for rank in lost:
                log.error("process %d of %d was killed by signal %d", rank, len(children), -children[rank].returncode)
            # A process that left with a code of its own was not alone: the others are on their way out.
            own_code = all(children[rank].returncode > 1 for rank in failed)
            terminate_at, kill_at = now + (10.0 if own_code else 1.0), now + _GRACE_SECONDS
        if None not in codes:
            return lost
        if now > terminate_at:
            terminate_at = math.inf
            for child in children:
                child.terminate()
        if now > kill_at:
            for child in children:
                child.kill()
        time.sleep(0.05)


def _exit_code(children: list[subprocess.Popen[bytes]], codes: Path, lost: list[int]) -> int:
    said = [codes.with_name(f"{codes.name}.rank{rank}") for rank in range(len(children))]
    known = [int(path.read_text()) for path in said if path.exists()] + [child.returncode for child in children]
    # 1 and 5 are what a process ends with when another one breaks off under it: the reason is the other's.
    if reason := next((code for code in known if code > 1 and code != 5), 0):
        return reason
    return 5 if lost or 5 in known or min(known) < 0 else max(known)
