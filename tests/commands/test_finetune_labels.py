"""classify and regress through the command line's verbs: one label, several, scores, pairs; the same numbers twice."""

import json
import logging
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import encoder, wordpiece
from harness import bits, newest, run_verb, task_sections, text
from safetensors.torch import load_file

from bigtrain.commands import finetune
from bigtrain.config import load
from bigtrain.errors import Stopped, UserError
from bigtrain.evaluation.evaluator import evaluate_parts
from bigtrain.models.huggingface import read_config, save_model
from bigtrain.models.output import Output, OutputKind
from bigtrain.training import loop

WORDS = ["good", "bad", "old", "small", "the", "cat", "dog"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, and rows with one label, several labels and a score each."""
    home = tmp_path_factory.mktemp("labels")
    (home / "model").mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz."
    tokenizer = wordpiece([*WORDS, *letters, *(f"##{letter}" for letter in letters)])
    save_model(home / "model", encoder("bert", max_seq_len=64, vocab_size=80), tokenizer)
    draw = random.Random(0)
    rows = []
    for seed in range(160):
        word = draw.choice(["good", "bad"])
        more = draw.choice(["old", "small"])
        kinds = [word] + ([more] if seed % 2 else [])
        rest = f"{word} {more if seed % 2 else ''} {text(draw.randrange(1, 4), seed)} {seed}"
        row = {"text": rest, "other": f"the {more}", "label": word, "kinds": kinds, "one": 1, "year": 1900 + seed}
        rows.append(row | {"score": {"good": 1.0, "bad": -1.0}[word] + seed / 1000})
    for name, part in (("train", rows[:120]), ("dev", rows[120:])):
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return home


def words(home: Path, run: str, *more: str, dev: bool = True) -> list[str]:
    given = [f"init_from={home / 'model'}", f"data.train={home / 'train.jsonl'}", "device=cpu", "device.precision=fp32"]
    given += [f"data.validation={home / 'dev.jsonl'}"] if dev else []
    given += ["train.max_steps=30", "train.batch_rows=16", "optimizer.lr=1e-2", "schedule.warmup_steps=3"]
    return [*given, f"run.dir={home / run}", *more]


def again(home: Path, run: str, *more: str) -> dict[str, Any]:
    given = [f"checkpoint={home / run}", f"data.files={home / 'dev.jsonl'}", "device=cpu", "device.precision=fp32"]
    return run_verb("evaluate", [*given, f"output={home / run / 'measured'}", *more])


def measured(home: Path, run: str) -> dict[str, Any]:
    return dict(json.loads((home / run / "measured" / "metrics.json").read_text()))


def predictions(home: Path, run: str) -> list[dict[str, Any]]:
    lines = (home / run / "measured" / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def same(one: dict[str, Any], other: dict[str, Any], *names: str) -> None:
    for name in names:
        assert one[f"best_{name}"] == pytest.approx(other[name], abs=1e-4), name


def the_same_is_shown(home: Path, run: str) -> dict[str, str]:
    """The report of the run holds what that of `evaluate` holds: the best checkpoint's rows, not the last one's."""
    shown = task_sections(home / run / "report.html")
    assert shown == task_sections(home / run / "measured" / "report.html")
    return shown


def test_one_label_with_a_pair(home: Path) -> None:
    more = ["objective.class_weights=balanced", "objective.label_smoothing=0.1", "train.metric=accuracy"]
    more += ["optimizer.lr=3e-3", "train.max_steps=80"]
    done = run_verb("finetune", ["objective=classify", "data.pair_field=other", *words(home, "one", *more)])
    assert done["best_accuracy"] > 0.8
    found = again(home, "one")  # `evaluate` reads the rows as the run did
    settings = json.loads((Path(done["checkpoint"]) / "tokenizer_config.json").read_text())
    assert "token_type_ids" in settings["model_input_names"]  # transformers gives it to the model
    same(done, found, "accuracy", "macro_f1", "balanced_accuracy", "mcc", "ece", "roc_auc", "pr_auc")
    rows = predictions(home, "one")
    assert sum(row["label"] == row["predicted"] for row in rows) / len(rows) == pytest.approx(found["accuracy"])
    assert rows[3]["where"].endswith("dev.jsonl:4")
    report = (home / "one" / "measured" / "report.html").read_text()
    assert "Confusion matrix" in report
    assert "Calibration" in report
    for name in ("per_class", "confusion"):
        assert done[f"best_{name}"] == found[name] == measured(home, "one")[name]
    shown = the_same_is_shown(home, "one")
    wrong = ["Wrong with most confidence"] if found["accuracy"] < 1 else []
    assert list(shown) == ["Labels", "Calibration", *wrong]
    best = int(Path(done["best_checkpoint"]).parent.name.removeprefix("step-"))
    assert f"checkpoint (step {best:,})" in (home / "one" / "report.html").read_text()


def test_the_report_of_a_run_that_went_on_is_of_its_best_checkpoint(home: Path) -> None:
    often = ["train.eval_every_steps=2", "train.metric=accuracy", "schedule=constant"]
    run_verb("finetune", ["objective=classify", *words(home, "further", *often)])
    shown, best = (
        task_sections(home / "further" / "report.html"),
        (home / "further" / "checkpoints" / "best").read_text(),
    )
    more = ["train.max_steps=34", "optimizer.lr=1", "resume.allow=[optimizer.lr]"]  # from here on it only gets worse
    run_verb("finetune", [f"run.dir={home / 'further'}", *more])
    assert (home / "further" / "checkpoints" / "best").read_text() == best
    assert task_sections(home / "further" / "report.html") == shown


def test_the_settings_of_the_run_are_those_of_evaluate(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    more = ["data.pair_field=other", "train.seq_len=16", "train.max_steps=1"]
    done = run_verb("finetune", ["objective=classify", *words(home, "as in run", *more)])
    with caplog.at_level(logging.INFO):
        found = again(home, "as in run")
    assert f"as in the run {home / 'as in run'}: evals.seq_len=16 data.pair_field=other" in caplog.text
    assert found["loss"] == pytest.approx(done["val_loss"], rel=1e-5)
    others = [again(home, "as in run", f"{one}=null")["loss"] for one in ("evals.seq_len", "data.pair_field")]
    assert len({found["loss"], *others}) == 3  # what a command says goes first
    shutil.copytree(done["checkpoint"], home / "bare")
    given = ["evals.seq_len=null", "data.pair_field=null"]
    assert again(home, "bare")["loss"] == again(home, "as in run", *given)["loss"]  # no run, no settings


def test_a_stop_within_an_evaluation_leaves_the_best_checkpoint_as_it_would_be(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is saved before its evaluation has ended; what that finds belongs into the same checkpoint."""
    more = ["data.label_field=kinds", "train.metric=subset_accuracy", "train.max_steps=20"]
    more += ["train.eval_every_steps=10", "train.save_every_steps=10"]
    whole = run_verb("finetune", ["objective=classify", *words(home, "whole", *more)])
    calls: list[int] = []

    def evaluated(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:  # the first is that of step 0
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate_parts(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "evaluate_parts", evaluated)
        with pytest.raises(Stopped, match="at step 10"):
            run_verb("finetune", ["objective=classify", *words(home, "halted", *more)])
    assert newest(home / "halted").name == "step-00000010"
    done = run_verb("finetune", ["objective=classify", *words(home, "halted", *more)])
    best, expected = (Path(one["best_checkpoint"]) for one in (done, whole))
    assert best.parent.name == expected.parent.name == "step-00000010"
    assert read_config(best).output.thresholds == read_config(expected).output.thresholds
    assert (best / "README.md").read_text() == (expected / "README.md").read_text()
    assert (best.parent / "validation.html").read_text() == (expected.parent / "validation.html").read_text()
    assert again(home, "halted")["subset_accuracy"] == pytest.approx(whole["best_subset_accuracy"])
    assert bits(home / "halted") == bits(home / "whole")
    assert sorted(path.name for path in best.parent.parent.iterdir()) == sorted(
        path.name for path in expected.parent.parent.iterdir()
    )


def test_several_labels_keep_their_thresholds(home: Path) -> None:
    given = words(home, "several", "train.metric=macro_f1", "data.label_field=kinds")
    done = run_verb("finetune", ["objective=classify", *given])
    folder = Path(done["best_checkpoint"])
    output = read_config(folder).output
    assert (output.kind, output.labels) == ("labels", ("bad", "good", "old", "small"))
    assert len(output.thresholds) == 4
    found = again(home, "several")
    same(done, found, "macro_f1", "micro_f1", "subset_accuracy", "roc_auc", "mcc", "ece")
    assert done["best_per_class"].keys() == {"bad", "good", "old", "small"}
    assert [one["threshold"] for one in found["per_class"].values()] == list(output.thresholds)
    assert sum(one["f1"] for one in found["per_class"].values()) / 4 == pytest.approx(found["macro_f1"])
    shown = the_same_is_shown(home, "several")
    assert list(shown) == ["Labels", "Calibration", "Wrong with most confidence"]
    counts = found["per_class"]["good"]
    assert counts["true_positives"] + counts["false_negatives"] == counts["support"]
    assert sum(one[name] for one in found["per_class"].values() for name in counts if "tives" in name) == 4 * 40
    wrong = [one for row in predictions(home, "several") for one in set(row["label"]) ^ set(row["predicted"])]
    assert shown["Wrong with most confidence"].count("taken for") == min(20, len(wrong))
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    row = predictions(home, "several")[0]
    with torch.no_grad():
        logits = theirs(**tokenizer([row["text"]], return_tensors="pt")).logits[0]
    assert list(row["probabilities"].values()) == pytest.approx(logits.sigmoid().tolist(), abs=1e-4)
    assert tokenizer.model_max_length == theirs.config.max_position_embeddings
    pipeline = transformers.pipeline("text-classification", folder, device="cpu")
    assert pipeline("the old cat " * 200, truncation=True)[0]["label"] in output.labels


def test_scores(home: Path) -> None:
    given = words(home, "scores", "data.label_field=score", "train.metric=spearman")
    done = run_verb("finetune", ["objective=regress", *given])
    assert done["best_spearman"] > 0.5
    found = again(home, "scores", "data.label_field=score")
    same(done, found, "mse", "mae", "pearson", "spearman", "r2")
    assert list(the_same_is_shown(home, "scores")) == ["Largest errors"]
    assert predictions(home, "scores")[0].keys() == {"text", "where", "label", "predicted"}


def test_rows_are_held_out_where_no_file_is_given(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = words(home, "held", "data.validation_fraction=0.2", "train.max_steps=2", dev=False)
    with caplog.at_level(logging.INFO, "bigtrain"):
        done = run_verb("finetune", ["objective=classify", *given])
    assert "accuracy" in done
    assert "rows are held out" in caplog.text
    assert "of the tokens are padding" in caplog.text


def test_leaks_are_said(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = words(home, "leaks", "train.max_steps=1", f"data.validation={home / 'train.jsonl'}")
    with caplog.at_level(logging.WARNING, "bigtrain"):
        run_verb("finetune", ["objective=classify", *given])
    assert "120 of 120 rows of validation are rows of training as well, 120 word for word and 0 nearly" in caplog.text
    train = home / "train.jsonl"
    assert f"\n  {train}:10 is {train}:10\n  110 more in the run's leaks.jsonl" in caplog.text
    listed = [json.loads(line) for line in (home / "leaks" / "leaks.jsonl").read_text().splitlines()]
    assert len(listed) == 120
    assert listed[-1] == {"validation": f"{train}:120", "training": f"{train}:120", "same": True}


def test_a_dry_run_shows_rows_before_and_after(home: Path) -> None:
    given = words(home, "dry", "data.augment.delete=0.5", "data.augment.probability=1", "data.pair_field=other")
    shown = finetune.run(load("finetune", ["objective=classify", *given]), dry_run=True)["examples"]
    assert len(shown) == 10
    assert all(len(row["after"]) < len(row["before"]) for row in shown)
    assert any("\n\nthe old" in row["before"] and "\n\nthe old" not in row["after"] for row in shown)
    assert not (home / "dry").exists()


def test_files_of_augmentation_may_move_and_may_not_change(home: Path, tmp_path: Path) -> None:
    synonyms = tmp_path / "synonyms.jsonl"
    synonyms.write_text(json.dumps({"word": "good", "synonyms": ["fine"]}) + "\n")
    given = ["objective=classify", *words(home, "moved", "data.augment.replace=0.5", "schedule=constant")]
    run_verb("finetune", [*given, f"data.augment.synonyms={synonyms}", "train.max_steps=1"])
    synonyms = synonyms.rename(tmp_path / "moved.jsonl")
    given.append(f"data.augment.synonyms={synonyms}")
    assert run_verb("finetune", [*given, "train.max_steps=2"])["step"] == 2
    synonyms.write_text(json.dumps({"word": "good", "synonyms": ["great"]}) + "\n")
    with pytest.raises(UserError, match=r"resume\.allow=\[data\]"):
        run_verb("finetune", [*given, "train.max_steps=3"])


def test_a_label_that_the_given_ones_leave_out(home: Path) -> None:
    with pytest.raises(UserError, match=r"jsonl:\d+: label 'bad'") as caught:
        run_verb("finetune", ["objective=classify", *words(home, "left out", "objective.labels=[good,ugly]")])
    assert caught.value.remedy == "add it to objective.labels, or correct the row"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["data.label_field=Label"], "data.label_field=label"),
        (["objective.labels=[good]"], "two labels"),
        (["objective.labels=[good,good]"], "twice"),
        (["objective=regress"], "finite number"),
        (["data.text_field=absent"], "'absent'"),
        (["data.columns=[text,label]"], "data.columns"),
        (["data.validation_fraction=0.1"], "a file of their own"),
        (["data.split_by=tail"], "data.split_by="),
    ],
)
def test_bad_input_ends_before_a_step(home: Path, more: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        run_verb("finetune", ["objective=classify", *words(home, "bad"), *more])
    assert said in str(error.value)
    assert not (home / "bad" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["objective=classify", "objective.labels=[bad,good,ugly]"], "no row has 'ugly' of objective.labels"),
        (["objective=regress", "data.label_field=one"], "all 120 training rows have the score 1"),
        (["objective=regress", "data.label_field=year"], "the deviation 34.64"),
    ],
)
def test_what_cannot_be_learned_is_said(
    home: Path, more: list[str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "bigtrain"):
        finetune.run(load("finetune", [*words(home, "said"), *more]), dry_run=True)
    assert said in caplog.text


def test_labels_in_another_order_than_the_checkpoints(home: Path) -> None:
    folder = home / "learned"
    folder.mkdir()
    tokenizer = wordpiece([*WORDS, *"abcdefghijklmnopqrstuvwxyz."])
    model = encoder("bert", Output(OutputKind.label, ("good", "bad")), max_seq_len=64, vocab_size=80)
    save_model(folder, model, tokenizer)
    start = f"init_from={folder}"
    given = words(home, "order", start, "objective.labels=[bad,good]")
    with pytest.raises(UserError, match="in that order"):
        run_verb("finetune", ["objective=classify", *given])
    done = run_verb("finetune", ["objective=classify", *words(home, "kept", start, "train.max_steps=1")])
    assert read_config(Path(done["checkpoint"])).output.labels == ("good", "bad")


def test_a_head_whose_labels_have_no_names_gets_them(home: Path, tmp_path: Path) -> None:
    tokenizer = wordpiece([*WORDS, *"abcdefghijklmnopqrstuvwxyz."])
    model = encoder("bert", Output.numbered(2), max_seq_len=64, vocab_size=80)
    save_model(tmp_path, model, tokenizer)
    given = ["objective=classify", *words(home, "named", f"init_from={tmp_path}", "train.max_steps=1")]
    with pytest.raises(UserError, match=r"(?s)LABEL_0, LABEL_1.*objective\.labels=\[NAME"):
        run_verb("finetune", given)
    with pytest.raises(UserError, match=r"(?s)in that order.*objective\.new_head=true"):
        run_verb("finetune", [*given, "objective.labels=[bad,good,so so]"])
    done = run_verb("finetune", [*given, "objective.labels=[good,bad]", "optimizer.lr=1e-9"])
    assert read_config(Path(done["checkpoint"])).output.labels == ("good", "bad")
    before, after = (head_of(folder) for folder in (tmp_path, done["checkpoint"]))
    assert torch.allclose(before, after, atol=1e-6)


def head_of(folder: Path | str) -> torch.Tensor:
    return load_file(Path(folder) / "model.safetensors")["classifier.weight"]


def test_a_new_head_for_other_labels(home: Path, tmp_path: Path) -> None:
    first = run_verb("finetune", ["objective=classify", *words(home, "old head", "train.max_steps=1")])
    lines = [json.loads(line) for line in (home / "train.jsonl").read_text().splitlines()]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row | {"label": f"new {row['label']}"}) + "\n" for row in lines))
    given = ["objective=classify", f"init_from={first['checkpoint']}", f"data.train={rows}", f"data.validation={rows}"]
    given += ["seed=7", "schedule=constant", "device=cpu", "device.precision=fp32", "objective.new_head=true"]
    with pytest.raises(UserError, match=r"(?s)'new \w+'.*objective\.new_head=true"):
        run_verb("finetune", [*given[:-1], "train.max_steps=1", f"run.dir={tmp_path / 'no'}"])
    for run, steps in (("whole", 2), ("parts", 1), ("parts", 2)):
        done = run_verb("finetune", [*given, f"train.max_steps={steps}", f"run.dir={tmp_path / run}"])
    assert read_config(Path(done["checkpoint"])).output.labels == ("new bad", "new good")
    assert (head_of(done["checkpoint"]) - head_of(first["checkpoint"])).abs().max() > 1e-2
    weights = [bits(tmp_path / run)["model.safetensors"] for run in ("parts", "whole")]
    assert weights[0] == weights[1]  # it is drawn once
    rows.write_text("".join(json.dumps(row | {"label": [row["label"]]}) + "\n" for row in lines))
    with pytest.raises(UserError, match=r"(?s)a classifier of bad, good.*lists of labels.*objective\.new_head=true"):
        run_verb("finetune", [*given[:-1], "train.max_steps=1", f"run.dir={tmp_path / 'lists'}"])
    assert not (tmp_path / "lists").exists()
    several = run_verb("finetune", [*given, "train.max_steps=1", f"run.dir={tmp_path / 'lists'}"])
    assert read_config(Path(several["checkpoint"])).output.kind == "labels"
    with pytest.raises(UserError, match="a new one in any case"):
        run_verb("finetune", ["objective=classify", *words(home, "no head", "objective.new_head=true")])
