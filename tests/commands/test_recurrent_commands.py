"""The recurrent family through the verbs: two phases of training, curves, generation, and a stop in between."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from harness import bits, run_verb, text

SMALL = [
    "model=gru",
    "model.dim=16",
    "model.hidden_dim=24",
    "tokenizer=words",
    "tokenizer.vocab_size=60",
    "data.validation_fraction=0.2",
    "data.split_by=tail",
    "train.seq_len=20",
    "train.batch_rows=16",
    "train.log_every_steps=1",
    "optimizer.lr=1e-2",
    "schedule.warmup_steps=2",
    "device=cpu",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "a.txt").write_text(text(4000))
    (home / "b.txt").write_text(text(3000, seed=1).replace("the", "a"))
    return home


@pytest.fixture(scope="module")
def first(home: Path) -> dict[str, Any]:
    words = [*SMALL, f"data.files={home / 'a.txt'}", "train.max_steps=24", "train.eval_every_steps=8"]
    words += ["train.eval_train_tokens=400", "model.carry_tokens=10", "train.save_every_steps=12"]
    return run_verb("pretrain", [*words, f"run.dir={home / 'first'}"])


def lines(run: Path, split: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["split"] == split]


def test_curves_of_accuracy_and_loss_for_both_parts(first: dict[str, Any], home: Path) -> None:
    for split in ("validation", "val_train"):
        found = lines(home / "first", split)
        assert [line["step"] for line in found] == [0, 8, 16, 24]
        assert found[-1]["loss"] < found[0]["loss"] - 0.2
        assert found[-1]["token_accuracy"] > found[0]["token_accuracy"]
    assert first["val_loss"] == lines(home / "first", "validation")[-1]["loss"]  # of held-out text alone
    assert first["val_train_loss"] == lines(home / "first", "val_train")[-1]["loss"]
    assert "val_train" in (home / "first" / "report.html").read_text()


def test_the_model_folder_opens_here(first: dict[str, Any], home: Path) -> None:
    folder = Path(first["checkpoint"])
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bigtrain_gru"
    card = (folder / "README.md").read_text()
    assert "bigtrain generate checkpoint=." in card
    assert "transformers" not in card
    written = run_verb("generate", [f"checkpoint={folder}", "prompt=the cat", "max_new_tokens=5", "device=cpu"])
    assert written["tokens"] <= 5


def test_a_second_phase_on_other_text(first: dict[str, Any], home: Path) -> None:
    words = [f"init_from={home / 'first'}", "objective=causal", f"data.files={home / 'b.txt'}", "data.split_by=tail"]
    words += ["train.max_steps=10", "train.seq_len=20", "optimizer.lr=1e-2", "device=cpu"]
    second = run_verb("finetune", [*words, f"run.dir={home / 'second'}"])
    found = lines(home / "second", "validation")
    assert second["val_loss"] < found[0]["loss"]
    measured = run_verb("evaluate", [f"checkpoint={home / 'second'}", f"data.files={home / 'b.txt'}", "device=cpu"])
    assert measured["token_accuracy"] > 0


def test_a_run_goes_on_with_the_same_bits(first: dict[str, Any], home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(home / "first", run)
    for name in ("step-00000024",):
        shutil.rmtree(run / "checkpoints" / name)  # as if it had been stopped before its last checkpoint
    run_verb("pretrain", [f"run.dir={run}"])
    assert bits(run) == bits(home / "first")


def test_lstm(home: Path, tmp_path: Path) -> None:
    words = [*SMALL, "model=lstm", "model.dim=16", "model.hidden_dim=24", f"data.files={home / 'a.txt'}"]
    words += ["train.max_steps=3", "train.isolate_documents=true", f"run.dir={tmp_path / 'run'}"]
    result = run_verb("pretrain", words)
    folder = Path(result["checkpoint"])
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bigtrain_lstm"
