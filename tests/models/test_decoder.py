"""The decoder by itself: initial values, packed documents, dropout, compilation, precision, counting."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bigtrain.errors import UserError
from bigtrain.generation.cache import KVCache
from bigtrain.models.base import materialise, n_parameters
from bigtrain.models.decoder import Decoder
from bigtrain.models.output import Output
from bigtrain.models.schema import Architecture, DecoderConfig, RopeScalingConfig, Scaling

CPU = torch.device("cpu")
SLOWED = RopeScalingConfig(kind=Scaling.linear, factor=2.0)


def shape(architecture: str, **fields: Any) -> DecoderConfig:
    sizes = {"dim": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 24, "vocab_size": 61}
    if architecture != "gpt2":
        sizes["n_kv_heads"] = 2
    if architecture == "mistral":
        sizes["sliding_window"] = 5
    return DecoderConfig(architecture=Architecture(architecture), **{**sizes, **fields}).resolved(0)


def decoder(architecture: str, seed: int = 1, **fields: Any) -> Decoder:
    model = Decoder.on_meta(shape(architecture, **fields))
    materialise(model, CPU, seed)
    with torch.no_grad():  # so that attention and positions matter
        for matrix in model.hidden_matrices():
            matrix.mul_(8)
    return model


each = pytest.mark.parametrize("architecture", list(Architecture))


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 61, (2, 20), generator=torch.Generator().manual_seed(5))


@each
def test_initial_values_follow_the_table_and_depend_on_seed_and_name_alone(architecture: str) -> None:
    models = [Decoder.on_meta(shape(architecture, dim=64, n_heads=2, vocab_size=512)) for _ in range(2)]
    torch.manual_seed(0)
    first, again = (dict(materialise(model, CPU, 7).named_parameters()) for model in models)
    other = dict(materialise(models[1], CPU, 8).named_parameters())  # replaces `again`'s values in place
    assert {name for name in first if torch.equal(first[name], other[name])} == {
        name for name in first if first[name].dim() == 1
    }
    materialise(models[1], CPU, 7)
    again = dict(models[1].named_parameters())
    for name, parameter in first.items():
        assert torch.equal(parameter, again[name])
        if parameter.dim() == 1:
            assert (parameter == (0 if name.endswith("bias") else 1)).all()
        else:
            residual = name.endswith(("attention.o.weight", "mlp.down.weight"))
            std = 0.02 / math.sqrt(2 * 3) if residual else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=6 / math.sqrt(parameter.numel()))
    deeper = Decoder.on_meta(shape(architecture, dim=64, n_heads=2, vocab_size=512, n_layers=5))
    deeper_parameters = dict(materialise(deeper, CPU, 7).named_parameters())
    assert torch.equal(deeper_parameters["blocks.2.mlp.up.weight"], first["blocks.2.mlp.up.weight"])


@each
@pytest.mark.parametrize("tied", [True, False])
def test_counting(architecture: str, tied: bool) -> None:
    model = decoder(architecture, tied=tied)
    config = model.config
    tables = config.max_seq_len * 32 if architecture == "gpt2" else 0
    tables += 0 if tied else 61 * 32
    seen = 5 if architecture == "mistral" else 20
    assert model.flops_per_token(20) == 6 * (n_parameters(model) - tables) + 12 * 3 * 32 * seen
    per_block = 6 if architecture == "gpt2" else 7
    assert len(model.hidden_matrices()) == 3 * per_block
    assert ("head.weight" in model.state_dict()) == (not tied)
    assert not any("cos" in name or "sin" in name for name in model.state_dict())


@each
def test_isolated_documents_are_as_if_alone(architecture: str, tokens: torch.Tensor) -> None:
    model = decoder(architecture)
    cuts = [[0, 7, 8, 20], [0, 13, 20]]
    documents = torch.zeros(2, 20, dtype=torch.int32)
    for row, edges in enumerate(cuts):
        for number, (begin, end) in enumerate(itertools.pairwise(edges)):
            documents[row, begin:end] = 3 + number
    packed, mixed = model(tokens, documents=documents), model(tokens)
    for row, edges in enumerate(cuts):
        for begin, end in itertools.pairwise(edges):
            alone = model(tokens[row : row + 1, begin:end])[0]
            assert (packed[row, begin:end] - alone).abs().max() < 1e-5 * alone.abs().max()
            if begin:
                assert (mixed[row, begin:end] - alone).abs().max() > 1e-2 * alone.abs().max()


@each
def test_a_token_sees_none_after_it(architecture: str, tokens: torch.Tensor) -> None:
    model = decoder(architecture)
    changed = tokens.clone()
    changed[:, 12:] = (tokens[:, 12:] + 1) % 61
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.equal(before[:, 12:], after[:, 12:])


@each
def test_a_cache_gives_what_the_whole_row_gives(architecture: str, tokens: torch.Tensor) -> None:
    model = decoder(architecture)
    whole, cache = model(tokens), KVCache(3, capacity=20)
    parts = [model(tokens[:, a:b], cache=cache) for a, b in ((0, 3), (3, 4), (4, 12), (12, 13), (13, 14), (14, 20))]
    assert cache.length == 20
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [1, 4, 19, 20, 500])
def test_a_window_reaches_as_far_as_the_layers_carry_it(window: int, tokens: torch.Tensor) -> None:
    model, open_ = decoder("mistral", sliding_window=window), decoder("mistral", sliding_window=None)
    changed = tokens.clone()
    changed[:, 0] = (tokens[:, 0] + 1) % 61
    differs = (model(tokens) != model(changed)).any(-1).all(0)  # (T,)
    reach = 3 * (window - 1)  # three layers
    assert differs.tolist() == [position <= reach for position in range(20)]
    if window >= 20:
        assert torch.equal(model(tokens), open_(tokens))


@each
def test_dropout_is_keyed_by_sample_and_off_without_keys(architecture: str, tokens: torch.Tensor) -> None:
    model, plain = decoder(architecture, dropout=0.3), decoder(architecture)
    keys = torch.tensor([5, 2**33 + 1])
    dropped = model(tokens, keys=keys)
    assert torch.equal(model(tokens), plain(tokens))
    assert not torch.allclose(dropped, plain(tokens), atol=0.1)
    assert torch.equal(dropped, model(tokens, keys=keys))
    torch.testing.assert_close(model(tokens[1:], keys=keys[1:]), dropped[1:])
    twins = model(tokens[:1].expand(2, -1), keys=keys)
    assert not torch.allclose(twins[0], twins[1], atol=0.1)


@each
def test_blocks_share_one_graph_without_breaks(architecture: str, tokens: torch.Tensor) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def counting(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model, eager = (decoder(architecture, dropout=0.2, n_layers=10) for _ in range(2))  # dynamo gives up after 8
    for block in model.blocks:
        block.compile(backend=counting, fullgraph=True, dynamic=False)
    for number, bf16 in enumerate((False, True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            results = [one(tokens, keys=torch.tensor([1, 2])) for one in (model, eager)]
        assert len(graphs) == number + 1
        torch.testing.assert_close(*results)
        results[0].sum().backward()
    assert not any("_orig_mod" in name for name, _ in model.named_parameters())


@each
def test_autocast_stays_near_fp32(architecture: str, tokens: torch.Tensor) -> None:
    model = decoder(architecture, dropout=0.1)
    exact = model.logits(model(tokens, keys=torch.tensor([1, 2])))
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model(tokens, keys=torch.tensor([1, 2]))
        near = model.logits(hidden)
    assert hidden.dtype == torch.float32  # the stream and the last norm
    assert near.dtype == torch.bfloat16
    assert 0 < (exact - near).abs().max() < 0.03 * exact.abs().max()


@each
def test_rows_longer_than_the_model_are_refused(architecture: str) -> None:
    model, cache = decoder(architecture), KVCache(3, capacity=30)
    with pytest.raises(UserError, match=r"25 tokens with model\.max_seq_len=24"):
        model(torch.zeros(1, 25, dtype=torch.long))
    model(torch.zeros(1, 20, dtype=torch.long), cache=cache)
    with pytest.raises(UserError, match="25 tokens"):
        model(torch.zeros(1, 5, dtype=torch.long), cache=cache)


def test_a_classifier_has_a_head_for_its_labels(tokens: torch.Tensor) -> None:
    model = Decoder.on_meta(shape("llama", tied=True), Output.numbered(5))
    materialise(model, CPU, 0)
    assert model.logits(model(tokens)).shape == (2, 20, 5)
    assert model.head is not None
    assert model.head.weight.std() > 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n_heads": 5}, "must divide the width"),
        ({"n_heads": 5, "head_dim": 8, "n_kv_heads": 1}, "only mistral and qwen3"),
        ({"n_kv_heads": 3}, "divisors"),
        ({"head_dim": 7}, "even"),
        ({"architecture": Architecture.gpt2}, "as many key/value heads"),
        ({"sliding_window": 8}, "only Mistral"),
        ({"architecture": Architecture.gpt2, "n_kv_heads": None, "rope_scaling": SLOWED}, "learns its positions"),
    ],
)
def test_shapes_that_transformers_does_not_know_are_refused(fields: dict[str, Any], words: str) -> None:
    config = dataclasses.replace(shape("llama"), **fields)
    with pytest.raises(UserError, match=words):
        config.check()


@pytest.mark.parametrize("architecture", ["mistral", "qwen3"])
def test_some_take_any_head_dim(architecture: str) -> None:
    shape(architecture, dim=25, head_dim=6, n_heads=4).check()
