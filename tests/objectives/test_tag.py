"""Tags of words: loss and gradients against transformers, metrics by hand and over any batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import encoder, wordpiece
from harness import text

from bigtrain.data.frame import Frame
from bigtrain.data.schema import CharsConfig
from bigtrain.data.tasks.sentences import Sentence
from bigtrain.data.tasks.tagged import TaggedRows
from bigtrain.models.base import Model, materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import save_model
from bigtrain.models.output import Output, OutputKind
from bigtrain.models.recurrent import Recurrent
from bigtrain.models.recurrent_schema import RecurrentArchitecture, RecurrentConfig
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.objectives.tag import Tag, mark_spans
from bigtrain.tokenizer import Tokenizer, train

LABELS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
OUTPUT = Output(OutputKind.tags, LABELS)


def sentences(n: int) -> list[Sentence]:
    found = []
    for seed in range(n):
        words = text(3 + 2 * seed, seed).split()
        tags = [LABELS[(seed + len(word)) % 5] for word in words]
        found.append(Sentence("a.txt", tuple(range(1, len(words) + 1)), tuple(words), tuple(tags)))
    return found


def built(kind: str) -> tuple[Model, Tokenizer, TaggedRows]:
    given = sentences(7)
    if kind == "bert":
        tokenizer = wordpiece()
        model: Model = encoder("bert", OUTPUT, max_seq_len=48)
    else:
        tokenizer = train(CharsConfig(), [one.text for one in given])
        sizes: dict[str, Any] = {"dim": 16, "n_layers": 2, "max_seq_len": 48}
        if kind == "gru":
            shape = RecurrentConfig(architecture=RecurrentArchitecture.bigtrain_gru, **sizes)
            model = Recurrent.on_meta(shape.resolved(tokenizer.vocab_size), OUTPUT)
        else:
            decoder = DecoderConfig(architecture=Architecture.llama, n_heads=2, **sizes)
            model = Decoder.on_meta(decoder.resolved(tokenizer.vocab_size), OUTPUT)
        materialise(model, torch.device("cpu"), 5)
    frame = Frame.of(tokenizer) if kind == "bert" else Frame()
    return model, tokenizer, TaggedRows(given, tokenizer, LABELS, 40, frame)


@pytest.mark.parametrize(("kind", "name"), [("bert", "Bert"), ("llama", "Llama")])
def test_loss_and_gradients_are_those_of_transformers(kind: str, name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, tokenizer, rows = built(kind)
    save_model(tmp_path, model, tokenizer)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    assert type(theirs).__name__ == f"{name}ForTokenClassification"
    batch = rows.batch(np.arange(len(rows)))
    real = torch.arange(batch["tokens"].shape[1]) < batch["lengths"][:, None]
    found = theirs(batch["tokens"], attention_mask=real.long(), labels=batch["labels"])
    objective = Tag(LABELS, rows)
    loss = objective(model, batch) / objective.weight(batch)
    assert torch.isclose(loss, found.loss, rtol=1e-5)
    assert objective.weight(batch) == len(rows.tags)
    loss.backward()
    found.loss.backward()
    save_model(tmp_path, _with_gradients(model), tokenizer)
    expected = dict(transformers.AutoModelForTokenClassification.from_pretrained(tmp_path).named_parameters())
    for parameter, gradient in theirs.named_parameters():
        assert gradient.grad is not None
        assert torch.allclose(expected[parameter], gradient.grad, atol=1e-5), parameter


def _with_gradients(model: Model) -> Model:
    """Each parameter's gradient in its place, so that it goes through the same change of names."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
    return model


def sums(objective: Tag, model: Model, batch_rows: int) -> dict[str, np.ndarray]:
    rows = objective.rows
    assert rows is not None
    total, table = {"loss": 0.0, "weight": 0.0}, np.zeros((len(rows), rows.n_words.max()))
    with torch.no_grad():
        for batch in rows.batches(batch_rows):
            found = objective.statistics(model, batch)
            total = {name: total[name] + float(found[name]) for name in total}
            table[batch["rows"]] = found["tags"]
    return {**{name: np.array(value) for name, value in total.items()}, "tags": table}


@pytest.mark.parametrize("kind", ["bert", "llama", "gru"])
def test_metrics_and_gradients_do_not_depend_on_the_batches(kind: str) -> None:
    model, _, rows = built(kind)
    assert rows.n_cut > 0  # sentences in several rows are among them
    objective = Tag(LABELS, rows)
    found = [objective.metrics(sums(objective, model, batch_rows)) for batch_rows in (1, 3, 100)]
    assert found[0].keys() == set(objective.metric_names)
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-4)
    index = np.arange(len(rows))
    objective(model, rows.batch(index)).backward()
    gradient = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    for part in (index[:3], index[3:]):
        objective(model, rows.batch(part)).backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, gradient[name], rtol=1e-3, atol=1e-4), name


def test_scores_by_hand() -> None:
    tokenizer = wordpiece()
    tags = [("B-PER", "I-PER", "O", "B-LOC"), ("O", "B-LOC", "I-LOC")]
    given = [Sentence("a.txt", (1,) * len(one), ("word",) * len(one), one) for one in tags]
    rows = TaggedRows(given, tokenizer, LABELS, 40, Frame())
    # right; a border too early, a type, one too many
    predicted = [("B-PER", "I-PER", "O", "B-PER"), ("B-LOC", "B-LOC", "O")]
    table = np.full((2, 4), -1.0)
    for number, one in enumerate(predicted):
        table[number, : len(one)] = [LABELS.index(tag) for tag in one]
    objective = Tag(LABELS, rows)
    found = objective.metrics({"loss": np.array(3.5), "weight": np.array(7), "tags": table})
    assert found["loss"] == 0.5
    assert found["token_accuracy"] == pytest.approx(4 / 7)
    # Of 3 spans 1 is found, of 4 predicted ones 1 is true.
    assert [found[f"span_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx([1 / 4, 1 / 3, 2 / 7])
    # F1 of B-LOC 1/2, B-PER 2/3, I-LOC 0, I-PER 1, O 1/2
    assert found["macro_f1"] == pytest.approx((1 / 2 + 2 / 3 + 0 + 1 + 1 / 2) / 5)
    assert [list(one) for one in predicted] == list(rows.by_sentence(rows.of_words(table)))


def test_spans_are_measured_where_tags_mark_them() -> None:
    assert mark_spans(LABELS)
    assert mark_spans(("B", "E", "M", "S"))
    assert mark_spans(("I-PER", "O"))
    assert not mark_spans(("NN", "O"))
    assert not mark_spans(("NOUN", "VERB"))
    assert not {name for name in Tag(("NOUN", "VERB"), None).metric_names if name.startswith("span")}
