"""`--dry-run` and `--print-config` of runs, and what the terminal shows of them: nothing is written or promised."""

import json
import os
from pathlib import Path

import pytest
from harness import TINY, run_verb, text

from bigtrain import config
from bigtrain.cli import main
from bigtrain.commands import evaluate, pretrain
from bigtrain.commands.shown import number, show
from bigtrain.data.pipeline import prepared
from bigtrain.data.schema import BytesConfig, DataConfig
from bigtrain.errors import UserError
from bigtrain.parallel import memory
from bigtrain.training import checkpoint


@pytest.fixture(scope="module")
def run(prepared_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    run_verb("pretrain", [f"data.path={prepared_set}", *TINY, "train.max_steps=4", f"run.dir={folder}"])
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def dry(verb: str, *lines: str) -> dict:
    module = {"pretrain": pretrain, "evaluate": evaluate}[verb]
    return module.run(config.load(verb, [*lines, "device=cpu"]), dry_run=True)


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_raw_text_leaves_nothing_in_the_cache(run: Path, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.txt").write_text(text(3000))
    before = files(tmp_path)
    assert dry("evaluate", f"checkpoint={run}", f"data.files={tmp_path / 'a.txt'}")["tokens"] > 0
    assert dry("pretrain", *TINY, f"data.files={tmp_path / 'a.txt'}", "train.max_steps=1")["train_rows"] > 0
    assert files(tmp_path) == before
    assert "BIGTRAIN_CACHE" in os.environ


def test_what_is_cached_is_not_prepared_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text(text(3000))
    prepared(DataConfig(files=[str(tmp_path / "a.txt")]), BytesConfig())
    caplog.clear()
    monkeypatch.setattr("bigtrain.data.pipeline.api._into", None)  # it would be called to prepare
    lines = [*TINY, f"data.files={tmp_path / 'a.txt'}", "tokenizer=bytes", "train.max_steps=1"]
    before = files(cache)
    assert dry("pretrain", *lines)["train_rows"] > 0
    assert files(cache) == before
    assert "cached" not in caplog.text


def test_a_run_is_known_by_its_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(run)
    needs = dry("pretrain", f"run.dir={run}", "train.max_steps=4")
    assert (needs["step"], needs["steps"], needs["tokens_per_step"]) == (4, 4, 8 * 32)
    assert main(["pretrain", f"run.dir={run}", "train.keep_last=1", "--print-config"]) == 0
    out, err = capsys.readouterr()
    shown = config.read_yaml(out)
    assert (shown["model"]["dim"], shown["train"]["max_steps"], shown["train"]["keep_last"]) == (32, 4, 1)
    assert f"({run / 'config.yaml'})" in out
    assert "configs/model" not in out
    assert "not complete" not in err
    assert files(run) == before
    with pytest.raises(UserError, match="seed"):  # as the run itself would be refused
        dry("pretrain", f"run.dir={run}", "seed=1")


def test_a_damaged_checkpoint_is_left_where_it_is(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    newest = max(copy.glob("checkpoints/step-*"))
    (newest / "manifest.json").write_text("{}")
    before = files(copy)
    with pytest.raises(UserError, match="no intact checkpoint"):
        dry("pretrain", f"run.dir={copy}")
    assert files(copy) == before


def test_what_does_not_fit_is_said_below_the_figures(
    prepared_set: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["pretrain", f"data.path={prepared_set}", *TINY, "train.max_steps=1", f"run.dir={tmp_path / 'r' / 's'}"]
    assert main([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refused"] == []
    monkeypatch.setattr(memory, "_total_bytes", lambda placement: 1000.0)
    monkeypatch.setattr(checkpoint, "space", lambda *_: (2000, 1000))
    assert main([*words, "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert "parameters" in out
    assert "does not fit" in err
    assert "weights and gradients alone" in err
    assert "checkpoints need up to 2kB" in err
    assert not (tmp_path / "r").exists()


def test_numbers_are_those_of_people(capsys: pytest.CaptureFixture[str]) -> None:
    values = [1234567, 98795500.0, 2.5e18, 0.1234567, 11766.9, True, "cpu"]
    assert [number(value) for value in values] == [
        *("1,234,567", "98,795,500", "2.5e+18", "0.123457", "11,767", "True", "cpu")
    ]
    show({"parameters": 1234567, "steps": None, "refused": [], "examples": [{"before": "a", "after": "b"}]})
    assert capsys.readouterr().out.split() == ["parameters", "1,234,567", "examples", "before", "a", "after", "b"]


def test_a_run_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--dry-run"]):
        assert main(["pretrain", f"run.dir={tmp_path / 'typo'}", "train.max_steps=1", *more]) == 2
        assert f"no data, and no run in run.dir={tmp_path / 'typo'} to continue" in capsys.readouterr().err
    assert main(["finetune", "init_from=nope", "objective=causal", "data=stdlib", "train.max_steps=1"]) == 2
    assert "error: init_from=nope" in capsys.readouterr().err


def test_the_end_of_a_run_is_a_short_table(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"val_loss": 2.5, "val_perplexity": 12.2, "val_a_loss": 2.0, "val_a_token_accuracy": 0.4, "macro_f1": 0.5}
    best = {f"best_{name}": value / 2 for name, value in metrics.items()}
    rest = {"step": 1000, "tokens": 2048000, "epochs": 1.234, "epochs_a": 2.0, "parameters": 34000}
    end = {"trained_parameters": 900, "seconds": 75.0, "tokens_per_second": 27306.7, "stopped_by": "max_steps"}
    paths = {"run": "runs/a", "checkpoint": "runs/a/x", "best_checkpoint": None, "best_per_class": {"a": {"f1": 1}}}
    show({**metrics, **best, **rest, **end, **paths})
    assert capsys.readouterr().out.splitlines() == [
        "metric      final  best",
        "val_loss    2.5    1.25",
        "val_a_loss  2      1",
        "macro_f1    0.5    0.25",
        "",
        "steps       1,000 (max_steps), 2,048,000 tokens, 1.23 epochs, 2.00 epochs of a",
        "parameters  34,000 (900 trained)",
        "time        1:15, 27,307 tokens/s",
        "run         runs/a",
        "checkpoint  runs/a/x",
    ]
