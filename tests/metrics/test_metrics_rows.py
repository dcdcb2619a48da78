"""Metrics of labels and numbers against scikit-learn and scipy, and by hand."""

import tracemalloc

import numpy as np
import pytest

from bigtrain.metrics.classification import (
    Counts,
    best_guess,
    calibration_error,
    classification,
    confused,
    confusion_matrix,
    count_scores,
    label_counts,
    per_class,
    reliability,
)
from bigtrain.metrics.multi_label import multi_label, per_label, tuned_thresholds
from bigtrain.metrics.ranking import average_precision, ranks, roc_auc
from bigtrain.metrics.regression import regression

sklearn = pytest.importorskip("sklearn.metrics")
stats = pytest.importorskip("scipy.stats")


def softmax(logits):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def drawn(seed, n_labels, n_rows, rounded=False):
    """Probabilities that know something of the labels, all of which occur; `rounded` gives ties."""
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_labels), draw.integers(n_labels, size=n_rows - n_labels)])
    logits = draw.normal(size=(n_rows, n_labels)) + 1.5 * np.eye(n_labels)[labels]
    return softmax(np.round(logits) if rounded else logits), labels


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("n_labels", [2, 3, 10])
@pytest.mark.parametrize("seed", range(4))
def test_classification_as_scikit_learn(seed, n_labels, rounded):
    probabilities, labels = drawn(seed, n_labels, 60 + seed, rounded)
    predictions = probabilities.argmax(1)
    expected = {
        "accuracy": sklearn.accuracy_score(labels, predictions),
        "balanced_accuracy": sklearn.balanced_accuracy_score(labels, predictions),
        "mcc": sklearn.matthews_corrcoef(labels, predictions),
    }
    for average in ("macro", "micro", "weighted"):
        values = sklearn.precision_recall_fscore_support(labels, predictions, average=average, zero_division=0)
        expected |= {f"{average}_{name}": value for name, value in zip(("precision", "recall", "f1"), values[:3])}  # noqa: B905
    if n_labels == 2:
        expected["roc_auc"] = sklearn.roc_auc_score(labels, probabilities[:, 1])
        expected["pr_auc"] = sklearn.average_precision_score(labels, probabilities[:, 1])
    else:
        one_hot = np.eye(n_labels, dtype=int)[labels]
        expected["roc_auc"] = sklearn.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
        expected["pr_auc"] = sklearn.average_precision_score(one_hot, probabilities, average="macro")
    found = classification(probabilities, labels)
    del found["ece"]  # scikit-learn has none
    assert found == pytest.approx(expected, abs=1e-12)


def test_labels_that_never_occur_do_not_count():
    truth, predictions = np.array([0, 0, 1, 1]), np.array([0, 3, 1, 1])  # 2 and 4 of 5 occur on neither side
    confusion = confusion_matrix(truth, predictions, 5)
    np.testing.assert_array_equal(confusion, sklearn.confusion_matrix(truth, predictions, labels=range(5)))
    counts = label_counts(truth, predictions, 5)
    for count, same in zip(counts, (np.diag(confusion), confusion.sum(0), confusion.sum(1)), strict=True):
        np.testing.assert_array_equal(count, same)
    places = confusion.nonzero()
    for values, same in zip(confused(truth, predictions, 5), (*places, confusion[places]), strict=True):
        np.testing.assert_array_equal(values, same)
    found = count_scores(counts)
    expected = sklearn.f1_score(truth, predictions, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["balanced_accuracy"] == pytest.approx(0.75)  # recall of the two labels that are true of some row
    found = classification(np.eye(5)[predictions], truth)
    assert "roc_auc" not in found
    assert "pr_auc" not in found


def test_macro_f1_is_the_mean_over_labels_that_occur():
    draw = np.random.default_rng(0)
    for _ in range(50):
        confusion = draw.integers(4, size=(6, 6)) * draw.integers(2, size=(6, 1))
        confusion[0, 1] += 1
        right, total = np.diag(confusion), confusion.sum(0) + confusion.sum(1)
        occurring = [2 * right[i] / total[i] for i in range(6) if total[i]]
        counts = Counts(right, confusion.sum(0), confusion.sum(1))
        assert count_scores(counts)["macro_f1"] == pytest.approx(np.mean(occurring))


@pytest.mark.parametrize("predictions", [[0, 0, 0], [1, 1, 1], [0, 1, 0]])
def test_one_label_only(predictions):
    found = classification(np.eye(2)[predictions], np.zeros(3, int))
    assert found["mcc"] == 0
    assert found["accuracy"] == found["balanced_accuracy"] == found["micro_f1"] == predictions.count(0) / 3
    assert not {"roc_auc", "pr_auc"} & set(found)
    assert all(np.isfinite(value) for value in found.values())


def test_per_class_as_scikit_learn():
    probabilities, labels = drawn(3, 7, 100)
    predictions = probabilities.argmax(1)
    expected = sklearn.precision_recall_fscore_support(labels, predictions, labels=range(7), zero_division=0)
    found = per_class(label_counts(labels, predictions, 7))
    assert list(found) == ["precision", "recall", "f1", "support"]
    for values, others in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(values, others)


def test_calibration_by_hand():
    """Bins end at fifteenths: 0.6 = 9/15 belongs below its edge, 0.61 above."""
    confidence = np.array([0.6, 0.6, 0.61, 0.99, 0.98, 1.0])
    right = np.array([1, 0, 1, 1, 1, 0])
    probabilities = np.stack([confidence, 1 - confidence], 1)
    table = reliability(confidence, right)
    assert {i: n for i, n in enumerate(table.rows.tolist()) if n} == {8: 2, 9: 1, 14: 3}
    assert table.accuracy[[8, 9, 14]].tolist() == pytest.approx([0.5, 1, 2 / 3])
    assert table.confidence[[8, 9, 14]].tolist() == pytest.approx([0.6, 0.61, 0.99])
    assert np.isnan(table.accuracy[0])
    expected = (2 * 0.1 + 1 * 0.39 + 3 * (0.99 - 2 / 3)) / 6
    assert classification(probabilities, 1 - right)["ece"] == pytest.approx(expected)


def test_calibration_of_a_well_calibrated_model_is_near_zero():
    draw = np.random.default_rng(0)
    probabilities = softmax(draw.normal(size=(50_000, 4)))
    labels = (draw.random((50_000, 1)) > probabilities.cumsum(1)).sum(1)
    assert classification(probabilities, labels)["ece"] < 0.01
    assert classification(np.eye(4)[[0, 1]], np.array([1, 1]))["ece"] == pytest.approx(0.5)


def peak(function, *given):
    """Bytes that a call holds at once."""
    tracemalloc.start()
    try:
        function(*given)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_square_of_the_labels():
    labels = np.arange(50) * 59
    probabilities = np.eye(3000, dtype=np.float32)[labels]
    assert peak(classification, probabilities, labels) < 10 * probabilities.nbytes < 3000**2


def test_several_labels_take_few_times_the_memory_of_their_table():
    probabilities = np.random.default_rng(0).random((1000, 50))
    labels, thresholds = probabilities > 0.4, np.full(50, 0.5)
    assert peak(multi_label, probabilities, labels, thresholds) < 6 * probabilities.nbytes


def test_half_precision_gives_full_precision_metrics():
    probabilities, labels = drawn(0, 3, 500)
    half = probabilities.astype(np.float16)
    assert classification(half, labels) == classification(half.astype(np.float64), labels)


@pytest.mark.parametrize("seed", range(20))
def test_ranking_as_scikit_learn_with_ties(seed):
    draw = np.random.default_rng(seed)
    scores, positive = draw.integers(-4, 5, size=40) / 4, draw.integers(2, size=40)
    np.testing.assert_array_equal(ranks(scores), stats.rankdata(scores))
    assert roc_auc(scores, positive) == pytest.approx(sklearn.roc_auc_score(positive, scores), abs=1e-12)
    assert average_precision(scores, positive) == pytest.approx(sklearn.average_precision_score(positive, scores))


def test_ranking_by_hand():
    scores, positive = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0])
    assert roc_auc(scores, positive) == 0.75  # three of four pairs are in order
    assert average_precision(scores, positive) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    for constant in (np.zeros(4), np.ones(4)):
        assert roc_auc(scores, constant) is None
        assert average_precision(scores, constant) is None


@pytest.mark.parametrize("seed", range(6))
def test_multi_label_as_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.ones((1, 5), int), np.zeros((1, 5), int), draw.integers(2, size=(50, 5))])
    probabilities = np.round(1 / (1 + np.exp(-draw.normal(size=labels.shape) - labels)), 1)
    thresholds = np.array([0.5, 0.3, 0.7, 0.0, 1.1])  # the last two: always, and never
    predictions = (probabilities >= thresholds).astype(int)
    expected = {
        "subset_accuracy": sklearn.accuracy_score(labels, predictions),
        "roc_auc": sklearn.roc_auc_score(labels, probabilities, average="macro"),
        "pr_auc": sklearn.average_precision_score(labels, probabilities, average="macro"),
        "mcc": sklearn.matthews_corrcoef(labels.ravel(), predictions.ravel()),
        "ece": calibration_error(
            *best_guess(np.stack([1 - probabilities, probabilities], -1).reshape(-1, 2), labels.ravel())
        ),
    }
    for average in ("macro", "micro", "weighted"):
        values = sklearn.precision_recall_fscore_support(labels, predictions, average=average, zero_division=0)
        expected |= {f"{average}_{name}": value for name, value in zip(("precision", "recall", "f1"), values[:3])}  # noqa: B905
    assert multi_label(probabilities, labels, thresholds) == pytest.approx(expected, abs=1e-12)
    found = per_label(probabilities, labels, thresholds)
    names = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    counts = np.stack([found[name] for name in names], 1).reshape(-1, 2, 2)
    assert (counts == sklearn.multilabel_confusion_matrix(labels, predictions)).all()


def test_multi_label_with_a_label_nobody_has():
    labels, probabilities = np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.1], [0.2, 0.3]])
    found = multi_label(probabilities, labels, np.array([0.5, 0.5]))
    assert not {"roc_auc", "pr_auc"} & set(found)
    assert (found["subset_accuracy"], found["micro_f1"], found["macro_f1"], found["weighted_f1"]) == (1, 1, 0.5, 1)
    nothing = multi_label(probabilities, labels * 0, np.array([2, 2]))
    assert {value for name, value in nothing.items() if name != "ece"} == {0, 1}


@pytest.mark.parametrize("seed", range(30))
def test_no_threshold_is_better_than_the_tuned_one(seed):
    draw = np.random.default_rng(seed)
    labels = draw.integers(2, size=(30, 3))
    probabilities = np.round(np.clip(draw.normal(size=(30, 3)) / 5 + 0.3 + 0.2 * labels, 0, 1), seed % 3 + 1)
    tuned = tuned_thresholds(probabilities, labels)
    for column, threshold in enumerate(tuned):
        scores, truth = probabilities[:, column], labels[:, column]

        def f1(bound, scores=scores, truth=truth):
            predicted = scores >= bound
            return 2 * (predicted & (truth == 1)).sum() / max(1, predicted.sum() + truth.sum())

        assert f1(threshold) == pytest.approx(max(f1(bound) for bound in [*scores, 0.5, 2]))


def test_ties_of_thresholds_have_one_answer():
    def tuned(scores, truth):
        return tuned_thresholds(np.array(scores)[:, None], np.array(truth)[:, None]).tolist()

    assert tuned([0.1, 0.9], [0, 1]) == [0.5]  # one half is as good as any
    assert tuned([0.1, 0.3], [0, 0]) == [0.5]  # nothing to find
    assert tuned([0.1, 0.3], [0, 1]) == pytest.approx([0.2])
    assert tuned([0.6, 0.8], [0, 1]) == pytest.approx([0.7])
    # 2/3 from 0.85 on (one of two is found) and from 0.575 on (both, and two wrong ones): the nearer to one half
    assert tuned([0.9, 0.8, 0.7, 0.6, 0.55], [1, 0, 0, 1, 0]) == pytest.approx([0.575])
    neighbours = [0.25, np.nextafter(0.25, 1)]
    assert tuned(neighbours, [0, 1]) == [neighbours[1]]
    order = np.random.default_rng(0).permutation(5)
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6, 0.55]), np.array([1, 0, 0, 1, 0])
    assert tuned(scores[order], truth[order]) == tuned(scores, truth)


@pytest.mark.parametrize("seed", range(6))
def test_regression_as_scikit_learn_and_scipy(seed):
    draw = np.random.default_rng(seed)
    targets = np.round(draw.normal(size=50) * 2, seed % 3)
    predictions = np.round(targets + draw.normal(size=50), seed % 3)
    assert regression(predictions, targets) == pytest.approx(
        {
            "mse": sklearn.mean_squared_error(targets, predictions),
            "mae": sklearn.mean_absolute_error(targets, predictions),
            "r2": sklearn.r2_score(targets, predictions),
            "pearson": stats.pearsonr(predictions, targets).statistic,
            "spearman": stats.spearmanr(predictions, targets).statistic,
        },
        abs=1e-12,
    )


def test_regression_leaves_out_what_is_not_defined():
    assert regression(np.array([1.0, 2.0]), np.array([3.0, 3.0])) == {"mse": 2.5, "mae": 1.5}
    assert regression(np.array([2.0, 2.0]), np.array([1.0, 3.0])) == {"mse": 1.0, "mae": 1.0, "r2": 0.0}
