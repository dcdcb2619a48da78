"""The command line as people and cron meet it: exit codes, streams, messages, sweeps, completion."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from composed import _packaged_configs_are_composed_once  # noqa: F401

import bigtrain
from bigtrain import cli, log
from bigtrain.config import folders
from bigtrain.config.completion import complete
from bigtrain.errors import DiskFull, Diverged, GateMissed, LostProcess, RunBusy, Stopped, UserError
from bigtrain.exits import guarded

ROOT = Path(__file__).resolve().parents[1]
READY = ["data=stdlib", "train.max_steps=1"]

# Stands in for the training verbs in child processes: Python imports `sitecustomize` when it starts.
STAND_IN = """
import json, os, sys, time, types
from pathlib import Path

def run(loaded, dry_run=False):
    config = loaded.config
    if config.seed == 13:
        raise ValueError("unlucky")
    if config.seed == 99:
        Path(os.environ["STARTED"]).write_text(str(os.getpid()))
        time.sleep(60)
    Path(config.run.dir).mkdir(parents=True, exist_ok=True)
    return {"step": 1, "val_loss": config.optimizer.lr * 2, "name": config.run.name, "files": config.data.files}

for verb in ("pretrain", "finetune"):
    module = types.ModuleType("bigtrain.commands." + verb)
    module.run, module.show = run, lambda result: print("shown", result)
    sys.modules[module.__name__] = module
    import bigtrain.commands
    setattr(bigtrain.commands, verb, module)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and stand-ins for the verbs in child processes."""
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in" / "sitecustomize.py").write_text(STAND_IN)
    work = tmp_path / "a folder"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'stand_in'}{os.pathsep}{ROOT}")
    return work


def bigtrain_process(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bigtrain", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for every verb's module; `verb.error` is what it raises, `verb.loaded` what it got."""
    stand_in = SimpleNamespace(error=None, result={"val_loss": 1.5}, loaded=None, given=None)

    def run(loaded: Any, **given: Any) -> dict[str, Any]:
        stand_in.loaded, stand_in.given = loaded, given
        if stand_in.error:
            raise stand_in.error
        return stand_in.result

    def verdict(result: dict[str, Any]) -> None:
        if result.get("missed"):
            raise GateMissed("missed accuracy")

    stand_in.run, stand_in.verdict, stand_in.show = run, verdict, lambda result: print("shown", *result)
    monkeypatch.setattr(cli, "_command", lambda name: stand_in)
    return stand_in


def test_help_is_cheap_and_imports_nothing_heavy() -> None:
    code = (
        "import resource, sys; from bigtrain.cli import main; code = main(['--help']);"
        "used = resource.getrusage(resource.RUSAGE_SELF);"
        "print(code, used.ru_utime + used.ru_stime, {'torch', 'hydra', 'omegaconf', 'yaml'} & sys.modules.keys())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True) for _ in range(3)]
    lines = [done.stdout.splitlines()[-1].split(maxsplit=2) for done in runs]
    assert all((exit_code, heavy) == ("0", "set()") for exit_code, _, heavy in lines)
    assert min(float(seconds) for _, seconds, _ in lines) <= 0.2
    assert all(f"\n  {name} " in runs[0].stdout for name in ("prepare", "pretrain", "finetune", "evaluate", "generate"))


def test_version_knows_torch_without_importing_it(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert cli.main(["--version"]) == 0
    assert (
        capsys.readouterr().out
        == f"bigtrain {bigtrain.__version__} (torch {version('torch')}, Python {sys.version.split()[0]})\n"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pretrain", "--nope"], "No such option: --nope"),
        (["pretrain", "--max_steps=5"], "settings have no dashes: did you mean train.max_steps=VALUE?"),
        (["pretrain", "--train.max-steps", "5"], "give train.max_steps=VALUE"),
        (["evaluate", "--batch-size", "5"], "give evals.batch_rows=ROWS"),
        (["pretran"], "pretrain"),
        (["pretrain", "--nproc", "0"], "--nproc"),
        (["pretrain", "max_steps=3"], "train.max_steps=3"),
        (["pretrain", "-c", "pretrian"], "did you mean pretrain?"),
        (["pretrain", "--config-dir", "nowhere"], "nowhere"),
        (["configs", "modl"], "bigtrain configs model"),
        (["pretrain", "-m", "--print-config"], "--multirun with --print-config"),
    ],
)
def test_usage_errors_are_one_block(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("error:") == 1
    assert expected in err
    assert "Traceback" not in err


def test_no_verb_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "Commands:" in capsys.readouterr().out


# ---- dispatch


def test_results_go_to_stdout_once(verb: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pretrain", *READY]) == 0
    assert capsys.readouterr().out == "shown val_loss\n"
    assert verb.given == {"dry_run": False}
    assert verb.loaded.config.train.max_steps == 1
    verb.result = {"val_loss": float("nan"), "perplexity": float("inf"), "name": "名", "path": Path("x")}
    assert cli.main(["pretrain", "--json", "--dry-run", *READY]) == 0
    out = capsys.readouterr().out
    assert json.loads(out, parse_constant=pytest.fail) == {
        "val_loss": None,
        "perplexity": None,
        "name": "名",
        "path": "x",
    }
    assert "名" in out
    assert verb.given == {"dry_run": True}
    assert cli.main(["prepare", "output=o", "data=stdlib"]) == 0
    assert verb.given == {"dry_run": False}


def test_other_ranks_print_nothing(
    verb: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert cli.main(["pretrain", "--json", *READY]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            UserError("seed=x", "it is a number", "give one"),
            2,
            "error: seed=x\n  rule:   it is a number\n  remedy: give one\n",
        ),
        (Diverged("the loss is nan"), 4, "error: the loss is nan\n"),
        (RunBusy("in use"), 7, "error: in use\n"),
        (OSError(28, "No space left on device", "x"), 6, "No space left on device"),
        (PermissionError(13, "Permission denied", "/x"), 2, "error: /x\n"),
        (Stopped("stopped"), 75, "stopped\n"),
        (ValueError("a bug\nwith lines"), 1, "error: ValueError: a bug (BIGTRAIN_DEBUG=1 shows the traceback)\n"),
    ],
)
def test_errors_become_exit_codes(
    verb: SimpleNamespace, error: Exception, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verb.error = error
    assert cli.main(["pretrain", "--json", *READY]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_a_missed_gate_prints_its_result_and_exits_3(verb: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    verb.result = {"accuracy": 0.1, "missed": ["accuracy"]}
    assert cli.main(["evaluate", "--json", "checkpoint=m", "data=stdlib"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["accuracy"] == 0.1
    assert err == "error: missed accuracy\n"


def test_the_traceback_of_a_bug_is_in_the_log_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        log.to_file(tmp_path / "log.txt")
        raise ValueError("a bug")

    assert guarded(run) == 1
    assert capsys.readouterr().err == f"error: ValueError: a bug (traceback in {tmp_path / 'log.txt'})\n"
    assert "Traceback" in (tmp_path / "log.txt").read_text()
    log.log.handlers.pop().close()


def test_the_traceback_on_request(
    verb: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verb.error = ValueError("a bug")
    monkeypatch.setenv("BIGTRAIN_DEBUG", "1")
    assert cli.main(["pretrain", *READY]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_stop_signals_exit_75(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    assert guarded(lambda: signal.raise_signal(number)) == 75
    assert signal.getsignal(number) is before
    assert capsys.readouterr().err.startswith(f"stopped by {number.name}")


SWALLOWED = """
import signal
try:
    signal.raise_signal(signal.SIGTERM)
except {caught}:
    pass
"""


@pytest.mark.parametrize("end", ["", "import absent_module", "''.void"])
@pytest.mark.parametrize("caught", ["Exception", "BaseException"])
def test_a_stop_signal_during_an_import_is_not_lost(
    caught: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the module makes of what is raised in it: swallows it, or is left in pieces."""
    (tmp_path / "swallows.py").write_text(SWALLOWED.format(caught=caught) + end)
    monkeypatch.syspath_prepend(tmp_path)
    reached = []
    monkeypatch.setattr(cli, "_command", lambda verb: __import__("swallows"))
    monkeypatch.setattr(cli, "_emit", lambda *_: reached.append("end"))
    assert cli.main(["pretrain", *READY]) == 75
    assert capsys.readouterr().err.startswith("stopped by SIGTERM")
    assert not reached
    sys.modules.pop("swallows", None)
    assert guarded(lambda: None) == 0  # it is forgotten with the command


@pytest.mark.parametrize(("error", "code"), [(DiskFull("full"), 6), (Diverged("nan"), 4), (LostProcess("gone"), 75)])
def test_reasons_of_their_own_outlive_a_stop_signal(error: Exception, code: int) -> None:
    def run() -> None:
        with contextlib.suppress(Stopped):
            signal.raise_signal(signal.SIGTERM)
        raise error

    assert guarded(run) == code


def test_a_hangup_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert guarded(lambda: signal.raise_signal(signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_leaves_at_once() -> None:
    code = """
import signal
from bigtrain.exits import guarded
def run():
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.raise_signal(signal.SIGINT)
guarded(run)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 130


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m bigtrain configs model | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("model=")


@pytest.mark.parametrize("variable", ["RANK", "WORLD_SIZE", "LOCAL_RANK"])
def test_a_launcher_gives_numbers(
    variable: str, verb: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "abc")
    assert cli.main(["pretrain", *READY]) == 2
    assert capsys.readouterr().err.startswith(f"error: {variable}=abc in the environment\n  rule:")


def test_characters_that_standard_output_lacks_are_escapes() -> None:
    code = """
import sys
from bigtrain import cli
from bigtrain.exits import guarded
guarded(lambda: cli._emit({"text": "\\u00fc\\u4f60"}, "json" in sys.argv, lambda result: print(result["text"])))
"""
    for words, out in (([], "\\xfc\\u4f60\n"), (["json"], '{"text": "\\u00fc\\u4f60"}\n')):
        command, env = [sys.executable, "-c", code, *words], {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, out, "")


def test_the_exit_code_is_written_for_the_launcher(tmp_path: Path) -> None:
    report = tmp_path / "code"
    done = bigtrain_process("pretrain", "x", BIGTRAIN_EXIT_CODE_FILE=str(report), RANK="1", WORLD_SIZE="2")
    assert done.returncode == 2
    assert (tmp_path / "code.rank1").read_text() == "2"


@pytest.mark.parametrize("words", [["-m"], ["--nproc", "2"]])
def test_processes_start_no_processes(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(os, "_exit", lambda code: None)
    assert cli.main(["pretrain", *words, *READY]) == 2
    assert "WORLD_SIZE=2" in capsys.readouterr().err


def test_nproc_hands_the_command_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from bigtrain.parallel import launch

    seen: list[Any] = []
    monkeypatch.setattr(launch, "launch", lambda *given: seen.extend(given) or 4)
    words = ["-q", "--json", "--config-dir", str(folders.packaged()), *READY, "run.name=a b"]
    assert cli.main(["pretrain", "--nproc", "2", *words]) == 4
    assert seen == [
        2,
        ["pretrain", "--quiet", "--json", "--config-dir", str(folders.packaged()), *READY, "run.name=a b"],
    ]
    assert cli.main(["pretrain", "--nproc", "2", "nope=1"]) == 2  # said once, not by every process
    assert len(seen) == 2


def test_prompts_are_verbatim(verb: SimpleNamespace) -> None:
    for text in ["null", "a=b, ${c} 'd'", ""]:
        assert cli.main(["generate", "checkpoint=m", "-p", text]) == 0
        assert verb.loaded.config.prompt == text


def test_the_prompt_may_come_from_stdin() -> None:
    command = [sys.executable, "-m", "bigtrain", "generate", "-p", "-", "checkpoint=m", "--print-config", "--json"]
    done = subprocess.run(command, cwd=ROOT, input="你好,\n".encode(), capture_output=True)
    assert json.loads(done.stdout)["prompt"] == "你好,\n"
    assert subprocess.run(command, cwd=ROOT, input=b"\xff", capture_output=True).returncode == 2


# ---- looking things up


def test_print_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pretrain", "--print-config", "recipe=demo", "optimizer=sgd"]) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)["optimizer"]["name"] == "sgd"
    assert f"# optimizer=sgd ({folders.shown(folders.packaged() / 'optimizer' / 'sgd.yaml')})" in out
    assert "# recipe: demo" in out
    assert err == ""
    assert cli.main(["prepare", "--print-config"]) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)["output"] == "???"
    assert "not complete yet: bigtrain prepare without output" in err


def test_configs_lists_groups_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["configs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert "llama-1b" in listed["groups"]["model"]
    assert listed["sections"] == ["decontaminate", "train", "parallel", "run", "search"]
    for name in [*listed["groups"], *listed["sections"], *listed["verbs"]]:
        assert cli.main(["configs", name, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert all(option["doc"] and Path(option["file"]).is_file() for option in found["options"])
        assert found["kinds"] or name == "recipe"
        rows = [row for kind in found["kinds"] for row in kind["keys"]]
        assert all(row["meaning"] and row["type"] for row in rows)
        assert cli.main(["configs", name]) == 0
        text = capsys.readouterr().out
        assert all(row["key"] in text and row["meaning"] in text for row in rows)


def test_configs_shows_defaults_and_types(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["configs", "optimizer", "--json"])
    kinds = {kind["for"]: kind for kind in json.loads(capsys.readouterr().out)["kinds"]}
    rows = {row["key"]: row for row in kinds["name: adamw"]["keys"]}
    assert rows["optimizer.betas"] == {
        "key": "optimizer.betas",
        "type": "a list of 2, each a number",
        "default": [0.9, 0.95],
        "required": False,
        "meaning": "decay of the two moments",
    }


def test_configs_sees_the_users_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("# My own shape\nname: decoder\n")
    assert cli.main(["configs", "model", "--config-dir", str(tmp_path)]) == 0
    assert f"model=mine\n    My own shape\n    {tmp_path / 'model' / 'mine.yaml'}\n" in capsys.readouterr().out


# ---- completion


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ([], "mod", ["model=", "model."]),
        ([], "model=tiny", ["model=tiny", "model=tinyllama-1.1b"]),
        (["model"], "t", ["tiny", "tinyllama-1.1b"]),
        (["model", "="], "", list(folders.options([folders.packaged()], "model"))),
        ([], "train.max_", ["train.max_steps=", "train.max_tokens=", "train.max_epochs=", "train.max_minutes="]),
        (["optimizer=muon"], "optimizer.adamw", ["optimizer.adamw_lr="]),
        (["optimizer=sgd"], "optimizer.adamw", []),
        ([], "optimizer.adamw", ["optimizer.adamw_lr="]),
        ([], "device.kind=c", ["device.kind=cpu", "device.kind=cuda"]),
        (["device.compile"], "", ["true", "false"]),
        ([], "data.builtin=", ["data.builtin=stdlib", "data.builtin=null"]),
        ([], "rec", ["recipe="]),
        ([], "nothing.like", []),
        ([], "run.dir=", []),
    ],
)
def test_completion(words: list[str], incomplete: str, expected: list[str]) -> None:
    assert complete("pretrain", words, incomplete) == expected


def test_completion_as_bash_asks_for_it() -> None:
    def ask(words: str, number: int) -> list[str]:
        asked = {"_BIGTRAIN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        done = subprocess.run(
            [sys.executable, "-m", "bigtrain"], cwd=ROOT, env={**os.environ, **asked}, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    assert ask("bigtrain pretrain model = tiny", 4) == ["tiny", "tinyllama-1.1b"]  # bash cuts words at `=`
    assert ask("bigtrain pretrain model =", 3) == list(folders.options([folders.packaged()], "model"))
    assert ask("bigtrain finetune data = own train.max_s", 5) == ["train.max_steps="]
    assert ask("bigtrain pre", 1) == ["prepare", "pretrain"]
    assert ask("bigtrain configs pr", 2) == ["prepare", "pretrain"]
    assert {"model", "train", "evaluate"} <= set(ask("bigtrain configs ", 2))


# ---- sweeps


def test_a_sweep_runs_every_combination(place: Path) -> None:
    words = [
        "optimizer.lr=1e-3,3e-4",
        "model=tiny,llama-15m",
        'run.name="a, b"',
        "data.files=[x.txt, 'y,z']",
        "train.max_steps=1",
    ]
    done = bigtrain_process("pretrain", "-m", "--json", *words)
    assert done.returncode == 0, done.stderr
    jobs = json.loads(done.stdout)
    swept = {
        tuple(sorted(line for line in job["overrides"] if line.startswith(("optimizer.lr", "model=")))) for job in jobs
    }
    assert swept == {
        (f"model={model}", f"optimizer.lr={lr}") for model in ("tiny", "llama-15m") for lr in ("0.001", "0.0003")
    }
    assert sorted(job["result"]["val_loss"] for job in jobs) == [0.0006, 0.0006, 0.002, 0.002]
    assert {job["result"]["name"] for job in jobs} == {"a, b"}  # quoted: no sweep
    assert all(job["result"]["files"] == ["x.txt", "y,z"] for job in jobs)
    assert len({job["folder"] for job in jobs}) == 4
    assert all(Path(job["folder"]).is_dir() and Path(job["folder"]).is_relative_to(place / "sweeps") for job in jobs)
    assert not list(place.rglob(".hydra"))


def test_a_failed_job_fails_the_sweep_and_hides_none(place: Path) -> None:
    done = bigtrain_process("pretrain", "-m", "data=stdlib", "train.max_steps=1", "seed=13,2", "hydra.sweep.dir=mine")
    assert done.returncode == 1
    table = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in table] == ["exit", "1", "0"]
    assert [row[1] for row in table] == ["result", "-", "val_loss=0.0006"]
    assert [row[2] for row in table] == ["settings", "seed=13", "seed=2"]  # what all jobs share is left out
    assert "unlucky" in done.stderr
    assert sorted(path.name for path in (place / "mine").iterdir()) == ["0", "1", "multirun.yaml"]


@pytest.mark.parametrize(
    ("codes", "expected"), [([0, 0], 0), ([3, 0, 3], 3), ([2, 2], 2), ([2, 3], 1), ([-9, 0], 1), ([], 0)]
)
def test_a_sweep_ends_with_the_code_of_its_failures(
    codes: list[int], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bigtrain.config import sweep

    jobs = [{"overrides": [], "folder": "f", "exit_code": code, "result": None} for code in codes]
    monkeypatch.setattr(sweep, "sweep", lambda *_: jobs)
    assert cli.main(["evaluate", "-m", "--json", "checkpoint=a,b", "data=stdlib"]) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model=tiny,nope"], "model=nope"),
        (["train.max_stepz=1,2"], "max_stepz"),
        (["optimizer.name=a,b"], "optimizer=OPTION"),
        (["run.dir=x"], "hydra.sweep.dir=DIR"),
        (["recipe=nope"], "recipe=nope"),
        (["optimizer.lr=interval(0,1)"], "interval"),
        (["optimizer.lr=(,"], "optimizer.lr"),
        (["train.keep_last=range(1,3,0)"], "in steps that are not 0"),
        (["train.keep_last=range(1.0,3.0)"], "give whole numbers in the range"),
        (["optimizer.lr=range(1.0,1e400)"], "a range goes from one number to another"),
    ],
)
def test_sweeps_are_checked_before_they_start(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["pretrain", "-m", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert list(tmp_path.glob("sweeps/*/0")) == []


def test_a_stopped_sweep_stops_its_job_and_starts_no_other(place: Path) -> None:
    started = place / "started"
    command = [sys.executable, "-m", "bigtrain", "pretrain", "-m", "data=stdlib", "train.max_steps=1", "seed=99,1"]
    sweep = subprocess.Popen(command, env={**os.environ, "STARTED": str(started)}, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (started.exists() and started.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    sweep.send_signal(signal.SIGTERM)
    _, err = sweep.communicate(timeout=20)
    assert sweep.returncode == 75
    assert "job 1:" not in err
    with pytest.raises(ProcessLookupError):  # the job was waited for
        os.kill(int(started.read_text()), 0)


def test_swept_text_survives_hydra() -> None:
    from bigtrain.config.overrides import Override, from_hydra, to_hydra

    for text in ["a b", "${x} \\${y}", "it's", '你好 "q"', "x=1 (2) [3]", "back\\slash\\", "1e3", "true", " "]:
        line = to_hydra(Override("run.name", text), str | None).removeprefix("++")
        assert from_hydra(line) == f"run.name={text.strip()}"
    assert to_hydra(Override("a", "x, y"), str) == "++a='x','y'"
    assert to_hydra(Override("a", "[x,y],[z]"), list[str]) == "++a=['x','y'],['z']"
    assert to_hydra(Override("a", "x,'y,z'"), list[str]) == "++a=['x'],['y,z']"
    assert from_hydra("a=['x','y \"z\"']") == 'a=["x","y \\"z\\""]'
    assert [from_hydra(f"a={text}") for text in ("null", "true", "[0.5,1]", "3")] == [
        "a=null",
        "a=true",
        "a=[0.5,1]",
        "a=3",
    ]
