"""Adapted layers, frozen parameters, and what adapter files are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import wordpiece
from generation.tiny_models import decoder
from safetensors.torch import load_file, save_file
from torch import Tensor

from bigtrain.errors import UserError
from bigtrain.models.adapter_folder import digest
from bigtrain.models.adapter_schema import DoraConfig, LoraConfig
from bigtrain.models.adapters import AdaptedLinear, Adapter, adapt, adapted_layers, draw_adapters, freeze
from bigtrain.models.base import n_trained
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import load_model, save_model
from bigtrain.parallel.apply import apply
from bigtrain.training.optimizers import layer_ratios
from bigtrain.training.schema import AdamWConfig, MuonConfig

TOKENS = torch.randint(0, 257, (4, 10), generator=torch.Generator().manual_seed(0))
KEYS = torch.tensor([3, 5, 7, 11])


def adapted(config: LoraConfig, *, learned: bool = False, **fields: Any) -> Decoder:
    model = decoder(**fields)
    adapt(model, Adapter(config, Path("base"), "", frozenset()))
    draw_adapters(model, 1)
    if learned:
        with torch.no_grad():
            for layer in adapted_layers(model).values():
                layer.b.normal_(0, 0.1, generator=torch.Generator().manual_seed(layer.number))
    return model


def loss(model: Decoder, keys: Tensor | None = KEYS, rows: slice = slice(None)) -> Tensor:
    hidden = model(TOKENS[rows], keys=None if keys is None else keys[rows])
    return model.logits(hidden).float().log_softmax(-1)[..., 0].sum()


def gradients(model: Decoder) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("config", [LoraConfig(), DoraConfig()])
def test_it_begins_as_its_base(config: LoraConfig) -> None:
    model = adapted(config)
    torch.testing.assert_close(loss(model), loss(decoder()), rtol=1e-6, atol=1e-6)
    loss(model).backward()
    names = {name.rpartition(".")[2] for name in gradients(model)}
    assert names == ({"a", "b", "magnitude"} if config.magnitudes else {"a", "b"})


def test_initial_values_follow_seed_and_name() -> None:
    layers = adapted_layers(adapted(LoraConfig(rank=4)))
    first, second = layers["blocks.0.attention.q"], layers["blocks.0.attention.k"]
    assert 0.9 * 32**-0.5 < first.a.abs().max() <= 32**-0.5
    assert not torch.equal(first.a, second.a)
    few = adapted_layers(adapted(LoraConfig(rank=4, targets=["attention.k"])))
    assert set(few) == {"blocks.0.attention.k", "blocks.1.attention.k"}
    assert torch.equal(few["blocks.0.attention.k"].a, second.a)


@pytest.mark.parametrize("config", [LoraConfig(rank=3, alpha=5), DoraConfig(rank=3, rank_stabilised=True)])
def test_a_layer_against_its_formula(config: LoraConfig) -> None:
    layer = adapted_layers(adapted(config, learned=True, architecture="gpt2"))["blocks.1.mlp.up"]
    with torch.no_grad():
        layer.bias.normal_()
        if layer.magnitude is not None:
            layer.magnitude.mul_(1.5)
    x = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(3))
    scale = config.alpha / (config.rank**0.5 if config.rank_stabilised else config.rank)
    weight = layer.weight + scale * layer.b @ layer.a
    if layer.magnitude is not None:
        weight = weight * (layer.magnitude / weight.norm(dim=1))[:, None]
    torch.testing.assert_close(layer(x), x @ weight.T + layer.bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [LoraConfig(dropout=0.3), DoraConfig(dropout=0.3)])
def test_dropout_is_that_of_the_row_in_any_micro_batch(config: LoraConfig) -> None:
    model = adapted(config, learned=True)
    whole = loss(model)
    whole.backward()
    together = gradients(model)
    parts = [loss(model, rows=slice(n, n + 2)) for n in (0, 2)]
    for part in parts:
        part.backward()
    torch.testing.assert_close(sum(parts), whole)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, together[name], rtol=1e-4, atol=1e-5)
    assert not torch.isclose(loss(model, None), whole)
    assert torch.equal(loss(model, None), loss(adapted(type(config)(), learned=True), None))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's compiler does
@pytest.mark.parametrize(
    ("config", "precision"), [(LoraConfig(dropout=0.3), torch.bfloat16), (DoraConfig(), torch.float32)]
)
def test_compiled_blocks_learn_alike(config: LoraConfig, precision: torch.dtype) -> None:
    eager, compiled = (adapted(config, learned=True, n_layers=4) for _ in range(2))
    apply(compiled, compile=True)
    rough = precision is torch.bfloat16
    found, graphs = [], torch._dynamo.utils.counters["frames"]["ok"]
    for model in (eager, compiled):
        with torch.autocast("cpu", precision, enabled=rough):
            loss(model).backward()
        found.append(gradients(model))
    # One for the first block, whose input has no gradient, and one that all the others share.
    assert torch._dynamo.utils.counters["frames"]["ok"] == graphs + 2
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        difference = (gradient - found[1][name]).norm() / gradient.norm()
        assert difference < (0.05 if rough else 1e-4), name


def test_targets() -> None:
    for targets, n in (
        (["all"], 14),
        (["mlp"], 6),
        (["attention.q", "attention.v"], 4),
        (["blocks.1.*"], 7),
        (["o"], 2),
    ):
        assert len(adapted_layers(adapted(LoraConfig(targets=targets)))) == n
    with pytest.raises(
        UserError, match=r"(?s)adapter\.targets=q_proj.*attention\.q, attention\.k.*name one of them|did"
    ):
        adapted(LoraConfig(targets=["attention.q", "q_proj"]))


def test_freeze() -> None:
    model = decoder(tied=True)
    freeze(model, ["embedding", "blocks.0.*", "blocks.*.mlp_norm.weight"])
    left = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "norm.weight" in left
    assert {name.split(".")[1] for name in left if name.startswith("blocks.")} == {"1"}
    assert "blocks.1.mlp_norm.weight" not in left
    assert "embedding.weight" not in left
    with pytest.raises(UserError, match=r"(?s)train\.freeze=block\.0.*did you mean train\.freeze=blocks"):
        freeze(model, ["block.0"])
    with pytest.raises(UserError, match="every parameter"):
        freeze(model, ["*"])


def test_rates_fall_from_the_head_to_the_embedding() -> None:
    model = decoder()
    optimizer = AdamWConfig(lr=1.0).build(model)
    optimizer.set_ratios(layer_ratios(model, 0.5))
    optimizer.set_scale(0.1)
    rates = {optimizer.names[p]: group["lr"] for group in optimizer.groups() for p in group["params"]}
    assert set(rates) == {name for name, _ in model.named_parameters()}
    ratios = {
        "embedding.weight": 0.25,
        "blocks.0.mlp.up.weight": 0.5,
        "blocks.1.mlp_norm.weight": 1.0,
        "norm.weight": 1.0,
    }
    for name, ratio in ratios.items():
        assert rates[name] == pytest.approx(0.1 * ratio)
    assert optimizer.lr == pytest.approx(0.1)
    for group in optimizer.groups():
        assert {parameter.dim() >= 2 for parameter in group["params"]} == {group["weight_decay"] > 0}


def test_muon_over_an_adapter_or_over_nothing_but_the_head() -> None:
    model = adapted(LoraConfig())
    assert len(MuonConfig().build(model).parameters()) == 28
    model = decoder()
    freeze(model, ["blocks"])
    assert len(MuonConfig().build(model).optimizers) == 1
    assert n_trained(model) == sum(p.numel() for name, p in model.named_parameters() if not name.startswith("blocks"))


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base, model = tmp_path / "base", decoder(vocab_size=64)
    for path in (base, tmp_path / "adapter"):
        path.mkdir()
    save_model(base, model, wordpiece())
    adapt(model, Adapter(LoraConfig(targets=["mlp"]), base, digest(base), frozenset()))
    draw_adapters(model, 0)
    save_model(tmp_path / "adapter", model, wordpiece())
    return tmp_path / "adapter"


def test_names_are_as_short_as_they_can_be(folder: Path) -> None:
    named = json.loads((folder / "adapter_config.json").read_text())
    assert named["target_modules"] == ["down_proj", "gate_proj", "up_proj"]
    assert all(
        name.startswith("base_model.model.model.layers.") for name in load_file(folder / "adapter_model.safetensors")
    )


def setting(**keys: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))

    return change


def tensors(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        path = folder / "adapter_model.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path)

    return changed


FIRST = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting(peft_type="IA3"), 'peft_type "IA3"'),
        (setting(bias="all"), 'bias "all"'),
        (setting(init_lora_weights="pissa"), 'init_lora_weights "pissa"'),
        (setting(trainable_token_indices=[1]), "trainable_token_indices"),
        (setting(base_model_name_or_path="some/model"), "no model folder of that name"),
        (setting(base_model_name_or_path=None), "base_model_name_or_path null"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), r"adapter_config\.json"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), r"no adapter_model\.safetensors"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"x"), "whole safetensors file"),
        (tensors(lambda t: t | {FIRST: t[FIRST][:, :9]}), "another base: .*up_proj"),
        (tensors(lambda t: t | {FIRST: t[FIRST][:3]}), r"has A \(rank, in\)"),
        (tensors(lambda t: {n.replace("layers.1", "layers.7"): x for n, x in t.items()}), "the base has no .*layers.7"),
        (
            tensors(lambda t: t | {"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(2)}),
            "lora_embedding_A",
        ),
        (tensors(lambda t: t | {"base_model.model.other.weight": torch.ones(2)}), "unexpected: .*other"),
        (lambda folder: (folder / "base.json").write_text('{"sha256": "1"}'), "another base"),
        (lambda folder: (folder / "base.json").write_text('{"config": 3}'), "config"),
    ],
)
def test_files_that_are_refused(folder: Path, change: Callable[[Path], None], message: str) -> None:
    load_model(folder)
    change(folder)
    with pytest.raises(UserError, match=f"(?s){message}"):
        load_model(folder)


def test_layers_keep_their_class_after_loading(folder: Path) -> None:
    assert not any(isinstance(module, AdaptedLinear) for module in load_model(folder).modules())
