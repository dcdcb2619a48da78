import numpy as np
import pytest

from bigtrain.objectives.classify import scores


def test_scores_of_a_worked_example():
    # truth 0: 3 right, 1 taken for 1; truth 1: 2 right, 2 taken for 2; truth 2: 4 right
    confusion = np.array([[3, 1, 0], [0, 2, 2], [0, 0, 4]], float)
    f1 = [2 * 3 / (6 + 1), 2 * 2 / (4 + 1 + 2), 2 * 4 / (8 + 2)]
    assert scores(confusion) == pytest.approx({"accuracy": 9 / 12, "macro_f1": sum(f1) / 3})


def test_a_label_that_never_occurs_does_not_count():
    assert scores(np.array([[5, 0], [0, 0]], float)) == {"accuracy": 1.0, "macro_f1": 1.0}


def test_a_label_never_predicted_counts_as_zero():
    assert scores(np.array([[5, 0], [5, 0]], float))["macro_f1"] == pytest.approx((2 * 5 / 15 + 0) / 2)
