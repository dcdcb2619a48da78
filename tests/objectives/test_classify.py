"""Losses of labels against scikit-learn's and torch's own means; metrics of an evaluation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from encoders import encoder

from bigtrain.data.loader import Batch
from bigtrain.metrics.multi_label import tuned_thresholds
from bigtrain.models.output import Output, OutputKind
from bigtrain.objectives.base import row_logits
from bigtrain.objectives.classify import (
    Classify,
    MultiLabel,
    balanced_positives,
    balanced_weights,
    sigmoid,
)
from bigtrain.objectives.regress import Regress

LABELS = ("a", "b", "c")


def batch(labels: torch.Tensor, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 12, (len(labels),), generator=draw)
    tokens = torch.randint(5, 60, (len(labels), 12), generator=draw)
    tokens[torch.arange(12) >= lengths[:, None]] = 0
    return {"tokens": tokens, "lengths": lengths, "labels": labels, "rows": torch.arange(len(labels))}


def sums(objective: Classify | MultiLabel | Regress, model: torch.nn.Module, given: Batch) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {name: value.double().numpy() for name, value in objective.statistics(model, given).items()}


def test_balanced_weights_are_scikit_learns() -> None:
    utils = pytest.importorskip("sklearn.utils.class_weight")
    labels = np.array([0, 0, 0, 2, 1, 0, 2])
    expected = utils.compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights(labels, 3).numpy() == pytest.approx(expected)
    assert balanced_weights(labels, 4)[3] == 1  # no row: counted nowhere


@pytest.mark.parametrize(("weighted", "smoothing"), [(False, 0.0), (True, 0.0), (False, 0.1), (True, 0.2)])
def test_the_loss_is_torchs_weighted_mean_over_any_micro_batches(weighted: bool, smoothing: float) -> None:
    model = encoder("bert", Output(OutputKind.label, LABELS))
    labels = torch.tensor([0, 0, 2, 0, 1, 0])
    whole = batch(labels)
    weights = balanced_weights(labels.numpy(), 3) if weighted else None
    objective = Classify(weights, smoothing)
    expected = F.cross_entropy(row_logits(model, whole), labels, weights, label_smoothing=smoothing)
    parts = [{name: value[places] for name, value in whole.items()} for places in (slice(0, 4), slice(4, 6))]
    found = sum(objective(model, part) for part in parts) / sum(objective.weight(part) for part in parts)
    assert torch.isclose(found, expected, atol=1e-6)
    measured = objective.metrics(sums(objective, model, whole))
    assert measured["loss"] == pytest.approx(F.cross_entropy(row_logits(model, whole), labels).item(), rel=1e-6)
    assert measured.keys() == set(objective.metric_names)
    assert objective.higher_is_better < set(objective.metric_names)


def test_areas_are_no_metric_where_a_label_never_occurs() -> None:
    model = encoder("bert", Output(OutputKind.label, LABELS))
    objective = Classify(every_label=False)
    found = objective.metrics(sums(objective, model, batch(torch.tensor([0, 1, 0, 1]))))
    assert found.keys() == set(objective.metric_names)
    assert "roc_auc" not in found


def test_several_labels() -> None:
    model = encoder("bert", Output(OutputKind.labels, LABELS))
    flags = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]])
    whole, told = batch(flags), []
    weights = balanced_positives(flags.numpy())
    assert weights.tolist() == pytest.approx([3 / 2, 3 / 2, 2 / 3])
    objective = MultiLabel(None, weights, 0.1, tuned=told.append)
    logits = row_logits(model, whole)
    expected = F.binary_cross_entropy_with_logits(logits, flags * 0.9 + 0.05, pos_weight=weights)
    assert torch.isclose(objective(model, whole) / objective.weight(whole), expected, atol=1e-6)
    found = sums(objective, model, whole)
    measured = objective.metrics(found)
    assert measured["loss"] == pytest.approx(F.binary_cross_entropy_with_logits(logits, flags).item(), rel=1e-6)
    assert measured.keys() == set(objective.metric_names)
    assert told == [tuple(tuned_thresholds(sigmoid(found["logits"]), flags.numpy()).tolist())]
    # Those thresholds give the same numbers on the same rows; one half gives other ones.
    assert MultiLabel(told[0]).metrics(found) == measured
    assert MultiLabel((0.5,) * 3).metrics(found)["macro_f1"] <= measured["macro_f1"]


def test_scores() -> None:
    model = encoder("bert", Output(OutputKind.score))
    targets = torch.tensor([0.5, -1.0, 2.0, 4.0])
    whole, objective = batch(targets), Regress()
    expected = F.mse_loss(row_logits(model, whole)[:, 0], targets)
    assert torch.isclose(objective(model, whole) / objective.weight(whole), expected)
    found = sums(objective, model, whole)
    measured = objective.metrics(found)
    assert measured["loss"] == pytest.approx(measured["mse"]) == pytest.approx(expected.item())
    assert measured.keys() == set(objective.metric_names)
    constant = objective.metrics(found | {"scores": np.ones(4)})
    assert (constant["pearson"], constant["spearman"]) == (0, 0)
    assert Regress(varied=False).metrics(found | {"labels": np.ones(4)}).keys() == {"loss", "mse", "mae"}


def test_the_second_segment_is_heard_and_padding_is_not() -> None:
    model = encoder("bert", Output(OutputKind.label, LABELS))
    given = batch(torch.tensor([0, 1]))
    plain = row_logits(model, given)
    segments = (torch.arange(12) > 1).long().expand(2, 12)
    assert not torch.allclose(row_logits(model, given | {"segments": segments}), plain)
    longer = {**given, "tokens": F.pad(given["tokens"], (0, 4), value=7)}
    assert torch.allclose(row_logits(model, longer), plain, atol=1e-6)
