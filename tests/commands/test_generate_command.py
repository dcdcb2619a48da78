"""`bigtrain generate`, from a model folder to text on standard output."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import cli, run_verb
from safetensors.torch import load_file, save_file

from bigtrain import config
from bigtrain.commands import generate
from bigtrain.data.schema import BytesConfig
from bigtrain.errors import UserError
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import load_model, save_model
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.models.schema import DecoderConfig
from bigtrain.tokenizer import train


def save(folder: Path, output: Output = LANGUAGE, **fields: Any) -> Path:
    folder.mkdir()
    shape = DecoderConfig(**{"dim": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 64, **fields}).resolved(257)
    model = Decoder.on_meta(shape, output)
    materialise(model, torch.device("cpu"), seed=3)
    save_model(folder, model, train(BytesConfig(), []))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "language model")


def run(folder: Path, *lines: str) -> dict[str, Any]:
    return generate.run(config.load("generate", [f"checkpoint={folder}", *lines, "device=cpu"]))


def test_text_comes_after_the_prompt(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(folder, "prompt=Hello, world! 你好=", "max_new_tokens=10", "seed=3")
    assert result["text"] == "Hello, world! 你好=" + result["completion"]
    assert result["tokens"] == 10
    assert result["stopped_by"] == "max_new_tokens"
    assert result["tokens_per_second"] > 0
    assert Path(result["checkpoint"]) == folder
    generate.show(result)
    assert capsys.readouterr().out == result["text"] + "\n"
    again = run(folder, "prompt=Hello, world! 你好=", "max_new_tokens=10", "seed=3")
    other = run(folder, "prompt=Hello, world! 你好=", "max_new_tokens=10", "seed=4")
    assert again["text"] == result["text"] != other["text"]


def test_every_sampling_key_is_heard(folder: Path) -> None:
    def text(*lines: str) -> str:
        return str(run(folder, "prompt=abc", "max_new_tokens=16", *lines)["text"])

    greedy = text("temperature=0")
    assert greedy == text("temperature=0", "seed=5") == text("top_k=1") == text("top_p=1e-9")
    assert len({greedy, text(), text("temperature=2"), text("top_k=3"), text("top_p=0.3")}) == 5


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "no prompt"),
        (["prompt="], "empty prompt"),
        (["prompt=" + "x" * 65], r"65 tokens with model\.max_seq_len=64"),
        (["prompt=x", "device.compile=true"], "uncompiled"),
    ],
)
def test_prompts_that_cannot_be_continued(folder: Path, lines: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        run(folder, *lines)


@pytest.mark.parametrize("lines", [[], ["temperature=0"], ["beams=2"], ["choices=[a,b]"]])
def test_a_model_whose_numbers_are_none(tmp_path: Path, lines: list[str]) -> None:
    broken = save(tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"broken: logits that are not finite"):
        run(broken, "prompt=abc", *lines)
    (tmp_path / "text.txt").write_text("some words " * 20)
    with pytest.raises(UserError, match=r"checkpoint=.*broken: loss is nan"):
        run_verb("evaluate", [f"checkpoint={broken}", f"data.files={tmp_path / 'text.txt'}", "device=cpu"])


@pytest.mark.parametrize(
    "setting", ["temperature=1e-40", "temperature=1e9", "repetition_penalty=1e-45", "presence_penalty=1e9"]
)
def test_settings_that_leave_nothing_to_draw_from(folder: Path, setting: str) -> None:
    with pytest.raises(UserError, match=setting.partition("=")[0]):
        run(folder, "prompt=abc", setting)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["beams=2", "temperature=0.3"], "beams=2 with temperature=0.3"),
        (["beams=2", "batch_size=4"], "batch_size=4(?s:.)*one after the other"),
        (["temperature=0", "top_p=0.5"], "temperature=0 with top_p=0.5"),
        (["choices=[a,b]", "max_new_tokens=3"], "choices= with max_new_tokens=3"),
        (["choices=[a,b]", "seed=3"], "choices= with seed=3"),
    ],
)
def test_settings_that_would_change_nothing(lines: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config.load("generate", ["checkpoint=x", "prompt=x", *lines]).config  # noqa: B018


def test_a_classifier_writes_no_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"classifier of LABEL_0, LABEL_1"):
        run(save(tmp_path / "classifier", output=Output.numbered(2)), "prompt=x")


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tokenizer of 257 entries, an embedding of 200 rows"):
        run(save(tmp_path / "small", vocab_size=200), "prompt=x")


def test_dry_run_says_what_it_would_take(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"checkpoint={folder}", "prompt=Hello", "max_new_tokens=100", "device=cpu"]
    needs = generate.run(config.load("generate", lines), dry_run=True)
    assert (needs["prompt_tokens"], needs["max_new_tokens"]) == (5, 100)
    assert needs["parameters"] == sum(p.numel() for p in load_model(folder).parameters())
    generate.show(needs)
    assert "parameters" in capsys.readouterr().out


def test_a_sweep_writes_each_text(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"checkpoint={folder}", "max_new_tokens=4", "device=cpu", "temperature=0", "seed=1,2"]
    done = cli("generate", "-m", "--json", "-p", "Hello, world", *lines, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    jobs = json.loads(done.stdout)
    assert [job["result"]["prompt"] for job in jobs] == ["Hello, world"] * 2
    assert jobs[0]["result"]["text"] == jobs[1]["result"]["text"]
    done = cli("generate", "--nproc", "2", "-p", "- a = b", *lines[:3])
    assert done.returncode == 2
    assert "nothing to share out" in done.stderr


def test_several_processes_with_one_prompt_are_refused_before_they_meet(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(generate.Placement, "start", lambda _: pytest.fail("they meet"))
    with pytest.raises(UserError, match="one prompt"):
        run(folder, "prompt=x")


def test_memory_that_runs_out_names_the_batch(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    (tmp_path / "prompts.jsonl").write_text('{"prompt": "x"}\n' * 6)
    words = [f"prompts={tmp_path / 'prompts.jsonl'}", f"output={tmp_path / 'out.jsonl'}", "batch_size=4"]
    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "forward", full)
        with pytest.raises(UserError, match=r"(?s)batch_size=4: CUDA out of memory.*give batch_size=2"):
            run(folder, *words)
        with pytest.raises(UserError, match=r"(?s)batch_size=1: .*shorter texts"):
            run(folder, "prompt=x")
    monkeypatch.setattr("bigtrain.commands.writing.materialise_from", full)
    with pytest.raises(UserError, match="loading the model: CUDA out of memory"):
        run(folder, "prompt=x")
