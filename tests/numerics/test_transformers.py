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
from bigtrain.models.huggingface_config import config_json
from bigtrain.models.names import entries
from bigtrain.models.output import LANGUAGE, Output, OutputKind
from bigtrain.models.rotary import attention_factor, frequencies
from bigtrain.models.schema import Architecture, DecoderConfig, RopeScalingConfig, Scaling
from bigtrain.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
ROPE_INIT_FUNCTIONS = pytest.importorskip("transformers.modeling_rope_utils").ROPE_INIT_FUNCTIONS

TEXT = "def f(x):\n    return {'naïve': 你好, 'x1': 12345}  # <|endoftext|> isn't  special\n"

OURS = {
    "gpt2": {"architecture": "gpt2", "dim": 48, "n_layers": 3, "n_heads": 3, "tied": True, "norm_eps": 1e-4},
    "gpt2-untied-odd": {"architecture": "gpt2", "dim": 30, "n_layers": 2, "n_heads": 2, "mlp_dim": 37},
    "llama": {"architecture": "llama", "dim": 48, "n_layers": 3, "n_heads": 6, "n_kv_heads": 2, "rope_theta": 5e5},
    "llama-head-dim": {"architecture": "llama", "dim": 28, "n_layers": 2, "n_heads": 2, "head_dim": 10, "mlp_dim": 33},
    "llama-tied": {"architecture": "llama", "dim": 28, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "tied": True},
    "llama-linear": {
        "architecture": "llama",
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "rope_scaling": RopeScalingConfig(Scaling.linear, factor=2.5),
    },
    "llama-3.1": {
        "architecture": "llama",
        "dim": 48,
        "n_layers": 2,
        "n_heads": 3,
        "n_kv_heads": 1,
        "rope_theta": 5e5,
        "rope_scaling": RopeScalingConfig(Scaling.llama3, factor=8.0, original_seq_len=16, high_freq_factor=3.0),
    },
    "mistral": {
        "architecture": "mistral",
        "dim": 48,
        "n_layers": 3,
        "n_heads": 6,
        "n_kv_heads": 2,
        "sliding_window": 7,
    },
    "mistral-odd": {"architecture": "mistral", "dim": 25, "n_layers": 2, "n_heads": 3, "head_dim": 6, "tied": True},
    "mistral-wide-window": {"architecture": "mistral", "dim": 32, "n_layers": 2, "n_heads": 2, "sliding_window": 30},
    "qwen2": {"architecture": "qwen2", "dim": 48, "n_layers": 3, "n_heads": 6, "n_kv_heads": 2, "norm_eps": 1e-6},
    "qwen2-yarn": {
        "architecture": "qwen2",
        "dim": 28,
        "n_layers": 2,
        "n_heads": 2,
        "n_kv_heads": 1,
        "tied": True,
        "rope_scaling": RopeScalingConfig(Scaling.yarn, factor=4.0, original_seq_len=10),
    },
    "qwen3-yarn": {
        "architecture": "qwen3",
        "dim": 25,
        "n_layers": 2,
        "n_heads": 3,
        "head_dim": 12,
        "rope_theta": 1e6,
        "rope_scaling": RopeScalingConfig(
            Scaling.yarn, factor=3.0, original_seq_len=12, beta_fast=16.0, beta_slow=2.0, attention_factor=1.25
        ),
    },
    "qwen3": {"architecture": "qwen3", "dim": 32, "n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16},
    "qwen3-odd": {"architecture": "qwen3", "dim": 25, "n_layers": 2, "n_heads": 3, "head_dim": 6, "tied": True},
}


def config(name: str) -> DecoderConfig:
    fields: dict[str, Any] = {**OURS[name], "max_seq_len": 40, "vocab_size": 263}
    fields["architecture"] = Architecture(fields["architecture"])
    return DecoderConfig(**fields).resolved(0)


def decoder(name: str, output: Output = LANGUAGE) -> Decoder:
    model = Decoder.on_meta(config(name), output)
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
        if name.endswith("k.bias") and ours.config.architecture == "gpt2":  # unturned, softmax does not see it
            assert parameter.grad.abs().max() < 1e-7
        else:
            assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("name", ["gpt2", "llama-3.1", "mistral", "qwen2-yarn", "qwen3"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_changes_nothing(tmp_path: Path, tokenizer: Tokenizer, name: str, side: str, tokens: Tensor) -> None:
    ours = decoder(name)
    save_model(tmp_path, ours, tokenizer)
    theirs, lengths = open_there(tmp_path), [31, 12, 1]
    real = torch.zeros(3, 31, dtype=torch.long)
    for row, length in enumerate(lengths):
        real[row, slice(length) if side == "right" else slice(31 - length, 31)] = 1
    padded = torch.where(real == 1, tokens, tokenizer.pad_id)
    positions = (real.cumsum(1) - 1).clamp(min=0)
    expected = theirs(padded, attention_mask=real, position_ids=positions).logits
    if side == "right":
        assert_close(ours.logits(ours(padded))[real == 1], expected[real == 1])
    for row in range(3):
        alone = padded[row : row + 1, real[row] == 1]
        assert_close(ours.logits(ours(alone))[0], expected[row, real[row] == 1])


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


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "qwen2", "qwen3-odd"])
def test_a_classifier_opens_as_one(tmp_path: Path, tokenizer: Tokenizer, name: str) -> None:
    labels = ["no", "maybe, 也许", "yes"]
    ours = decoder(name, output=Output(OutputKind.label, tuple(labels)))
    save_model(tmp_path, ours, tokenizer)
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
    assert read_config(tmp_path / "theirs").output.labels == tuple(labels)
    assert again.output == ours.output
    assert torch.equal(again.logits(again(padded)), ours.logits(ours(padded)))


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "qwen2", "qwen3-odd"])
@pytest.mark.parametrize(
    ("output", "auto"),
    [
        (Output(OutputKind.tags, ("O", "B-PER", "I-PER")), "AutoModelForTokenClassification"),
        (Output(OutputKind.span), "AutoModelForQuestionAnswering"),
    ],
    ids=str,
)
def test_heads_of_every_token(tmp_path: Path, tokenizer: Tokenizer, name: str, output: Output, auto: str) -> None:
    ours = decoder(name, output=output)
    save_model(tmp_path, ours, tokenizer)
    theirs = open_there(tmp_path, auto)
    rows = torch.randint(0, 250, (3, 17), generator=torch.Generator().manual_seed(1))
    found = theirs(rows)
    expected = found.logits if "logits" in found else torch.stack([found.start_logits, found.end_logits], -1)
    assert_close(ours.logits(ours(rows)), expected)
    theirs.save_pretrained(tmp_path / "theirs")
    assert read_config(tmp_path / "theirs").output == output
    again = load_model(tmp_path / "theirs")
    assert torch.equal(again.logits(again(rows)), ours.logits(ours(rows)))


def test_special_tokens_are_told_to_transformers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_model(tmp_path, decoder("llama"), tokenizer)
    read = transformers.AutoConfig.from_pretrained(tmp_path)
    assert (read.bos_token_id, read.eos_token_id, read.pad_token_id) == (tokenizer.eos_id, tokenizer.eos_id, None)
    assert read.rope_parameters == {"rope_theta": 5e5, "rope_type": "default"}
    generation = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (generation.eos_token_id, generation.pad_token_id) == (tokenizer.eos_id, tokenizer.pad_id)


# The keys of published config.json files, as transformers 4 wrote them.
PUBLISHED: dict[str, dict[str, Any]] = {
    "GPT-2": {"model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50257},
    "Llama 2 7B": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
        "vocab_size": 32000,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "pretraining_tp": 1,
        "torch_dtype": "float16",
        "tie_word_embeddings": False,
    },
    "Llama 3.2 1B": {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "vocab_size": 128256,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
    },
    "Mistral 7B v0.1": {
        "model_type": "mistral",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
        "vocab_size": 32000,
        "rms_norm_eps": 1e-05,
        "sliding_window": 4096,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    },
    "Qwen2.5 0.5B": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_attention_heads": 14,
        "num_hidden_layers": 24,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "vocab_size": 151936,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "sliding_window": 32768,
        "max_window_layers": 24,
        "use_sliding_window": False,
        "use_mrope": False,
        "torch_dtype": "bfloat16",
    },
    "Qwen2.5 7B with yarn": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "vocab_size": 152064,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"},
    },
    "Qwen3 0.6B": {
        "model_type": "qwen3",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "vocab_size": 151936,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": 28,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_shapes_have_the_tensors_of_transformers(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name]))
    config = read_config(tmp_path).config
    ours = Decoder.on_meta(config)
    with torch.device("meta"):
        theirs = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(tmp_path))
    expected = {key: list(tensor.shape) for key, tensor in theirs.state_dict().items()}
    if config.tied:
        del expected["lm_head.weight"]
    shapes = {key: parameter.shape for key, parameter in ours.named_parameters()}
    table = entries(config, LANGUAGE)
    assert {entry.theirs: entry.shape([shapes[key] for key in entry.ours]) for entry in table} == expected
    if config.architecture != "gpt2":
        rope = theirs.model.rotary_emb
        with torch.device("cpu"):
            kind = theirs.config.rope_parameters["rope_type"]
            init = rope.compute_default_rope_parameters if kind == "default" else ROPE_INIT_FUNCTIONS[kind]
            wanted, factor = init(theirs.config)
        assert config.head_dim is not None
        assert torch.equal(frequencies(config.head_dim, config.rope_theta, config.rope_scaling), wanted)
        assert attention_factor(config.rope_scaling) == factor
    assert config.sliding_window == getattr(theirs.config, "sliding_window", None)


@pytest.mark.parametrize("name", PUBLISHED)
def test_both_versions_read_what_is_written(tmp_path: Path, tokenizer: Tokenizer, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name]))
    config = read_config(tmp_path).config
    written = config_json(config, tokenizer, LANGUAGE)
    for half in ({"rope_parameters"}, {"rope_scaling", "rope_theta"}, set[str]()):  # of version 4, of version 5, both
        (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in written.items() if k not in half}))
        assert read_config(tmp_path).config == config
        theirs = transformers.AutoConfig.from_pretrained(tmp_path)
        if config.architecture != "gpt2":
            rope = theirs.rope_parameters
            assert rope["rope_theta"] == config.rope_theta
            assert rope["rope_type"] == ("default" if config.rope_scaling.kind == "none" else config.rope_scaling.kind)
            assert rope.get("factor", 1.0) == config.rope_scaling.factor


def test_deepseek_s_two_scales_become_one_factor(tmp_path: Path) -> None:
    rope = {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096, "rope_theta": 1e4}
    rope |= {"mscale": 1.0, "mscale_all_dim": 0.8}
    content = PUBLISHED["Llama 2 7B"] | {"rope_parameters": rope, "rope_scaling": None}
    (tmp_path / "config.json").write_text(json.dumps(content))
    config = read_config(tmp_path).config
    wanted, factor = ROPE_INIT_FUNCTIONS["yarn"](transformers.AutoConfig.from_pretrained(tmp_path))
    assert torch.equal(frequencies(128, 1e4, config.rope_scaling), wanted)
    assert attention_factor(config.rope_scaling) == pytest.approx(factor, rel=1e-12)
