"""`-m seed=1,2,3`: means and deviations over seeds."""

import json
import statistics
from pathlib import Path

import pytest
from harness import TINY, cli

from bigtrain.cli import main
from bigtrain.config import sweep
from bigtrain.config.sweep import over_seeds, show, write_summary


def job(overrides: str, result: dict | None, folder: str = "sweeps/1/0") -> dict:
    return {"overrides": overrides.split(), "folder": folder, "exit_code": int(result is None), "result": result}


def test_mean_and_sample_deviation_by_hand() -> None:
    results = [
        {"accuracy": 0.5, "step": 10, "stopped_by": "max_steps", "best": {"step": 3}, "ok": True},
        {"accuracy": 0.7, "step": 20, "stopped_by": "max_steps", "mfu": None},
        {"accuracy": 0.9, "step": 10, "perplexity": 3.0, "mfu": float("nan")},
    ]
    (found,) = over_seeds([job(f"data.path=x seed={seed}", result) for seed, result in enumerate(results)])
    assert found["overrides"] == ["data.path=x"]
    assert found["seeds"] == ["0", "1", "2"]
    assert found["failed"] == 0
    assert set(found["metrics"]) == {"accuracy", "step", "perplexity"}
    assert found["metrics"]["accuracy"] == pytest.approx({"mean": 0.7, "deviation": 0.2, "runs": 3})
    assert found["metrics"]["step"]["deviation"] == pytest.approx((2 * (10 / 3) ** 2 + (20 / 3) ** 2) ** 0.5 / 2**0.5)
    assert found["metrics"]["perplexity"] == {"mean": 3.0, "deviation": None, "runs": 1}


def test_each_setting_of_the_other_keys_has_its_own() -> None:
    jobs = [
        job(f"optimizer.lr={lr} seed={seed} x=1", {"loss": lr + seed} if (lr, seed) != (2, 3) else None)
        for lr in (1, 2)
        for seed in (3, 5)
    ]
    first, second = over_seeds(jobs)
    assert first["overrides"] == ["optimizer.lr=1", "x=1"]
    assert first["metrics"]["loss"] == pytest.approx({"mean": 5, "deviation": 2**0.5, "runs": 2})
    assert (second["seeds"], second["failed"]) == (["5"], 1)
    assert second["metrics"]["loss"] == {"mean": 7, "deviation": None, "runs": 1}


@pytest.mark.parametrize(
    "jobs",
    [
        [],
        [job("seed=1", {"loss": 1.0})],
        [job("lr=1", {"loss": 1.0}), job("lr=2", {"loss": 1.0})],
        [job("lr=1 seed=1", {"loss": 1.0}), job("lr=2 seed=2", {"loss": 1.0})],  # not the same setting
        [job("seed=1", {"loss": 1.0}), job("seed=2", None)],
        [job("train.seed=1", {"loss": 1.0}), job("train.seed=2", {"loss": 1.0})],
    ],
)
def test_no_summary_without_two_seeds_of_one_setting(jobs: list[dict]) -> None:
    assert over_seeds(jobs) == []


def test_what_is_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [
        job(f"data.path=x optimizer.lr={lr} seed={seed}", {"loss": lr * seed / 3}, str(tmp_path / f"{lr}{seed}"))
        for lr in (1, 2)
        for seed in (1, 2)
    ]
    found = over_seeds(jobs)
    show(jobs, found)
    _, below = capsys.readouterr().out.split("\n\n")
    assert [line.split() for line in below.splitlines()] == [
        ["metric", "mean", "deviation", "runs", "settings"],
        ["loss", "0.5", "0.236", "2", "optimizer.lr=1"],
        ["loss", "1", "0.471", "2", "optimizer.lr=2"],
    ]
    write_summary(jobs, found)
    assert json.loads((tmp_path / "summary.json").read_text()) == found


def test_pretrain_over_seeds(prepared_set: Path, tmp_path: Path) -> None:
    words = [f"data.path={prepared_set}", *TINY, "train.max_steps=2", "train.eval_every_steps=2", "seed=1,2"]
    done = cli("pretrain", "-m", "--json", "-q", *words, "hydra.sweep.dir=mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    losses = [json.loads((Path(one["folder"]) / "result.json").read_text())["val_loss"] for one in document["jobs"]]
    (found,) = document["summary"]
    assert losses[0] != losses[1]
    assert found["metrics"]["val_loss"]["mean"] == pytest.approx(statistics.fmean(losses))
    assert found["metrics"]["val_loss"]["deviation"] == pytest.approx(abs(losses[0] - losses[1]) / 2**0.5)
    assert found["metrics"]["step"] == {"mean": 2, "deviation": 0, "runs": 2}
    assert json.loads((tmp_path / "mine" / "summary.json").read_text()) == document["summary"]


@pytest.mark.parametrize(
    ("verb", "options", "summarised"),
    [("finetune", [], True), ("finetune", ["--dry-run"], False), ("generate", [], False)],
)
def test_training_is_summarised(
    verb: str,
    options: list[str],
    summarised: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs = [job(f"seed={seed}", {"accuracy": seed / 4}, str(tmp_path / str(seed))) for seed in (1, 2)]
    monkeypatch.setattr(sweep, "sweep", lambda *_: jobs)
    assert main([verb, "-m", "--json", "seed=1,2", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == ({"jobs": jobs, "summary": over_seeds(jobs)} if summarised else jobs)
    assert (tmp_path / "summary.json").exists() == summarised
