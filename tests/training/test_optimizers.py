import random

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from bigtrain.schema import CHOICES
from bigtrain.training.optimizers import POLAR_EXPRESS, Muon, OptimizerSet, build_adamw, build_muon, orthogonalise
from bigtrain.training.schema import (
    AdadeltaConfig,
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    MuonConfig,
    SGDConfig,
)


class Toy(nn.Module):
    """Two blocks with matrices of two shapes, an embedding and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(8, 16), "down": nn.Linear(16, 8)}) for _ in range(2))
        self.norm = nn.LayerNorm(8)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = x + block["down"](torch.relu(block["up"](x)))
        return self.norm(x) @ self.embedding.weight.T

    def hidden_matrices(self) -> list[nn.Parameter]:
        return [layer.weight for block in self.blocks for layer in block.values()]


def a_step(model: Toy, optimizer: OptimizerSet, seed: int) -> None:
    tokens = torch.randint(0, 11, (4, 6), generator=torch.Generator().manual_seed(seed))
    nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
    optimizer.step()


@pytest.fixture
def toy() -> Toy:
    torch.manual_seed(0)
    return Toy()


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 24, 8), (2, 8, 24)])
def test_orthogonalise_brings_singular_values_near_one_and_keeps_directions(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    result = orthogonalise(matrices)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.7
    assert values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(result.flatten(1), (u @ vh).flatten(1)).min() > 0.98


def test_stacked_muon_equals_torch_muon_on_each_matrix():
    """torch's Muon takes one set of coefficients for all of its steps: five optimizers of a step each would not do."""
    torch.manual_seed(3)
    ours = [nn.Parameter(torch.randn(12, 8)) for _ in range(3)]
    start = [p.detach().clone() for p in ours]
    muon = Muon(ours, lr=0.1, momentum=0.9, weight_decay=0.01)
    momenta = [torch.zeros(12, 8) for _ in range(3)]
    expected = [p.clone() for p in start]
    for _ in range(3):
        gradients = [torch.randn(12, 8) for _ in range(3)]
        for parameter, gradient in zip(ours, gradients, strict=True):
            parameter.grad = gradient.clone()
        muon.step()
        for i in range(3):  # the algorithm as published, a matrix at a time
            momenta[i] = 0.9 * momenta[i] + 0.1 * gradients[i]
            x = (0.1 * gradients[i] + 0.9 * momenta[i]).bfloat16().T
            x = x / (x.norm() * 1.01 + 1e-7)
            for a, b, c in POLAR_EXPRESS:
                gram = x @ x.T
                x = a * x + (b * gram + c * gram @ gram) @ x
            expected[i] = expected[i] * (1 - 0.1 * 0.01) - 0.1 * (12 / 8) ** 0.5 * x.T.float()
    for parameter, value in zip(ours, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, rtol=0, atol=4e-3)  # bf16 products in another order


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest(toy):
    optimizer = build_muon(toy, MuonConfig())
    muon, adamw = optimizer.optimizers
    assert {id(p) for g in muon.param_groups for p in g["params"]} == {id(p) for p in toy.hidden_matrices()}
    assert sum(len(g["params"]) for o in optimizer.optimizers for g in o.param_groups) == len(list(toy.parameters()))
    assert all(g["weight_decay"] == 0 for g in adamw.param_groups)


def test_adamw_decays_matrices_only(toy):
    optimizer = build_adamw(toy, AdamWConfig(weight_decay=0.3))
    for group in optimizer.groups():
        assert all((p.dim() >= 2) == (group["weight_decay"] == 0.3) for p in group["params"])


@pytest.mark.parametrize("config", [AdamConfig, SGDConfig, AdadeltaConfig, AdafactorConfig])
def test_every_optimizer_decays_matrices_only_and_holds_every_parameter_once(toy, config):
    groups = list(config(weight_decay=0.3).build(toy).groups())
    assert [p.dim() >= 2 for g in groups for p in g["params"]] == [
        g["weight_decay"] == 0.3 for g in groups for _ in g["params"]
    ]
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in toy.parameters()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", CHOICES["optimizer"].values(), ids=CHOICES["optimizer"])
def test_continued_in_the_middle_from_named_tensors_ends_with_equal_bits(toy, kind, seed):
    """The first half, its state as a file holds it, a second model that goes on from there."""
    draw, config = random.Random(seed), kind()
    scales = [draw.random() for _ in range(draw.randint(3, 9))]
    optimizer, cut = config.build(toy), draw.randrange(1, len(scales))
    for step, scale in enumerate(scales):
        if step == cut:
            other = Toy()
            other.load_state_dict(toy.state_dict())
            file = save({name: tensor.contiguous() for name, tensor in optimizer.tensors().items()})
        optimizer.set_scale(scale)
        a_step(toy, optimizer, step)
    continued = config.build(other)
    continued.load(load(file))
    for step in range(cut, len(scales)):
        continued.set_scale(scales[step])
        a_step(other, continued, step)
    assert all(torch.equal(a, b) for a, b in zip(toy.parameters(), other.parameters(), strict=True))
    ended, ended_too = optimizer.tensors(), continued.tensors()
    assert ended.keys() == ended_too.keys()
    assert all(torch.equal(value, ended_too[name]) for name, value in ended.items())


@pytest.mark.parametrize("kind", CHOICES["optimizer"].values(), ids=CHOICES["optimizer"])
def test_every_optimizer_learns_with_its_own_defaults(toy, kind):
    def loss() -> float:
        tokens = torch.arange(11)[None]
        return nn.functional.cross_entropy(toy(tokens).flatten(0, 1), tokens.flatten()).item()

    optimizer, before = kind().build(toy), loss()
    for step in range(60):
        a_step(toy, optimizer, step)
    assert loss() < before - 1e-3


class One(nn.Module):
    """A single tensor whose gradients are given."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(value.clone())


def moved(config, start: torch.Tensor, gradients: list[torch.Tensor]) -> torch.Tensor:
    """Where `gradients`, one after the other, bring a tensor from `start`."""
    model = One(start)
    optimizer = config.build(model)
    for gradient in gradients:
        model.weight.grad = gradient.clone()
        optimizer.step()
    return model.weight.detach()


@pytest.fixture
def gradients() -> list[torch.Tensor]:
    return list(torch.randn(5, 6, 4, generator=torch.Generator().manual_seed(2)))


def test_adadelta_is_algorithm_1_of_its_paper(gradients):
    x = start = torch.ones(6, 4)
    squares = deltas = torch.zeros(6, 4)
    for g in gradients:
        squares = 0.95 * squares + 0.05 * g**2
        delta = (deltas + 1e-6).sqrt() / (squares + 1e-6).sqrt() * g
        deltas = 0.95 * deltas + 0.05 * delta**2
        x = x - delta
    torch.testing.assert_close(moved(AdadeltaConfig(), start, gradients), x)


def test_adafactor_is_algorithm_4_of_its_paper(gradients):
    x = start = torch.full((6, 4), 0.5)
    rows, columns = torch.zeros(6), torch.zeros(4)
    for t, g in enumerate(gradients, 1):
        decay = 1 - t**-0.8
        rows = decay * rows + (1 - decay) * (g**2).mean(1)
        columns = decay * columns + (1 - decay) * (g**2).mean(0)
        update = g / (torch.outer(rows, columns) / rows.mean()).sqrt()
        update = update / max(1.0, update.square().mean().sqrt())
        x = x - min(0.01, t**-0.5) * x.square().mean().sqrt() * update
    torch.testing.assert_close(moved(AdafactorConfig(), start, gradients), x)


def test_adafactor_keeps_a_row_and_a_column_and_does_not_mind_the_size_of_gradients(toy, gradients):
    optimizer = AdafactorConfig().build(toy)
    a_step(toy, optimizer, 0)
    assert sum(t.numel() for name, t in optimizer.tensors().items() if "embedding" in name) == 11 + 8 + 1  # and a step
    start = torch.ones(6, 4)
    gradients[0][2] = 0  # the row of a token that did not occur
    small = [1e-5 * g for g in gradients]
    expected = moved(AdafactorConfig(), start, gradients)
    torch.testing.assert_close(moved(AdafactorConfig(), start, small), expected)
    assert torch.equal(moved(AdafactorConfig(), start, gradients[:1])[2], start[2])


def test_adam_holds_its_penalty_in_the_moments_and_adamw_does_not():
    """Without a gradient Adam moves by its rate towards zero whatever the penalty, AdamW by the share it was told."""
    start, still = torch.full((2, 2), 8.0), [torch.zeros(2, 2)]
    adam = moved(AdamConfig(lr=0.01, weight_decay=0.5), start, still)
    adamw = moved(AdamWConfig(lr=0.01, weight_decay=0.5), start, still)
    torch.testing.assert_close(adam, start - 0.01)
    torch.testing.assert_close(adamw, start * (1 - 0.01 * 0.5))


def test_scale_multiplies_the_peak_of_every_group(toy):
    optimizer = build_muon(toy, MuonConfig(lr=0.02, adamw_lr=0.003))
    optimizer.set_scale(0.1)
    optimizer.set_scale(0.5)
    assert [group["lr"] for group in optimizer.groups()] == [0.01, 0.0015]
    assert optimizer.lr == 0.01
