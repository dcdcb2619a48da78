"""Classifiers on every kind of backbone, through the command line: learned, stopped, continued, measured."""

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import _packaged_configs_are_composed_once  # noqa: F401
from encoders import encoder, wordpiece
from harness import WORDS, bits

from bigtrain.cli import main
from bigtrain.data.schema import WordsConfig
from bigtrain.models.base import Model, materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import save_model
from bigtrain.models.recurrent import Recurrent
from bigtrain.models.recurrent_schema import RecurrentConfig
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import Tokenizer, train
from bigtrain.training.loop import Loop

FP32 = ["device=cpu", "device.precision=fp32"]
LABELS = {"cat": "animal", "dog": "animal", "tree": "plant", "house": "thing", "river": "thing"}


def row(seed: int) -> dict[str, str]:
    """One noun, at the end for models that read forwards, says the label."""
    draw = random.Random(seed)
    noun = draw.choice(list(LABELS))
    others = [draw.choice([word for word in WORDS if word not in LABELS]) for _ in range(draw.randrange(1, 20))]
    return {"text": " ".join([*others, noun]), "label": LABELS[noun]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, and the models to start from."""
    home = tmp_path_factory.mktemp("classifiers")
    for name, seeds in (("train", range(200)), ("dev", range(1000, 1060))):
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row(seed)) + "\n" for seed in seeds))

    def saved(name: str, model: Model, tokenizer: Tokenizer) -> None:
        (home / name).mkdir()
        save_model(home / name, model, tokenizer)

    saved("encoder", encoder("bert", dim=32, n_layers=1, max_seq_len=32), wordpiece(list(WORDS)))
    words = " ".join(WORDS)
    tokenizer = train(WordsConfig(), [f"{words}\n", f" {words}\n"])
    shape = DecoderConfig(architecture=Architecture.llama, dim=32, n_layers=1, n_heads=2, max_seq_len=32)
    decoder = Decoder.on_meta(shape.resolved(tokenizer.vocab_size))
    saved("decoder", materialise(decoder, torch.device("cpu"), 1), tokenizer)
    gru = Recurrent.on_meta(RecurrentConfig(dim=32, n_layers=1, max_seq_len=32).resolved(tokenizer.vocab_size))
    saved("gru", materialise(gru, torch.device("cpu"), 1), tokenizer)
    return home


@pytest.mark.parametrize("kind", ["decoder", "encoder", "gru"])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_learned_stopped_continued_and_measured(
    kind: str, compiled: bool, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = [*FP32, f"device.compile={compiled}"]

    def run(code: int, *words: str) -> dict[str, Any]:
        assert main([*words, "--json", "-q"]) == code
        out = capsys.readouterr().out
        return json.loads(out) if out else {}

    words = ["objective=classify", f"init_from={home / kind}", *device, "train.metric=accuracy", "train.max_steps=40"]
    words += [f"data.train={home / 'train.jsonl'}", f"data.validation={home / 'dev.jsonl'}", "train.batch_rows=16"]
    words += ["optimizer.lr=1e-2", "schedule.warmup_steps=3", "train.eval_every_steps=20", "train.save_every_steps=20"]
    whole, parts, original = home / f"{kind}-{compiled}-whole", home / f"{kind}-{compiled}-parts", Loop._gradient
    done = run(0, "finetune", *words, f"run.dir={whole}")
    assert done["best_accuracy"] > 0.9  # always the most frequent label: about 0.4

    def stopped(self: Loop, *arguments: Any) -> Any:
        if self.state.step == 10:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_gradient", stopped)
        assert run(75, "finetune", *words, f"run.dir={parts}") == {}
    assert not (parts / "result.json").exists()
    again = run(0, "finetune", f"run.dir={parts}")
    assert again["best_accuracy"] == done["best_accuracy"]
    assert bits(parts) == bits(whole)

    dev = f"data.files={home / 'dev.jsonl'}"
    measured = run(0, "evaluate", f"checkpoint={parts}", dev, *device, f"output={home / kind / 'measured'}")
    for name in ("accuracy", "macro_f1", "balanced_accuracy", "mcc"):
        assert measured[name] == done[f"best_{name}"], name
    assert measured["loss"] == pytest.approx(done["best_val_loss"], rel=1e-5)
    assert run(3, "evaluate", f"checkpoint={parts}", dev, *device, "gates.accuracy=>1")["missed"]
