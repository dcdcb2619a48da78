"""A run that is killed, stopped or moved ends with the bits of one that was not."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
import torch
from harness import TINY, bits, cli, command, environment, fork, kill_at_random, metrics, newest, run_verb
from safetensors.torch import load_file

N_KILLS = int(os.environ.get("BIGTRAIN_TEST_KILLS", "12"))
RUN = [
    *TINY,
    "model.architecture=gpt2",  # LayerNorm
    "model.dropout=0.1",
    "optimizer=muon",
    "train.max_steps=12",
    "train.save_every_steps=3",
    "train.eval_every_steps=4",
    "train.log_every_steps=1",
]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def reference(prepared_set, tmp_path_factory):
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("reference") / "run"
    run_verb("pretrain", [*RUN, f"data.path={prepared_set}", f"run.dir={run}"])
    return run


def stop_after(n_steps, monkeypatch):
    """Let SIGTERM arrive in step `n_steps` of this process."""
    from bigtrain.training import loop

    original, count = loop.Loop._gradient, [0]

    def counted(self, *arguments):
        count[0] += 1
        if count[0] == n_steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    monkeypatch.setattr(loop.Loop, "_gradient", counted)


@pytest.mark.parametrize("stops", [(2,), (5, 3), (4, 4)])
def test_stopped_and_continued_equals_uninterrupted(reference, prepared_set, tmp_path, monkeypatch, stops):
    from bigtrain.errors import Stopped

    words = [*RUN, f"data.path={prepared_set}", f"run.dir={tmp_path / 'run'}"]
    for steps in stops:
        with monkeypatch.context() as patch:
            stop_after(steps, patch)
            with pytest.raises(Stopped):
                run_verb("pretrain", words)
        assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "preempted"
    run_verb("pretrain", words)
    assert bits(tmp_path / "run") == bits(reference)


@pytest.mark.parametrize("swallowed", [True, False])
def test_a_signal_during_the_first_compilation_is_obeyed(prepared_set, tmp_path, monkeypatch, swallowed):
    """Before the first step it is raised at once; a compiler may break on it, or hold it back."""
    from bigtrain.errors import Stopped
    from bigtrain.objectives.causal import Causal

    original, calls = Causal.__call__, [0]

    def compiling(self, model, batch):
        calls[0] += 1
        if calls[0] == 3:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except BaseException:
                if not swallowed:
                    raise RuntimeError("backend compiler failed") from None
        return original(self, model, batch)

    monkeypatch.setattr(Causal, "__call__", compiling)
    words = [*RUN, "train.eval_every_steps=null", "train.micro_batch_rows=2", f"data.path={prepared_set}"]
    with pytest.raises(Stopped):
        run_verb("pretrain", [*words, f"run.dir={tmp_path / 'run'}"])
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("preempted", 75)


def test_random_kills_lose_nothing(reference, prepared_set, tmp_path):
    draw, killed, number = random.Random(0), 0, 0
    began = time.monotonic()
    words = [*RUN, f"data.path={prepared_set}"]
    assert os.waitpid(fork("pretrain", [*words, f"run.dir={tmp_path / 'warm'}"]), 0)[1] == 0
    length = time.monotonic() - began
    expected = bits(reference)
    while killed < N_KILLS:
        run = tmp_path / f"run{number}"
        number += 1
        for _ in range(6):
            killed += kill_at_random(fork("pretrain", [*words, f"run.dir={run}"]), length, draw)
        assert os.waitpid(fork("pretrain", [*words, f"run.dir={run}"]), 0)[1] == 0
        assert bits(run) == expected, f"run {number} after {killed} kills"


def test_a_complete_run_says_so_and_changes_nothing(reference, prepared_set):
    before = bits(reference), (reference / "result.json").read_bytes()
    result = run_verb("pretrain", [*RUN, f"data.path={prepared_set}", f"run.dir={reference}"])
    assert result == json.loads(before[1])
    assert (bits(reference), (reference / "result.json").read_bytes()) == before


def test_micro_batches_change_the_result_by_rounding_only(reference, prepared_set, tmp_path):
    words = [*RUN, f"data.path={prepared_set}", f"run.dir={tmp_path / 'run'}", "train.micro_batch_rows=2"]
    run_verb("pretrain", [*words, "device.precision=fp32"])
    run_verb("pretrain", [*RUN, f"data.path={prepared_set}", f"run.dir={tmp_path / 'whole'}", "device.precision=fp32"])
    for one, other in zip(metrics(tmp_path / "run"), metrics(tmp_path / "whole"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=2e-4)


def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_used(reference, prepared_set, tmp_path, caplog):
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    (run / "status.json").unlink()
    file = newest(run) / "state" / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with caplog.at_level("WARNING", logger="bigtrain"):
        run_verb("pretrain", [*RUN, f"data.path={prepared_set}", f"run.dir={run}"])
    assert "damaged checkpoint" in caplog.text
    assert bits(run) == bits(reference)


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_signals_through_the_command_line(prepared_set, tmp_path, signal_name):
    run = tmp_path / "run"
    words = [*RUN, "train.max_steps=100000", "schedule=wsd", f"data.path={prepared_set}", f"run.dir={run}"]
    process = subprocess.Popen(command("pretrain", *words), env=environment(), stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list(run.glob("checkpoints/step-*"))) < 2:
        time.sleep(0.01)
    process.send_signal(getattr(signal, signal_name))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"]) == ("preempted", int(newest(run).name.removeprefix("step-")))
    assert metrics(run)[-1]["step"] <= status["step"]


def test_a_second_run_in_the_folder_is_refused(prepared_set, tmp_path):
    from bigtrain.runs import RunFolder

    with RunFolder.open(tmp_path / "run", verb="pretrain"):
        refused = cli("pretrain", *RUN, f"data.path={prepared_set}", f"run.dir={tmp_path / 'run'}")
    assert refused.returncode == 7
    assert str(os.getpid()) in refused.stderr


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("optimizer.lr=0.5", "optimizer.lr"),
        ("seed=3", "seed"),
        ("train.batch_rows=4", "train.batch_rows"),
        ("model.dim=64", "model.dim"),
    ],
)
def test_another_identity_is_refused_and_named(reference, prepared_set, change, named):
    from bigtrain.errors import UserError

    status = (reference / "status.json").read_bytes()
    with pytest.raises(UserError, match=named):
        run_verb("pretrain", [*RUN, f"data.path={prepared_set}", f"run.dir={reference}", change])
    assert (reference / "status.json").read_bytes() == status


def test_a_folder_continues_from_its_own_config(reference, prepared_set, tmp_path, monkeypatch):
    from bigtrain.errors import Stopped

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        with pytest.raises(Stopped):
            run_verb("pretrain", [*RUN, f"data.path={prepared_set}", f"run.dir={run}"])
    run_verb("pretrain", [f"run.dir={run}"])  # nothing else named
    assert bits(run) == bits(reference)


def test_a_run_continues_without_the_model_it_started_from(reference, prepared_set, tmp_path, monkeypatch):
    from bigtrain.errors import Stopped

    base, run = tmp_path / "base", tmp_path / "run"
    shutil.copytree(reference, base)
    words = [word for word in RUN if not word.startswith("model")]
    words += ["objective=causal", f"init_from={base}", f"data.path={prepared_set}"]
    run_verb("finetune", [*words, f"run.dir={tmp_path / 'whole'}"])
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        with pytest.raises(Stopped):
            run_verb("finetune", [*words, f"run.dir={run}"])
    shutil.rmtree(base)
    run_verb("finetune", [f"run.dir={run}"])
    assert bits(run) == bits(tmp_path / "whole")
    assert (run / "overrides.yaml").read_text().count("init_from") == 1  # the words of the first command stay


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_run_stopped_and_continued_equals_uninterrupted(prepared_set, tmp_path, precision):
    words = [*RUN, f"data.path={prepared_set}", "device.compile=true", f"device.precision={precision}"]
    assert cli("pretrain", *words, f"run.dir={tmp_path / 'whole'}").returncode == 0
    run = tmp_path / "run"
    process = subprocess.Popen(command("pretrain", *words, f"run.dir={run}"), env=environment())
    while process.poll() is None and len(list(run.glob("checkpoints/step-*"))) < 1:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=100) in (0, 75)
    assert cli("pretrain", *words, f"run.dir={run}").returncode == 0
    assert bits(run) == bits(tmp_path / "whole")


@pytest.mark.slow
def test_random_kills_through_the_command_line(reference, prepared_set, tmp_path):
    draw, killed, run = random.Random(1), 0, tmp_path / "run"
    words = [*RUN, f"data.path={prepared_set}", f"run.dir={run}"]
    while killed < 10:
        process = subprocess.Popen(command("pretrain", *words), env=environment(), stderr=subprocess.DEVNULL)
        killed += kill_at_random(process.pid, 8.0, draw)
        process.returncode = 0  # waited for already
        if (run / "result.json").exists():
            assert cli("pretrain", *words).returncode == 0
            assert bits(run) == bits(reference)
            shutil.rmtree(run)
    assert cli("pretrain", *words).returncode == 0
    assert bits(run) == bits(reference)


def test_patience_that_ran_out_stays_out(prepared_set, tmp_path, monkeypatch):
    """A kill between the last checkpoint and the end of the run must not buy the run more steps."""
    words = [*RUN, "train.patience_evals=1", "train.eval_every_steps=2", "optimizer.lr=1e-9", "optimizer.adamw_lr=1e-9"]
    words += [f"data.path={prepared_set}", f"run.dir={tmp_path / 'run'}", "train.max_steps=50"]
    result = run_verb("pretrain", words)
    assert result["stopped_by"] == "patience"
    status = tmp_path / "run" / "status.json"
    status.write_text(status.read_text().replace('"done"', '"running"'))
    assert run_verb("pretrain", words)["step"] == result["step"]
    more = run_verb("pretrain", [*words, "train.patience_evals=3"])
    assert more["step"] > result["step"]


def test_pointers_lost_in_a_kill_are_set_right(reference, prepared_set, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    for pointer in ("latest", "best"):
        (run / "checkpoints" / pointer).write_text("step-00000009\n")
    (run / "status.json").unlink()
    run_verb("pretrain", [*RUN, f"data.path={prepared_set}", f"run.dir={run}"])
    assert bits(run) == bits(reference)


def test_what_one_command_allowed_is_not_allowed_for_ever(reference, prepared_set, tmp_path):
    from bigtrain.errors import UserError

    run = tmp_path / "run"
    shutil.copytree(reference, run)
    words = [f"run.dir={run}", "train.max_steps=12"]
    run_verb("pretrain", [*words, "optimizer.eps=1e-7", "resume.allow=[optimizer.eps]"])
    with pytest.raises(UserError, match=r"optimizer\.momentum"):
        run_verb("pretrain", [*words, "optimizer.momentum=0.5"])


def killed(*_):
    """In place of a step: what leaves no time to save anything."""
    raise KeyboardInterrupt


def test_a_run_that_was_killed_before_its_first_checkpoint_continues_from_its_own_config(
    reference, prepared_set, tmp_path, monkeypatch
):
    from bigtrain.training import loop

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            run_verb("pretrain", [*RUN, f"data.path={prepared_set}", f"run.dir={run}"])
    assert not list(run.glob("checkpoints/step-*"))
    run_verb("pretrain", [f"run.dir={run}"])
    assert bits(run) == bits(reference)


def stopped_in_step(n, words, monkeypatch):
    from bigtrain.errors import Stopped

    with monkeypatch.context() as patch:
        stop_after(n, patch)
        with pytest.raises(Stopped):
            run_verb("pretrain", words)


def test_what_was_allowed_and_has_no_checkpoint_yet_stays_allowed(prepared_set, tmp_path, monkeypatch):
    from bigtrain.errors import UserError
    from bigtrain.training import loop

    run = tmp_path / "run"
    stopped_in_step(2, [*RUN, f"data.path={prepared_set}", f"run.dir={run}"], monkeypatch)
    words = [f"run.dir={run}", "optimizer.lr=1e-3", "resume.allow=[optimizer.lr]"]
    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_step", killed)
        for command in (words, [f"run.dir={run}"]):  # the second finds the change, and allows nothing itself
            with pytest.raises(KeyboardInterrupt):
                run_verb("pretrain", command)
    run_verb("pretrain", [f"run.dir={run}", "optimizer.eps=1e-7", "resume.allow=[optimizer.eps]"])
    with pytest.raises(UserError, match=r"^optimizer\.lr: 0\.001 -> 0\.002\n"):  # a checkpoint has it by now
        run_verb("pretrain", [f"run.dir={run}", "optimizer.lr=2e-3"])


@pytest.mark.parametrize(("first", "then"), [("sgd", "adamw"), ("adamw", "adafactor"), ("adamw", "sgd")])
def test_another_optimizer_begins_its_state_anew(prepared_set, tmp_path, monkeypatch, caplog, first, then):
    run = tmp_path / "run"
    words = [word for word in RUN if not word.startswith("optimizer")]
    words = [*words, f"data.path={prepared_set}", f"run.dir={run}"]
    stopped_in_step(2, [*words, f"optimizer={first}"], monkeypatch)
    with caplog.at_level("WARNING", logger="bigtrain"):
        run_verb("pretrain", [*words, f"optimizer={then}", "resume.allow=[optimizer]"])
    assert f"the optimizer was {first} and is {then}" in caplog.text
    kept = {name.rpartition("/")[2] for name in load_file(newest(run) / "state" / "optimizer.safetensors")}
    assert ("exp_avg" in kept, "momentum_buffer" in kept) == (then == "adamw", then == "sgd")
