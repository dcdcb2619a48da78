"""Preferences through the command line: learning, the reference, resuming, measuring, and what is refused."""

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import WORDS, bits, cli, fork, kill_at_random, metrics, run_verb
from safetensors.numpy import load_file

from bigtrain.data.schema import BytesConfig
from bigtrain.errors import UserError
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import save_model
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import train

TRAINING = [
    *("objective=preference", "optimizer.lr=3e-3", "schedule.warmup_steps=3", "train.batch_rows=4", "train.seq_len=64"),
    *("train.log_every_steps=1", "device=cpu", "device.precision=fp32"),
]
MEASURED = ("loss", "accuracy", "margin", "reward_chosen", "reward_rejected", "kl")


def row(seed: int) -> dict[str, str]:
    """Things are better than verbs."""
    draw = random.Random(seed)
    return {
        "prompt": f"say {draw.choice(WORDS)}",
        "chosen": draw.choice(WORDS[2:7]),
        "rejected": draw.choice(WORDS[7:10]),
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, and a model to start from."""
    home = tmp_path_factory.mktemp("home")
    for name, seeds in (("train.jsonl", range(120)), ("dev.jsonl", range(900, 930))):
        (home / name).write_text("".join(json.dumps(row(seed)) + "\n" for seed in seeds))
    save(home / "base", 1)
    return home


def save(folder: Path, seed: int, dropout: float = 0.0) -> None:
    folder.mkdir()
    tokenizer = train(BytesConfig(), [])
    shape = DecoderConfig(
        architecture=Architecture.llama, dim=32, n_layers=2, n_heads=2, max_seq_len=64, dropout=dropout
    )
    model = materialise(Decoder.on_meta(shape.resolved(tokenizer.vocab_size)), torch.device("cpu"), seed)
    save_model(folder, model, tokenizer)


def words(home: Path, steps: int, run: str, *more: str) -> list[str]:
    data = [f"data.train={home / 'train.jsonl'}", f"data.validation={home / 'dev.jsonl'}", f"init_from={home / 'base'}"]
    return [*TRAINING, *data, f"train.max_steps={steps}", f"run.dir={home / run}", *more]


@pytest.fixture(scope="module")
def learned(home: Path) -> dict[str, Any]:
    return run_verb("finetune", words(home, 30, "run", "train.eval_every_steps=15"))


def measure(home: Path, checkpoint: Path, *more: str) -> dict[str, Any]:
    asked = [f"checkpoint={checkpoint}", f"data.files={home / 'dev.jsonl'}", "evals=preference", "evals.seq_len=64"]
    return run_verb("evaluate", [*asked, "device=cpu", "device.precision=fp32", *more])


def same(measured: dict[str, Any], result: dict[str, Any]) -> bool:
    wanted = {name: result["val_loss" if name == "loss" else name] for name in MEASURED}
    return {name: measured[name] for name in MEASURED} == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_preferences_are_learned_and_measured(home: Path, learned: dict[str, Any]) -> None:
    assert learned["accuracy"] > 0.9
    assert learned["margin"] > 1
    assert learned["kl"] > 0
    [first, *_] = [line for line in metrics(home / "run") if line["split"] == "train"]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)  # it begins as its own reference
    measured = measure(home, home / "run", f"output={home / 'measured'}")
    assert measured["rows"] == 30
    assert same(measured, learned)
    rows = [json.loads(line) for line in (home / "measured" / "predictions.jsonl").read_text().splitlines()]
    margins = [row["reward_chosen"] - row["reward_rejected"] for row in rows]
    assert sum(margins) / 30 == pytest.approx(measured["margin"], abs=1e-5)
    assert [row["where"] for row in rows] == [f"{home / 'dev.jsonl'}:{line}" for line in range(1, 31)]
    assert {name: rows[3][name] for name in ("chosen", "rejected")}.items() <= row(903).items()


def test_the_reference_of_a_measurement(home: Path, tmp_path: Path, learned: dict[str, Any]) -> None:
    shutil.copytree(learned["checkpoint"], tmp_path / "copy")
    with pytest.raises(UserError, match=r"no run folder(.|\n)*evals\.reference="):
        measure(home, tmp_path / "copy")
    assert same(measure(home, tmp_path / "copy", f"evals.reference={home / 'base'}"), learned)
    itself = measure(home, tmp_path / "copy", f"evals.reference={tmp_path / 'copy'}", "evals.beta=3")
    assert itself["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert measure(home, home / "run", "evals.beta=0.2")["margin"] == pytest.approx(2 * learned["margin"], rel=1e-4)
    for more, message in (
        (["evals=quick", "evals.beta=1"], "evals.beta="),
        (["evals.answers=true"], "evals.answers=true with evals.pairs=true"),
        (["data.answer_field=x"], "data.answer_field"),
    ):
        with pytest.raises(UserError, match=message):
            measure(home, home / "run", *more)


def test_a_run_that_goes_on_ends_with_the_same_bits_and_asks_no_more_for_its_start(home: Path, tmp_path: Path) -> None:
    save(tmp_path / "start", 2, dropout=0.1)
    more = ["train.save_every_steps=3", "schedule=constant", "train.eval_every_steps=3"]

    def run(steps: int, name: str) -> None:
        run_verb(
            "finetune",
            [*words(home, steps, "", *more), f"init_from={tmp_path / 'start'}", f"run.dir={tmp_path / name}"],
        )

    run(9, "one")
    run(3, "two")
    file = tmp_path / "two" / "reference.safetensors"
    before = file.stat().st_mtime_ns
    (tmp_path / "start").rename(tmp_path / "gone")
    run(9, "two")
    assert file.stat().st_mtime_ns == before
    assert bits(tmp_path / "one") == bits(tmp_path / "two")
    assert {name.partition(".")[0] for name in load_file(file)} == {"training", "validation"}
    with pytest.raises(UserError, match=r"init_from of(.|\n)*evals\.reference="):
        measure(home, tmp_path / "two")
    save(tmp_path / "start", 3)
    with pytest.raises(UserError, match="other weights than those"):
        measure(home, tmp_path / "two")


@pytest.mark.slow
def test_a_run_that_is_killed_ends_with_the_same_bits(home: Path) -> None:
    more = ["train.save_every_steps=2", "train.eval_every_steps=4", "adapter=lora", "adapter.dropout=0.1"]
    run_verb("finetune", words(home, 8, "alone", *more))
    draw = random.Random(4)
    for _ in range(4):
        if not kill_at_random(fork("finetune", words(home, 8, "killed", *more)), 1.5, draw):
            break
    run_verb("finetune", words(home, 8, "killed", *more))
    assert bits(home / "alone") == bits(home / "killed")


@pytest.mark.parametrize("adapter", ["lora", pytest.param("dora", marks=pytest.mark.slow)])
def test_the_reference_of_an_adapter_is_its_base(home: Path, adapter: str) -> None:
    more = [f"adapter={adapter}", "optimizer.lr=1e-2", "train.eval_every_steps=6", "adapter.merge=true"]
    found = run_verb("finetune", words(home, 12, adapter, *more))
    lines = metrics(home / adapter)
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert found["val_loss"] < 0.6
    assert same(measure(home, home / adapter / "checkpoints" / "step-00000012"), found)
    best = {name: found[f"best_{'val_loss' if name == 'loss' else name}"] for name in MEASURED}
    merged = measure(home, home / adapter / "merged")
    assert {name: merged[name] for name in MEASURED} == pytest.approx(best, rel=1e-4, abs=1e-6)


def test_the_reference_reads_positions_as_the_run_does(home: Path) -> None:
    more = ["model.rope_scaling.kind=linear", "model.rope_scaling.factor=8", "train.eval_every_steps=3"]
    found = run_verb("finetune", words(home, 3, "scaled", *more))
    assert metrics(home / "scaled")[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert same(measure(home, home / "scaled"), found)


def test_a_template_with_new_tokens(home: Path) -> None:
    more = ["objective.template=chatml", "model.resize_vocab=true", "train.eval_every_steps=3"]
    found = run_verb("finetune", words(home, 3, "chatml", *more))
    assert metrics(home / "chatml")[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert same(measure(home, home / "chatml"), found)


@pytest.mark.slow
@pytest.mark.parametrize(("reduction", "more"), [("exact", ["parallel.shards=4"]), ("fast", [])])
def test_two_processes_are_one(home: Path, reduction: str, more: list[str]) -> None:
    lines = []
    for nproc in (1, 2):
        run = f"{reduction}-{nproc}"
        asked = words(home, 6, run, "train.eval_every_steps=3", f"parallel.reduction={reduction}", *more)
        done = cli("finetune", *asked, "--nproc", str(nproc), timeout=200)
        assert done.returncode == 0, done.stderr
        lines.append(metrics(home / run))
    for one, two in zip(*lines, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    if reduction == "exact":
        assert bits(home / "exact-1") == bits(home / "exact-2")
        files = [(home / f"exact-{n}" / "reference.safetensors").read_bytes() for n in (1, 2)]
        assert files[0] == files[1]


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        ('{"prompt": "a", "chosen": "b", "rejected": "b"}', [], "rows.jsonl:1: chosen and rejected are the same"),
        (
            '{"prompt": "a", "chosen": "b"}',
            [],
            "name the fields with data.prompt_field=, or",
        ),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "chosen": "b"}', [], "no field 'rejected'"),
        ('{"prompt": "' + "a" * 99 + '", "chosen": "b", "rejected": "c"}', [], "no pair has two different answers"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}', ["data.label_field=x"], "data.label_field"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}', ["data.answer_field=x"], "data.answer_field"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}', ["objective.beta=0"], "objective.beta"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}', ["objective.template=chatml"], "resize_vocab"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}', ["train.batch_tokens=64"], "128"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    home: Path, tmp_path: Path, content: str, more: list[str], message: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(content + "\n")
    data = [f"data.train={tmp_path / 'rows.jsonl'}", f"init_from={home / 'base'}", f"run.dir={tmp_path / 'run'}"]
    training = [word for word in TRAINING if not (word.startswith("train.batch_rows") and "batch_tokens" in str(more))]
    with pytest.raises(UserError) as refused:
        run_verb("finetune", [*training, *data, "train.max_steps=2", *more])
    assert message in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_what_a_dry_run_says(home: Path) -> None:
    from bigtrain.commands import finetune
    from bigtrain.config import load

    found = finetune.run(load("finetune", words(home, 3, "dry")), dry_run=True)
    assert found["steps"] == 3
    assert not (home / "dry").exists()
