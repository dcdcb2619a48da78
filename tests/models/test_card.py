"""The model card: what it says, that a site can read it, and that it is the same wherever it is written."""

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

from bigtrain.data.schema import BytesConfig
from bigtrain.models.base import materialise
from bigtrain.models.card import Training, base_name, model_card
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import save_model
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import train

TOKENIZER = train(BytesConfig(), [])
TRAINING = Training(
    objective="causal",
    step=40,
    tokens=81920,
    fingerprint="f00d",
    metrics={"loss": 2.34567891, "bits_per_byte": 1.5},
    measured_at=30,
    base_model=None,
    license=None,
)


def decoder(output: Output = LANGUAGE, architecture: str = "llama") -> Decoder:
    config = DecoderConfig(architecture=Architecture(architecture), dim=16, n_layers=1, n_heads=2, max_seq_len=2048)
    model = Decoder.on_meta(config.resolved(257), output)
    materialise(model, torch.device("cpu"), 0)
    return model


def front_matter(card: str) -> dict[str, object]:
    return dict(yaml.safe_load(card.split("---\n")[1]))


def test_what_a_card_says() -> None:
    card = model_card(decoder(), TOKENIZER, TRAINING)
    assert front_matter(card) == {
        "license": "unknown",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["bigtrain", "llama"],
    }
    for words in ("81,920 in 40 steps", "`f00d`", "loss | 2.34568", "after step 30", TOKENIZER.hash, "random weights"):
        assert words in card
    assert f"{sum(p.numel() for p in decoder().parameters()):,}" in card
    assert 'AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")' in card


def test_a_classifier_from_a_model_under_a_licence() -> None:
    training = dataclasses.replace(
        TRAINING, objective="classify", base_model="runs/b|ase", license="apache-2.0", metrics={}, fingerprint={"a": 1}
    )
    card = model_card(decoder(Output.numbered(2)), TOKENIZER, training)
    assert front_matter(card)["license"] == "apache-2.0"
    assert front_matter(card)["base_model"] == "b|ase"
    assert front_matter(card)["pipeline_tag"] == "text-classification"
    for words in ("classifier of 2 labels", "Not measured", "base model | b\\|ase |", '{"a": 1}'):
        assert words in card


def test_a_pitfall_of_auto_tokenizer_is_named() -> None:
    card = model_card(decoder(architecture="qwen2"), TOKENIZER, TRAINING)
    assert 'PreTrainedTokenizerFast.from_pretrained(".")' in card
    assert "Not with AutoTokenizer: for model_type qwen2" in card


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/me/runs/base/checkpoints/step-00000100/model", "base"),
        ("runs/base/", "base"),
        ("Llama-3.2-1B", "Llama-3.2-1B"),
        (None, None),
    ],
)
def test_a_base_model_is_named_without_its_place(path: str | None, name: str | None) -> None:
    assert base_name(path) == name


def test_it_is_written_with_the_model_and_the_same_each_time(tmp_path: Path) -> None:
    save_model(tmp_path, decoder(), TOKENIZER, training=TRAINING)
    first = (tmp_path / "README.md").read_bytes()
    save_model(tmp_path, decoder(), TOKENIZER, training=TRAINING)
    assert (tmp_path / "README.md").read_bytes() == first
    assert first.decode().endswith("\n")
