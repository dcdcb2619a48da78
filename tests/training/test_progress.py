"""The live line of a terminal and the plain lines of everything else."""

import io
import re

import pytest
from rich.console import Console

from bigtrain import log as log_module
from bigtrain.log import log
from bigtrain.training.progress import Progress

RECORD = {"step": 10, "tokens": 640, "split": "train", "loss": 3.25, "lr": 3e-4, "grad_norm": 0.5} | {
    "tokens_per_second": 12345.6,
    "mfu": None,
    "seconds": 1.0,
}
VALIDATION = {"step": 10, "tokens": 640, "split": "validation", "loss": 3.0, "bits_per_byte": 1.25, "seconds": 2.0}


@pytest.fixture
def stderr(monkeypatch):
    """What the log's own handler writes."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    handlers, level, propagate = list(log.handlers), log.level, log.propagate
    log_module.setup()
    yield stream
    log.handlers[:] = handlers
    log.setLevel(level)
    log.propagate = propagate


def terminal(width=200, **options):
    return Console(file=io.StringIO(), force_terminal=True, width=width, **options)


def plain():
    return Console(file=io.StringIO(), force_terminal=False)


def test_plain_lines(stderr):
    with Progress(100, console=plain()) as progress:
        progress.train(RECORD)
        progress.evaluation(VALIDATION)
        progress.train({**RECORD, "step": 20, "mfu": 0.412})
        progress.message("saved")
    first, second, third, fourth = stderr.getvalue().splitlines()
    for words in ("step 10/100", "loss 3.2500", "12.3k tok/s", "lr 3.00e-04", "grad 0.500", "GiB"):
        assert words in first
    assert "bits/byte" not in first
    assert "left" not in first
    assert second.endswith("step 10  validation: loss 3.0000  bits_per_byte 1.2500")
    assert "val 1.250 bits/byte" in third
    assert "mfu 41.2%" in third
    assert " left" in third
    assert fourth.endswith("saved")
    assert "\x1b" not in stderr.getvalue()


def test_live_line(stderr):
    console = terminal()
    with Progress(100, console=console) as progress:
        progress.train(RECORD)
        progress.evaluation(VALIDATION)
        progress.train({**RECORD, "step": 20})
        progress.message("saved")
    text = console.file.getvalue()
    assert "step 20/100" in text
    assert "━" in text
    assert "validation: loss 3.0000" in text
    assert "saved" in text
    assert stderr.getvalue() == ""  # lines went above the live one, through the console
    log.info("after")
    assert "after" in stderr.getvalue()  # and the log has its stream back


def test_every_record_is_in_the_log_file(stderr, tmp_path):
    handler = log_module.to_file(tmp_path / "log.txt")
    with Progress(100, console=terminal()) as progress:
        progress.train(RECORD)
    handler.close()
    assert "loss 3.2500" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_the_live_line_fits_the_terminal(stderr, width):
    console = terminal(width, no_color=True)
    with Progress(10_000, console=console) as progress:
        progress.train({**RECORD, "step": 5000})
    visible = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", console.file.getvalue())
    assert visible.count("\n") == 1  # at the end
    assert all(len(line.rstrip("\n")) <= width for line in visible.split("\r"))
    assert "step 5000/10000" in visible
    assert "loss 3.2500" in visible
    assert ("━" in visible) == (width > 30)
    assert ("GiB" in visible) == (width >= 80)


def test_no_color(stderr, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console = terminal()
    with Progress(100, console=console) as progress:
        progress.train(RECORD)
    colour = re.compile(r"\x1b\[[\d;]*(3|9)\d")
    assert not colour.search(console.file.getvalue())
    monkeypatch.delenv("NO_COLOR")
    coloured = terminal(color_system="truecolor")
    with Progress(100, console=coloured) as progress:
        progress.train(RECORD)
    assert colour.search(coloured.file.getvalue())


@pytest.mark.parametrize(("quiet", "enabled"), [(True, True), (False, False)])
def test_silence(stderr, quiet, enabled):
    log_module.setup(quiet=quiet)
    console = terminal()
    with Progress(100, console=console, enabled=enabled) as progress:
        progress.train(RECORD)
        progress.evaluation(VALIDATION)
        progress.message("saved")
    assert console.file.getvalue() == ""
    assert stderr.getvalue() == ""


def test_a_total_that_is_planned_on_the_way(stderr):
    with Progress(None, console=plain()) as progress:
        progress.train(RECORD)
        progress.total(40)
        progress.train({**RECORD, "step": 20})
    first, second = stderr.getvalue().splitlines()
    assert "step 10  " in first
    assert "step 20/40" in second


def test_time_left_is_that_of_the_last_records(stderr, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Progress(1000, console=plain()) as progress:
        for step in range(0, 600, 10):
            now[0] += 100.0 if step < 100 else 20.0  # slow at first
            progress.train({**RECORD, "step": step})
    assert stderr.getvalue().splitlines()[-1].count("13:40 left") == 1  # 410 steps at 2 s


def test_handlers_that_are_not_stderr_are_left_alone(stderr, tmp_path):
    handler = log_module.to_file(tmp_path / "log.txt")
    stream = handler.stream
    with Progress(1, console=terminal()):
        assert handler.stream is stream

    handler.close()


def test_the_sets_of_a_mixture_are_shown_apart(stderr):
    with Progress(100, console=plain()) as progress:
        progress.evaluation({"step": 10, "tokens": 1, "split": "validation", "loss": 2.5, "seconds": 1})
        progress.evaluation({"step": 10, "tokens": 1, "split": "val_books", "loss": 3.5, "seconds": 1})
        progress.train({**RECORD, "epochs_web": 0.123, "epochs_old_books": 2.0})
    of_all, of_books, step = stderr.getvalue().splitlines()
    assert "validation: loss 2.5000" in of_all
    assert "val_books: loss 3.5000" in of_books
    assert "val 2.5000" in step  # the last word on the run is that of all sets
    assert "epochs web 0.12  epochs old_books 2.00" in step
