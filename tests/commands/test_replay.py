"""New text for a model that has learned another: what it forgets, and what replay keeps."""

import json
import random
from pathlib import Path

import pytest
from encoders import encoder, wordpiece
from harness import TINY, metrics, run_verb, text

from bigtrain.errors import UserError
from bigtrain.models.huggingface import save_model

SEA = ["ship", "sail", "wave", "storm", "anchor", "gull", "north", "wind", "salt", "deck", "rope", "crew", "tide"]
START = [word for word in TINY if not word.startswith("model.")]


def at_sea(n_words: int, seed: int) -> str:
    """Sentences of another small language: not one word is the same."""
    draw = random.Random(seed)
    return " ".join(draw.choice(SEA) + (".\n" if draw.random() < 0.1 else "") for _ in range(n_words))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two prepared sets, `old` and `new`, in the tokens of `base`, which has learned the old one."""
    home = tmp_path_factory.mktemp("replay")
    for name, said in (("old", text), ("new", at_sea)):
        rows = (json.dumps({"text": said(60, seed)}) + "\n" for seed in range(100))
        (home / f"{name}.jsonl").write_text("".join(rows))
    prepare = ["data.validation_fraction=0.1", f"data.files={home / 'old.jsonl'}", f"output={home / 'old'}"]
    run_verb("prepare", [*prepare, "tokenizer=bpe", "tokenizer.vocab_size=320"])
    lines = [f"data.path={home / 'old'}", f"run.dir={home / 'base'}", "train.max_steps=60", "optimizer.lr=1e-2"]
    run_verb("pretrain", [*TINY, *lines])
    prepare = ["data.validation_fraction=0.1", f"data.files={home / 'new.jsonl'}", f"output={home / 'new'}"]
    run_verb("prepare", [*prepare, "tokenizer=file", f"tokenizer.path={home / 'base'}"])  # a run's own tokenizer
    return home


def continued(home: Path, name: str, *data: str) -> dict:
    lines = ["objective=causal", f"init_from={home / 'base'}", f"run.dir={home / name}", "optimizer.lr=5e-3"]
    return run_verb("finetune", [*lines, *START, "train.max_steps=40", "train.eval_every_steps=40", *data])


def measured(home: Path, model: str, data: str) -> float:
    return run_verb("evaluate", [f"checkpoint={home / model}", f"data.path={home / data}", "device=cpu"])["loss"]


def test_replay_keeps_what_was_learned(home: Path) -> None:
    continued(home, "alone", f"data.path={home / 'new'}")
    result = continued(home, "both", f"data.sets.new.path={home / 'new'}", f"data.sets.old.path={home / 'old'}")
    before, alone, both = (
        {data: measured(home, model, data) for data in ("old", "new")} for model in ("base", "alone", "both")
    )
    assert alone["old"] > before["old"] + 2
    assert both["old"] < before["old"] + 0.3
    assert alone["new"] < before["new"] - 3
    assert both["new"] < before["new"] - 3
    # Both losses are in the result, in the metrics from before the first step on, and in the report.
    assert result["val_loss"] == pytest.approx((result["val_new_loss"] + result["val_old_loss"]) / 2)
    assert result["epochs_new"] > 0
    by_step = {(line["split"], line["step"]): line["loss"] for line in metrics(home / "both")}
    assert by_step["val_old", 40] == result["val_old_loss"]
    assert by_step["val_new", 0] - by_step["val_new", 40] > 3
    report = (home / "both" / "report.html").read_text(encoding="utf-8")
    curves = report.partition("<h2>Result</h2>")[0]
    assert all(name in curves for name in ("val_old", "val_new"))
    assert all(f"{name}<" in report for name in ("val_old_loss", "val_new_loss"))


def test_a_masked_model_replays_too(tmp_path: Path) -> None:
    tokenizer = wordpiece()
    (tmp_path / "base").mkdir()
    save_model(tmp_path / "base", encoder("bert", vocab_size=tokenizer.vocab_size), tokenizer)
    words = ["objective=masked", f"init_from={tmp_path / 'base'}", f"run.dir={tmp_path / 'run'}", "train.max_steps=2"]
    for seed, name in enumerate(("old", "new")):
        (tmp_path / f"{name}.txt").write_text(text(1500, seed))
        settings = ["tokenizer=file", f"tokenizer.path={tmp_path / 'base'}", "data.split_by=tail"]
        run_verb("prepare", [f"data.files={tmp_path / name}.txt", f"output={tmp_path / name}", *settings])
        words += [f"data.sets.{name}.path={tmp_path / name}"]
    result = run_verb("finetune", [*words, "train.batch_rows=4", "schedule.warmup_steps=1", "device=cpu"])
    assert result["val_old_loss"] != result["val_new_loss"]


def test_a_set_in_other_tokens_is_refused(home: Path, tmp_path: Path) -> None:
    run_verb("prepare", [f"data.files={home / 'new.jsonl'}", "tokenizer=bytes", f"output={tmp_path / 'bytes'}"])
    with pytest.raises(UserError, match=r"data\.sets\.new\.path"):
        continued(home, "refused", f"data.sets.new.path={tmp_path / 'bytes'}", f"data.sets.old.path={home / 'old'}")
    assert not (home / "refused").exists()
