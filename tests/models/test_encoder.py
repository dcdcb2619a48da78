"""The encoder by itself: masks, padding, dropout, files. Its numbers are compared with transformers' in numerics/."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import encoder, wordpiece
from outputs import OUTPUTS
from safetensors.torch import load_file, save_file
from torch import Tensor

from bigtrain.errors import UserError
from bigtrain.models.base import n_parameters
from bigtrain.models.encoder import Encoder
from bigtrain.models.encoder_schema import EncoderArchitecture, EncoderConfig
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import load_model, materialise_from, read_config, read_folder, save_model
from bigtrain.models.huggingface_keys import read_json
from bigtrain.models.output import Output, OutputKind
from bigtrain.models.vocabulary import resized
from bigtrain.storage import write_json

CPU = torch.device("cpu")
each = pytest.mark.parametrize("architecture", ["bert", "roberta"])


def draw(n_rows: int, n_tokens: int) -> Tensor:
    return torch.randint(5, 60, (n_rows, n_tokens), generator=torch.Generator().manual_seed(0))


def rewrite(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path)


@each
def test_a_token_sees_both_sides_of_its_own_document_only(architecture: str) -> None:
    model, tokens = encoder(architecture), draw(1, 9)
    documents = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1]], dtype=torch.int32)
    hidden = model(tokens, documents=documents)
    for part in (slice(0, 4), slice(4, 9)):  # positions restart: each document is as if it were alone
        assert torch.allclose(hidden[:, part], model(tokens[:, part]), atol=1e-5)
    later = tokens.clone()
    later[0, 8] += 1
    assert not torch.allclose(model(later)[0, 0], model(tokens)[0, 0])


@each
def test_padding_changes_nothing(architecture: str) -> None:
    model, tokens = encoder(architecture), draw(2, 8)
    padded = torch.cat([tokens, torch.zeros(2, 5, dtype=torch.int64)], 1)
    documents = (torch.arange(13)[None] >= torch.tensor([[8], [8]])).int()
    assert torch.allclose(model(padded, documents=documents)[:, :8], model(tokens), atol=1e-5)


def test_roberta_counts_positions_from_behind_its_padding_token() -> None:
    model = encoder("roberta", pad_id=3)
    assert len(model.positions.weight) == 20 + 4
    with torch.no_grad():
        model.positions.weight[:4] = torch.nan
    assert torch.isfinite(model(draw(2, 20))).all()
    one, other = model(torch.tensor([[7, 3, 9]])), model(torch.tensor([[7, 9]]))
    assert one.isnan().any()  # a padding token stands at no position
    assert torch.isfinite(other).all()


@each
def test_dropout_is_keyed_by_the_row(architecture: str) -> None:
    model, tokens = encoder(architecture, dropout=0.3), draw(1, 8).expand(3, -1)
    hidden = model(tokens, keys=torch.tensor([1, 2, 1]))
    assert torch.equal(hidden[0], hidden[2])
    assert not torch.allclose(hidden[0], hidden[1])
    assert torch.allclose(model(tokens[:1], keys=torch.tensor([2])), hidden[1:2], atol=1e-6)
    assert not torch.allclose(model(tokens)[0], hidden[0])


@each
def test_the_first_tokens_alone_are_what_they_are_among_all(architecture: str) -> None:
    model, tokens = encoder(architecture, dropout=0.3), draw(3, 9)
    documents = (torch.arange(9)[None] >= torch.tensor([[9], [5], [2]])).int()
    found = []
    for n in (None, 2):
        model.zero_grad()
        hidden = model(tokens, documents=documents, keys=torch.tensor([1, 2, 3]), n=n)[:, :2]
        hidden.square().sum().backward()
        found.append([hidden, *(parameter.grad for parameter in model.blocks.parameters())])
    for whole, first in zip(*found, strict=True):
        torch.testing.assert_close(first, whole, rtol=1e-4, atol=1e-5)


def test_rows_beyond_the_positions_are_refused() -> None:
    with pytest.raises(UserError, match=r"21 tokens with model\.max_seq_len=20"):
        encoder("bert")(draw(1, 21))


def test_arithmetic_counts_the_head_where_it_is_asked() -> None:
    model = encoder("bert")
    blocks = n_parameters(model.blocks)
    head = 16 * 16 + 64 * 16
    assert model.flops_per_token(20) == pytest.approx(6 * (blocks + 0.15 * head) + 12 * 2 * 16 * 20)
    assert encoder("bert", output=Output.numbered(2)).flops_per_token(20) == 6 * blocks + 12 * 2 * 16 * 20


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dim": 10, "n_heads": 4}, "model.n_heads=4 with model.dim=10"),
        ({"architecture": EncoderArchitecture.roberta, "pad_id": 99}, "whose padding token is 99"),
    ],
)
def test_shapes_that_do_not_work_are_refused(fields: dict[str, Any], words: str) -> None:
    config = EncoderConfig(**{"dim": 16, "n_layers": 1, "n_heads": 2, **fields})

    def build() -> EncoderConfig:
        config.check()
        return config.resolved(64, 0)

    with pytest.raises(UserError, match=words):
        build()


@each
@pytest.mark.parametrize("output", OUTPUTS, ids=str)
def test_what_is_saved_is_read(architecture: str, output: Output, tmp_path: Path) -> None:
    model = encoder(architecture, output=output, dropout=0.25, norm_eps=3e-6)
    save_model(tmp_path, model, wordpiece())
    source, tokenizer = read_folder(tmp_path)
    assert source.config == model.config
    assert source.output == output
    assert tokenizer.hash == wordpiece().hash
    again = load_model(tmp_path)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    assert not (tmp_path / "generation_config.json").exists()


@each
def test_a_masked_model_becomes_a_classifier_with_a_new_head(architecture: str, tmp_path: Path) -> None:
    model = encoder(architecture)
    save_model(tmp_path, model, wordpiece())
    one, two, other = (
        load_model(tmp_path, output=Output(OutputKind.label, ("a", "b")), seed=seed) for seed in (5, 5, 6)
    )
    heads = [name for name, _ in one.named_parameters() if name.startswith("classifier.")]
    assert len(heads) == 4
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, two.get_parameter(name))
        if name not in heads:
            assert torch.equal(parameter, model.get_parameter(name))
        elif name.endswith("weight"):
            assert not torch.equal(parameter, other.get_parameter(name))


def test_bert_files_may_hold_more_and_say_it_otherwise(tmp_path: Path) -> None:
    """The published ones: with a pooler and next-sentence prediction, and norms with gamma and beta."""
    model = encoder("bert")
    save_model(tmp_path, model, wordpiece())
    pooler = {"bert.pooler.dense.weight": torch.randn(16, 16), "bert.pooler.dense.bias": torch.randn(16)}

    def as_published(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
            for name, tensor in tensors.items()
        }
        found["bert.embeddings.position_ids"] = torch.arange(20)[None]
        found["cls.predictions.decoder.weight"] = found["bert.embeddings.word_embeddings.weight"].clone()
        found["cls.seq_relationship.weight"] = torch.randn(2, 16)
        return {**found, "cls.seq_relationship.bias": torch.randn(2), **pooler}

    rewrite(tmp_path, as_published)
    again = load_model(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    classifier = load_model(tmp_path, output=Output(OutputKind.label, ("a", "b")))
    assert torch.equal(classifier.get_parameter("classifier.dense.weight"), pooler["bert.pooler.dense.weight"])
    assert torch.equal(classifier.get_parameter("classifier.dense.bias"), pooler["bert.pooler.dense.bias"])


@each
def test_a_bare_encoder_gets_a_new_masked_head(
    architecture: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = encoder(architecture)
    save_model(tmp_path, model, wordpiece())
    prefix = f"{architecture}."
    rewrite(tmp_path, lambda all_: {k.removeprefix(prefix): v for k, v in all_.items() if k.startswith(prefix)})
    again = load_model(tmp_path, seed=4)
    for name, parameter in again.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name)) == (not name.startswith("head."))
    assert "no head for masked tokens" in caplog.text


@each
def test_every_wrong_tensor_is_named(architecture: str, tmp_path: Path) -> None:
    save_model(tmp_path, encoder(architecture), wordpiece())

    def damaged(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors.pop(f"{architecture}.embeddings.LayerNorm.bias")
        name = f"{architecture}.encoder.layer.0.output.dense.weight"
        return {**tensors, name: torch.zeros(3, 2), "qa_outputs.weight": torch.zeros(2, 2)}

    rewrite(tmp_path, damaged)
    with pytest.raises(UserError) as error:
        load_model(tmp_path)
    for part in ("missing: ", "unexpected: qa_outputs.weight", "misshapen: ", "[3, 2]", architecture):
        assert part in error.value.given + error.value.rule
    assert "LayerNorm.bias" in error.value.given


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": "relu"}, r'hidden_act "relu"'),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder true"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings false"),
        ({"hidden_size": 15}, "config.json: model.n_heads=2 with model.dim=15"),
        ({"num_hidden_layers": "two"}, 'num_hidden_layers "two"'),
        ({"model_type": "deberta"}, "the supported architectures are gpt2, .*, bert, roberta"),
    ],
)
def test_other_shapes_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    save_model(tmp_path, encoder("bert"), wordpiece())
    write_json(tmp_path / "config.json", {**read_json(tmp_path / "config.json"), **changes})
    with pytest.raises(UserError, match=words):
        read_config(tmp_path)


def test_a_padding_token_beyond_the_positions_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, encoder("roberta"), wordpiece())
    write_json(tmp_path / "config.json", {**read_json(tmp_path / "config.json"), "pad_token_id": 500})
    with pytest.raises(UserError, match="pad_token_id 500"):
        read_config(tmp_path)


@pytest.mark.parametrize("pad_id", [0, 1, 5])
def test_positions_begin_behind_the_new_padding_token(pad_id: int, tmp_path: Path) -> None:
    before = encoder("roberta", pad_id=1)
    save_model(tmp_path, before, wordpiece())
    other = wordpiece(["new", "a", "b"])
    other.pad_id = pad_id
    after = on_meta(resized(before.config, other))
    materialise_from(tmp_path, after, CPU, 0, tokenizer=other)
    assert after.config == dataclasses.replace(before.config, pad_id=pad_id, vocab_size=64)
    n = before.config.max_seq_len
    moved = [model.get_parameter("positions.weight")[-n:] for model in (before, after)]
    assert torch.equal(*moved)
    assert len(after.get_parameter("positions.weight")) == n + pad_id + 1
    other.pad_id = 64
    with pytest.raises(UserError, match="padding token"):
        resized(before.config, other)


@each
def test_rows_move_with_their_tokens(architecture: str, tmp_path: Path) -> None:
    model = encoder(architecture)
    save_model(tmp_path, model, wordpiece())
    other = wordpiece(["b", "##a", "new", "a"])
    wider = on_meta(EncoderConfig(**{**vars(model.config), "vocab_size": 128}))
    materialise_from(tmp_path, wider, CPU, 0, tokenizer=other)
    before, after = (t.backend.get_vocab(with_added_tokens=True) for t in (wordpiece(), other))
    for name in ("embedding.weight", "head.bias"):
        old, new = model.get_parameter(name), wider.get_parameter(name)
        assert len(new) == 128
        for token in ("a", "b", "##a", "[MASK]"):
            assert torch.equal(new[after[token]], old[before[token]])
    assert isinstance(wider, Encoder)
