"""`-m` with `search.trials=`: what is proposed, what is remembered, and how a search ends."""

import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from composed import _packaged_configs_are_composed_once  # noqa: F401
from harness import TINY, cli, environment

from bigtrain.cli import main
from bigtrain.commands import pretrain
from bigtrain.config import load, sweep
from bigtrain.config.space import Between, Dimension, combinations, dimension, propose
from bigtrain.errors import UserError
from bigtrain.runs import RunFolder

pytest.importorskip("optuna")

ROOT = Path(__file__).resolve().parents[2]
LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"

# Stands in for training where a real process is asked for: Python imports `sitecustomize` when it starts.
STAND_IN = """
import os, sys, time, types
from pathlib import Path

def run(loaded, dry_run=False):
    if dry_run:
        return {"metric": "loss", "higher_is_better": False}
    folder = Path(loaded.config.run.dir)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "calls", "a") as file:
        file.write(f"{loaded.config.optimizer.lr}\\n")
    if folder.name == "1" and not Path("slept").exists():
        Path("slept").touch()
        time.sleep(60)
    return {"best_val_loss": loaded.config.optimizer.lr}

module = types.ModuleType("bigtrain.commands.pretrain")
module.run, module.show = run, lambda result: print("shown", result)
sys.modules[module.__name__] = module
import bigtrain.commands
bigtrain.commands.pretrain = module
"""


class Children:
    """Stands in for the processes of trials: the loss is least at optimizer.lr=0.01 and seed=0."""

    def __init__(self) -> None:
        self.tricks: dict[int, list[Any]] = {}  # number of a trial -> what becomes of it, time after time
        self.calls: list[list[str]] = []
        self.refusal = 0  # exit code of dry runs

    def __call__(self, command: list[str], seconds: float | None = None) -> tuple[int, str]:
        assert command[1:4] == ["-m", "bigtrain", "pretrain"]
        self.calls.append(command[4:])
        settings = dict(one.split("=", 1) for one in command[4:] if "=" in one)
        assert not {"search.trials", "train.max_minutes", "hydra.sweep.dir"} & settings.keys()
        if "--dry-run" in command:
            if self.refusal:
                return self.refusal, ""
            metric = None if settings.get("data.validation_fraction") == "0" else settings.get("train.metric", "loss")
            return 0, json.dumps({"metric": metric, "higher_is_better": metric == "accuracy"})
        tricks = self.tricks.get(int(Path(settings["run.dir"]).name), [])
        trick = tricks.pop(0) if tricks else 0
        if trick == "sleep":
            assert seconds is not None
            time.sleep(seconds + 0.01)
            return 75, ""
        if trick:
            return trick, ""
        loss = abs(math.log10(float(settings["optimizer.lr"])) + 2) + float(settings.get("seed", 0))
        return 0, json.dumps({"best_val_loss": loss, "best_accuracy": 1 / (1 + loss)})


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Children:
    """An empty folder to work in, and what stands in for the processes of trials."""
    monkeypatch.chdir(tmp_path)
    stand_in = Children()
    monkeypatch.setattr(sweep, "child", stand_in)
    return stand_in


def words(*more: str) -> list[str]:
    return ["pretrain", "-m", "-q", "--json", "data=stdlib", "train.max_steps=1", "hydra.sweep.dir=s", *more]


def summary() -> dict[str, Any]:
    return json.loads(Path("s/summary.json").read_text())


def states() -> list[str]:
    return [one["state"] for one in summary()["trials"]]


def read(*lines: str) -> list[Dimension]:
    found = (dimension(one) for one in sweep.read("pretrain", ["data=stdlib", *lines]))
    return [one for one in found if one is not None]


def test_the_best_is_found_and_the_search_goes_on(children: Children, capsys: pytest.CaptureFixture[str]) -> None:
    children.tricks[1] = [4]
    assert main(words(LR, "seed=0", "search.trials=3")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == summary()
    assert states() == ["done", "failed", "done"]
    assert found["trials"][1]["exit_code"] == 4
    assert main(words(LR, "seed=0", "search.trials=15")) == 0  # more
    after = summary()
    assert after["trials"][:3] == found["trials"]
    assert states() == ["done", "failed", *["done"] * 13]
    best = after["best"]
    assert best["value"] == min(one["value"] for one in after["trials"] if one["value"] is not None)
    rate = best["settings"]["optimizer.lr"]
    assert best["command"] == f"bigtrain pretrain data=stdlib train.max_steps=1 seed=0 optimizer.lr={rate}"
    assert json.loads(Path("s/status.json").read_text())["state"] == "done"
    children.calls.clear()
    capsys.readouterr()
    assert main([one for one in words(LR, "seed=0", "search.trials=15") if one not in ("-q", "--json")]) == 0
    assert children.calls == []
    out, err = capsys.readouterr()
    assert "already complete" in err
    table = [line.split() for line in out.split("\n\n")[0].splitlines()]
    assert table[0] == ["trial", "loss", "settings", "state", "folder"]
    assert table[1][0] == str(best["number"])
    assert table[-1] == ["1", "-", f"optimizer.lr={after['trials'][1]['settings']['optimizer.lr']}", "failed", "s/1"]
    assert best["command"] in out
    assert main(words(LR, "seed=1", "search.trials=15")) == 2  # another search
    assert "seed=1" in capsys.readouterr().err


def test_the_metric_says_which_is_best(children: Children) -> None:
    assert main(words(LR, "search.trials=3", "train.metric=accuracy")) == 0
    found = summary()
    assert found["best"]["value"] == max(one["value"] for one in found["trials"])


def test_a_stopped_search_ends_as_if_it_had_not_been(children: Children) -> None:
    children.tricks = {1: [75], 2: [-9], 3: [-9, -9]}
    assert main(words(LR, "search.trials=5", "search.seed=7")) == 75
    assert states() == ["done", "unfinished"]
    assert json.loads(Path("s/status.json").read_text())["state"] == "preempted"
    assert main(words(LR, "search.trials=5", "search.seed=7")) == 0
    assert states() == ["done", "done", "done", "failed", "done"]  # killed once: continued; killed again: failed
    stopped = [(one["settings"], one["value"]) for one in summary()["trials"]]
    Path("s").rename("old")
    children.tricks = {3: [1]}
    assert main(words(LR, "search.trials=5", "search.seed=7")) == 0
    assert [(one["settings"], one["value"]) for one in summary()["trials"]] == stopped
    Path("s").rename("older")
    assert main(words(LR, "search.trials=5", "search.seed=8")) == 0
    assert [one["settings"] for one in summary()["trials"]] != [settings for settings, _ in stopped]


def test_what_the_first_values_are_refused_for_ends_the_search(
    children: Children, capsys: pytest.CaptureFixture[str]
) -> None:
    children.refusal = 2  # its error has been printed by then
    assert main(words(LR, "search.trials=2")) == 2
    assert capsys.readouterr() == ("", "")
    assert not Path("s").exists()


@pytest.mark.parametrize("code", [6, 7])
def test_what_is_no_fault_of_the_trial_ends_the_search(code: int, children: Children) -> None:
    children.tricks[0] = [code]
    assert main(words(LR, "search.trials=2")) == code
    assert states() == ["unfinished"]


def test_a_search_in_use_is_refused(children: Children, capsys: pytest.CaptureFixture[str]) -> None:
    with RunFolder.open(Path("s"), verb="pretrain"):
        assert main(words(LR, "search.trials=2")) == 7
    assert "in use" in capsys.readouterr().err


def test_time_is_that_of_all_trials_together(children: Children) -> None:
    children.tricks[1] = ["sleep"]
    assert main(words(LR, "search.trials=9", "train.max_minutes=0.02")) == 0
    found = summary()
    assert found["stopped_by"] == "max_minutes"
    assert states() == ["done", "unfinished"]
    assert found["best"]["number"] == 0
    n_calls = len(children.calls)
    assert main(words(LR, "search.trials=9", "train.max_minutes=0.02")) == 0
    assert len(children.calls) == n_calls
    assert main(words(LR, "search.trials=2", "train.max_minutes=9")) == 0  # more time: it continues
    assert states() == ["done", "done"]


def test_without_a_folder_the_log_says_how_to_go_on(children: Children, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "-m", "data=stdlib", "train.max_steps=1", LR, "search.trials=1"]) == 0
    (folder,) = Path("sweeps").iterdir()
    assert f"the same command with hydra.sweep.dir={folder}" in capsys.readouterr().err
    assert (folder / "summary.json").exists()


def test_no_trial_that_ends_well_is_a_failure(children: Children) -> None:
    children.tricks[0] = [2]
    assert main(words(LR, "search.trials=1")) == 1
    assert summary()["best"] is None


def test_a_small_space_ends_when_all_of_it_is_tried(children: Children) -> None:
    assert main(words("optimizer.lr=1e-3,1e-2", "seed=range(0,2)", "search.trials=50")) == 0
    found = summary()
    assert found["stopped_by"] == "combinations"
    assert sorted(tuple(one["settings"].values()) for one in found["trials"]) == [
        (lr, seed) for lr in ("0.001", "0.01") for seed in ("0", "1")
    ]
    assert found["best"]["settings"] == {"optimizer.lr": "0.01", "seed": "0"}


def test_trials_may_be_asked_for_in_a_config(children: Children) -> None:
    Path("mine").mkdir()
    Path("mine/mine.yaml").write_text(
        "defaults: [pretrain, _self_]\nsearch: {trials: 2}\ntrain: {max_minutes: 5, max_steps: 1}\n"
    )
    places = ["--config-dir", "mine", "-c", "mine"]

    def untouched(command: list[str], seconds: float | None = None) -> tuple[int, str]:
        nulls = ["search.trials=null", "train.max_minutes=null"]
        assert [one for one in command if one in nulls] == nulls
        return children([one for one in command if one not in nulls], seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "child", untouched)
        assert main(["pretrain", "-m", "-q", "data=stdlib", LR, "hydra.sweep.dir=s", *places]) == 0
    assert states() == ["done", "done"]
    assert "--config-name mine --config-dir mine" in summary()["best"]["command"]


@pytest.mark.parametrize(
    ("lines", "code", "expected"),
    [
        ([LR, "search.trials=0"], 2, ["search.trials=0", "at least 1"]),
        ([LR], 2, [LR, "search.trials=N"]),
        (["optimizer.lr=uniform(1,2)", "search.trials=2"], 2, ["uniform", "interval(LOW,HIGH)"]),
        (["optimizer.lr=interval(1,2", "search.trials=2"], 2, ["optimizer.lr=interval(1,2"]),
        (["optimizer.lr=interval(-1,2)", "search.trials=2"], 2, ["optimizer.lr=-1", "above 0"]),
        (["optimizer.lr=tag(log,interval(0,2))", "search.trials=2"], 2, ["logarithm"]),
        (["optimizer.lr=tag(normal,interval(1,2))", "search.trials=2"], 2, ["normal"]),
        (["optimizer.lr=interval(2,1)", "search.trials=2"], 2, ["larger"]),
        (["train.batch_rows=interval(1.5,4)", "search.trials=2"], 2, ["whole"]),
        (["train.keep_last=range(1.0,3.0)", "search.trials=2"], 2, ["train.keep_last=range(1.0,3.0)", "whole"]),
        (["train.keep_last=range(1,3,0)", "search.trials=2"], 2, ["train.keep_last=range(1,3,0)", "not 0"]),
        (["device.compile=interval(0,1)", "search.trials=2"], 2, ["device.compile"]),
        (["seed=glob(*)", "search.trials=2"], 2, ["seed=glob"]),
        (["optimizer.lr=1e-3,-1", "search.trials=2"], 2, ["optimizer.lr=-1"]),
        (["model=tiny,nope", "search.trials=2"], 2, ["model=nope"]),
        (["optimizer.lr=1e-3", "search.trials=2"], 2, ["every key has one"]),
        (["train.metric=loss,accuracy", "search.trials=2"], 2, ["train.metric", "whole search"]),
        ([LR, "search.trials=2", "data.validation_fraction=0"], 2, ["without validation data"]),
        ([LR, "search.trials=2", "train.max_steps=null", "train.max_minutes=1"], 2, ["end of its own"]),
        ([LR, "search.trials=2", "hydra.launcher=x"], 2, ["hydra.launcher"]),
        ([LR, "search.trials=2", "--dry-run"], 2, ["--dry-run"]),
        ([LR, "search.trials=2", "run.dir=x"], 2, ["hydra.sweep.dir=DIR"]),
        ([LR, "search.trails=2"], 2, ["search.trials"]),
    ],
)
def test_what_is_refused_is_refused_before_a_trial(
    lines: list[str], code: int, expected: list[str], children: Children, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(*lines)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("error:") == 1
    assert all(one in err for one in expected), err
    assert children.calls == [] or "--dry-run" in children.calls[-1]
    assert not Path("s").exists()


def test_one_run_is_no_search(children: Children, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "data=stdlib", "train.max_steps=1", "search.trials=2"]) == 2
    assert "add -m" in capsys.readouterr().err


def test_one_process_of_several_does_not_search(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    with pytest.raises(SystemExit) as ended:
        main(words(LR, "search.trials=2"))
    assert ended.value.code == 2
    assert children.calls == []


def test_optuna_is_named_where_it_is_missing(
    children: Children, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(words(LR, "search.trials=2")) == 2
    assert "pip install 'bigtrain[search]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("multirun.yaml", "{", "another sweep"),
        ("config.yaml", "{", "a run"),
        ("summary.json", "{", "remembers"),
        ("summary.json", "[]", "another sweep"),
        ("summary.json", "3", "a JSON number"),
        ("summary.json", "null", "null"),
    ],
)
def test_the_folder_of_something_else_is_left_alone(
    name: str, content: str, said: str, children: Children, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("s").mkdir()
    (Path("s") / name).write_text(content)
    (Path("s") / ".lock").touch()  # as a run leaves it
    assert main(words(LR, "search.trials=2")) == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in Path("s").iterdir() if path.name not in (".lock", "log.txt")) == [name]


def test_hydras_forms() -> None:
    space = read(
        "model=tiny,gru,tiny",
        LR,
        "train.batch_rows=choice(8,16,32)",
        "seed=range(0,9,3)",
        "model.n_layers=interval(1,4)",
        "run.name=choice(a b,c)",
        "train.max_epochs=range(0.5,2,0.5)",
    )
    shown = {one.typed.key: (one if isinstance(one, Between) else one.values) for one in space}
    assert shown["model"] == ("tiny", "gru")
    assert shown["train.batch_rows"] == ("8", "16", "32")
    assert shown["run.name"] == ("a b", "c")
    assert shown["train.max_epochs"] == ("0.5", "1.0", "1.5")
    assert (shown["seed"].low, shown["seed"].high, shown["seed"].step) == (0, 6, 3)
    assert list(shown["seed"].values) == ["0", "3", "6"]
    assert (shown["model.n_layers"].size, shown["optimizer.lr"].log) == (4, True)
    assert [one.values for one in read("optimizer=adamw,adamw", "seed=1,1")] == [("adamw",), ("1",)]
    assert combinations(space) is None
    assert combinations([one for one in space if one.typed.key != "optimizer.lr"]) == 2 * 3 * 3 * 4 * 2 * 3


def test_proposals_follow_the_results() -> None:
    """On a bowl, trials after the first ten are nearer to its bottom than those drawn at random."""
    space = read(LR, "train.batch_rows=choice(8,16,32)")

    def searched(seed: int) -> list[float]:
        trials: list[tuple[dict[str, str], float | None]] = []
        draw = random.Random(seed)
        for _ in range(30):
            values = propose(space, trials, seed, higher_is_better=False)
            loss = abs(math.log10(float(values["optimizer.lr"])) + 2) + (values["train.batch_rows"] != "16")
            trials.append((values, None if draw.random() < 0.1 else loss))
        assert len({tuple(values.items()) for values, _ in trials}) == 30
        return [loss for _, loss in trials if loss is not None]

    found = [searched(seed) for seed in (1, 2, 3)]
    assert found[0] == searched(1)
    assert found[0] != found[1]
    random_ones, proposed = (
        statistics.fmean(loss for one in found for loss in one[part]) for part in (slice(10), slice(10, None))
    )
    assert proposed < 0.8 * random_ones


def test_a_search_that_is_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(STAND_IN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    command = [sys.executable, "-m", "bigtrain", *words(LR, "search.trials=2")]
    begun = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not Path("slept").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    assert states() == ["done", "unfinished"]
    second = summary()["trials"][1]["settings"]["optimizer.lr"]
    assert main(words(LR, "search.trials=2")) == 0
    assert states() == ["done", "done"]
    assert Path("s/0/calls").read_text().count("\n") == 1
    assert Path("s/1/calls").read_text() == f"{second}\n" * 2


def test_a_dry_run_refuses_what_the_run_would(prepared_set: Path, tmp_path: Path) -> None:
    lines = [f"data.path={prepared_set}", *TINY, "train.max_steps=1", f"run.dir={tmp_path / 'run'}"]
    needs = pretrain.run(load("pretrain", lines), dry_run=True)
    assert (needs["metric"], needs["higher_is_better"]) == ("loss", False)
    with pytest.raises(UserError, match=r"train\.metric=accuracy"):
        pretrain.run(load("pretrain", [*lines, "train.metric=accuracy"]), dry_run=True)


@pytest.mark.slow
def test_real_runs(prepared_set: Path, tmp_path: Path) -> None:
    """The best of three rates; a kill in the middle changes nothing, and the printed command repeats the best run."""
    lines = [f"data.path={prepared_set}", *TINY, "train.max_steps=20", "train.save_every_steps=5", "search.trials=3"]
    lines += ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "search.seed=3"]
    command = [sys.executable, "-m", "bigtrain", "pretrain", "-m", "-q", *lines, "hydra.sweep.dir=killed"]
    begun = subprocess.Popen(command, cwd=tmp_path, env=environment(), start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("killed/1/checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    assert cli("pretrain", "-m", "-q", *lines, "hydra.sweep.dir=killed", cwd=tmp_path).returncode == 0
    done = cli("pretrain", "-m", "-q", "--json", *lines, "hydra.sweep.dir=whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole, killed = json.loads(done.stdout), json.loads((tmp_path / "killed" / "summary.json").read_text())
    values = [(one["settings"], one["value"]) for one in whole["trials"]]
    assert [(one["settings"], one["value"]) for one in killed["trials"]] == values
    best = min(values, key=lambda one: one[1])
    assert (whole["best"]["settings"], whole["best"]["value"]) == best
    repeated = cli(*whole["best"]["command"].split()[1:], "run.dir=again", "--json", cwd=tmp_path)
    assert json.loads(repeated.stdout)["best_val_loss"] == best[1]
