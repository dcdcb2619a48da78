"""The decoder against transformers: the same numbers from the same weights, in both directions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import load_model, load_weights, read_config, save_model
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")

TEXT = "def f(x):\n    return {'naïve': 你好, 'x1': 12345}  # <|endoftext|> isn't  special\n"

OURS = {
    "gpt2": {"architecture": "gpt2", "dim": 48, "n_layers": 3, "n_heads": 3, "tied": True, "norm_eps": 1e-4},
    "gpt2-untied-odd": {"architecture": "gpt2", "dim": 30, "n_layers": 2, "n_heads": 2, "mlp_dim": 37},
    "llama": {"architecture": "llama", "dim": 48, "n_layers": 3, "n_heads": 6, "n_kv_heads": 2, "rope_theta": 5e5},
    "llama-head-dim": {"architecture": "llama", "dim": 28, "n_layers": 2, "n_heads": 2, "head_dim": 10, "mlp_dim": 33},
    "llama-tied": {"architecture": "llama", "dim": 28, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "tied": True},
    "qwen3": {"architecture": "qwen3", "dim": 32, "n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16},
    "qwen3-odd": {"architecture": "qwen3", "dim": 25, "n_layers": 2, "n_heads": 3, "head_dim": 6, "tied": True},
}


def config(name: str) -> DecoderConfig:
    fields: dict[str, Any] = {**OURS[name], "max_seq_len": 40, "vocab_size": 263}
    fields["architecture"] = Architecture(fields["architecture"])
    return DecoderConfig(**fields).resolved(0)


def decoder(name: str, n_labels: int = 0) -> Decoder:
    model = Decoder.on_meta(config(name), n_labels)
    materialise(model, torch.device("cpu"), seed=3)
    with torch.no_grad():  # larger than at the start of training, so that every part has a say; norms and biases too
        for number, parameter in enumerate(model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(noise, alpha=0.1)
    return model


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    from bigtrain.data.schema import BPEConfig
    from bigtrain.tokenizer import train

    return train(BPEConfig(vocab_size=260), [TEXT * 3])


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, 260, (3, 31), generator=torch.Generator().manual_seed(0))


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-5 of the largest."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def open_there(folder: Path, auto: str = "AutoModelForCausalLM") -> Any:
    model, info = getattr(transformers, auto).from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


@pytest.fixture(params=OURS)
def pair(request: pytest.FixtureRequest, tmp_path: Path, tokenizer: Tokenizer) -> tuple[Decoder, Any, Path]:
    """Our model and transformers' one, opened from the folder that ours was saved to."""
    model = decoder(request.param)
    save_model(tmp_path, model, tokenizer)
    return model, open_there(tmp_path), tmp_path


def test_logits_and_gradients_are_those_of_transformers(pair: tuple[Decoder, Any, Path], tokens: Tensor) -> None:
    ours, theirs, _ = pair
    logits, expected = ours.logits(ours(tokens)), theirs(tokens).logits
    assert_close(logits, expected)
    for result in (logits, expected):
        torch.nn.functional.cross_entropy(result[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    gradients = Decoder.on_meta(ours.config)
    gradients.to_empty(device="cpu")
    folder = pair[2] / "gradients"
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(parameter.grad)
    theirs.save_pretrained(folder)  # their gradients in our names, through the tables of names
    load_weights(folder, gradients)
    for (name, parameter), gradient in zip(ours.named_parameters(), gradients.parameters(), strict=True):
        assert parameter.grad is not None, name
        if name.endswith("k.bias"):  # softmax does not see it: 0 but for rounding
            assert parameter.grad.abs().max() < 1e-7
        else:
            assert_close(parameter.grad, gradient)


def test_what_transformers_saves_comes_back_byte_for_byte(
    pair: tuple[Decoder, Any, Path], tokenizer: Tokenizer, tokens: Tensor
) -> None:
    ours, theirs, folder = pair
    theirs.save_pretrained(folder / "theirs")
    again = load_model(folder / "theirs")
    assert again.config == ours.config
    for (name, parameter), before in zip(again.named_parameters(), ours.parameters(), strict=True):
        assert torch.equal(parameter, before), name
    assert torch.equal(again(tokens), ours(tokens))
    (folder / "again").mkdir()
    save_model(folder / "again", again, tokenizer)
    assert (folder / "again/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert (folder / "again/config.json").read_bytes() == (folder / "config.json").read_bytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_files_are_read_as_fp32(tmp_path: Path, tokenizer: Tokenizer, dtype: torch.dtype) -> None:
    ours = decoder("llama")
    save_model(tmp_path, ours, tokenizer)
    open_there(tmp_path).to(dtype).save_pretrained(tmp_path / "half")
    again = load_model(tmp_path / "half")
    for parameter, before in zip(again.parameters(), ours.parameters(), strict=True):
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before.to(dtype).float())


def test_shards_are_read_and_written(tmp_path: Path, tokenizer: Tokenizer, tokens: Tensor) -> None:
    ours = decoder("gpt2")
    save_model(tmp_path, ours, tokenizer, shard_bytes=40_000)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 3
    assert not (tmp_path / "model.safetensors").exists()
    assert all(file.stat().st_size < 55_000 for file in files)  # the embedding alone is larger than the limit
    theirs = open_there(tmp_path)
    assert_close(ours.logits(ours(tokens)), theirs(tokens).logits)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="60KB")
    assert (tmp_path / "theirs/model.safetensors.index.json").exists()
    assert torch.equal(load_model(tmp_path / "theirs")(tokens), ours(tokens))
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * sum(p.numel() for p in ours.parameters())


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3-odd"])
def test_a_classifier_opens_as_one(tmp_path: Path, tokenizer: Tokenizer, name: str) -> None:
    ours, labels = decoder(name, n_labels=3), ["no", "maybe, 也许", "yes"]
    save_model(tmp_path, ours, tokenizer, labels)
    theirs = open_there(tmp_path, "AutoModelForSequenceClassification")
    assert theirs.config.id2label == dict(enumerate(labels))
    lengths = torch.tensor([9, 4, 1, 17])
    rows = torch.randint(0, 250, (4, 17), generator=torch.Generator().manual_seed(1))
    padded = torch.where(torch.arange(17) < lengths[:, None], rows, tokenizer.pad_id)
    logits = ours.logits(ours(padded)[torch.arange(4), lengths - 1])
    assert_close(logits, theirs(padded, attention_mask=(padded != tokenizer.pad_id).long()).logits)
    for row, length in enumerate(lengths.tolist()):
        assert_close(logits[row : row + 1], theirs(rows[row : row + 1, :length]).logits)
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_model(tmp_path / "theirs")
    assert read_config(tmp_path / "theirs").labels == labels
    assert again.n_labels == 3
    assert torch.equal(again.logits(again(padded)), ours.logits(ours(padded)))


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_auto_tokenizer_gives_our_ids(tmp_path: Path, tokenizer: Tokenizer, name: str) -> None:
    save_model(tmp_path, decoder(name), tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in (TEXT, " leading", "trailing ", "\n\n\t x", "", "你好，世界 🙂"):
        assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text)
    assert theirs.eos_token_id == tokenizer.eos_id
    assert theirs.decode(tokenizer.encode(TEXT)) == TEXT


def test_special_tokens_are_told_to_transformers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_model(tmp_path, decoder("llama"), tokenizer)
    read = transformers.AutoConfig.from_pretrained(tmp_path)
    assert (read.bos_token_id, read.eos_token_id, read.pad_token_id) == (tokenizer.eos_id, tokenizer.eos_id, None)
    assert read.rope_parameters == {"rope_theta": 5e5, "rope_type": "default"}
    generation = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (generation.eos_token_id, generation.pad_token_id) == (tokenizer.eos_id, tokenizer.pad_id)
