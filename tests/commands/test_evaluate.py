"""`bigtrain evaluate`, against sums computed one token at a time."""

import json
import math
import random
import re

import pytest
import torch
from harness import cli

from bigtrain import config
from bigtrain.commands import evaluate, generate
from bigtrain.data.schema import BytesConfig, WordsConfig
from bigtrain.errors import GateMissed, UserError
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import save_model
from bigtrain.models.output import LANGUAGE, Output, OutputKind
from bigtrain.models.schema import DecoderConfig
from bigtrain.tokenizer import train

TEXT = "To be, or not to be: that is the question. " * 4 + "Übung macht den Meister."
LABELS = ["bad", "good"]


def tiny(output=LANGUAGE):
    shape = DecoderConfig(dim=16, n_layers=1, n_heads=2, max_seq_len=16).resolved(257)
    torch.manual_seed(0)
    return materialise(Decoder.on_meta(shape, output), torch.device("cpu"), seed=3)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, tiny(), train(BytesConfig(), []))
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    save_model(folder, tiny(Output(OutputKind.label, tuple(LABELS))), train(BytesConfig(), []))
    return folder


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def run(*lines, **options):
    return evaluate.run(config.load("evaluate", [*lines, "device=cpu", "device.precision=fp32"]), **options)


def reference(stride):
    """Loss of every token, each in a forward pass of its own with the context its window gives it."""
    model, tokenizer = tiny().eval(), train(BytesConfig(), [])
    ids = [*tokenizer.encode(TEXT), tokenizer.eos_id]
    losses = []
    for position in range(1, len(ids)):
        start = 0 if position <= 16 else -(-(position - 16) // stride) * stride
        with torch.no_grad():
            logits = model.logits(model(torch.tensor([ids[start:position]])))[0, -1]
        losses.append(-float(logits.double().log_softmax(-1)[ids[position]]))
    return losses


def test_bytes_of_a_cut_text_are_those_of_its_tokens(tmp_path):
    """Words cannot say how many bytes they are: on average those of the whole text."""
    draw, path = random.Random(0), tmp_path / "words.txt"
    path.write_text(" ".join(draw.choices(["to", "be", "or", "not", "question"], k=2000)))
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", tiny(), train(WordsConfig(vocab_size=8), [path.read_text()]))
    whole, cut = (
        run(f"checkpoint={tmp_path / 'model'}", f"data.files={path}", *more) for more in ([], ["evals.max_tokens=200"])
    )
    assert cut["tokens"] == 200
    assert cut["bits_per_byte"] / cut["loss"] == pytest.approx(whole["bits_per_byte"] / whole["loss"], rel=1e-2)


@pytest.mark.parametrize("stride", [1, 5, 16])
@pytest.mark.parametrize("rows", [1, 3])
def test_text_metrics_are_those_of_every_token(language_model, text, stride, rows):
    result = run(
        f"checkpoint={language_model}", f"data.files={text}", f"evals.stride={stride}", f"evals.batch_rows={rows}"
    )
    losses = reference(stride)
    n_bytes = len(TEXT.encode())
    assert result["tokens"] == len(losses) == n_bytes
    assert result["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert result["perplexity"] == pytest.approx(math.exp(result["loss"]))
    # All bytes but the first, which nothing predicts; the end of the text is predicted and has no bytes.
    assert result["bits_per_byte"] == pytest.approx(sum(losses) / math.log(2) / (n_bytes - 1), rel=1e-5)


def test_limits_and_dry_run(language_model, text):
    assert run(f"checkpoint={language_model}", f"data.files={text}", "evals.max_tokens=20")["tokens"] == 20
    needs = run(f"checkpoint={language_model}", f"data.files={text}", dry_run=True)
    assert needs["tokens"] == len(TEXT.encode())
    assert needs["parameters"] == sum(parameter.numel() for parameter in tiny().parameters())
    assert "loss" not in needs


def test_two_processes_measure_the_same_bits(language_model, text):
    words = [f"checkpoint={language_model}", f"data.files={text}", "evals.batch_rows=1", "device=cpu", "--json"]
    one, two = (json.loads(cli("evaluate", *words, "--nproc", str(n)).stdout) for n in (1, 2))
    assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_gates_and_output(language_model, text, tmp_path, capsys):
    given = [f"checkpoint={language_model}", f"data.files={text}", f"output={tmp_path / 'out'}"]
    result = run(*given, "gates.loss=<100", "gates.perplexity=<1.5", "gates.token_accuracy=>=0.99")
    assert [missed.split()[0] for missed in result["missed"]] == ["perplexity", "token_accuracy"]
    evaluate.show(result)
    assert "perplexity" in capsys.readouterr().out
    with pytest.raises(GateMissed, match=r"perplexity < 1\.5.*token_accuracy >= 0\.99"):
        evaluate.verdict(result)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result
    assert "perplexity" in (tmp_path / "out" / "report.html").read_text()
    passed = run(*given, "gates.loss=<100")
    evaluate.verdict(passed)
    assert passed["missed"] == []


def test_labelled_rows(classifier, tmp_path, capsys):
    rows = [("a fine text", "good"), ("a poor text", "bad"), ("short", "good"), ("x" * 40, "bad"), ("?", "good")]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows[:2]))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in rows[2:]))
    result = run(f"checkpoint={classifier}", f"data.files=[{tmp_path}/a.csv,{tmp_path}/b.jsonl]", "evals.batch_rows=2")
    model, tokenizer, losses, right = tiny(Output.numbered(2)).eval(), train(BytesConfig(), []), [], 0
    for text, label in rows:
        ids = tokenizer.encode(text)[:16] or [tokenizer.pad_id]
        with torch.no_grad():
            logits = model.logits(model(torch.tensor([ids]))[0, -1])
        losses.append(-float(logits.log_softmax(-1)[LABELS.index(label)]))
        right += LABELS[int(logits.argmax())] == label
    assert result["rows"] == 5
    assert result["loss"] == pytest.approx(sum(losses) / 5, rel=1e-5)
    assert result["accuracy"] == right / 5
    assert 0 <= result["macro_f1"] <= 1
    scores = result["per_class"]
    assert {label: one["support"] for label, one in scores.items()} == {"bad": 2, "good": 3}
    assert sum(one["f1"] for one in scores.values()) / 2 == pytest.approx(result["macro_f1"])
    assert sum(result["confusion"][label].get(label, 0) for label in LABELS) == right
    evaluate.show(result)
    assert re.search(r"\ngood +precision .* support 3\n", capsys.readouterr().out)
    given = [f"checkpoint={classifier}", f"data.files={tmp_path}/a.csv"]
    assert run(*given, "gates.f1_good=>1", "gates.recall_bad=>=0")["missed"][0].startswith("f1_good > 1")
    with pytest.raises(UserError, match=r"(?s)gates\.f1_god\b.*f1_LABEL"):
        run(*given, "gates.f1_god=>1")


def test_a_label_that_training_has_not_seen(classifier, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nfine,good\nso so,middling\n")
    with pytest.raises(UserError, match=r"(?s)rows\.csv:3.*middling.*bad, good"):
        run(f"checkpoint={classifier}", f"data.files={path}")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["gates.accuracy=>0.5"], r"(?s)gates\.accuracy.*loss, perplexity, bits_per_byte, token_accuracy"),
        (["gates.loss=1"], r"gates\.loss"),
        (["evals.seq_len=17"], r"(?s)evals\.seq_len=17.*16"),
        (["evals.stride=17"], r"(?s)evals\.stride=17.*16"),
        (["data.split=test"], r"data\.split"),
        (["data.split=train"], r"data\.split"),
        (["data.label_field=y"], r"data\.label_field"),
        (["data.validation_fraction=0.5"], r"data\.validation_fraction"),
    ],
)
def test_settings_that_do_not_fit_are_refused(language_model, text, lines, words, tmp_path):
    with pytest.raises(UserError, match=words):
        run(f"checkpoint={language_model}", f"data.files={text}", f"output={tmp_path / 'out'}", *lines)
    assert not (tmp_path / "out").exists()


def test_text_that_predicts_nothing_and_places_that_are_files(language_model, text, tmp_path):
    with pytest.raises(UserError, match=r"output="):
        run(f"checkpoint={language_model}", f"data.files={text}", f"output={text}")


@pytest.mark.parametrize("name", ["metrics.json", "predictions.jsonl", "report.html", ".lock"])
def test_a_run_and_files_of_somebody_else_are_not_replaced(language_model, text, tmp_path, name):
    given = [f"checkpoint={language_model}", f"data.files={text}", f"output={tmp_path / 'out'}"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("{}")
    with pytest.raises(UserError, match=r"output="):
        run(*given)
    assert [(path.name, path.read_text()) for path in (tmp_path / "out").iterdir()] == [(name, "{}")]
    (tmp_path / "out" / name).unlink()
    assert run(*given).keys() == run(*given).keys()  # what an evaluation wrote another one may replace
    assert text.read_text(encoding="utf-8") == TEXT


def test_memory_that_runs_out_names_the_batch(language_model, text, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Decoder, "forward", full)
    with pytest.raises(UserError, match=r"(?s)evals\.batch_rows=4: CUDA out of memory.*give evals\.batch_rows=2"):
        run(f"checkpoint={language_model}", f"data.files={text}", "evals.batch_rows=4")
    monkeypatch.setattr(evaluate, "load_model", full)
    with pytest.raises(UserError, match="loading the model: CUDA out of memory"):
        run(f"checkpoint={language_model}", f"data.files={text}")


def test_threads_are_those_asked_for(language_model, text):
    before = torch.get_num_threads()
    try:
        run(f"checkpoint={language_model}", f"data.files={text}", f"parallel.threads={before + 2}")
        assert torch.get_num_threads() == before + 2
        lines = [f"checkpoint={language_model}", "prompt=To be", f"parallel.threads={before + 1}", "device=cpu"]
        generate.run(config.load("generate", [*lines, "max_new_tokens=1"]))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
