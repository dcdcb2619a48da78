"""Evaluation: sums over batches, whoever computes them."""

import copy
import threading

import numpy as np
import pytest
import torch
from measured import evaluate
from torch import nn

from bigtrain.errors import UserError
from bigtrain.evaluation.evaluator import Part, evaluate_parts
from bigtrain.parallel.placement import Placement
from bigtrain.parallel.schema import Precision

ALONE = Placement(torch.device("cpu"), Precision.fp32)


class Noisy(nn.Module):
    """Dropout shows whether evaluation switches it off."""

    def __init__(self):
        super().__init__()
        self.linear, self.dropout = nn.Linear(4, 3), nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.linear(x))


class Sorting:
    """Three classes: a real sum, whole sums of several shapes, and what is said of each row."""

    per_row = frozenset({"logits"})

    def statistics(self, model, batch):
        assert not torch.is_grad_enabled()
        assert not model.training
        logits, labels = model(batch["x"]), batch["labels"]
        return {
            "confusion": torch.bincount(labels * 3 + logits.argmax(-1), minlength=9).view(3, 3),
            "loss": nn.functional.cross_entropy(logits, labels, reduction="sum"),
            "weight": torch.tensor(len(labels)),
            "logits": logits,
        }

    def metrics(self, sums):
        assert sums["confusion"].shape == (3, 3)
        assert sums["loss"].shape == ()
        accuracy = np.trace(sums["confusion"]) / sums["weight"]
        order = np.arange(1, len(sums["logits"]) + 1)
        self.rows = float((sums["logits"][:, 0] * order).sum())  # depends on which row is where
        return {
            "loss": float(sums["loss"] / sums["weight"]),
            "accuracy": float(accuracy),
            "n": float(sums["weight"]),
            "rows": float(len(order)),
        }


class Together:
    """Processes as threads: `all_reduce_sum` and `agree` are the meeting points; a missing one breaks the barrier."""

    def __init__(self, world_size):
        self.world_size, self.barrier, self.seen = world_size, threading.Barrier(world_size, timeout=10), {}

    def exchange(self, rank, value):
        self.seen[rank] = value
        self.barrier.wait()
        values = [self.seen[rank] for rank in range(self.world_size)]
        self.barrier.wait()
        return values

    def run(self, function):
        """function(rank, placement) on every process; the results in the order of ranks."""
        results = {}

        def work(rank):
            together = self

            class Member(Placement):
                def all_reduce_sum(self, tensor):
                    total = sum(together.exchange(rank, tensor.clone()), torch.zeros_like(tensor))
                    return tensor.copy_(total)

            results[rank] = function(rank, Member(torch.device("cpu"), Precision.fp32, rank, together.world_size))

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(self.world_size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [results[rank] for rank in range(self.world_size)]


def data(n, rows):
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(n, 4, generator=generator), torch.randint(0, 3, (n,), generator=generator)
    order = torch.randperm(n, generator=generator)
    parts = [order[at : at + rows] for at in range(0, n, rows)]
    return InBatches([{"x": x[part], "labels": labels[part], "rows": part} for part in parts], n)


class InBatches(list):
    """Every row once, in any order."""

    def __init__(self, batches, n_rows):
        super().__init__(batches)
        self.n_rows = n_rows


@pytest.fixture
def model():
    torch.manual_seed(1)
    return Noisy().train()


def test_ragged_batches_give_the_metrics_of_one_batch(model):
    one, other = Sorting(), Sorting()
    whole = evaluate(model, one, data(103, 103), ALONE)
    ragged = evaluate(model, other, data(103, 10), ALONE)
    assert one.rows == pytest.approx(other.rows, rel=1e-6)
    assert whole["n"] == ragged["n"] == ragged["rows"] == 103
    assert whole["accuracy"] == ragged["accuracy"]
    assert whole["loss"] == pytest.approx(ragged["loss"], rel=1e-6)
    mean_of_means = np.mean(
        [evaluate(model, Sorting(), InBatches([batch], 103), ALONE)["loss"] for batch in data(103, 10)]
    )
    assert abs(mean_of_means - whole["loss"]) > 1e-5  # the mistake this test would catch
    assert model.training


@pytest.mark.parametrize("world_size", [2, 3, 4, 16])
def test_any_number_of_processes_gives_the_same_bits(model, world_size):
    batches = data(103, 10)  # 11 batches: the last round is not full, and 16 processes have too few
    alone = evaluate(model, Sorting(), batches, ALONE)
    results = Together(world_size).run(
        lambda rank, placement: evaluate(copy.deepcopy(model), Sorting(), batches, placement)
    )
    assert results == [alone] * world_size


@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_processes_stop_together(model, stop_at):
    together, asked = Together(3), [0, 0, 0]

    def run(rank, placement):
        def should_stop():
            asked[rank] += 1
            return any(together.exchange(rank, rank == 1 and asked[rank] >= stop_at))

        return evaluate(copy.deepcopy(model), Sorting(), data(100, 5), placement, should_stop)

    assert together.run(run) == [None] * 3
    assert asked == [stop_at] * 3


def test_asking_to_stop_is_in_step_where_the_last_round_is_not_full(model):
    together = Together(3)

    def run(rank, placement):
        agree = lambda: any(together.exchange(rank, False))  # noqa: E731
        return evaluate(copy.deepcopy(model), Sorting(), data(100, 10), placement, agree)

    assert together.run(run) == [evaluate(model, Sorting(), data(100, 10), ALONE)] * 3


def test_a_failing_batch_leaves_the_model_training(model):
    with pytest.raises(KeyError):
        evaluate(model, Sorting(), InBatches([{}], 1), ALONE)
    assert model.training


def test_no_data_is_an_error(model):
    with pytest.raises(UserError, match="without data"):
        evaluate(model, Sorting(), [], ALONE)


def test_parts_are_measured_apart_and_together_by_weight(model):
    one, other = data(40, 10), data(90, 20)
    parts = [Part(one, "one", 3 / 40), Part(other, "other", 1 / 90)]
    found = evaluate_parts(model, Sorting(), parts, ALONE)
    assert list(found) == ["", "one", "other"]
    assert found["one"] == evaluate(model, Sorting(), one, ALONE)
    assert found["other"] == evaluate(model, Sorting(), other, ALONE)
    assert found[""]["loss"] == pytest.approx(0.75 * found["one"]["loss"] + 0.25 * found["other"]["loss"], rel=1e-12)


def test_one_part_without_a_name_is_the_whole(model):
    assert evaluate_parts(model, Sorting(), [Part(data(40, 10))], ALONE) == {
        "": evaluate(model, Sorting(), data(40, 10), ALONE)
    }
    stopping = evaluate_parts(model, Sorting(), [Part(data(40, 10), "a"), Part(data(40, 10), "b")], ALONE, lambda: True)
    assert stopping is None
