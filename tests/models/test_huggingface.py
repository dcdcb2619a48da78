"""Model folders without transformers: what is read, what is refused and how that is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import encoder, wordpiece
from safetensors.torch import load_file, save_file

from bigtrain.data.schema import BytesConfig, CharsConfig
from bigtrain.errors import UserError
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import load_model, load_weights, read_config, read_folder, save_model
from bigtrain.models.output import LANGUAGE, Output, OutputKind
from bigtrain.models.schema import Architecture, DecoderConfig, RopeScalingConfig, Scaling
from bigtrain.tokenizer import train

CPU = torch.device("cpu")
each = pytest.mark.parametrize("architecture", list(Architecture))


def decoder(architecture: str = "llama", output: Output = LANGUAGE, **fields: Any) -> Decoder:
    sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 12, **fields}
    model = Decoder.on_meta(DecoderConfig(architecture=Architecture(architecture), **sizes).resolved(257), output)
    materialise(model, CPU, 2)
    return model


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a model's folder."""

    def write(model: Decoder, **options: Any) -> Path:
        save_model(tmp_path, model, train(BytesConfig(), []), **options)
        return tmp_path

    return write


def edit(folder: Path, **changes: Any) -> None:
    """Change config.json; `...` takes a key out."""
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Change model.safetensors."""
    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path)


def same(left: Decoder, right: Decoder) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True))


@each
@pytest.mark.parametrize("tied", [True, False])
def test_what_is_saved_is_read(save: Callable[..., Path], architecture: str, tied: bool) -> None:
    model = decoder(architecture, tied=tied, dropout=0.25, norm_eps=3e-6)
    folder = save(model)
    assert read_config(folder).config == model.config
    assert same(load_model(folder), model)
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) == (not tied)


def test_a_compiled_model_is_saved_under_plain_names(save: Callable[..., Path]) -> None:
    model = decoder()
    for block in model.blocks:
        block.compile(backend="eager")
    model(torch.zeros(1, 4, dtype=torch.long))
    assert same(load_model(save(model)), model)


@each
def test_saving_twice_gives_the_same_bytes(save: Callable[..., Path], architecture: str) -> None:
    first = {path.name: path.read_bytes() for path in save(decoder(architecture)).iterdir()}
    again = {path.name: path.read_bytes() for path in save(decoder(architecture)).iterdir()}
    assert first == again


def test_a_language_model_becomes_a_classifier_with_a_new_head(save: Callable[..., Path]) -> None:
    folder = save(decoder(tied=False))
    one, two, other = (
        load_model(folder, output=Output(OutputKind.label, ("a", "b", "c")), seed=seed) for seed in (5, 5, 6)
    )
    fresh = Decoder.on_meta(one.config, Output.numbered(3))
    materialise(fresh, CPU, 5)
    assert one.head is not None
    assert fresh.head is not None
    assert other.head is not None
    assert torch.equal(one.head.weight, fresh.head.weight)
    assert same(one, two)
    assert not torch.equal(one.head.weight, other.head.weight)
    assert torch.equal(one.embedding.weight, decoder().embedding.weight)
    load_weights(folder, fresh)  # keeps the head it was initialised with
    assert same(fresh, one)


def test_a_classifier_keeps_its_labels_and_is_no_language_model(save: Callable[..., Path]) -> None:
    model = decoder(output=Output(OutputKind.label, ("nein", "ja")), tied=True)
    folder = save(model)
    assert read_config(folder).output.labels == ("nein", "ja")
    assert same(load_model(folder), model)
    assert not (folder / "generation_config.json").exists()
    with pytest.raises(UserError, match=r"unexpected: score\.weight"):
        load_weights(folder, decoder(tied=True))


def test_labels_that_transformers_leaves_out(save: Callable[..., Path]) -> None:
    folder = save(decoder(output=Output.numbered(2)))
    edit(folder, id2label=..., label2id=...)
    assert read_config(folder).output.labels == ("LABEL_0", "LABEL_1")
    edit(folder, id2label={"0": "a", "2": "b"})
    with pytest.raises(UserError, match="id2label"):
        read_config(folder)


def test_the_original_gpt2_layout(save: Callable[..., Path]) -> None:
    """No prefix, the causal masks as buffers, the tied head once more, and defaults left out of the config."""
    model = decoder("gpt2", tied=True)
    folder = save(model)

    def original(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        masks = {f"h.{n}.attn.bias": torch.ones(1, 1, 12, 12).tril() for n in range(2)}
        return {**bare, **masks, "lm_head.weight": bare["wte.weight"].clone()}

    rewrite(folder, original)
    edit(folder, tie_word_embeddings=..., n_inner=None, layer_norm_epsilon=..., n_ctx=12)
    assert same(load_model(folder), model)
    rewrite(folder, lambda tensors: {**tensors, "lm_head.weight": tensors["lm_head.weight"] + 1})
    with pytest.raises(UserError, match=r"unexpected: lm_head\.weight"):  # another head than the config says
        load_model(folder)


def test_the_keys_of_transformers_4(save: Callable[..., Path]) -> None:
    folder = save(decoder(rope_theta=5e4))
    edit(folder, rope_parameters=..., rope_scaling=None, dtype=..., torch_dtype="float16", rope_theta=5e4)
    assert read_config(folder).config == decoder(rope_theta=5e4).config
    edit(folder, rope_theta=...)
    assert read_config(folder).config.rope_theta == 10000.0


SCALED = [
    RopeScalingConfig(Scaling.linear, factor=2.0),
    RopeScalingConfig(Scaling.llama3, factor=8.0, original_seq_len=8, low_freq_factor=1.5, high_freq_factor=3.0),
    RopeScalingConfig(Scaling.yarn, factor=4.0, beta_fast=30.0, beta_slow=2.0, attention_factor=1.1),
]


@pytest.mark.parametrize("scaling", SCALED, ids=lambda scaling: scaling.kind)
def test_scaled_frequencies_are_read_in_the_keys_of_both_versions(
    save: Callable[..., Path], scaling: RopeScalingConfig
) -> None:
    model = decoder(rope_scaling=scaling, rope_theta=5e4)
    folder = save(model)
    written = json.loads((folder / "config.json").read_text())
    assert written["rope_parameters"] == written["rope_scaling"] | {"rope_theta": 5e4}
    edit(folder, rope_scaling=..., rope_theta=...)
    assert read_config(folder).config == model.config
    older = {"type" if key == "rope_type" else key: value for key, value in written["rope_scaling"].items()}
    edit(folder, rope_parameters=..., rope_scaling=older, rope_theta=5e4)
    assert read_config(folder).config == model.config
    assert torch.equal(load_model(folder).get_buffer("cos"), model.get_buffer("cos"))


def test_defaults_are_those_of_transformers(save: Callable[..., Path]) -> None:
    folder = save(decoder("mistral", sliding_window=3))
    assert read_config(folder).config.sliding_window == 3
    edit(folder, sliding_window=None)
    assert read_config(folder).config.sliding_window is None
    edit(folder, sliding_window=..., max_position_embeddings=..., num_key_value_heads=None)
    config = read_config(folder).config
    assert (config.sliding_window, config.max_seq_len, config.n_kv_heads) == (4096, 131072, 2)


def test_every_wrong_tensor_is_named(save: Callable[..., Path]) -> None:
    folder = save(decoder())

    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        del tensors["model.norm.weight"], tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["model.layers.0.self_attn.q_proj.weight"] = torch.zeros(16, 8)
        return {**tensors, "model.extra": torch.zeros(2), "model.layers.2.x": torch.zeros(1)}

    rewrite(folder, change)
    with pytest.raises(UserError) as caught:
        load_model(folder)
    assert "missing: model.layers.1.mlp.up_proj.weight, model.norm.weight" in caught.value.given
    assert "unexpected: model.extra, model.layers.2.x" in caught.value.given
    assert "model.layers.0.self_attn.q_proj.weight is [16, 8], the config wants [16, 16]" in caught.value.given


def test_many_wrong_tensors_are_counted(save: Callable[..., Path]) -> None:
    folder = save(decoder(n_layers=4))
    rewrite(folder, lambda tensors: {"model.embed_tokens.weight": tensors["model.embed_tokens.weight"]})
    with pytest.raises(UserError, match="and 18 more"):
        load_model(folder)


@pytest.mark.parametrize(
    ("architecture", "changes", "words"),
    [
        ("llama", {"model_type": "mamba"}, "'mamba'.*supported architectures are gpt2, llama, mistral, qwen2, qwen3"),
        ("llama", {"model_type": ...}, "None.*gpt2, llama, mistral, qwen2, qwen3"),
        ("llama", {"model_type": "own", "auto_map": {"AutoModel": "evil.Model"}}, "'own', auto_map.*never run"),
        ("llama", {"auto_map": {"AutoModel": "evil.Model"}}, "auto_map.*never run"),
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, "dynamic.*default, linear, llama3, yarn"),
        ("llama", {"rope_parameters": {"type": ["x"]}}, "rope scaling"),
        ("llama", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "full_attention"),
        ("llama", {"rope_scaling": {"rope_type": "linear"}}, "no factor.*above zero"),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": "2"}}, 'factor "2"'),
        (
            "llama",
            {"rope_scaling": {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1}},
            "no high_freq_factor",
        ),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "truncate": False}}, "truncate.*whole pairs"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 0.5}}, "factor 0.5"),
        ("llama", {"partial_rotary_factor": 0.5}, "all of a head"),
        ("llama", {"rope_parameters": "x"}, "rope_parameters"),
        ("llama", {"attention_bias": True}, "attention_bias true"),
        ("llama", {"mlp_bias": True}, "mlp_bias true"),
        ("llama", {"hidden_act": "gelu"}, 'hidden_act "gelu".*silu'),
        ("llama", {"sliding_window": 128}, "sliding_window 128"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"hidden_size": ...}, "no hidden_size.*positive whole number"),
        ("llama", {"hidden_size": "wide"}, 'hidden_size "wide"'),
        ("llama", {"num_hidden_layers": -2}, "num_hidden_layers -2"),
        ("llama", {"tie_word_embeddings": "yes"}, "true or false"),
        ("llama", {"num_attention_heads": 3}, "divide the width"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
        ("mistral", {"sliding_window": 0}, "sliding_window 0"),
        ("mistral", {"sliding_window": 4, "layer_types": ["full_attention"]}, "layer_types.*alike"),
        ("mistral", {"hidden_act": "relu"}, "hidden_act"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "sliding"),
        ("gpt2", {"activation_function": "relu"}, 'activation_function "relu"'),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
    ],
)
def test_what_is_not_built_is_refused(
    save: Callable[..., Path], architecture: str, changes: dict[str, Any], words: str
) -> None:
    folder = save(decoder(architecture))
    edit(folder, **changes)
    with pytest.raises(UserError, match=rf"(?s){words}") as caught:
        read_config(folder)
    assert str(folder) in str(caught.value) or "model." in str(caught.value)


def damaged(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def quantised(folder: Path) -> None:
    rewrite(folder, lambda tensors: {**tensors, "model.norm.weight": torch.ones(16, dtype=torch.int8)})


def out_of_the_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damaged, r"model\.safetensors.*whole safetensors file"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"not tensors"), r"model\.safetensors"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"no model\.safetensors"),
        (pickled, r"pickled weights.*can run code.*LlamaForCausalLM\.from_pretrained.*save_pretrained"),
        (quantised, r"model\.norm\.weight is I8"),
        (out_of_the_folder, "index.json.*same folder"),
        (lambda folder: (folder / "config.json").unlink(), r"no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json.*JSON"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "a JSON array"),
    ],
)
def test_damaged_folders_are_refused(save: Callable[..., Path], damage: Callable[[Path], Any], words: str) -> None:
    folder = save(decoder())
    damage(folder)
    with pytest.raises(UserError, match=rf"(?s){words}"):
        load_model(folder)


@each
def test_shards(save: Callable[..., Path], architecture: str) -> None:
    model = decoder(architecture)
    folder = save(model, shard_bytes=6000)
    assert same(load_model(folder), model)
    lost = sorted(folder.glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(UserError, match=lost.name):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers 1000000000.*at most 10000"),
        ({"num_hidden_layers": 9999}, "9999 layers by config.json, 2 in the files"),
        ({"max_position_embeddings": 10**8}, "max_position_embeddings 100000000.*at most"),
        ({"vocab_size": 10**12}, "vocab_size 1000000000000.*at most"),
        ({"dropout": 1.5}, "dropout 1.5.*below 1"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps Infinity"),
        ({"architectures": ["LlamaForSequenceClassification"], "num_labels": 10**12}, "num_labels"),
    ],
)
def test_sizes_that_no_model_has_are_refused_before_one_is_built(
    save: Callable[..., Path], changes: dict[str, Any], words: str
) -> None:
    folder = save(decoder())
    edit(folder, **changes)
    with pytest.raises(UserError, match=rf"(?s){words}"):
        read_folder(folder)


def test_shards_without_an_index(save: Callable[..., Path]) -> None:
    folder = save(decoder(), shard_bytes=6000)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(UserError, match=r"shards and no model\.safetensors\.index\.json"):
        load_model(folder)


def test_the_tokenizer_of_another_model_is_refused(save: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = save(decoder())
    read_folder(folder)
    train(CharsConfig(), ["abc"]).save(folder)  # its five ids are among the model's
    with pytest.raises(UserError, match=r"5 entries.*token 256(?s:.)*another model"):
        read_folder(folder)
    edit(folder, eos_token_id=2)
    (folder / "generation_config.json").unlink()
    with pytest.raises(UserError, match=r"ends it with 4, and config\.json ends a text with token 2"):
        read_folder(folder)
    edit(folder, eos_token_id=[2, 4])
    read_folder(folder)
    assert "5 entries, an embedding of 320 rows: is it the tokenizer of another model?" in caplog.text


def test_an_encoder_and_its_tokenizer_agree_about_its_marks(tmp_path: Path) -> None:
    tokenizer = wordpiece()
    save_model(tmp_path, encoder("bert"), tokenizer)
    edit(tmp_path, eos_token_id=2, bos_token_id=0)  # as published, of tokens that BERT has not
    read_folder(tmp_path)
    edit(tmp_path, mask_token_id=1)
    with pytest.raises(UserError, match=r"token 1 as mask_token, the tokenizer token \d(?s:.)*another model"):
        read_folder(tmp_path)


def test_a_tokenizer_with_more_entries_than_rows_is_refused_unless_they_will_be_made(
    save: Callable[..., Path],
) -> None:
    folder = save(decoder(vocab_size=200))
    with pytest.raises(UserError, match=r"257 entries, an embedding of 200 rows(?s:.)*model\.resize_vocab=true"):
        read_folder(folder)
    assert read_folder(folder, resize_vocab=True)[1].vocab_size == 257


def test_a_failed_load_leaves_the_model_as_it_was(save: Callable[..., Path]) -> None:
    folder = save(decoder())
    rewrite(folder, lambda tensors: {name: tensor for name, tensor in tensors.items() if name != "model.norm.weight"})
    model, before = (Decoder.on_meta(decoder().config) for _ in range(2))
    materialise(model, CPU, 9)
    materialise(before, CPU, 9)
    with pytest.raises(UserError):
        load_weights(folder, model)
    assert same(model, before)
