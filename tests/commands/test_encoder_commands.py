"""Encoders through the command line's verbs: pretrain, evaluate, finetune, and what is refused."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import encoder, wordpiece
from harness import bits, cli, newest, run_verb, text

from bigtrain.data.tasks.encoding import RowEncoder
from bigtrain.data.tasks.labelled import LabelledRows
from bigtrain.errors import UserError
from bigtrain.models.encoder import Encoder
from bigtrain.models.huggingface import load_model, read_folder, save_model

PIECES = ["the", "a", "cat", "dog", "##s", "sing", "run", "old", "small", "."]
LETTERS = "bcdefghijklmnopqrstuvwxyz"
SMALL = [
    "model=bert-tiny",
    "model.dim=32",
    "model.max_seq_len=32",
    "objective=masked",
    "train.batch_rows=8",
    "train.eval_tokens=400",
    "train.log_every_steps=1",
    "schedule.warmup_steps=3",
    "optimizer.lr=3e-3",
    "device=cpu",
    "device.precision=fp32",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer, a text and labelled rows."""
    home = tmp_path_factory.mktemp("home")
    (home / "tokenizer").mkdir()
    wordpiece([*PIECES, *LETTERS, *(f"##{letter}" for letter in "a" + LETTERS)]).save(home / "tokenizer")
    (home / "a.txt").write_text(text(4000))
    draw = random.Random(0)
    rows = [(draw.choice(["cats", "dogs"]), text(draw.randrange(12), seed)) for seed in range(120)]
    lines = (json.dumps({"text": f"the old {label} {rest}", "label": label}) for label, rest in rows)
    (home / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return home


def data(home: Path) -> list[str]:
    return [f"data.files={home / 'a.txt'}", "data.split_by=tail"]


def tokens(home: Path) -> list[str]:
    return ["tokenizer=file", f"tokenizer.path={home / 'tokenizer'}"]


@pytest.fixture(scope="module")
def pretrained(home: Path) -> dict[str, Any]:
    words = [*SMALL, *data(home), *tokens(home), "train.max_steps=40", "train.eval_every_steps=20"]
    return run_verb("pretrain", [*words, f"run.dir={home / 'run'}"])


def test_pretraining_learns(pretrained: dict[str, Any], home: Path) -> None:
    lines = [json.loads(line) for line in (home / "run" / "metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["split"] == "validation")
    assert pretrained["val_loss"] < first["loss"] - 0.5
    assert pretrained["val_masked_accuracy"] > first["masked_accuracy"]


def test_evaluate_measures_the_same_and_more(pretrained: dict[str, Any], home: Path) -> None:
    words = [f"checkpoint={home / 'run'}", *data(home)[:1], "device=cpu", "device.precision=fp32"]
    whole = run_verb("evaluate", [*words, "evals.alone_tokens=60", "evals.max_tokens=900"])
    assert whole["tokens"] == 900
    assert whole["pseudo_perplexity"] > 1
    assert run_verb("evaluate", [*words, "evals.alone_tokens=0"]).keys().isdisjoint({"pseudo_perplexity"})
    gate = run_verb("evaluate", [*words, "evals.max_tokens=300", "gates.masked_accuracy=>=1.1"])
    assert gate["missed"]
    again = run_verb("evaluate", [*words, "evals.max_tokens=300", "evals.batch_rows=3"])
    assert again["loss"] == pytest.approx(gate["loss"], rel=1e-5)


def test_finetuning_goes_on_with_hidden_tokens(pretrained: dict[str, Any], home: Path) -> None:
    words = [f"init_from={home / 'run'}", "objective=masked", "objective.unit=spans", *data(home), "train.max_steps=3"]
    words += ["train.batch_rows=8", "optimizer.lr=1e-3", "device=cpu", "train.eval_tokens=400", "device.precision=fp32"]
    more = run_verb("finetune", [*words, f"run.dir={home / 'more'}"])
    lines = [json.loads(line) for line in (home / "more" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] == pytest.approx(pretrained["val_loss"], rel=1e-5)  # where pretraining ended
    assert more["val_loss"] != lines[0]["loss"]


def test_pairs_of_texts_are_learned_and_a_run_resumes_with_the_same_bits(home: Path, tmp_path: Path) -> None:
    words = [*SMALL, *data(home), *tokens(home), "objective.next_sentence=true", "train.save_every_steps=5"]
    whole = run_verb("pretrain", [*words, "train.max_steps=10", f"run.dir={tmp_path / 'whole'}"])
    assert whole["val_loss"] == pytest.approx(whole["val_masked_loss"] + whole["val_next_sentence_loss"])
    shutil.copytree(tmp_path / "whole", tmp_path / "part")  # as it was after its fifth step
    shutil.rmtree(newest(tmp_path / "part"))
    (tmp_path / "part" / "result.json").unlink()
    run_verb("pretrain", [*words, "train.max_steps=10", f"run.dir={tmp_path / 'part'}"])
    assert bits(tmp_path / "part") == bits(tmp_path / "whole")
    config = json.loads((Path(whole["checkpoint"]) / "config.json").read_text())
    assert config["architectures"] == ["BertForPreTraining"]

    measured = ["device=cpu", "device.precision=fp32", *data(home)[:1], "evals.alone_tokens=20"]
    found = run_verb("evaluate", [f"checkpoint={tmp_path / 'whole'}", *measured])
    assert found["loss"] == pytest.approx(found["masked_loss"] + found["next_sentence_loss"])
    assert 0 <= found["next_sentence_accuracy"] <= 1
    assert "next_sentence_accuracy" in (Path(whole["checkpoint"]) / "README.md").read_text()

    more = ["device=cpu", "device.precision=fp32", "train.max_steps=2", "train.batch_rows=4"]
    for kind in (["objective=masked", *data(home)], ["objective=classify", f"data.train={home / 'rows.jsonl'}"]):
        start = [f"init_from={tmp_path / 'whole'}", *kind, *more, f"run.dir={tmp_path / kind[0]}"]
        assert "val_next_sentence_loss" not in run_verb("finetune", start)
    adapted = [f"init_from={tmp_path / 'whole'}", "objective=masked", *data(home), *more, "adapter=lora"]
    run_verb("finetune", [*adapted, f"run.dir={tmp_path / 'lora'}"])
    back = [f"init_from={tmp_path / 'objective=masked'}", "objective=masked", "objective.next_sentence=true"]
    assert "val_next_sentence_loss" in run_verb("finetune", [*back, *data(home), *more, f"run.dir={tmp_path / 'b'}"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.architecture=roberta"], "BERT alone has a head for it"),
        (["train.isolate_documents=true"], "whatever document they are from"),
        (["train.seq_len=4"], "choose 5 tokens or more"),
    ],
)
def test_pairs_that_cannot_be_are_refused(home: Path, tmp_path: Path, words: list[str], said: str) -> None:
    small = [word for word in SMALL if not word.startswith("model=")] + ["model=bert-tiny"]
    given = [*small, *data(home), *tokens(home), "objective.next_sentence=true", "train.max_steps=1", *words]
    with pytest.raises(UserError) as caught:
        run_verb("pretrain", [*given, f"run.dir={tmp_path / 'run'}"])
    assert said in f"{caught.value.rule} {caught.value.remedy}"
    assert not (tmp_path / "run").exists()


def test_pairs_and_an_adapter_are_refused(pretrained: dict[str, Any], home: Path, tmp_path: Path) -> None:
    words = [f"init_from={home / 'run'}", "objective=masked", "objective.next_sentence=true", "adapter=lora"]
    with pytest.raises(UserError, match="adapter=lora"):
        run_verb("finetune", [*words, *data(home), "train.max_steps=1", f"run.dir={tmp_path / 'run'}"])


@pytest.fixture(scope="module")
def classifier(pretrained: dict[str, Any], home: Path) -> dict[str, Any]:
    rows = home / "rows.jsonl"
    words = [f"init_from={home / 'run'}", "objective=classify", f"data.train={rows}", f"data.validation={rows}"]
    words += ["train.max_steps=60", "train.batch_rows=16", "optimizer.lr=1e-2", "device=cpu", "device.precision=fp32"]
    return run_verb("finetune", [*words, f"run.dir={home / 'classifier'}"])


def test_a_classifier_learns_and_is_measured(classifier: dict[str, Any], home: Path) -> None:
    assert classifier["accuracy"] > 0.9
    words = [f"checkpoint={home / 'classifier'}", f"data.files={home / 'rows.jsonl'}", "device=cpu"]
    measured = run_verb("evaluate", [*words, "device.precision=fp32"])
    assert measured["accuracy"] == classifier["accuracy"]
    assert measured["macro_f1"] == pytest.approx(classifier["macro_f1"])


def test_transformers_opens_both_with_the_same_tokens(
    pretrained: dict[str, Any], classifier: dict[str, Any], home: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    for auto, result in (("AutoModelForMaskedLM", pretrained), ("AutoModelForSequenceClassification", classifier)):
        folder = Path(result["checkpoint"])
        model, info = getattr(transformers, auto).from_pretrained(folder, output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        source, own = read_folder(folder)
        assert (tokenizer.mask_token, tokenizer.cls_token, tokenizer.sep_token) == ("[MASK]", "[CLS]", "[SEP]")
        rows = ["the old cats run.", "a dog"]
        batch = tokenizer(rows, padding=True, return_tensors="pt")
        logits = model.eval()(**batch).logits
        ours = load_model(folder)
        assert isinstance(ours, Encoder)
        padding = (batch["attention_mask"] == 0).int()
        hidden = ours(batch["input_ids"], documents=padding)
        if source.output.labels:
            from bigtrain.commands.tasks.masked import frame_of

            frame = frame_of(source.config, own, "", 32)
            encoded = RowEncoder(own, 32, frame)(rows)
            labelled = LabelledRows(encoded, [0, 0], own.pad_id).batch(torch.arange(2).numpy())
            assert labelled["tokens"].equal(batch["input_ids"])
            assert labelled["lengths"].equal(batch["attention_mask"].sum(1))
            hidden = hidden[:, 0]
        assert torch.allclose(ours.logits(hidden)[0], logits[0], atol=1e-5)


def test_masks_are_filled(pretrained: dict[str, Any], home: Path, tmp_path: Path) -> None:
    given = [f"checkpoint={home / 'run'}", "device=cpu"]
    done = cli("generate", *given, "-p", "the old [MASK]s run. a [MASK]")
    assert done.returncode == 0, done.stderr
    blocks = [block.splitlines() for block in done.stdout.split("\n\n")]
    assert [len(block) for block in blocks] == [5, 5]
    whole = run_verb("generate", [*given, "prompt=the old [MASK]s run. a [MASK]", "top_k=2"])["fillings"]
    assert [[f"{one['probability']:8.6f}  {one['token']}" for one in mask] for mask in whole] == [
        block[:2] for block in blocks
    ]
    transformers = pytest.importorskip("transformers")
    theirs = transformers.pipeline("fill-mask", pretrained["checkpoint"], device="cpu", top_k=2)
    ours = run_verb("generate", [*given, "prompt=the old [MASK]s run.", "top_k=2"])["fillings"][0]
    assert [one["token"] for one in theirs("the old [MASK]s run.")] == [one["token_id"] for one in ours]
    rows = [{"id": n, "prompt": "the cat " * n + "[MASK]"} for n in range(5)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [f"prompts={tmp_path / 'rows.jsonl'}", f"output={tmp_path / 'out.jsonl'}", "batch_size=2"]
    assert run_verb("generate", [*given, *files])["tokens"] == 5
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in found] == [0, 1, 2, 3, 4]
    alone = run_verb("generate", [*given, f"prompt={rows[3]['prompt']}"])["fillings"]
    assert [one["token"] for one in found[3]["fillings"][0]] == [one["token"] for one in alone[0]]
    assert run_verb("generate", [*given, *files])["rows_done_before"] == 5
    assert "a masked model with beams=2" in refused("generate", *given, "prompt=[MASK]", "beams=2")


def refused(verb: str, *words: str) -> str:
    with pytest.raises(UserError) as error:
        run_verb(verb, words)
    return f"{error.value.given} | {error.value.rule} | {error.value.remedy}"


def test_what_does_not_go_together_is_refused(
    pretrained: dict[str, Any], classifier: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    run = [f"run.dir={tmp_path / 'run'}", "device=cpu", "train.max_steps=2", *data(home)]
    given = [*tokens(home), *run]
    assert "give model=bert-tiny" in refused("pretrain", "objective=masked", *given)
    assert "give objective=masked" in refused("pretrain", "model=bert-tiny", *given)
    assert "no mask token" in refused("pretrain", *SMALL, "tokenizer=bytes", *run)
    assert "use bigtrain finetune" in refused("pretrain", *SMALL, "objective=classify", *given)
    assert "continues no text" in refused("pretrain", *SMALL, "train.sample_prompts=[a]", *given)
    assert "2 special tokens" in refused("pretrain", *SMALL, "train.seq_len=2", *given)
    start = f"init_from={home / 'classifier'}"
    assert "its head gives no tokens" in refused("finetune", start, "objective=masked", *run)
    rows = [f"data.train={home / 'rows.jsonl'}", "objective=masked", f"init_from={home / 'run'}"]
    assert "objective=masked reads text" in refused("finetune", *rows, *run)
    words = [f"checkpoint={home / 'run'}", "evals.stride=4", *data(home)[:1], "device=cpu"]
    assert "do not overlap" in refused("evaluate", *words)


def test_a_short_row_of_a_classifier_is_refused(classifier: dict[str, Any], home: Path) -> None:
    words = [f"checkpoint={home / 'classifier'}", f"data.files={home / 'rows.jsonl'}", "evals.seq_len=1", "device=cpu"]
    assert "2 special tokens" in refused("evaluate", *words)


def test_a_tokenizer_with_a_mask_token_is_trained_where_none_is_named(home: Path, tmp_path: Path) -> None:
    words = [*SMALL, *data(home), "train.max_steps=2", "objective.unit=tokens", f"run.dir={tmp_path / 'run'}"]
    _, tokenizer = read_folder(Path(run_verb("pretrain", words)["checkpoint"]))
    assert tokenizer.spec["model"]["type"] == "WordPiece"
    assert tokenizer.eos_id == tokenizer.backend.token_to_id("[SEP]")


def test_roberta_learns_with_byte_level_pieces(home: Path, tmp_path: Path) -> None:
    words = [*SMALL, *data(home), "model.architecture=roberta", "tokenizer=bpe", "tokenizer.vocab_size=300"]
    found = run_verb("pretrain", [*words, "train.max_steps=2", f"run.dir={tmp_path / 'run'}"])
    folder = Path(found["checkpoint"])
    source, tokenizer = read_folder(folder)
    assert [tokenizer.backend.id_to_token(id_) for id_ in range(5)] == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert vars(source.config)["pad_id"] == tokenizer.pad_id == 1
    ours = run_verb("generate", [f"checkpoint={folder}", "device=cpu", "prompt=the <mask> runs", "top_k=3"])["fillings"]
    transformers = pytest.importorskip("transformers")
    theirs = transformers.pipeline("fill-mask", folder, device="cpu", top_k=3)("the <mask> runs")
    assert [one["token"] for one in theirs] == [one["token_id"] for one in ours[0]]
    assert transformers.AutoTokenizer.from_pretrained(folder)("a cat", "it runs")["input_ids"] == [
        *(0, *tokenizer.encode("a cat"), 2, 2),
        *(*tokenizer.encode("it runs"), 2),
    ]


def test_word_boundaries_of_the_set_are_heard(home: Path, tmp_path: Path) -> None:
    """They keep the characters of a Chinese word together, which the tokenizer's marks do not."""
    from bigtrain.commands.tasks.masked import masked_task
    from bigtrain.commands.tasks.text import prepared_sets
    from bigtrain.config import load
    from bigtrain.models.families import on_meta, resolved

    pytest.importorskip("jieba")
    (tmp_path / "zh.txt").write_text("我们在北京大学学习计算机科学。今天天气很好。" * 60)
    found = {}
    for boundaries in ("none", "jieba"):
        words = [*SMALL, "tokenizer=wordpiece", "tokenizer.vocab_size=60", f"tokenizer.word_boundaries={boundaries}"]
        words += [
            f"data.files={tmp_path / 'zh.txt'}",
            "data.split_by=tail",
            "train.max_steps=2",
            "objective.fraction=0.4",
        ]
        config = load("pretrain", words).config
        sets = prepared_sets(config.data, config.tokenizer)
        task = masked_task(config, on_meta(resolved(config.model, sets.tokenizer())), sets, init_from=None)
        batch = task.rows.batch(torch.arange(16).numpy(), torch.zeros(16, dtype=torch.int64).numpy())
        there = batch["targets"] != -100
        found[boundaries] = float((batch["positions"].diff(dim=1) == 1)[there[:, 1:]].float().mean())
    assert found["jieba"] > found["none"] + 0.2


def test_dry_run_says_what_it_takes(home: Path) -> None:
    done = cli("pretrain", *SMALL, *data(home), *tokens(home), "train.max_steps=7", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["steps"] == 7
    assert plan["tokens_per_step"] == 8 * 32


@pytest.mark.slow
def test_the_same_bits_on_any_number_of_processes_and_after_a_stop(home: Path, tmp_path: Path) -> None:
    words = [*SMALL, *data(home), *tokens(home), "model.dropout=0.1", "parallel.reduction=exact", "parallel.shards=4"]
    words += ["train.max_steps=6", "train.save_every_steps=3", "train.eval_every_steps=3"]
    found = []
    for nproc in (1, 2):
        done = cli("pretrain", *words, f"run.dir={tmp_path / str(nproc)}", "--nproc", str(nproc), timeout=200)
        assert done.returncode == 0, done.stderr
        found.append(bits(tmp_path / str(nproc)))
    assert found[0] == found[1]
    run = tmp_path / "1"
    for name in ("step-00000006",):  # as if it had been stopped before its last checkpoint
        for file in sorted((run / "checkpoints" / name).rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        (run / "checkpoints" / name).rmdir()
    done = cli("pretrain", f"run.dir={run}", timeout=200)
    assert done.returncode == 0, done.stderr
    assert bits(run) == found[0]


def test_a_masked_model_of_another_tokenizer_is_refused(tmp_path: Path, home: Path) -> None:
    save_model(tmp_path, encoder("bert"), wordpiece([*(f"word{n}" for n in range(200))]))
    assert "restore the tokenizer" in refused("evaluate", f"checkpoint={tmp_path}", *data(home)[:1], "device=cpu")
