"""Adapters through the commands: small checkpoints that resume bit for bit, and a base that must stay what it is."""

import json
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import _packaged_configs_are_composed_once  # noqa: F401
from harness import TINY, bits, fork, kill_at_random, metrics, newest, run_verb, text
from safetensors.torch import load_file

from bigtrain.commands import finetune
from bigtrain.config import load
from bigtrain.errors import Stopped, UserError
from bigtrain.models.huggingface import load_model, save_model
from bigtrain.tokenizer import Tokenizer

STEPS = [line for line in TINY if not line.startswith("model.")] + ["train.max_steps=6", "train.save_every_steps=2"]
OF_ROWS = [line for line in STEPS if "eval_tokens" not in line]
FP32 = "device.precision=fp32"
LORA = ["objective=causal", *STEPS, "adapter=lora", "adapter.rank=4", "optimizer.lr=0.02", "schedule.warmup_steps=1"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, prepared_set: Path) -> Path:
    run = tmp_path_factory.mktemp("runs") / "base"
    run_verb(
        "pretrain", [*TINY, f"data.path={prepared_set}", f"run.dir={run}", "train.max_steps=4", "model.dropout=0.1"]
    )
    return run


@pytest.fixture(scope="module")
def adapter(base: Path, prepared_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run, merged at its end."""
    run = tmp_path_factory.mktemp("runs") / "adapter"
    words = [*LORA, "adapter.dropout=0.1", "adapter.merge=true"]
    run_verb("finetune", [*words, f"init_from={base}", f"data.path={prepared_set}", f"run.dir={run}"])
    return run


def model_of(run: Path) -> Path:
    return newest(run) / "model"


def result(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "result.json").read_text()))


def test_a_checkpoint_holds_what_is_trained(adapter: Path, base: Path) -> None:
    files = {path.name for path in model_of(adapter).iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "base.json", "tokenizer.json", "README.md"} <= files
    assert not files & {"model.safetensors", "config.json"}
    told = result(adapter)
    saved = load_file(model_of(adapter) / "adapter_model.safetensors")
    assert told["trained_parameters"] == sum(tensor.numel() for tensor in saved.values()) < told["parameters"] / 2
    state = load_file(newest(adapter) / "state" / "optimizer.safetensors")
    assert {name.rpartition("/")[0].rpartition(".")[2] for name in state} == {"a", "b"}
    losses = [line["loss"] for line in metrics(adapter) if line["split"] == "validation"]
    before = [line["loss"] for line in metrics(base) if line["split"] == "validation"]
    assert losses[0] == pytest.approx(before[-1], abs=1e-6)  # it begins as its base
    assert losses[-1] < losses[0] - 0.1
    named = json.loads((model_of(adapter) / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(named) == model_of(base)


def test_stopped_and_continued_equals_uninterrupted(
    adapter: Path, base: Path, prepared_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bigtrain.training import loop

    words = [
        *LORA,
        "adapter.dropout=0.1",
        f"init_from={base}",
        f"data.path={prepared_set}",
        f"run.dir={tmp_path / 'r'}",
    ]
    original, count = loop.Loop._gradient, [0]

    def counted(self: Any, *arguments: Any) -> Any:
        count[0] += 1
        if count[0] == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_gradient", counted)
        with pytest.raises(Stopped):
            run_verb("finetune", words)
    run_verb("finetune", words)
    assert bits(tmp_path / "r") == bits(adapter)


@pytest.mark.slow
def test_killed_and_continued_equals_uninterrupted(
    adapter: Path, base: Path, prepared_set: Path, tmp_path: Path
) -> None:
    draw, killed = random.Random(1), 0
    for number in range(8):
        words = [*LORA, "adapter.dropout=0.1", f"init_from={base}", f"data.path={prepared_set}"]
        words.append(f"run.dir={tmp_path / str(number)}")
        killed += kill_at_random(fork("finetune", words), 2.0, draw)
        run_verb("finetune", words)
        assert bits(tmp_path / str(number)) == bits(adapter)
    assert killed


def test_evaluate_and_generate_take_its_path(adapter: Path, prepared_set: Path) -> None:
    found = run_verb(
        "evaluate", [f"checkpoint={adapter}", f"data.path={prepared_set}", "device=cpu", "evals.stride=32"]
    )
    in_run = [line["loss"] for line in metrics(adapter) if line["split"] == "validation"]
    assert found["loss"] == pytest.approx(in_run[-1], abs=0.05)  # the run measured the first 512 tokens
    words = ["prompt=the cat", "max_new_tokens=4", "temperature=0", "device=cpu"]
    texts = [run_verb("generate", [f"checkpoint={folder}", *words])["text"] for folder in (adapter, adapter / "merged")]
    assert texts[0] == texts[1]


def test_the_merged_model_stands_alone(adapter: Path, base: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    assert result(adapter)["merged"] == str(adapter / "merged")
    tokens = torch.randint(5, 55, (2, 12), generator=torch.Generator().manual_seed(0))
    model = load_model(adapter / "checkpoints" / (adapter / "checkpoints" / "best").read_text().strip() / "model")
    with torch.no_grad():
        opened = transformers.AutoModelForCausalLM.from_pretrained(adapter / "merged").eval()
        theirs, ours = opened(tokens).logits, model.logits(model.eval()(tokens))
        before = (plain := load_model(model_of(base)).eval()).logits(plain(tokens))
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    assert (theirs - before).abs().max() > 1e-2


def test_merging_can_be_asked_for_later(base: Path, prepared_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*LORA, f"init_from={base}", f"data.path={prepared_set}", f"run.dir={run}"]
    run_verb("finetune", words)
    saved = bits(run)
    assert not (run / "merged").exists()
    assert "merged" in run_verb("finetune", [words[-1], "adapter.merge=true"])  # the run knows the rest
    assert (run / "merged" / "model.safetensors").is_file()
    assert bits(run) == saved


def test_an_adapter_learns_on_or_becomes_part_of_the_weights(adapter: Path, prepared_set: Path, tmp_path: Path) -> None:
    words = [f"init_from={adapter}", f"data.path={prepared_set}", "optimizer.lr=1e-9"]
    on = run_verb("finetune", [*LORA, *words, f"run.dir={tmp_path / 'on'}"])
    full = run_verb("finetune", ["objective=causal", *STEPS, *words, f"run.dir={tmp_path / 'full'}"])
    assert on["val_loss"] == pytest.approx(result(adapter)["best_val_loss"], abs=1e-4)
    assert full["val_loss"] == pytest.approx(on["val_loss"], abs=1e-4)
    assert (model_of(tmp_path / "full") / "model.safetensors").is_file()
    for change, word in (("rank=5", "adapter.rank"), ("alpha=3", "adapter.alpha"), ("targets=mlp", "adapter.targets")):
        with pytest.raises(UserError, match=f"(?s)another adapter than this run's.*{word}"):
            run_verb("finetune", [*LORA, *words, f"adapter.{change}", f"run.dir={tmp_path / 'no'}"])


def test_another_base_is_refused(base: Path, prepared_set: Path, tmp_path: Path) -> None:
    folder, run = tmp_path / "base", tmp_path / "run"
    shutil.copytree(model_of(base), folder)
    words = [*LORA, f"init_from={folder}", f"data.path={prepared_set}", f"run.dir={run}"]
    run_verb("finetune", words)
    other = load_model(folder)
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    save_model(folder, other, Tokenizer.load(folder))
    run_verb("generate", [f"checkpoint={run}", "prompt=a", "device=cpu"])  # the run kept the right one
    shutil.rmtree(run / "base")
    for verb, more in (
        ("generate", [f"checkpoint={run}", "prompt=a", "device=cpu"]),
        ("finetune", [*words, "train.max_steps=8", "schedule=constant", "resume.allow=[schedule]"]),
    ):
        with pytest.raises(UserError, match="an adapter for another base"):
            run_verb(verb, more)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"(?s)base_model_name_or_path.*no model folder of that name"):
        run_verb("generate", [f"checkpoint={run}", "prompt=a", "device=cpu"])


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers", "ignore::UserWarning:peft")
def test_it_outlives_its_base_and_its_place(
    prepared_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base run goes on and deletes the checkpoint; and all of it is looked at from other folders."""
    monkeypatch.chdir(tmp_path)
    pretrain = [*TINY, f"data.path={prepared_set}", "run.dir=base", "train.keep_last=1", "schedule=constant"]
    run_verb("pretrain", [*pretrain, "train.max_steps=1"])
    words = [*LORA, "init_from=base", f"data.path={prepared_set}", "schedule=constant"]
    run_verb("finetune", [*words, "run.dir=run", "train.max_steps=1"])
    base, kept = model_of(tmp_path / "base"), tmp_path / "run" / "base"
    assert (kept / "model.safetensors").samefile(base / "model.safetensors")
    asked = ["prompt=a", "max_new_tokens=8", "temperature=0", "device=cpu"]
    told = run_verb("generate", ["checkpoint=run", *asked])["text"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    shutil.rmtree(kept)
    assert run_verb("generate", ["checkpoint=../run", *asked])["text"] == told  # the base is named from the root
    monkeypatch.chdir(tmp_path)
    run_verb("finetune", [*words, "run.dir=run", "train.max_steps=2"])  # a run from before bases were kept
    run_verb("pretrain", [*pretrain, "train.max_steps=3", "optimizer.lr=0.1", "resume.allow=[optimizer]"])
    assert not base.exists()
    (tmp_path / "run").rename(tmp_path / "moved")
    assert len(run_verb("generate", ["checkpoint=moved", *asked])["text"])
    run_verb("finetune", [*words, "run.dir=moved", "train.max_steps=3"])
    named = json.loads((model_of(tmp_path / "moved") / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(named) == tmp_path / "moved" / "base"
    monkeypatch.chdir("/")
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    opened = peft.AutoPeftModelForCausalLM.from_pretrained(model_of(tmp_path / "moved"))
    assert isinstance(opened.base_model.model, transformers.PreTrainedModel)


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_a_classifier(architecture: str, prepared_set: Path, tmp_path: Path) -> None:
    """Its head is trained whole, and its rows are predicted the same in the run and by `evaluate`."""
    lines = [*TINY, f"model.architecture={architecture}", f"data.path={prepared_set}", "train.max_steps=2"]
    run_verb("pretrain", [*lines, f"run.dir={tmp_path / 'base'}"])
    rows = tmp_path / "rows.csv"
    rows.write_text(
        "text,label\n" + "".join(f"a cat {text(4, n)!r},good\na dog {text(3, n)!r},bad\n" for n in range(12))
    )
    run = tmp_path / "run"
    words = ["objective=classify", f"init_from={tmp_path / 'base'}", f"data.train={rows}", f"data.validation={rows}"]
    words += [
        *OF_ROWS,
        FP32,
        "adapter=dora",
        "adapter.targets=[attention.q,mlp]",
        "optimizer.lr=0.02",
        f"run.dir={run}",
    ]
    told = run_verb("finetune", words)
    found = run_verb("evaluate", [f"checkpoint={newest(run)}", f"data.files={rows}", "device=cpu", FP32])
    assert found["loss"] == pytest.approx(told["val_loss"], abs=1e-5)
    assert found["accuracy"] == told["accuracy"]
    named = json.loads((model_of(run) / "adapter_config.json").read_text())
    assert (named["modules_to_save"], named["task_type"]) == (["score"], "SEQ_CLS")
    first = bits(run)
    shutil.rmtree(newest(run))
    (run / "result.json").unlink()
    run_verb("finetune", words)
    assert bits(run) == first


@pytest.mark.parametrize("tied", ["true", "false"])
def test_new_rows_are_trained_whole(tied: str, prepared_set: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(text(5000))
    lines = [f"data.files={tmp_path / 'text.txt'}", "data.split_by=tail", "tokenizer=bpe", "tokenizer.vocab_size=321"]
    run_verb("prepare", [*lines, f"output={tmp_path / 'set'}"])
    lines = [*TINY, f"model.tied={tied}", f"data.path={prepared_set}", "train.max_steps=2"]
    run_verb("pretrain", [*lines, f"run.dir={tmp_path / 'base'}"])
    run = tmp_path / "run"
    words = [*LORA, FP32, "model.resize_vocab=true", f"init_from={tmp_path / 'base'}", f"data.path={tmp_path / 'set'}"]
    told = run_verb("finetune", [*words, f"run.dir={run}"])
    saved = load_file(model_of(run) / "adapter_model.safetensors")
    rows = ("base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight")
    assert [saved[name].shape for name in rows] == [(384, 32), (384, 32)]
    assert torch.equal(*(saved[name] for name in rows)) == (tied == "true")
    lines = [f"checkpoint={newest(run)}", f"data.path={tmp_path / 'set'}", "device=cpu", "evals.seq_len=32"]
    found = run_verb("evaluate", [*lines, "evals.stride=32", "evals.max_tokens=511", FP32])
    assert found["loss"] == pytest.approx(told["val_loss"], abs=1e-4)
    first = bits(run)
    shutil.rmtree(newest(run))
    (run / "result.json").unlink()
    run_verb("finetune", [*words, f"run.dir={run}"])
    assert bits(run) == first


def test_frozen_parameters_and_rates_by_layer(base: Path, prepared_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["objective=causal", *STEPS, f"init_from={base}", f"data.path={prepared_set}", f"run.dir={run}"]
    words += ["train.freeze=[embedding,blocks.0.*]", "train.layer_lr_decay=0.5", "optimizer=muon"]
    told = run_verb("finetune", words)
    assert told["trained_parameters"] < told["parameters"]
    before, after = (load_file(model_of(folder) / "model.safetensors") for folder in (base, run))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith(("model.embed_tokens.", "model.layers.0."))}
    assert moved == before.keys() - frozen
    lines = [line for line in metrics(run) if line["split"] == "train"]
    assert lines[2]["lr"] == pytest.approx(0.02)  # after the warmup: as `optimizer.lr` says
    with pytest.raises(UserError, match=r"train\.freeze: \[.*\] -> null"):
        run_verb("finetune", [*words, "train.freeze=[]", "train.max_steps=8"])


def test_dry_run_counts_what_is_trained(base: Path, prepared_set: Path) -> None:
    words = ["objective=causal", *STEPS, f"init_from={base}", f"data.path={prepared_set}"]
    plain = finetune.run(load("finetune", words), dry_run=True)
    small = finetune.run(load("finetune", [*words, "adapter=lora", "adapter.rank=1"]), dry_run=True)
    assert plain["trained_parameters"] == plain["parameters"] < small["parameters"]
    assert small["trained_parameters"] == small["parameters"] - plain["parameters"]
    assert small["memory_per_device_gb"] <= plain["memory_per_device_gb"]
    assert small["flops_per_token"] < plain["flops_per_token"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adapter=lora", "adapter.rank=0"], r"adapter\.rank=0"),
        (["adapter=lora", "adapter.targets=[attention.queries]"], r"(?s)attention\.queries.*did you mean.*attention"),
        (["adapter=lora", "adapter.targets=[]"], r"adapter\.targets=\[\]"),
        (["adapter=none", "adapter.merge=true"], r"adapter\.merge"),
        (["adapter=lora", "lora_r=8"], r"adapter\.rank"),
        (["train.freeze=[embeding]"], r"(?s)train\.freeze=embeding.*did you mean train\.freeze=embedding"),
        (["train.freeze=['*']"], "training moves some"),
    ],
)
def test_refused(words: list[str], message: str, base: Path, prepared_set: Path, tmp_path: Path) -> None:
    lines = ["objective=causal", *STEPS, f"init_from={base}", f"data.path={prepared_set}", f"run.dir={tmp_path / 'r'}"]
    with pytest.raises(UserError, match=message):
        run_verb("finetune", [*lines, *words])
    assert not (tmp_path / "r").exists()


def test_a_model_without_linear_layers_is_refused(prepared_set: Path, tmp_path: Path) -> None:
    small = ["model=gru", "model.dim=8", "model.hidden_dim=8", "model.n_layers=1", "device=cpu", "train.batch_rows=4"]
    lines = [f"data.path={prepared_set}", "train.max_steps=1", "train.seq_len=32", "train.eval_tokens=64"]
    run_verb("pretrain", [*small, *lines, f"run.dir={tmp_path / 'gru'}"])
    words = ["objective=causal", "adapter=lora", f"init_from={tmp_path / 'gru'}", "device=cpu", *lines]
    with pytest.raises(UserError, match=r"(?s)adapter=lora with a model of architecture .*gru.*none"):
        run_verb("finetune", words)
