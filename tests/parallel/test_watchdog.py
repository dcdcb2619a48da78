"""A process that hangs ends with code 5 and leaves its stacks; one that works, or only sleeps in T state, does not."""

import subprocess
import sys
import time

PROGRAM = """
import sys, time
from pathlib import Path
from bigtrain import log
from bigtrain.parallel.watchdog import Watchdog

log.setup(quiet=True)
log.to_file(Path({folder!r}) / "log.txt")

def waits_for_ever():
    time.sleep(60)

with Watchdog({minutes}, 3, lambda message: Path({folder!r}, "said").write_text(message)) as watch:
    for _ in range(10):
        time.sleep(0.1)
        watch.beat()
    print("worked", flush=True)
    {ending}
"""


def run(folder, minutes, ending):
    program = PROGRAM.format(folder=str(folder), minutes=minutes, ending=ending)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)


def test_a_hang_ends_the_process_with_its_stacks_in_the_log(tmp_path):
    done = run(tmp_path, 0.5 / 60, "waits_for_ever()")
    assert (done.returncode, done.stdout) == (5, "worked\n")
    assert "process 3 hangs" in (tmp_path / "said").read_text()
    assert "waits_for_ever" in (tmp_path / "log.txt").read_text()
    assert "parallel.hang_minutes" in done.stderr


def test_work_is_left_alone_and_null_watches_nothing(tmp_path):
    assert run(tmp_path, 0.5 / 60, "").returncode == 0
    assert run(tmp_path, None, "time.sleep(1)").returncode == 0
    assert not (tmp_path / "said").exists()


def test_a_process_that_was_stopped_for_a_while_did_not_hang(tmp_path):
    program = PROGRAM.format(folder=str(tmp_path), minutes=0.5 / 60, ending="")
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    time.sleep(0.6)
    child.send_signal(19)  # SIGSTOP
    time.sleep(1.2)
    child.send_signal(18)  # SIGCONT
    assert child.wait(timeout=30) == 0
