"""Tags of words through the command line's verbs: learning, measuring, resuming, and what is refused."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import encoder, wordpiece
from harness import WORDS, bits, cli, run_verb, task_sections

from bigtrain.data.schema import BPEConfig, WordsConfig
from bigtrain.errors import UserError
from bigtrain.metrics.spans import spans_of
from bigtrain.models.base import Model, materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import load_model, read_config, save_model
from bigtrain.models.output import Output, OutputKind
from bigtrain.models.recurrent import Recurrent
from bigtrain.models.recurrent_schema import RecurrentConfig
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import Tokenizer, train

TRAINING = [
    *("objective=tag", "optimizer.lr=1e-2", "train.batch_rows=16", "train.seq_len=24", "train.log_every_steps=1"),
    *("schedule.warmup_steps=3", "device=cpu", "device.precision=fp32"),
]
MEASURING = ["device=cpu", "device.precision=fp32"]
NAMES = {"cat": "B-CAT", "dog": "B-DOG", "river": "B-LOC"}


def sentence(seed: int) -> list[tuple[str, str]]:
    """Animals and rivers are names; `old` after one goes on with it. What a model that reads forwards can know."""
    draw = random.Random(seed)
    words = [draw.choice(WORDS) for _ in range(draw.randrange(3, 30))]
    tags: list[str] = []
    for place, word in enumerate(words):
        inside = word == "old" and place and tags[place - 1] != "O"
        tags.append("I" + tags[place - 1][1:] if inside else NAMES.get(word, "O"))
    return list(zip(words, tags, strict=True))


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def columns(sentences: list[list[tuple[str, str]]]) -> str:
    return "\n".join("".join(f"{word} x {tag}\n" for word, tag in one) for one in sentences)


def saved(folder: Path, model: Model, tokenizer: Tokenizer) -> None:
    folder.mkdir()
    save_model(folder, model, tokenizer)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences and the models to start from."""
    home = tmp_path_factory.mktemp("home")
    (home / "train.conll").write_text(columns([sentence(seed) for seed in range(240)]))
    measured = [sentence(seed) for seed in range(1000, 1040)]
    (home / "dev.conll").write_text(columns(measured))
    rows = [{"tokens": [word for word, _ in one], "ner_tags": [tag for _, tag in one]} for one in measured]
    (home / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["the", "ri", "##ver", "do", "##g", *letters, *(f"##{letter}" for letter in letters)]
    saved(home / "bert", encoder("bert", dim=32, n_layers=1, max_seq_len=64, vocab_size=80), wordpiece(pieces))
    text = " ".join(WORDS) + "\n"
    tokenizer = train(BPEConfig(vocab_size=280), [text] * 9)
    shape = DecoderConfig(architecture=Architecture.llama, dim=32, n_layers=2, n_heads=2, max_seq_len=64)
    decoder = Decoder.on_meta(shape.resolved(tokenizer.vocab_size))
    saved(home / "llama", materialise(decoder, torch.device("cpu"), 1), tokenizer)
    tokenizer = train(WordsConfig(), [text, f" {text}"])
    recurrent = Recurrent.on_meta(RecurrentConfig(dim=32, n_layers=1, max_seq_len=64).resolved(tokenizer.vocab_size))
    saved(home / "gru", materialise(recurrent, torch.device("cpu"), 1), tokenizer)
    return home


def words(home: Path, kind: str, steps: int, run: str, *more: str) -> list[str]:
    data = [f"data.train={home / 'train.conll'}", f"data.validation={home / 'dev.conll'}"]
    return [*TRAINING, f"init_from={home / kind}", *data, f"train.max_steps={steps}", f"run.dir={home / run}", *more]


@pytest.fixture(scope="module")
def learned(home: Path) -> dict[str, Any]:
    more = ["train.metric=span_f1", "train.eval_every_steps=30", "train.patience_evals=9"]
    return run_verb("finetune", words(home, "bert", 90, "run", *more))


def test_it_learns(learned: dict[str, Any], home: Path) -> None:
    assert "<h2>Spans</h2>" in (home / "run" / "report.html").read_text()
    assert learned["best_span_f1"] > 0.9
    assert learned["best_macro_f1"] > 0.6
    assert read_config(Path(learned["best_checkpoint"])).output.labels == (
        *("B-CAT", "B-DOG", "B-LOC", "I-CAT", "I-DOG", "I-LOC", "O"),
    )


@pytest.mark.parametrize("file", ["dev.conll", "dev.jsonl"])
def test_evaluate_measures_the_same_and_says_what_was_predicted(learned: dict[str, Any], home: Path, file: str) -> None:
    given = [f"checkpoint={home / 'run'}", f"data.files={home / file}", f"output={home / 'out'}", "evals.seq_len=24"]
    measured = run_verb("evaluate", [*given, *MEASURING])
    names = ["macro_f1", "macro_precision", "macro_recall", "span_precision", "span_recall", "span_f1"]
    assert [measured[name] for name in names] == [learned[f"best_{name}"] for name in names]
    assert measured["token_accuracy"] == learned["best_val_token_accuracy"]
    assert measured["loss"] == pytest.approx(learned["best_val_loss"], rel=1e-5)
    assert measured["per_class"] == learned["best_per_class"]
    assert list(measured["per_class"]) == ["CAT", "DOG", "LOC"]
    found = [span for seed in range(1000, 1040) for span in spans_of([tag for _, tag in sentence(seed)])]
    for kind, scores in measured["per_class"].items():
        assert scores["support"] == sum(span[0] == kind for span in found)
        assert scores["f1"] == pytest.approx(f1(scores["precision"], scores["recall"]))
    predictions = [json.loads(line) for line in (home / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [list(zip(one["words"], one["tags"], strict=True)) for one in predictions] == [
        sentence(seed) for seed in range(1000, 1040)
    ]
    pairs = [pair for one in predictions for pair in zip(one["tags"], one["predicted"], strict=True)]
    assert measured["words"] == len(pairs)
    assert measured["sentences"] == 40
    assert np.mean([a == b for a, b in pairs]) == pytest.approx(measured["token_accuracy"])
    report = (home / "out" / "report.html").read_text()
    assert all(part in report for part in ("<h2>Spans</h2>", "Confusion matrix", "<th class=num>words</th>"))
    assert ("most wrong tags" in report) == (measured["token_accuracy"] < 1)
    assert file != "dev.conll" or task_sections(home / "run" / "report.html") == task_sections(
        home / "out" / "report.html"
    )


def test_gates_of_types(learned: dict[str, Any], home: Path) -> None:
    (home / "cats.conll").write_text("the O\ncat B-CAT\n")
    given = [f"checkpoint={home / 'run'}", f"data.files={home / 'cats.conll'}", *MEASURING]
    measured = run_verb("evaluate", [*given, "gates.f1_DOG=>0.5", "gates.recall_CAT=>=0"])
    assert [missed.split()[0] for missed in measured["missed"]] == ["f1_DOG"]
    assert measured["per_class"]["LOC"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    with pytest.raises(UserError, match=r"(?s)gates\.f1_COW\b.*f1_LABEL"):
        run_verb("evaluate", [*given, "gates.f1_COW=>1"])


def test_wrong_tags_are_in_the_report(learned: dict[str, Any], home: Path) -> None:
    (home / "odd.conll").write_text("the O\ncat O\n\ndog B-DOG\n")
    given = [f"checkpoint={home / 'run'}", f"data.files={home / 'odd.conll'}", f"output={home / 'odd'}"]
    run_verb("evaluate", [*given, *MEASURING])
    report = (home / "odd" / "report.html").read_text()
    assert "the <b>cat</b> [O taken for B-CAT]" in report
    assert f"1 of 2 tags, {home / 'odd.conll'}:1" in report


def test_transformers_opens_it_and_tags_alike(learned: dict[str, Any], home: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = Path(learned["best_checkpoint"])
    theirs, info = transformers.AutoModelForTokenClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer, ours = transformers.AutoTokenizer.from_pretrained(folder), load_model(folder)
    given = [f"checkpoint={folder}", f"data.files={home / 'dev.jsonl'}", f"output={home / 'whole'}"]
    run_verb("evaluate", [*given, *MEASURING])
    for line in (home / "whole" / "predictions.jsonl").read_text().splitlines()[:8]:
        row = json.loads(line)
        batch = tokenizer(row["words"], is_split_into_words=True, return_tensors="pt")
        if batch["input_ids"].shape[1] > 64:
            continue
        logits = theirs.eval()(**batch).logits
        assert torch.allclose(ours.logits(ours(batch["input_ids"])), logits, atol=1e-5)
        word_ids, best = [None, *batch.word_ids()], logits[0].argmax(-1).tolist()
        firsts = [place for place, word in enumerate(word_ids[1:]) if word is not None and word != word_ids[place]]
        assert [theirs.config.id2label[best[place]] for place in firsts] == row["predicted"]


@pytest.mark.parametrize("kind", ["llama", "gru"])
def test_models_that_read_forwards_learn_tags_too(kind: str, home: Path) -> None:
    found = run_verb("finetune", words(home, kind, 90, kind + "-run"))
    assert found["span_f1"] > 0.7  # all that is no name: 0
    given = [f"checkpoint={found['checkpoint']}", f"data.files={home / 'dev.jsonl'}", "evals.seq_len=24"]
    assert run_verb("evaluate", [*given, *MEASURING])["span_f1"] == found["span_f1"]


def test_parts_of_speech_are_measured_without_spans(home: Path) -> None:
    (home / "pos.tsv").write_text(columns([[(word, word[0].upper()) for word, _ in sentence(n)] for n in range(60)]))
    more = [f"data.train={home / 'pos.tsv'}", "train.metric=macro_f1", "data.validation_fraction=0.2"]
    given = [word for word in words(home, "bert", 2, "pos", *more) if "dev.conll" not in word]
    found = run_verb("finetune", given)
    assert "macro_f1" in found
    assert not any("span" in name for name in found)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(home: Path) -> None:
    more = ["train.eval_every_steps=4", "train.save_every_steps=4", "schedule=constant"]
    run_verb("finetune", words(home, "bert", 12, "whole-run", *more))
    run_verb("finetune", words(home, "bert", 8, "parts", *more))
    run_verb("finetune", [f"run.dir={home / 'parts'}", "train.max_steps=12"])
    assert bits(home / "parts") == bits(home / "whole-run")


@pytest.mark.slow
def test_two_processes_give_the_same_bits(home: Path) -> None:
    more = ["train.eval_every_steps=4", "train.save_every_steps=4", "parallel.reduction=exact", "parallel.shards=2"]
    for nproc in ("1", "2"):
        done = cli("finetune", *words(home, "bert", 8, f"on-{nproc}", *more), "--nproc", nproc, timeout=200)
        assert done.returncode == 0, done.stderr
    assert bits(home / "on-1") == bits(home / "on-2")


def test_a_tagger_learns_on_with_its_own_order_of_tags(home: Path) -> None:
    output = Output(OutputKind.tags, ("O", "B-CAT", "I-CAT", "B-DOG", "I-DOG", "B-LOC", "I-LOC"))
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokenizer = wordpiece([*letters, *(f"##{letter}" for letter in letters)])
    saved(home / "tagger", encoder("bert", output, max_seq_len=64, vocab_size=80), tokenizer)
    done = run_verb("finetune", words(home, "tagger", 1, "on"))
    assert read_config(Path(done["checkpoint"])).output == output
    with pytest.raises(UserError, match="in that order"):
        run_verb("finetune", words(home, "tagger", 1, "order", f"objective.labels=[{','.join(output.labels[::-1])}]"))


def test_tags_may_be_numbers_of_named_labels(home: Path) -> None:
    rows = [{"tokens": ["the", "cat", "sings"], "ner_tags": [0, 1, 0]}, {"tokens": ["dog"], "ner_tags": [2]}]
    (home / "numbers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = words(home, "bert", 1, "numbers", f"data.train={home / 'numbers.jsonl'}")
    given = [word for word in given if "dev.conll" not in word]
    found = run_verb("finetune", [*given, "objective.labels=[O,B-CAT,B-DOG]"])
    assert read_config(Path(found["checkpoint"])).output.labels == ("O", "B-CAT", "B-DOG")
    (home / "numbers.jsonl").write_text('{"tokens": ["a", "cow"], "ner_tags": ["O", "B-COW"]}\n')
    with pytest.raises(UserError, match=r"label 'B-COW'(?s:.*)remedy: add it to objective.labels, or correct"):
        run_verb("finetune", [*given, "objective.labels=[O,B-CAT,B-DOG]", f"run.dir={home / 'cow'}"])
    (home / "numbers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = [f"checkpoint={found['checkpoint']}", f"data.files={home / 'numbers.jsonl'}"]
    assert run_verb("evaluate", [*more, *MEASURING])["words"] == 4


def test_numbers_for_tags_of_a_model_say_which_is_which(
    home: Path, learned: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The model counts its own tags, the rows may count otherwise: it is said, not guessed."""
    rows = [{"tokens": ["the", "cat"], "ner_tags": [0, 1]}, {"tokens": ["dog"], "ner_tags": [2]}]
    (home / "counted.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_verb("evaluate", [f"checkpoint={learned['checkpoint']}", f"data.files={home / 'counted.jsonl'}", *MEASURING])
    labels = read_config(Path(learned["checkpoint"])).output.labels
    order = ", ".join(f"{number} for {label}" for number, label in enumerate(labels))
    said = f"counted.jsonl:1: tags are numbers, taken as the model counts its own: {order}"
    assert caplog.text.count(said) == caplog.text.count("tags are numbers") == 1


def test_what_is_said_of_the_data(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = words(home, "bert", 1, "said", f"data.validation={home / 'train.conll'}")
    with caplog.at_level("INFO", "bigtrain"):
        run_verb("finetune", given)
    assert "240 sentences in " in caplog.text
    assert "sentences do not fit into 24 tokens and go on in further rows" in caplog.text
    assert "240 of 240 sentences of validation are sentences of training as well" in caplog.text


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        ("cat B-CAT\n\nsea B-SEA\n", [], ":3, word 'sea': label 'B-SEA'"),
        ("cat B-CAT\n\nsea B-SEA\n", ["data.tags_field=7"], ":1: no column 7"),
        ("cat,B-CAT\n", [], ":1: one column"),
        ("cat B-CAT\ndog\n", [], ":2: 1 column"),
        ("", [], "no sentences"),
    ],
)
def test_bad_files_stop_a_run_before_its_first_step(content: str, more: list[str], said: str, home: Path) -> None:
    (home / "bad.conll").write_text(content)
    with pytest.raises(UserError) as error:
        run_verb("finetune", words(home, "bert", 2, "bad", f"data.validation={home / 'bad.conll'}", *more))
    assert said in str(error.value)
    assert not (home / "bad" / "checkpoints").exists()


def test_one_tag_is_none(home: Path) -> None:
    (home / "one.conll").write_text("cat O\ndog O\n")
    with pytest.raises(UserError, match="two tags or more"):
        run_verb("finetune", words(home, "bert", 2, "bad", f"data.train={home / 'one.conll'}"))


@pytest.mark.parametrize(
    "more",
    [
        *("data.text_field=[body]", "data.label_field=answer", "data.augment.delete=0.1", "data.path=x"),
        *("train.sample_prompts=[the]", "data.validation_fraction=0.2", "data.form=alpaca", "data.columns=[a,b]"),
    ],
)
def test_keys_that_nothing_would_read_are_refused(more: str, home: Path) -> None:
    with pytest.raises(UserError, match=more.partition("=")[0]):
        run_verb("finetune", words(home, "bert", 2, "refused", more))


def test_other_objectives_and_models_refuse_the_fields_of_tags(home: Path, learned: dict[str, Any]) -> None:
    given = [word for word in words(home, "bert", 2, "refused") if word != "objective=tag"]
    with pytest.raises(UserError, match=r"data\.tags_field"):
        run_verb("finetune", [*given, "objective=classify", "data.tags_field=2"])
    more = [f"checkpoint={home / 'run'}", f"data.files={home / 'dev.conll'}", "data.label_field=tags"]
    with pytest.raises(UserError, match=r"data\.label_field"):
        run_verb("evaluate", [*more, *MEASURING])
