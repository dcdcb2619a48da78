"""Direct preference optimisation by hand, and what must not matter: packing, micro-batches, the other document."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from bigtrain.data.loader import Batch
from bigtrain.data.tasks.packed import Scored
from bigtrain.data.tasks.packed_pairs import PackedPairs, ScoredPair
from bigtrain.models.base import Model, materialise
from bigtrain.models.families import on_meta
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.objectives.preference import Preference, divergence, reference_values


class Table(nn.Module):
    """Predicts by the last token alone: `logits` (V, V)."""

    def __init__(self, probabilities: list[list[float]]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(probabilities).log())

    def forward(self, tokens: torch.Tensor, **_: object) -> torch.Tensor:
        return tokens

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.table[hidden]


def pair(prompt: list[int], chosen: list[int], rejected: list[int]) -> ScoredPair:
    def scored(answer: list[int]) -> Scored:
        ids = np.array([*prompt, *answer], np.uint32)
        return Scored(ids, np.arange(len(ids)) >= len(prompt))

    return ScoredPair(scored(chosen), scored(rejected))


def with_reference(rows: PackedPairs, model: nn.Module) -> PackedPairs:
    batch = rows.batch(np.arange(len(rows)))
    with torch.no_grad():
        values = reference_values(model, batch, measured=True)  # type: ignore[arg-type]
    rows.known = {name: value.numpy() for name, value in values.items()}
    return rows


def sums(objective: Preference, model: nn.Module, batch: Batch) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {name: value.double().numpy() for name, value in objective.statistics(model, batch).items()}  # type: ignore[arg-type]


def test_equation_7_of_the_paper_by_hand() -> None:
    """Prompt 0; 1 then 2 is better than 2. Under pi 0.5 x 0.8 and 0.25, under pi_ref 0.25 x 0.4 and 0.5; beta = 1/2."""
    policy = Table([[0.25, 0.5, 0.25], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]])
    reference = Table([[0.25, 0.25, 0.5], [0.5, 0.1, 0.4], [0.2, 0.2, 0.6]])
    rows = with_reference(PackedPairs([pair([0], [1, 2], [2])], 4, pad_id=0), reference)
    batch, objective = rows.batch(np.array([0])), Preference(0.5)
    chosen, rejected = 0.5 * math.log(0.4 / 0.1), 0.5 * math.log(0.25 / 0.5)  # log 2, and -log 2 / 2
    loss = -math.log(1 / (1 + math.exp(-(chosen - rejected))))  # log(1 + 2 ** -1.5) = 0.302733
    assert loss == pytest.approx(math.log(1 + 2**-1.5))
    assert objective(policy, batch).item() == pytest.approx(loss, abs=1e-6)  # type: ignore[arg-type]
    found = objective.metrics(sums(objective, policy, batch))
    assert found["loss"] == pytest.approx(0.302733, abs=1e-5)
    assert (found["reward_chosen"], found["reward_rejected"]) == pytest.approx((chosen, rejected), abs=1e-6)
    assert found["margin"] == pytest.approx(1.5 * math.log(2), abs=1e-6)
    assert found["accuracy"] == 1
    # Three tokens are the whole vocabulary, so the bound is the divergence: after 0, after 1, and after 0 again.
    rows_of = [((0.25, 0.5, 0.25), (0.25, 0.25, 0.5)), ((0.1, 0.1, 0.8), (0.5, 0.1, 0.4))]
    first, second = (sum(p * math.log(p / q) for p, q in zip(*row, strict=True)) for row in rows_of)
    assert found["kl"] == pytest.approx((2 * first + second) / 3, abs=1e-6)
    # Equation 7's gradient: -beta sigmoid(-margin) (grad log pi(chosen) - grad log pi(rejected)), here of logits.
    objective(policy, batch).backward()  # type: ignore[arg-type]
    scale = 0.5 / (1 + math.exp(chosen - rejected))
    wanted = torch.zeros(3, 3)
    wanted[0] = -scale * torch.tensor([0.0, 1.0, -1.0])
    wanted[1] = -scale * torch.tensor([-0.1, -0.1, 0.2])
    assert policy.table.grad is not None
    assert torch.allclose(policy.table.grad, wanted, atol=1e-6)


def test_the_model_itself_has_no_rewards() -> None:
    model = tiny(1)
    rows = with_reference(PackedPairs(random_pairs(9), 24, pad_id=0), model)
    objective = Preference(0.1)
    found = objective.metrics(sums(objective, model, rows.batch(np.arange(len(rows)))))
    assert found["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert [found[name] for name in ("margin", "reward_chosen", "reward_rejected", "kl")] == pytest.approx(
        [0] * 4, abs=1e-6
    )


def tiny(seed: int, dropout: float = 0.0) -> Model:
    shape = DecoderConfig(
        architecture=Architecture.qwen3, dim=32, n_layers=2, n_heads=4, max_seq_len=32, dropout=dropout
    )
    model = materialise(on_meta(shape.resolved(64)), torch.device("cpu"), seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter *= 4
    return model


def random_pairs(seed: int, n: int = 13) -> list[ScoredPair]:
    draw = random.Random(seed)

    def text(most: int) -> list[int]:
        return [draw.randrange(64) for _ in range(draw.randint(1, most))]

    return [pair(text(9), text(9), text(9)) for _ in range(n)]


def gradients(model: Model, rows: PackedPairs, size: int, *, keyed: bool = False) -> tuple[float, torch.Tensor]:
    """The mean loss and its gradient, `size` rows at once."""
    objective, total = Preference(0.3), 0.0
    model.zero_grad()
    for start in range(0, len(rows), size):
        index = np.arange(start, min(start + size, len(rows)))
        batch = rows.batch(index)
        if keyed:
            batch["keys"] = torch.from_numpy(index * 7919 + 1)
        loss = objective(model, batch) / len(rows.pairs)
        loss.backward()
        total += loss.item()
    return total, torch.cat(
        [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    )


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_neither_micro_batches_nor_packing_matter(dropout: float) -> None:
    model, found = tiny(1, dropout), random_pairs(3)
    rows = with_reference(PackedPairs(found, 24, pad_id=0), tiny(2))
    loss, gradient = gradients(model, rows, 2, keyed=dropout > 0)
    for size in (1, len(rows)):
        other, same = gradients(model, rows, size, keyed=dropout > 0)
        assert other == pytest.approx(loss, rel=1e-6)
        assert torch.allclose(same, gradient, atol=1e-6)
    if not dropout:
        alone = with_reference(PackedPairs(found, 18, pad_id=5), tiny(2))  # other rows, another padding
        other, same = gradients(model, alone, 3)
        assert other == pytest.approx(loss, rel=1e-6)
        assert torch.allclose(same, gradient, atol=1e-6)


def test_kl_is_a_lower_bound_that_is_never_negative() -> None:
    draw = torch.Generator().manual_seed(3)
    for scale in (0.1, 1.0, 10.0):
        p, q = (torch.randn(2, 500, 20, generator=draw) * scale).log_softmax(-1)
        exact = (p.exp() * (p - q)).sum(-1).double()
        before = torch.zeros(500).double()
        for k in (1, 4, 16, 20):
            tokens = q.topk(k).indices
            bound = divergence(p.gather(1, tokens), q.gather(1, tokens))
            assert scale > 1 or (bound >= before - 1e-5).all()  # more tokens, a tighter bound
            assert (bound <= exact + 1e-5).all()
            assert (divergence(q.gather(1, tokens), q.gather(1, tokens)) == 0).all()
            before = bound
        assert torch.allclose(before, exact, atol=1e-4)
    sure = torch.tensor([[0.0, -100.0], [-100.0, 0.0], [-1e-12, -30.0]])
    assert torch.isfinite(divergence(sure, sure.flip(0))).all()
