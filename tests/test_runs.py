"""The run folder: one holder at a time, whatever happens to it; its files; what may not change on resume."""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bigtrain import environment
from bigtrain.errors import RunBusy, UserError
from bigtrain.identity import check_identity, identity
from bigtrain.runs import RunFolder, read_status

FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests may have started threads

HOLD = """
import sys, time
from pathlib import Path
from bigtrain.runs import RunFolder
folder = RunFolder.open(Path(sys.argv[1]), verb="pretrain")
folder.status("running", step=3)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds tmp_path/run."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_no_torch_is_imported():
    code = "import sys, bigtrain.runs; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@FORKS
def test_fifty_starters_in_one_folder_have_one_winner(tmp_path):
    go, stop = tmp_path / "go", tmp_path / "stop"

    def wait_for(file: Path) -> None:
        deadline = time.monotonic() + 20
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.001)

    def starter() -> None:
        wait_for(go)
        try:
            RunFolder.open(tmp_path / "run", verb="pretrain")
        except RunBusy as error:
            os._exit(error.exit_code)
        wait_for(stop)  # every other one gives up in the meantime
        os._exit(0)

    for _ in range(50):
        if os.fork() == 0:
            try:
                starter()
            finally:
                os._exit(99)
    go.touch()
    codes = []
    while len(codes) < 50:
        codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
        if len(codes) == 49:
            stop.touch()
    assert sorted(codes) == [0] + [7] * 49


def test_new_folders_of_one_second_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [RunFolder.open(None, verb="pretrain", name=name) for name in ("shakespeare", None, None, None)]
    names = [folder.path.name for folder in folders]
    assert len(set(names)) == 4
    assert names[0].startswith("shakespeare-20")
    assert all(name.startswith("pretrain-20") for name in names[1:])
    for folder in folders:
        folder.close()


def test_kill_minus_nine_frees_the_folder_and_leaves_it_lost(tmp_path, holder):
    path = tmp_path / "run"
    with pytest.raises(RunBusy, match=rf"pid {holder.pid} on \S+"):
        RunFolder.open(path, verb="pretrain")
    assert read_status(path)["state"] == "running"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert read_status(path)["state"] == "lost"
    with RunFolder.open(path, verb="pretrain") as folder:
        assert folder.saved_status()["state"] == "lost"
        assert folder.saved_status()["step"] == 3


@FORKS
def test_a_forked_child_does_not_keep_the_folder(tmp_path):
    folder = RunFolder.open(tmp_path / "run", verb="pretrain")
    child = os.fork()
    if child == 0:
        folder.close()  # must not close whatever has the lock's number by now
        time.sleep(30)
        os._exit(0)
    try:
        with pytest.raises(RunBusy):
            RunFolder.open(tmp_path / "run", verb="pretrain")
        folder.close()
        RunFolder.open(tmp_path / "run", verb="pretrain").close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_reading_the_status_never_refuses_a_starter(tmp_path):
    path = tmp_path / "run"
    RunFolder.open(path, verb="pretrain").close()
    reader = os.open(path / ".lock", os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)  # what `read_status` does for an instant
    threading.Timer(0.1, os.close, [reader]).start()
    RunFolder.open(path, verb="pretrain").close()


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300])
def test_a_place_that_cannot_be_a_folder(tmp_path, place):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=r"run\.dir"):
        RunFolder.open(tmp_path / place, verb="pretrain")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "report.html", "status.json"])
def test_files_of_somebody_else_are_not_replaced(tmp_path, name):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_text("{}\n")
    with pytest.raises(UserError, match=rf"run\.dir=.*\n.*{name}"):
        RunFolder.open(folder, verb="pretrain")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, "{}\n")]


def test_a_copy_of_a_run_is_a_run(tmp_path):
    with RunFolder.open(tmp_path / "run", verb="pretrain") as folder:
        folder.write_config("seed: 1\n", [])
        folder.status("done")
    (tmp_path / "copy").mkdir()
    for name in ("config.yaml", "status.json"):  # as `cp run/* copy` does, without the lock
        (tmp_path / "copy" / name).write_bytes((tmp_path / "run" / name).read_bytes())
    RunFolder.open(tmp_path / "copy", verb="pretrain").close()


def test_a_read_only_folder(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write anywhere: let the answer be that of other people
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"(?s)run\.dir=.*(read-only|denied)"):
        RunFolder.open(folder, verb="pretrain")
    monkeypatch.undo()
    folder.chmod(0o700)
    RunFolder.open(folder, verb="pretrain").close()  # the refused attempt holds nothing


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "/abs"])
def test_a_name_is_one_component(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"run\.name"):
        RunFolder.open(None, verb="pretrain", name=name)
    assert not (tmp_path / "runs").exists()


def test_config_round_trip(tmp_path):
    with RunFolder.open(tmp_path / "run", verb="pretrain") as folder:
        assert folder.saved_config() is None
        folder.write_config("seed: 1\ntrain: {lr: 1e-3}\nprompt: 你好, ${x}\n", ['prompt=你好, "w"\n=x: [1]', "seed=1"])
    with RunFolder.open(tmp_path / "run", verb="pretrain") as folder:
        assert folder.saved_config() == {"seed": 1, "train": {"lr": 0.001}, "prompt": "你好, ${x}"}
        yaml = pytest.importorskip("yaml")
        assert yaml.safe_load((folder.path / "overrides.yaml").read_text()) == ['prompt=你好, "w"\n=x: [1]', "seed=1"]


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2", "!!python/object/apply:os.system ['touch hacked']"])
def test_a_config_that_is_not_a_mapping_is_named(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with RunFolder.open(tmp_path / "run", verb="pretrain") as folder:
        (folder.path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config\.yaml"):
            folder.saved_config()
    assert not (tmp_path / "hacked").exists()


def test_status_and_result(tmp_path):
    with RunFolder.open(tmp_path / "run", verb="pretrain") as folder:
        assert read_status(folder.path) is None
        folder.status("done", step=7, exit_code=0, stopped_by="max_steps")
        folder.result({"val_loss": 1.5, "grad_norm": float("nan"), "step": 7})
    status = read_status(folder.path)
    assert {key: status[key] for key in ("state", "step", "exit_code", "stopped_by", "pid")} == {
        "state": "done",
        "step": 7,
        "exit_code": 0,
        "stopped_by": "max_steps",
        "pid": os.getpid(),
    }
    assert json.loads((folder.path / "result.json").read_text()) == {"val_loss": 1.5, "grad_norm": None, "step": 7}


def test_log_lines_go_to_the_folder_while_it_is_held(tmp_path):
    logger = logging.getLogger("bigtrain")
    with RunFolder.open(tmp_path / "run", verb="pretrain") as folder:
        logger.warning("inside")
    logger.warning("outside")
    text = (folder.path / "log.txt").read_text()
    assert "inside" in text
    assert "outside" not in text


def test_environment_holds_no_secret_and_records_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_verysecretvalue")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [
        "bigtrain",
        "data.files=s3://me:pw123@host/x",
        "x=hf_verysecretvalue",
        "a.api_key=abc",
        "train.max_tokens=5",
    ]
    monkeypatch.setattr(sys, "argv", words)
    with RunFolder.open(tmp_path / "run", verb="pretrain") as folder:
        record = folder.write_environment()
        path = folder.path / "environment.json"
        text = path.read_text()
        assert not any(secret in text for secret in ("verysecret", "pw123", "abc"))
        assert "train.max_tokens=5" in record["command"]
        assert record["variables"]["OMP_NUM_THREADS"] == "1"
        assert len(text) < 4000
        path.write_text(json.dumps({**record, "torch": "1.0"}))
        assert any("torch: 1.0 -> " in change for change in folder.write_environment()["changes"])
        assert len(folder.write_environment()["changes"]) == 1


@pytest.mark.parametrize(
    "text",
    ["train.max_tokens=100", "tokenizer.path=a b", "prompt=the secret is out", "data.files=https://host/a@b.txt"],
)
def test_redaction_leaves_ordinary_words(text):
    assert environment.redact(text) == text


PLAIN = {
    "model": {"name": "decoder", "dim": 64},
    "optimizer": {"lr": 0.1, "betas": (0.9, 0.95)},
    "train": {"max_steps": 5, "batch_rows": 4, "log_every_steps": 1},
    "parallel": {"reduction": "fast", "shards": 4, "threads": None},
    "run": {"dir": "x"},
    "seed": 1,
}


def _identity(**changes):
    return identity({**PLAIN, **changes}, data_fingerprint="d", tokenizer_hash="t")


def test_identity_holds_what_decides_about_the_weights():
    assert _identity() == {
        "data": "d",
        "tokenizer": "t",
        "model.name": "decoder",
        "model.dim": 64,
        "optimizer.lr": 0.1,
        "optimizer.betas": [0.9, 0.95],
        "train.batch_rows": 4,
        "parallel.reduction": "fast",
        "seed": 1,
    }
    exact = _identity(parallel={"reduction": "exact", "shards": 4, "threads": 1})
    assert exact["parallel.shards"] == 4
    assert exact["parallel.threads"] == 1
    assert json.loads(json.dumps(exact)) == exact


def test_how_long_answers_are_looked_for_may_change():
    saved, now = (_identity(objective={"name": "span", "max_answer_tokens": most}) for most in (30, 40))
    assert saved == now
    assert check_identity({**saved, "objective.max_answer_tokens": 30}, now, []) == []  # of an earlier version


def test_identity_differences_are_refused_by_name_unless_allowed():
    saved, now = _identity(), _identity(seed=2, optimizer={"lr": 0.2, "betas": [0.9, 0.95]})
    assert check_identity(saved, saved, []) == []
    with pytest.raises(UserError) as caught:
        check_identity(saved, now, [])
    for words in ("optimizer.lr: 0.1 -> 0.2", "seed: 1 -> 2", "resume.allow=[optimizer.lr,seed]"):
        assert words in str(caught.value)
    with pytest.raises(UserError, match=r"^seed: 1 -> 2\n"):
        check_identity(saved, now, ["optimizer.lr"])
    assert check_identity(saved, now, ["optimizer", "seed"]) == ["optimizer.lr", "seed"]
    with pytest.raises(UserError, match=r"optimizer\.lr"):
        check_identity(saved, now, ["opt", "seed"])
