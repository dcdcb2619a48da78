"""The masked objective: sums over hidden tokens, the same in any micro-batches."""

import pytest
import torch
import torch.nn.functional as F
from encoders import encoder
from torch import Tensor

from bigtrain.data.loader import IGNORED, Batch
from bigtrain.models.encoder import Encoder
from bigtrain.objectives.masked import Masked


@pytest.fixture
def batch() -> Batch:
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 60, (4, 12), generator=draw)
    positions = torch.tensor([[1, 3], [2, 0], [0, 0], [5, 11]])
    targets = torch.tensor([[7, 9], [11, IGNORED], [IGNORED, IGNORED], [6, 8]])
    return {"tokens": tokens, "positions": positions, "targets": targets, "keys": torch.arange(4)}


def gradient(model: Encoder, batches: list[Batch]) -> Tensor:
    objective = Masked()
    model.zero_grad()
    weight = sum(objective.weight(batch) for batch in batches)
    for batch in batches:
        (objective(model, batch) / weight).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_the_loss_is_that_of_the_whole_logits_at_the_hidden_places(batch: Batch) -> None:
    model = encoder("bert")
    full = model.logits(model(batch["tokens"]))
    everywhere = torch.full((4, 12), IGNORED)
    for row in range(4):
        for place, target in zip(batch["positions"][row], batch["targets"][row], strict=True):
            if target != IGNORED:
                everywhere[row, place] = target
    expected = F.cross_entropy(full.flatten(0, 1), everywhere.flatten(), reduction="sum")
    assert Masked().weight(batch) == 5
    assert Masked()(model, batch).item() == pytest.approx(expected.item(), rel=1e-6)


def test_micro_batches_give_the_same_gradient(batch: Batch) -> None:
    model = encoder("bert", dropout=0.2)
    whole = gradient(model, [batch])
    parts = gradient(model, [{name: rows[i : i + 1] for name, rows in batch.items()} for i in range(4)])
    assert (whole - parts).abs().max() <= 1e-5 * whole.abs().max()


def test_rows_that_ask_for_nothing_count_nothing(batch: Batch) -> None:
    row = {name: rows[2:3] for name, rows in batch.items()}
    assert Masked().weight(row) == 0
    assert Masked()(encoder("bert"), row).item() == 0
