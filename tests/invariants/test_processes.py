"""`parallel.reduction=exact`: the same bits at 1, 2 and 4 processes, in any chain of stops. `fast`: up to rounding."""

import json
import os
import signal
import subprocess
import time

import pytest
from harness import TINY, bits, cli, command, environment, metrics

RUN = [
    *TINY,
    "model.architecture=gpt2",  # LayerNorm, whose backward depends on the number of threads
    "model.dropout=0.1",
    "train.max_steps=8",
    "train.save_every_steps=4",
    "train.eval_every_steps=4",
    "train.clip_norm=0.5",
    "device.precision=bf16",
]
EXACT = [*RUN, "parallel.reduction=exact", "parallel.shards=4"]


def train(words, run, prepared_set, nproc):
    done = cli("pretrain", *words, f"data.path={prepared_set}", f"run.dir={run}", "--nproc", str(nproc), timeout=200)
    assert done.returncode == 0, done.stderr
    return bits(run)


@pytest.fixture(scope="module")
def alone(prepared_set, tmp_path_factory):
    run = tmp_path_factory.mktemp("alone") / "run"
    return train(EXACT, run, prepared_set, 1)


@pytest.mark.parametrize("nproc", [2, 4])
def test_exact_gives_the_same_bits(alone, prepared_set, tmp_path, nproc):
    assert train(EXACT, tmp_path / "run", prepared_set, nproc) == alone


def test_a_chain_of_stops_over_other_numbers_of_processes(alone, prepared_set, tmp_path):
    run = tmp_path / "run"
    words = [*EXACT, f"data.path={prepared_set}", f"run.dir={run}"]
    for nproc, until in ((1, 2), (2, 4), (4, 6)):
        process = subprocess.Popen(
            command("pretrain", *words, "--nproc", str(nproc)), env=environment(), stderr=subprocess.PIPE, text=True
        )
        while process.poll() is None and sum(m["split"] == "train" for m in written(run)) < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=100)
        assert process.returncode in (0, 75), errors
    assert train(EXACT, run, prepared_set, 1) == alone


def written(run):
    try:
        return metrics(run)
    except (OSError, ValueError):
        return []


def test_fast_agrees_up_to_rounding_and_torchrun_is_the_same_path(prepared_set, tmp_path):
    words = [*RUN, "device.precision=fp32", "model.dropout=0.0", f"data.path={prepared_set}"]
    one = cli("pretrain", *words, f"run.dir={tmp_path / 'one'}")
    torchrun = [*command()[:2], "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "bigtrain"]
    two = subprocess.run(
        [*torchrun, "pretrain", *words, f"run.dir={tmp_path / 'two'}"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    for a, b in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def training_in_two(prepared_set, run):
    """The launcher of a run without end, once a line of metrics is written."""
    words = [*RUN, "train.max_steps=100000", f"data.path={prepared_set}", f"run.dir={run}"]
    process = subprocess.Popen(
        command("pretrain", *words, "--nproc", "2"), env=environment(), stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not written(run):
        time.sleep(0.05)
    return process


def test_a_killed_process_ends_the_run_with_code_5(prepared_set, tmp_path):
    run = tmp_path / "run"
    process = training_in_two(prepared_set, run)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    leader = json.loads((run / "status.json").read_text())["pid"]
    os.kill(next(int(pid) for pid in children if int(pid) != leader), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 5, errors
    assert "killed by signal 9" in errors


def test_processes_whose_launcher_was_killed_save_and_stop(prepared_set, tmp_path):
    run = tmp_path / "run"
    process = training_in_two(prepared_set, run)
    process.kill()
    _, errors = process.communicate(timeout=60)  # they have the same stderr, and close it last
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "preempted", errors
    assert (run / "checkpoints" / f"step-{status['step']:08d}").is_dir()


@pytest.mark.slow  # the launcher gives the process that does not answer half a minute
def test_a_process_that_hangs_ends_the_run_with_code_5(prepared_set, tmp_path):
    run = tmp_path / "run"
    words = [
        *RUN,
        "train.max_steps=100000",
        "parallel.hang_minutes=0.05",
        f"data.path={prepared_set}",
        f"run.dir={run}",
    ]
    process = subprocess.Popen(
        command("pretrain", *words, "--nproc", "2"), env=environment(), stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not written(run):
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    leader = json.loads((run / "status.json").read_text())["pid"]
    os.kill(next(int(pid) for pid in children if int(pid) != leader), signal.SIGSTOP)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 5, errors
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    assert "all_reduce" in (run / "log.txt").read_text()


def test_a_batch_that_cannot_be_shared_out_is_refused(prepared_set, tmp_path):
    done = cli(
        "pretrain", *RUN, "train.batch_rows=3", f"data.path={prepared_set}", f"run.dir={tmp_path / 'x'}", "--nproc", "2"
    )
    assert done.returncode == 2
    assert "equal parts" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_continues_from_its_own_config_in_several_processes(prepared_set, tmp_path):
    run = tmp_path / "run"
    train(EXACT, run, prepared_set, 1)
    again = cli("pretrain", f"run.dir={run}", "train.log_every_steps=2", "--nproc", "2", timeout=200)
    assert again.returncode == 0, again.stderr
    assert "already complete" in again.stderr


def test_a_refusal_reaches_every_process_with_its_code(prepared_set, tmp_path):
    from bigtrain.runs import RunFolder

    words = [*RUN, f"data.path={prepared_set}", f"run.dir={tmp_path / 'run'}"]
    with RunFolder.open(tmp_path / "run", verb="pretrain"):
        busy = cli("pretrain", *words, "--nproc", "2", timeout=100)
    assert busy.returncode == 7, busy.stderr
    missing = cli("pretrain", *RUN, "data.files=no.txt", f"run.dir={tmp_path / 'run'}", "--nproc", "2", timeout=100)
    assert missing.returncode == 2, missing.stderr
    assert missing.stderr.count("error:") == 1
    assert "Traceback" not in missing.stderr


def test_fast_does_not_promise_other_numbers_of_processes(prepared_set, tmp_path):
    words = [*RUN, f"data.path={prepared_set}", f"run.dir={tmp_path / 'run'}"]
    assert cli("pretrain", *words, "train.max_steps=4", "schedule=wsd", timeout=100).returncode == 0
    more = cli("pretrain", f"run.dir={tmp_path / 'run'}", "--nproc", "2", timeout=100)
    assert more.returncode == 2
    assert "parallel.processes" in more.stderr
