"""Gates on metrics."""

import math

import pytest

from bigtrain.errors import UserError
from bigtrain.evaluation.gates import Gate, parse


@pytest.mark.parametrize(
    ("gate", "value", "passes"),
    [
        (">=0.9", 0.9, True),
        (">=0.9", 0.899, False),
        (" > .9 ", 0.9, False),
        ("<= 1e-3", 0.001, True),
        ("<-2", -2.5, True),
        ("==1", 1.0, True),
        ("==1", 0.99, False),
        (">=0", math.nan, False),
        ("<=0", math.nan, False),
    ],
)
def test_a_gate_holds_or_says_what_is_wrong(gate, value, passes):
    missed = Gate.parse("accuracy", gate).missed({"accuracy": value})
    assert (missed is None) == passes
    if missed:
        assert missed.startswith("accuracy ")
        assert f"it is {value:.6g}" in missed


def test_a_metric_without_a_value_misses():
    assert "not known" in Gate.parse("bits_per_byte", "<2").missed({"loss": 1.0})


@pytest.mark.parametrize("text", ["", "0.9", "=0.9", "=>0.9", ">=", ">=high", ">=0.9 <1", ">=nan", "!=1"])
def test_malformed_gates(text):
    with pytest.raises(UserError, match=r"(?s)gates\.accuracy=.*one of >= <= == > <"):
        parse({"accuracy": text}, ("loss", "accuracy"))


def test_an_unknown_metric_lists_those_there_are():
    with pytest.raises(UserError, match=r"(?s)gates\.f1.*loss, accuracy"):
        parse({"accuracy": ">0", "f1": ">0"}, ("loss", "accuracy"))
