"""Answers to questions through the command line: learning, measuring, resuming, and what is refused."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import encoder, wordpiece
from harness import WORDS, bits, cli, run_verb, task_sections

from bigtrain.commands import finetune
from bigtrain.config import load
from bigtrain.data.schema import WordsConfig
from bigtrain.errors import UserError
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import load_model, read_folder, save_model
from bigtrain.models.output import OutputKind
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import train

TRAINING = [
    *("objective=span", "optimizer.lr=1e-2", "train.batch_rows=16", "train.seq_len=32", "train.log_every_steps=1"),
    *("schedule.warmup_steps=3", "device=cpu", "device.precision=fp32"),
]
MEASURING = ["device=cpu", "device.precision=fp32"]  # the length of rows is the run's


def row(seed: int) -> dict[str, Any]:
    """Where is the river? One text in four has none."""
    draw = random.Random(seed)
    words = [draw.choice([word for word in WORDS if word != "river"]) for _ in range(draw.randrange(8, 60))]
    if seed % 4:
        place = draw.randrange(len(words))
        words[place] = "river"
        answers = [{"text": "river", "answer_start": len(" ".join([*words[:place], ""]))}]
    else:
        answers = []
    return {"id": f"q{seed}", "question": "a river near", "context": " ".join(words), "answers": answers}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions and the models to start from."""
    home = tmp_path_factory.mktemp("home")
    for name, seeds in (("train.jsonl", range(160)), ("dev.jsonl", range(200, 240))):
        (home / name).write_text("".join(json.dumps(row(seed)) + "\n" for seed in seeds))
    (home / "bert").mkdir()
    save_model(home / "bert", encoder("bert", dim=32, n_layers=1, max_seq_len=64), wordpiece(list(WORDS)))
    (home / "llama").mkdir()
    tokenizer = train(WordsConfig(), [" ".join(WORDS) + "\n"])
    shape = DecoderConfig(architecture=Architecture.llama, dim=32, n_layers=2, n_heads=2, max_seq_len=64)
    save_model(
        home / "llama",
        materialise(Decoder.on_meta(shape.resolved(tokenizer.vocab_size)), torch.device("cpu"), 1),
        tokenizer,
    )
    return home


def words(home: Path, kind: str, steps: int, run: str, *more: str) -> list[str]:
    data = [f"data.train={home / 'train.jsonl'}", f"data.validation={home / 'dev.jsonl'}"]
    return [*TRAINING, f"init_from={home / kind}", *data, f"train.max_steps={steps}", f"run.dir={home / run}", *more]


@pytest.fixture(scope="module")
def learned(home: Path) -> dict[str, Any]:
    return run_verb("finetune", words(home, "bert", 60, "run", "train.metric=f1", "train.eval_every_steps=30"))


def measure(learned: dict[str, Any], file: Path, output: Path) -> dict[str, Any]:
    given = [f"checkpoint={learned['checkpoint']}", f"data.files={file}", f"output={output}"]
    return run_verb("evaluate", [*given, *MEASURING])


def test_it_learns(learned: dict[str, Any], home: Path) -> None:
    lines = [json.loads(line) for line in (home / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["f1"] < 0.6
    assert learned["f1"] > 0.9
    assert learned["answerable_f1"] > 0.9
    assert learned["unanswerable_accuracy"] > 0.9


def test_evaluate_measures_the_same_and_says_what_was_answered(learned: dict[str, Any], home: Path) -> None:
    measured = run_verb(
        "evaluate",
        [
            f"checkpoint={learned['checkpoint']}",
            f"data.files={home / 'dev.jsonl'}",
            *MEASURING,
            f"output={home / 'out'}",
        ],
    )
    for name in ("exact_match", "f1", "answerable_f1", "unanswerable_accuracy", "threshold"):
        assert measured[name] == learned[name], name
    assert measured["loss"] == pytest.approx(learned["val_loss"], rel=1e-5)
    assert measured["questions"] == 40 < measured["rows"]
    predictions = [json.loads(line) for line in (home / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [one["id"] for one in predictions] == [f"q{seed}" for seed in range(200, 240)]
    right = [one["answer"] == (one["references"] or [""])[0] for one in predictions]
    assert sum(right) / len(right) == pytest.approx(measured["exact_match"])
    assert predictions[1].keys() == {"id", "question", "answer", "score", "null_score", "references"}
    assert (home / "out" / "report.html").read_text().count("<b>(no answer)</b>") == sum(
        (not one["answer"]) + (not one["references"]) for one, good in zip(predictions, right, strict=True) if not good
    )


def test_without_a_threshold_no_answer_must_be_likelier_than_an_answer(learned: dict[str, Any], home: Path) -> None:
    folder = home / "as others save it"
    shutil.copytree(learned["checkpoint"], folder)
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("thresholds") == [learned["threshold"]]
    (folder / "config.json").write_text(json.dumps(config))
    assert measure({"checkpoint": folder}, home / "dev.jsonl", home / "plain")["threshold"] == 0.5
    for line in (home / "plain" / "predictions.jsonl").read_text().splitlines():
        one = json.loads(line)
        assert (one["answer"] == "") == (one["null_score"] >= one["score"])


def test_a_threshold_does_not_outlive_the_questions_without_an_answer(learned: dict[str, Any], home: Path) -> None:
    rows = "".join(json.dumps(row(seed)) + "\n" for seed in range(200) if seed % 4)
    (home / "answered.jsonl").write_text(rows)
    data = [f"data.{part}={home / 'answered.jsonl'}" for part in ("train", "validation")]
    given = [*TRAINING, *data, f"init_from={learned['checkpoint']}", "train.max_steps=1", f"run.dir={home / 'further'}"]
    done = run_verb("finetune", given)
    assert read_folder(Path(done["checkpoint"]))[0].output.thresholds == ()
    assert measure(done, home / "answered.jsonl", home / "answered")["f1"] == done["f1"]
    data = [f"data.train={home / 'train.jsonl'}", "data.validation_fraction=0", f"run.dir={home / 'kept'}"]
    kept = run_verb("finetune", [*TRAINING, *data, f"init_from={learned['checkpoint']}", "train.max_steps=1"])
    assert read_folder(Path(kept["checkpoint"]))[0].output.thresholds == (learned["threshold"],)


def test_the_wrong_answers_are_in_the_report(learned: dict[str, Any], home: Path) -> None:
    given = {**row(1), "id": "<two>", "context": "river the cat", "answers": [{"text": "cat", "answer_start": 10}]}
    (home / "odd.jsonl").write_text(json.dumps(given) + "\n")
    folder = home / "odd"
    measure(learned, home / "odd.jsonl", folder)
    report = (folder / "report.html").read_text()
    assert "<b>cat</b> taken for <b>river</b>" in report
    assert "odd.jsonl:1, question &#x27;&lt;two&gt;&#x27;" in report


def test_the_report_of_a_run_shows_what_evaluate_shows(home: Path) -> None:
    run_verb("finetune", words(home, "bert", 2, "short", "train.metric=f1"))
    run_verb(
        "evaluate",
        [f"checkpoint={home / 'short'}", f"data.files={home / 'dev.jsonl'}", *MEASURING, f"output={home / 'shown'}"],
    )
    shown = task_sections(home / "short" / "report.html")
    assert list(shown) == ["Wrong with most confidence"]
    assert shown == task_sections(home / "shown" / "report.html")


def test_transformers_opens_it_with_the_same_logits(learned: dict[str, Any], home: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = Path(learned["checkpoint"])
    theirs, info = transformers.AutoModelForQuestionAnswering.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = [row(201), row(202)]
    pairs = ([one["question"] for one in given], [one["context"] for one in given])
    batch = tokenizer(*pairs, padding=True, truncation="only_second", max_length=32, return_tensors="pt")
    assert batch["token_type_ids"].any()
    found = theirs.eval()(**batch)
    ours = load_model(folder)
    padding = (1 - batch["attention_mask"]).int()
    hidden = ours(batch["input_ids"], documents=padding, segments=batch["token_type_ids"])
    real = batch["attention_mask"].bool()
    expected = torch.stack([found.start_logits, found.end_logits], -1)
    assert torch.allclose(ours.logits(hidden)[real], expected[real], atol=1e-5)
    source, _ = read_folder(folder)
    assert source.output.kind is OutputKind.span
    assert source.output.thresholds == (learned["threshold"],)


def test_a_decoder_answers_too_and_says_that_there_is_no_answer(home: Path) -> None:
    found = run_verb("finetune", words(home, "llama", 80, "decoder"))
    assert found["f1"] > 0.7
    assert found["unanswerable_accuracy"] > 0.5
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(found["checkpoint"]).eval()
    ours, tokens = load_model(Path(found["checkpoint"])), torch.arange(1, 18)[None]
    logits = theirs(tokens)
    expected = torch.stack([logits.start_logits, logits.end_logits], -1)
    assert torch.allclose(ours.logits(ours(tokens)), expected, atol=1e-5)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(home: Path) -> None:
    more = ["train.eval_every_steps=4", "train.save_every_steps=4", "schedule=constant"]
    run_verb("finetune", words(home, "bert", 12, "whole", *more))
    run_verb("finetune", words(home, "bert", 8, "parts", *more))
    again = cli("finetune", f"run.dir={home / 'parts'}", "train.max_steps=12")
    assert again.returncode == 0, again.stderr
    assert bits(home / "parts") == bits(home / "whole")


def test_a_share_of_the_contexts_is_held_out(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = [word for word in words(home, "bert", 2, "held") if not word.startswith("data.validation=")]
    with caplog.at_level("INFO", "bigtrain"):
        found = run_verb("finetune", [*given, "data.validation_fraction=0.2"])
    assert "f1" in found
    assert "of 160 questions are held out" in caplog.text


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"answers": [{"text": "river", "answer_start": 1}]}, "answer_start 1 of 'river'"),
        ({"answers": [{"text": "ocean", "answer_start": 0}]}, "'ocean' does not occur"),
        ({"context": ""}, "context is empty"),
        ({"id": "q200"}, "id 'q200' again"),
        ({"answers": None}, "answers are null"),
        ({"question": "a river " * 20}, "a question of 40 tokens"),
    ],
)
def test_bad_questions_stop_a_run_before_its_first_step(
    changes: dict[str, Any], problem: str, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (row(200), {**row(201), **changes})))
    given = [word for word in words(home, "bert", 2, "bad") if not word.startswith("data.validation=")]
    with pytest.raises(UserError) as caught:
        run_verb("finetune", [*given, f"data.validation={path}"])
    assert problem in caught.value.given
    assert f"{path}:2" in caught.value.given
    assert not (home / "bad" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    "more",
    [
        *("data.text_field=[body]", "data.label_field=answer", "data.augment.delete=0.1", "data.path=x"),
        *("train.sample_prompts=[the]", "data.validation_fraction=0.2"),
    ],
)
def test_keys_that_nothing_would_read_are_refused(more: str, home: Path) -> None:
    with pytest.raises(UserError, match=more.partition("=")[0]):
        run_verb("finetune", words(home, "bert", 2, "refused", more))


def test_the_threshold_is_no_metric_to_choose_by(home: Path) -> None:
    with pytest.raises(UserError, match=r"train\.metric=threshold") as caught:
        finetune.run(load("finetune", words(home, "bert", 1, "chosen", "train.metric=threshold")), dry_run=True)
    assert caught.value.remedy.endswith("exact_match, f1, answerable_f1, unanswerable_accuracy")


def test_errors_are_counted_where_some_are_skipped(home: Path, learned: dict[str, Any]) -> None:
    measured = [f"checkpoint={learned['checkpoint']}", f"data.files={home / 'dev.jsonl'}", *MEASURING]
    for verb, given in (("finetune", words(home, "bert", 1, "no")), ("evaluate", measured)):
        with pytest.raises(UserError, match=r"data\.max_errors= with data\.on_error=stop"):
            run_verb(verb, [*given, "data.max_errors=3"])


def test_questions_can_be_left_out(home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (row(200), {**row(201), "context": ""}, row(203))))
    given = [word for word in words(home, "bert", 2, "skipped") if not word.startswith("data.validation=")]
    run_verb("finetune", [*given, f"data.validation={path}", "data.on_error=skip"])
    assert f"1 rows are left out; the first: {path}:2" in caplog.text


def test_a_key_of_hidden_tokens_is_refused_in_evaluation(home: Path, learned: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"evals\.alone_tokens"):
        run_verb("evaluate", [f"checkpoint={home / 'run'}", f"data.files={home / 'dev.jsonl'}", "evals.alone_tokens=5"])
