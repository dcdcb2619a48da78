"""Training from another model: a vocabulary that follows the data, and the card that says where the model began."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from composed import _packaged_configs_are_composed_once  # noqa: F401
from harness import TINY, bits, newest, run_verb, text
from safetensors.torch import load_file

from bigtrain.commands import record
from bigtrain.data.schema import BytesConfig
from bigtrain.errors import UserError
from bigtrain.models import auto_tokenizer
from bigtrain.models.schema import Architecture, DecoderConfig, Scaling, StartedConfig, StartedScalingConfig
from bigtrain.models.starting import starting_shape
from bigtrain.tokenizer import Tokenizer, train
from bigtrain.training.checkpoint import verify

STEPS = [line for line in TINY if not line.startswith("model.")] + ["train.max_steps=4", "train.save_every_steps=2"]
OF_ROWS = [line for line in STEPS if "eval_tokens" not in line]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, prepared_set: Path) -> Path:
    """A run on bytes: 320 rows of 32."""
    run = tmp_path_factory.mktemp("runs") / "base"
    run_verb(
        "pretrain", [*TINY, f"data.path={prepared_set}", f"run.dir={run}", "train.max_steps=4", "model.tied=false"]
    )
    return run


@pytest.fixture(scope="module")
def bpe_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same kind of text in 321 tokens."""
    folder = tmp_path_factory.mktemp("bpe")
    (folder / "text.txt").write_text(text(5000))
    lines = [f"data.files={folder / 'text.txt'}", "data.split_by=tail", "tokenizer=bpe", "tokenizer.vocab_size=321"]
    run_verb("prepare", [*lines, f"output={folder / 'set'}"])
    return folder / "set"


def model_of(run: Path) -> Path:
    return newest(run) / "model"


def config_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((model_of(run) / "config.json").read_text()))


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_the_vocabulary_follows_the_set(verb: str, base: Path, bpe_set: Path, tmp_path: Path) -> None:
    lines = [
        *STEPS,
        f"init_from={base}",
        f"data.path={bpe_set}",
        "model.resize_vocab=true",
        f"run.dir={tmp_path / 'run'}",
    ]
    if verb == "finetune":
        lines.append("objective=causal")
    with pytest.raises(UserError, match=r"(?s)the checkpoint's tokenizer.*model\.resize_vocab=true"):
        run_verb(verb, [line for line in lines if "resize_vocab" not in line])
    run_verb(verb, lines)
    first, before = bits(tmp_path / "run"), config_of(base)
    after, tokenizer = config_of(tmp_path / "run"), Tokenizer.load(model_of(tmp_path / "run"))
    assert (before["vocab_size"], after["vocab_size"]) == (320, 384)
    assert tokenizer.hash == Tokenizer.load(bpe_set).hash
    assert after["eos_token_id"] == tokenizer.eos_id != before["eos_token_id"]
    assert {key for key in before if before[key] != after[key]} == {"vocab_size", "bos_token_id", "eos_token_id"}

    shutil.rmtree(newest(tmp_path / "run"))  # as if it had been killed: what is made again is the same
    (tmp_path / "run" / "result.json").unlink()
    run_verb(verb, lines)
    assert bits(tmp_path / "run") == first


def test_rotary_positions_may_change_and_the_run_goes_on(base: Path, prepared_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    lines = [*STEPS, f"data.path={prepared_set}", f"run.dir={run}", f"init_from={base}"]
    lines = [line for line in lines if "seq_len" not in line]
    longer = ["model.rope_scaling.kind=yarn", "model.rope_scaling.factor=4", "model.max_seq_len=128"]
    changed = [*longer, "model.dropout=0.1", "train.seq_len=64"]
    run_verb("pretrain", [*lines, *changed, "train.max_steps=2", "schedule=constant"])
    found = config_of(run)
    assert found["rope_scaling"]["rope_type"] == "yarn"
    assert found["rope_scaling"]["original_max_position_embeddings"] == 32
    assert (found["max_position_embeddings"], found["dropout"]) == (128, 0.1)
    run_verb("pretrain", [*lines, *changed, "schedule=constant"])  # the same again, from its checkpoint
    assert newest(run).name == "step-00000004"
    assert config_of(run) == found
    run_verb(
        "finetune", ["objective=causal", *lines, *longer[:2], "model.rope_theta=5e5", f"run.dir={tmp_path / 'other'}"]
    )
    found = config_of(tmp_path / "other")
    assert (found["rope_theta"], found["max_position_embeddings"]) == (5e5, 32)
    assert found["rope_scaling"]["factor"] == 4


def test_inherited_dropout_is_said(
    base: Path, prepared_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(model_of(base), tmp_path / "model")
    told = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**told, "dropout": 0.25}))
    lines = [*STEPS, f"data.path={prepared_set}", f"init_from={tmp_path / 'model'}"]
    caplog.set_level("INFO")
    run_verb("pretrain", [*lines, f"run.dir={tmp_path / 'as it is'}"])
    assert "dropout is 0.25, as in the model it starts from" in caplog.text
    run_verb("finetune", ["objective=causal", *lines, f"run.dir={tmp_path / 'none'}", "model.dropout=0"])
    assert (config_of(tmp_path / "as it is")["dropout"], config_of(tmp_path / "none")["dropout"]) == (0.25, 0)


@pytest.mark.parametrize(
    ("fields", "start", "words"),
    [
        ({"architecture": Architecture.gpt2}, {"max_seq_len": 64}, "positions are learned"),
        ({"architecture": Architecture.gpt2}, {"rope_theta": 1e6}, "no rotary positions"),
        ({"architecture": Architecture.llama}, {"sliding_window": 8}, "only Mistral"),
        ({"n_layers": 3}, {"rope_scaling": StartedScalingConfig(kind=Scaling.yarn, factor=2.0)}, ""),
    ],
)
def test_what_a_shape_does_not_have_cannot_change(fields: dict[str, Any], start: dict[str, Any], words: str) -> None:
    shape = DecoderConfig(**{"dim": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 32} | fields).resolved(257)
    if not words:
        changed = starting_shape(shape, train(BytesConfig(), []), StartedConfig(**start))
        assert starting_shape(changed, train(BytesConfig(), []), StartedConfig(**start)) == changed != shape
        return
    with pytest.raises(UserError, match=words):
        starting_shape(shape, train(BytesConfig(), []), StartedConfig(**start))


def test_tensors_may_not_change(base: Path, prepared_set: Path, tmp_path: Path) -> None:
    lines = [f"init_from={base}", f"data.path={prepared_set}", f"run.dir={tmp_path / 'run'}", "device=cpu"]
    lines = [*lines, "train.max_steps=1"]
    with pytest.raises(UserError, match=r"model\.dim together with init_from"):
        run_verb("pretrain", [*lines, "model.dim=64"])
    with pytest.raises(UserError, match="adapter=lora with other positions than its base"):
        run_verb("finetune", ["objective=causal", "adapter=lora", *lines, "model.max_seq_len=64"])


def test_raw_text_keeps_the_checkpoint_s_tokenizer(base: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(text(900))
    lines = [*STEPS, f"init_from={base}", f"data.files={tmp_path / 'text.txt'}", "data.split_by=tail"]
    run_verb("pretrain", [*lines, "model.resize_vocab=true", f"run.dir={tmp_path / 'one'}"])
    run_verb("pretrain", [*lines, f"run.dir={tmp_path / 'two'}"])
    assert bits(tmp_path / "one") == bits(tmp_path / "two")


def test_a_classifier_with_tokens_added_to_its_base(base: Path, tmp_path: Path) -> None:
    folder, rows = tmp_path / "base", tmp_path / "rows.csv"
    shutil.copytree(model_of(base), folder)
    spec = json.loads((folder / "tokenizer.json").read_text())
    end = spec["added_tokens"][0]
    spec["added_tokens"] += [{**end, "id": 257 + n, "content": f"<|{n}|>"} for n in range(70)]
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    rows.write_text("text,label\n" + "a cat,good\na dog,bad\n" * 8)
    lines = [*OF_ROWS, "objective=classify", f"init_from={folder}", f"data.train={rows}", f"run.dir={tmp_path / 'run'}"]
    with pytest.raises(UserError, match=r"327 entries, an embedding of 320 rows(?s:.)*model\.resize_vocab=true"):
        run_verb("finetune", lines)
    run_verb("finetune", [*lines, "model.resize_vocab=true", "optimizer.lr=1e-12"])
    embedding = "model.embed_tokens.weight"
    before, after = (load_file(path / "model.safetensors")[embedding] for path in (folder, model_of(tmp_path / "run")))
    assert after.shape == (384, 32)
    torch.testing.assert_close(after[:257], before[:257])


def test_the_card_is_part_of_the_checkpoint(base: Path, prepared_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    lines = [*STEPS, f"init_from={base}", f"data.path={prepared_set}", f"run.dir={run}", "run.license=cc-by-4.0"]
    result = run_verb("pretrain", lines)
    card = (model_of(run) / "README.md").read_text()
    assert "model/README.md" in verify(newest(run)).manifest["files"]
    facts = yaml.safe_load(card.split("---\n")[1])
    assert (facts["license"], facts["base_model"]) == ("cc-by-4.0", "base")
    fingerprint = json.loads((prepared_set / "manifest.json").read_text())["fingerprint"]
    for words in (fingerprint, f"{result['tokens']:,} in 4 steps", f"| loss | {result['val_loss']:.6g} |"):
        assert words in card
    assert str(tmp_path) not in card
    first = (newest(run).parent / "step-00000002" / "model" / "README.md").read_text()
    assert "in 2 steps" in first


def test_what_auto_tokenizer_reads_wrongly_is_said_at_once(
    prepared_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(auto_tokenizer, "_ask", lambda folder, _: asked.append(folder))
    monkeypatch.setattr(record, "_ASKED_AFTER_SECONDS", 0.0)  # every run is long enough
    lines = [*TINY, "model.architecture=qwen2", f"data.path={prepared_set}", f"run.dir={tmp_path / 'run'}"]
    with caplog.at_level("WARNING", logger="bigtrain"):
        run_verb("pretrain", [*lines, "train.max_steps=4", "train.save_every_steps=2"])
    assert caplog.text.count("AutoTokenizer gives other ids") == 1
    assert asked == [tmp_path / "run" / "checkpoints" / "step-00000002" / "model"]
    assert "PreTrainedTokenizerFast" in (model_of(tmp_path / "run") / "README.md").read_text()


def test_settings_of_generation_are_kept(base: Path, bpe_set: Path, tmp_path: Path) -> None:
    """Ends of a text follow their tokens into another vocabulary, also through a run that goes on."""
    folder = tmp_path / "chat"
    shutil.copytree(model_of(base), folder)
    before = json.loads((folder / "generation_config.json").read_text())
    own, added = Tokenizer.load(folder), "<|im_end|>"
    own.backend.add_special_tokens([added])
    Tokenizer(json.loads(own.backend.to_str()), own.config).save(folder)
    changes = {"eos_token_id": [257, 256], "temperature": 0.6, "do_sample": True, "transformers_version": "4.0"}
    (folder / "generation_config.json").write_text(json.dumps(before | changes))
    lines = [*STEPS, f"init_from={folder}", "objective=causal", f"run.dir={tmp_path / 'run'}"]
    lines += [f"data.files={bpe_set.parent / 'text.txt'}", "data.split_by=tail"]
    for steps in (2, 4):
        run_verb("finetune", [*lines, f"train.max_steps={steps}"])
        after = json.loads((model_of(tmp_path / "run") / "generation_config.json").read_text())
        assert after == {**before, "eos_token_id": [256, 257], "temperature": 0.6, "do_sample": True}
        shutil.rmtree(folder, ignore_errors=True)  # the run has it by now
    transformers = pytest.importorskip("transformers")
    read = transformers.GenerationConfig.from_pretrained(model_of(tmp_path / "run"))
    assert (read.eos_token_id, read.temperature) == ([256, 257], 0.6)
    lines = [*STEPS, f"init_from={tmp_path / 'run'}", f"data.path={bpe_set}", "model.resize_vocab=true"]
    run_verb("pretrain", [*lines, f"run.dir={tmp_path / 'other'}"])
    after = json.loads((model_of(tmp_path / "other") / "generation_config.json").read_text())
    tokenizer = Tokenizer.load(bpe_set)
    assert after["eos_token_id"] == tokenizer.eos_id  # it has no <|im_end|>
    assert after["temperature"] == 0.6


def test_a_text_begins_with_the_token_that_the_source_names(base: Path, prepared_set: Path, tmp_path: Path) -> None:
    """Qwen's tokenizers have no bos; its config.json does."""
    folder = tmp_path / "qwen"
    shutil.copytree(model_of(base), folder)
    for name in ("config.json", "generation_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "bos_token_id": 7}))
    run_verb("pretrain", [*STEPS, f"init_from={folder}", f"data.path={prepared_set}", f"run.dir={tmp_path / 'run'}"])
    for name in ("config.json", "generation_config.json"):
        found = json.loads((model_of(tmp_path / "run") / name).read_text())
        assert (found["bos_token_id"], found["eos_token_id"]) == (7, 256)
