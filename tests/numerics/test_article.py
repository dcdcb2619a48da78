"""The worked examples of the founding article's mathematics, by hand, against bigtrain's own path.

A network of 3 inputs, 2 hidden units with ReLU and 1 output under the mean squared error; cross entropy; gradient
descent; two steps of Adam. Every number below was computed on paper.
"""

import math

import pytest
import torch
from torch import Tensor, nn

from bigtrain.data.loader import Batch
from bigtrain.objectives.classify import Classify
from bigtrain.objectives.regress import Regress
from bigtrain.training.schema import AdamConfig, SGDConfig

INPUTS = torch.tensor([[1.0, 0.5, -1.0], [2.0, 1.0, 1.0]])
TARGETS = torch.tensor([1.0, 0.5])


class Network(nn.Module):
    """3-2-1 with ReLU: a model in the house's own terms, whose token i is read as row i of INPUTS."""

    causal = True

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(3, 2), nn.Linear(2, 1)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.tensor([[0.2, -0.4, 0.1], [0.5, 0.6, -0.3]]))
            self.hidden.bias.copy_(torch.tensor([0.0, -0.2]))
            self.head.weight.copy_(torch.tensor([[0.7, 0.8]]))
            self.head.bias.copy_(torch.tensor([0.1]))

    def forward(self, tokens: Tensor, keys: Tensor | None = None) -> Tensor:
        return torch.relu(self.hidden(INPUTS[tokens]))

    def logits(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)


BATCH: Batch = {"tokens": torch.arange(2)[:, None], "lengths": torch.ones(2, dtype=torch.long), "labels": TARGETS}


def mean_squared_error(network: Network) -> Tensor:
    """That of `objective=regress`, as the loop computes it: a sum over the rows, divided by their number."""
    objective = Regress()
    return objective(network, BATCH) / objective.weight(BATCH)  # type: ignore[arg-type]


def test_forward_through_3_2_1() -> None:
    network = Network()
    # Row 1: z = (0.2 - 0.2 - 0.1, 0.5 + 0.3 + 0.3 - 0.2) = (-0.1, 0.9); row 2: z = (0.1, 1.1)
    torch.testing.assert_close(network(torch.arange(2)), torch.tensor([[0.0, 0.9], [0.1, 1.1]]))
    # 0.8 * 0.9 + 0.1 = 0.82; 0.7 * 0.1 + 0.8 * 1.1 + 0.1 = 1.05
    torch.testing.assert_close(network.logits(network(torch.arange(2))), torch.tensor([[0.82], [1.05]]))
    # ((0.82 - 1)^2 + (1.05 - 0.5)^2) / 2 = (0.0324 + 0.3025) / 2
    assert mean_squared_error(network).item() == pytest.approx(0.16745, abs=1e-6)
    # An evaluation says the same: it adds up squared errors, and keeps what was said of each row.
    statistics = Regress().statistics(network, BATCH)  # type: ignore[arg-type]
    sums = {name: value.detach().double().numpy() for name, value in statistics.items()}
    assert sums["scores"].tolist() == pytest.approx([0.82, 1.05], abs=1e-6)
    measured = Regress().metrics(sums)
    assert (measured["loss"], measured["mse"]) == pytest.approx((0.16745, 0.16745), abs=1e-6)


def test_backward_through_3_2_1() -> None:
    network = Network()
    mean_squared_error(network).backward()
    # dL/dy = 2 (y - t) / 2 = (-0.18, 0.55). The first hidden unit is off in row 1: nothing flows through it there.
    expected = {
        "head.weight": [[0.55 * 0.1, -0.18 * 0.9 + 0.55 * 1.1]],
        "head.bias": [-0.18 + 0.55],
        # dL/dz = ((0, -0.18 * 0.8), (0.55 * 0.7, 0.55 * 0.8)) = ((0, -0.144), (0.385, 0.44))
        "hidden.weight": [[0.77, 0.385, 0.385], [-0.144 + 0.88, -0.072 + 0.44, 0.144 + 0.44]],
        "hidden.bias": [0.385, -0.144 + 0.44],
    }
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, torch.tensor(expected[name]))


def test_a_step_of_gradient_descent_through_3_2_1() -> None:
    network = Network()
    optimizer = SGDConfig(lr=0.1, momentum=0.0).build(network)  # type: ignore[arg-type]
    mean_squared_error(network).backward()
    optimizer.step()
    torch.testing.assert_close(network.head.weight.detach(), torch.tensor([[0.7 - 0.0055, 0.8 - 0.0443]]))
    torch.testing.assert_close(network.head.bias.detach(), torch.tensor([0.1 - 0.037]))
    torch.testing.assert_close(network.hidden.bias.detach(), torch.tensor([0.0 - 0.0385, -0.2 - 0.0296]))
    # Row 1: z2 = 0.4264 + 0.2816 + 0.3584 - 0.2296 = 0.8368, y = 0.7557 * 0.8368 + 0.063 = 0.6953698
    # Row 2: z1 = 0.246 - 0.4385 + 0.0615 - 0.0385 < 0, z2 = 0.8528 + 0.5632 - 0.3584 - 0.2296 = 0.828,
    #        y = 0.7557 * 0.828 + 0.063 = 0.6887196
    loss = ((0.6953698 - 1) ** 2 + (0.6887196 - 0.5) ** 2) / 2
    assert mean_squared_error(network).item() == pytest.approx(loss, abs=1e-6)


class Says(nn.Module):
    """Gives the same probabilities whatever it reads."""

    causal = True

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.scores = torch.tensor(probabilities).log()

    def forward(self, tokens: Tensor, keys: Tensor | None = None) -> Tensor:
        return self.scores.expand(*tokens.shape, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


def test_cross_entropy_of_1_0_against_06_04() -> None:
    """The article prints 0.407, which its formula does not give.

    -(1/N) sum of y ln p over the N = 2 outputs is -(ln 0.6) / 2 = 0.255. The usual definition, which is that of the
    objective, divides by the number of rows and not by that of outputs: -ln 0.6 = 0.511 nats.
    """
    batch: Batch = {"tokens": torch.zeros(1, 1, dtype=torch.long), "lengths": torch.ones(1, dtype=torch.long)}
    batch["labels"] = torch.zeros(1, dtype=torch.long)  # one-hot: [1, 0]
    objective = Classify()
    loss = objective(Says(0.6, 0.4), batch).item() / objective.weight(batch)  # type: ignore[arg-type]
    assert loss == pytest.approx(-math.log(0.6), abs=1e-6)
    assert round(loss, 3) == 0.511
    assert round(loss / 2, 3) == 0.255


def test_gradient_descent_on_a_parabola() -> None:
    """f(w) = (w - 3)^2 from w = 0 with a rate of 0.1: each step leaves 1 - 2 * 0.1 = 0.8 of the distance."""
    model = nn.Module()
    model.w = nn.Parameter(torch.zeros(1))
    optimizer = SGDConfig(lr=0.1, momentum=0.0).build(model)  # type: ignore[arg-type]
    path = []
    for _ in range(20):
        (model.w - 3).square().sum().backward()
        optimizer.step()
        path.append(model.w.item())
    assert path[:3] == pytest.approx([0.6, 1.08, 1.464], abs=1e-6)
    assert path == pytest.approx([3 * (1 - 0.8**step) for step in range(1, 21)], abs=1e-5)


def test_two_steps_of_adam() -> None:
    """f(w) = w^2 from w = 1 with a rate of 0.1 and the paper's decays of 0.9 and 0.999."""
    model = nn.Module()
    model.w = nn.Parameter(torch.ones(1))
    optimizer = AdamConfig(lr=0.1).build(model)  # type: ignore[arg-type]
    model.w.square().sum().backward()
    optimizer.step()
    # g = 2; m = 0.2, v = 0.004; unbiased 2 and 4: the first step is the rate itself
    assert model.w.item() == pytest.approx(1 - 0.1 * 2 / 2, abs=1e-6)
    assert optimizer.tensors()["w/exp_avg"].item() == pytest.approx(0.2, abs=1e-6)
    assert optimizer.tensors()["w/exp_avg_sq"].item() == pytest.approx(0.004, abs=1e-8)
    model.w.square().sum().backward()
    optimizer.step()
    # g = 1.8; m = 0.18 + 0.18, v = 0.003996 + 0.00324; unbiased 0.36 / 0.19 and 0.007236 / 0.001999
    assert model.w.item() == pytest.approx(0.9 - 0.1 * 1.894737 / math.sqrt(3.619810), abs=1e-6)
    assert round(model.w.item(), 6) == 0.800412
