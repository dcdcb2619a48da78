import pytest
import torch
from torch import nn

from bigtrain.training.optimizers import POLAR_EXPRESS, Muon, OptimizerSet, build_adamw, build_muon, orthogonalise
from bigtrain.training.schema import AdamWConfig, MuonConfig


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


@pytest.mark.parametrize("config", [AdamWConfig(lr=0.01), MuonConfig()], ids=["adamw", "muon"])
def test_state_survives_as_named_tensors_bit_for_bit(toy, config):
    optimizer = config.build(toy)
    optimizer.set_scale(0.5)
    a_step(toy, optimizer, 1)
    other = Toy()
    other.load_state_dict(toy.state_dict())
    restored = config.build(other)
    restored.load({name: tensor.clone() for name, tensor in optimizer.tensors().items()})
    restored.set_scale(0.25)
    optimizer.set_scale(0.25)
    for seed in (2, 3):
        a_step(toy, optimizer, seed)
        a_step(other, restored, seed)
    assert all(torch.equal(a, b) for a, b in zip(toy.parameters(), other.parameters(), strict=True))


def test_scale_multiplies_the_peak_of_every_group(toy):
    optimizer = build_muon(toy, MuonConfig(lr=0.02, adamw_lr=0.003))
    optimizer.set_scale(0.1)
    optimizer.set_scale(0.5)
    assert [group["lr"] for group in optimizer.groups()] == [0.01, 0.0015]
    assert optimizer.lr == 0.01
