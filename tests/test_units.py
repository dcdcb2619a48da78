"""Numbers as people read them."""

import pytest

from bigtrain.units import clock, gib, si


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (7, "7"), (950, "950"), (999.7, "1k"), (12_345, "12.3k"), (-4_561_000, "-4.56M"), (2.5e12, "2.5T")],
)
def test_si(number, text):
    assert si(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "0:07"), (754, "12:34"), (3723, "1:02:03"), (59.6, "1:00")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_gib():
    assert gib(3 * 2**29) == "1.5 GiB"
