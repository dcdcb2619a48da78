"""A preparation that is killed, stopped or loses a worker ends with the bytes of one that was not."""

import functools
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import messy
import pytest
from harness import command, environment, fork, kill_at_random, run_verb

from bigtrain.data.pipeline import plan, run
from bigtrain.errors import Stopped

STAGES = ("nothing", "documents", "duplicates", "tokenizer", "tokens", "set")


@pytest.fixture(autouse=True)
def _many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forked children inherit it."""
    monkeypatch.setattr(plan, "_SMALLEST_PART", 6_000)
    monkeypatch.setattr(run, "_LITTLE_WITH_STEPS", 0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "in"
    messy.write(folder, 60)
    return folder


def words(corpus: Path, output: Path, workers: int) -> list[str]:
    return [
        f"data.files=[{corpus}/web.jsonl,{corpus}/more.jsonl.gz,{corpus}/notes]",
        f"decontaminate.files={corpus}/evaluation.jsonl",
        "clean=light",
        "clean.gopher.max_top_ngrams=[0.5]",
        "dedup=near",
        "dedup.paragraphs=true",
        "pii=mask",
        "tokenizer.vocab_size=400",
        "data.test_fraction=0.1",
        f"executor.workers={workers}",
        f"output={output}",
    ]


@pytest.fixture(scope="module")
def reference(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """An uninterrupted preparation."""
    output = tmp_path_factory.mktemp("reference") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_SMALLEST_PART", 6_000)
        run_verb("prepare", words(corpus, output, 1))
    return messy.content(output)


def stage_of(work: Path) -> str:
    """How far a preparation has come."""
    try:
        there = {path.name.partition(".")[0] for path in work.iterdir()}
    except FileNotFoundError:
        there = set()
    return next((stage for stage in reversed(STAGES) if stage in there), STAGES[0])


def kill_in_stage(pid: int, work: Path, stage: str, seconds: float, draw: random.Random) -> bool:
    """kill -9 within `seconds` of the moment when a stage has begun, or is there; whether it was still running."""
    while STAGES.index(stage_of(work)) < STAGES.index(stage):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    return kill_at_random(pid, seconds, draw)


def kill_at_random_times(corpus: Path, tmp_path: Path, n_kills: int, workers: int) -> tuple[Counter[str], list[Path]]:
    """Kill preparations `n_kills` times, up to three in a row, and complete each; how many kills each stage saw.

    Half of them at any time, half soon after the beginning of some stage: most of these are short.
    """
    draw, reached, outputs = random.Random(workers), Counter[str](), list[Path]()
    began = time.monotonic()
    assert os.waitpid(fork("prepare", words(corpus, tmp_path / "warm", workers)), 0)[1] == 0
    length = time.monotonic() - began
    while reached.total() < n_kills:
        output = tmp_path / f"set{len(outputs)}"
        work = output.with_name(f"{output.name}.preparing")
        for _ in range(draw.randrange(1, 4)):
            pid, anywhere = fork("prepare", words(corpus, output, workers)), draw.random() < 0.5
            stage, seconds = (STAGES[0], length) if anywhere else (draw.choice(STAGES), 0.05 * length)
            if kill_in_stage(pid, work, stage, seconds, draw):
                reached[stage_of(work)] += 1
                assert not output.exists() or (output / "manifest.json").exists()
        assert os.waitpid(fork("prepare", words(corpus, output, workers)), 0)[1] == 0
        outputs.append(output)
    return reached, outputs


def test_random_kills_lose_nothing(corpus: Path, reference: dict[str, bytes], tmp_path: Path) -> None:
    reached, outputs = kill_at_random_times(corpus, tmp_path, 10, 1)
    assert len(reached) > 1
    for output in outputs:
        assert messy.content(output) == reference, f"{output.name} after kills in {reached}"
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".preparing")]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_hundred_random_kills_lose_nothing(
    workers: int, corpus: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    reached, outputs = kill_at_random_times(corpus, tmp_path, 100, workers)
    print(f"kills in {dict(reached)}")
    assert reached.keys() >= {"documents", "duplicates", "tokenizer", "tokens", "set"}
    assert all(messy.content(output) == reference for output in outputs)


def count_calls(patch: pytest.MonkeyPatch, counts: Counter[str], stop: tuple[str, int] = ("", 0)) -> None:
    """Count the parts that each stage finishes; raise what a signal raises when one has finished so many."""

    def counted(name: str, original: Callable[[Any], Any], job: Any) -> Any:
        if stop == (name, counts[name]):
            raise Stopped("now")
        outcome = original(job)
        counts[name] += 1
        return outcome

    for name in ("make_documents", "make_tokens"):
        patch.setattr(run, name, functools.partial(counted, name, getattr(run, name)))


def test_what_was_done_is_not_done_again(
    corpus: Path, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, in_pieces = Counter[str](), Counter[str]()
    with monkeypatch.context() as patch:
        count_calls(patch, whole)
        run_verb("prepare", words(corpus, tmp_path / "whole", 1))
    for stop in (("make_documents", 2), ("make_documents", 3), ("make_tokens", 1)):
        with monkeypatch.context() as patch:
            count_calls(patch, in_pieces, stop)
            with pytest.raises(Stopped):
                run_verb("prepare", words(corpus, tmp_path / "set", 1))
    with monkeypatch.context() as patch:
        count_calls(patch, in_pieces)
        run_verb("prepare", words(corpus, tmp_path / "set", 1))
    assert in_pieces == whole
    assert messy.content(tmp_path / "set") == reference


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_through_the_command_line(workers: int, tmp_path: Path) -> None:
    line = ["prepare", "data=stdlib", "tokenizer=bytes", f"executor.workers={workers}", f"output={tmp_path / 'set'}"]
    process = subprocess.Popen(command(*line), env=environment(), stderr=subprocess.PIPE, text=True)
    work = tmp_path / "set.preparing"
    while process.poll() is None and not list(work.glob("documents/*[!p]/done.json")):  # not in a `.tmp`
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert f"what is done so far stays in {work}" in errors
    assert not (tmp_path / "set").exists()
    done = subprocess.run(command(*line, "--json"), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokens"] > 1_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
