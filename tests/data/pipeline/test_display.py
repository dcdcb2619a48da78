"""Progress of the stages: a bar on a terminal, now and then a line elsewhere."""

import io
import logging

import pytest
from rich.console import Console

from bigtrain import log as logs
from bigtrain.data.pipeline import display
from bigtrain.data.pipeline.display import Display


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_every_ten_seconds_with_rate_and_time_left(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "bigtrain"), Display(Console(file=io.StringIO())) as shown:
        with shown.stage("documents", 100e6) as stage:
            stage.found(20e6)  # by an earlier command: no part of the rate
            for _ in range(30):
                clock[0] += 1
                stage.advance(2e6)
        with shown.stage("set", 5, "") as stage:
            clock[0] += 1
            stage.advance(5)
    assert caplog.messages == [
        "documents: 40%, 2MB/s, 0:30 left",
        "documents: 60%, 2MB/s, 0:20 left",
        "documents: 80%, 2MB/s, 0:10 left",
        "documents: done in 0:30, 2MB/s, 0:10 left",
    ]


def test_what_has_begun_counts_until_the_whole_is_done(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    display = Display(Console(file=io.StringIO()))
    with caplog.at_level("INFO", "bigtrain"), display.stage("documents", 100e6) as stage:
        for amount in (20e6, 30e6):
            clock[0] += 10
            stage.begin(amount)
        clock[0] += 10
        stage.advance(80e6)
    assert caplog.messages[:3] == [
        "documents: 20%, 2MB/s, 0:40 left",
        "documents: 50%, 2.5MB/s, 0:20 left",
        "documents: 80%, 2.67MB/s, 0:08 left",
    ]


def test_a_terminal_shows_a_bar(clock: list[float]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    logs.setup()
    try:
        with Display(console) as shown, shown.stage("documents", 100e6) as stage:
            clock[0] += 10
            stage.advance(50e6)
            logging.getLogger("bigtrain").info("said in between")
            assert shown._live is not None
            shown._live.refresh()
            text = console.file.getvalue()
            assert "documents" in text
            assert "50%" in text
            assert "5MB/s, 0:10 left" in text
            assert "said in between" in text
        handlers = [
            handler for handler in logging.getLogger("bigtrain").handlers if type(handler) is logging.StreamHandler
        ]
        assert all("FileProxy" not in type(handler.stream).__name__ for handler in handlers)
    finally:
        logging.getLogger("bigtrain").handlers.clear()
        logging.getLogger("bigtrain").propagate = True


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup(quiet=True)
    try:
        console = Console(file=io.StringIO(), force_terminal=True)
        with Display(console) as shown, shown.stage("documents", 1) as stage:
            stage.advance(1)
        assert console.file.getvalue() == ""
    finally:
        logging.getLogger("bigtrain").handlers.clear()
        logging.getLogger("bigtrain").propagate = True
