"""Charts: round ticks, no lost spike, nothing that is not a number."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from bigtrain.evaluation.svg import Axis, Series, chart, moving_average, thinned


def parsed(svg):
    assert "nan" not in svg.lower().replace("domin", "")
    assert "inf" not in svg.lower()
    return ElementTree.fromstring(svg)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.9, 5.1, [1, 2, 3, 4, 5]),
        (0, 24_000, [0, 5e3, 1e4, 1.5e4, 2e4]),
        (-3, 2, [-3, -2, -1, 0, 1, 2]),
    ],
)
def test_linear_ticks(low, high, ticks):
    assert Axis(low, high, 0, 1).ticks() == ticks


@pytest.mark.parametrize(("low", "high"), [(1.4, 9), (3.2, 10.9), (1e-5, 10), (0.2, 0.9), (5, 50_000), (1, 3.1)])
def test_logarithmic_ticks(low, high):
    ticks = Axis(low, high, 0, 1, log=True).ticks()
    assert 3 <= len(ticks) <= 9
    assert all(low <= tick <= high for tick in ticks)
    assert ticks == sorted(set(ticks))
    leading = {round(tick / 10 ** math.floor(math.log10(tick) + 1e-9), 6) for tick in ticks}
    assert all(digits == round(digits, 1) for digits in leading)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1, 1e6, 1e20])
def test_ticks_of_any_size_are_apart(scale):
    ticks = Axis(1.23 * scale, 4.56 * scale, 0, 1).ticks()
    assert 3 <= len(ticks) <= 8
    assert len(set(ticks)) == len(ticks)


def test_axis_is_a_straight_line_in_its_own_scale():
    linear, log = Axis(10, 20, 100, 0), Axis(1, 100, 0, 200, log=True)
    assert linear(np.array([10, 15, 20])).tolist() == [100, 50, 0]
    np.testing.assert_allclose(log(np.array([1, 10, 100])), [0, 100, 200])


def test_thinning_keeps_spikes_order_and_ends():
    x, y = np.arange(1_000_000.0), np.sin(np.arange(1_000_000) / 1e4)
    y[123_456], y[777_777] = 50, -50
    few_x, few_y = thinned(x, y)
    assert len(few_x) <= 600
    assert {50.0, -50.0} <= set(few_y)
    assert (np.diff(few_x) > 0).all()
    assert (few_x[0], few_x[-1]) == (0, 999_999)
    np.testing.assert_array_equal(y[few_x.astype(int)], few_y)


def test_moving_average_keeps_lines_and_calms_noise():
    line = np.linspace(3, 7, 500)
    np.testing.assert_allclose(moving_average(line), line, atol=1e-9)
    noise = np.random.default_rng(0).normal(size=5000)
    assert moving_average(noise)[100:-100].std() < 0.2


@pytest.mark.parametrize(
    "y",
    [
        [1.0],
        [2.0, 2.0],
        [0.0, 0.0, 0.0],
        [1.0, math.nan, math.inf, 2.0],
        [-1.0, 5.0],
        [1e-9, 1e9],
        [1e300, 1.0],
        [0.0, 10.0],
    ],
)
@pytest.mark.parametrize("options", [{}, {"log": True}, {"from_zero": True}, {"log": True, "from_zero": True}])
def test_any_values_give_a_chart_inside_its_frame(y, options):
    tree = parsed(chart("a", "A", [Series("train", np.arange(len(y)), np.array(y), marked=True)], **options))
    left, top, width, height = map(float, tree.attrib["viewBox"].split())
    for element in tree.iter():
        for points in re.findall(r"\S+,\S+", element.attrib.get("points", "")):
            a, b = map(float, points.split(","))
            assert left <= a <= width
            assert top <= b <= height
        if element.tag == "circle":
            assert top <= float(element.attrib["cy"]) <= height


@pytest.mark.parametrize("series", [[], [Series("train", np.array([]), np.array([]))], [Series("t", [1], [math.nan])]])
def test_without_points_there_is_no_chart(series):
    assert chart("a", "A", series) == ""


def test_a_chart_is_readable_without_eyes_and_safe():
    series = [Series("<b>&", np.array([0, 1000]), np.array([4.0, 2.5]), marked=True)]
    tree = parsed(chart("loss", "Loss & <more>", series))
    title, desc = tree.find("title"), tree.find("desc")
    assert tree.attrib["role"] == "img"
    assert tree.attrib["aria-labelledby"] == f"{title.attrib['id']} {desc.attrib['id']}"
    assert title.text == "Loss & <more>"
    assert desc.text == "<b>&: from 4 at 0 to 2.5 at 1k, lowest 2.5"
    assert "<b>& 2.5" in [text.text for text in tree.iter("text")]


def test_a_long_noisy_curve_has_its_average_drawn_over_it():
    x = np.arange(500.0)
    few, many = Series("train", x[:50], x[:50] % 7, noisy=True), Series("train", x, x % 7, noisy=True)
    assert len(list(parsed(chart("a", "A", [few])).iter("polyline"))) == 1
    pale, bold = parsed(chart("a", "A", [many])).iter("polyline")
    assert "pale" in pale.attrib["class"]
    assert "pale" not in bold.attrib["class"]


@pytest.mark.parametrize("name", ["validation of set", "数据集", "x" * 200])
def test_no_name_of_the_legend_ends_beyond_the_picture(name):
    series = [Series(f"{name} {number}", np.arange(5.0), np.arange(5.0) + 1000 * number) for number in range(6)]
    picture = parsed(chart("a", "A", series))
    _, _, width, height = map(float, picture.get("viewBox").split())
    texts = [node for node in picture if node.tag == "text"]
    assert len(texts) == 6
    for text in texts:
        letters = sum(2 if ord(letter) > 0x2E80 else 1 for letter in text.text)
        assert float(text.get("x")) + 6.6 * letters <= width + 1
    drawn = next(node for node in picture if node.tag == "g")
    lower = float(drawn.get("transform").removeprefix("translate(0 ").removesuffix(")"))
    assert max(float(text.get("y")) for text in texts) <= 34 + lower  # above the curves
    assert height == 260 + lower
    one = parsed(chart("a", "A", series[:1]))
    assert one.get("viewBox") == "0 0 480 260"
