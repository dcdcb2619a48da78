"""The sections of a task model's report: what they say, safe, small, inside their frames; predictions as a file."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from bigtrain.evaluation.report import write_report
from bigtrain.evaluation.svg import heat_map
from bigtrain.evaluation.task_report import (
    answers_section,
    calibration_section,
    labels_section,
    write_predictions,
    wrong_rows_section,
)
from bigtrain.metrics.classification import best_guess, confusion_matrix

EVIL = "<script>alert(1)</script>\"'&\x00\ud800"


def drawn(n_labels, n_rows=500):
    """(probabilities, labels) of a model that is often right."""
    draw = np.random.default_rng(n_labels)
    labels = draw.integers(n_labels, size=n_rows)
    exponentials = np.exp(draw.normal(size=(n_rows, n_labels)) + 2.5 * np.eye(n_labels)[labels])
    return exponentials / exponentials.sum(1, keepdims=True), labels


def parsed(html):
    """The section as a tree: every element closed, every character escaped."""
    assert not re.search(r"\b(nan|inf)\b", html)
    return ElementTree.fromstring(re.sub(r"=(\w+)([ >])", r'="\1"\2', html))  # attributes without quotes


def cells(section):
    return [["".join(cell.itertext()) for cell in row] for row in parsed(section).iter("tr")]


def report(path, sections):
    write_report(path, title="t", config_yaml="", environment={}, metrics=[], samples=[], result={}, sections=sections)
    return path.read_text(encoding="utf-8")


def counted(confusion):
    """Truth and predictions that a confusion matrix counts."""
    return np.divmod(np.repeat(np.arange(confusion.size), confusion.ravel()), len(confusion))


def test_labels_by_hand():
    confusion = np.array([[8, 2, 0], [1, 4, 0], [0, 0, 0]])
    section = labels_section(["World", "Sports", "Never"], *counted(confusion))
    assert cells(section) == [
        ["label", "precision", "recall", "F1", "rows"],
        ["World", "0.889", "0.800", "0.842", "10"],
        ["Sports", "0.667", "0.800", "0.727", "5"],
        ["Never", "0.000", "0.000", "0.000", "0"],
    ]
    (picture,) = parsed(section).iter("svg")
    hints = [hint.text for hint in picture.iter("title")][1:]
    assert hints == [
        "World as World: 8 of 10 (80.0%)",
        "World as Sports: 2 of 10 (20.0%)",
        "Sports as World: 1 of 5 (20.0%)",
        "Sports as Sports: 4 of 5 (80.0%)",
    ]
    description = "World: 8 of 10 right, 2 as Sports; Sports: 4 of 5 right, 1 as World; Never: 0 of 0 right"
    assert picture.find("desc").text == description
    assert picture.attrib["role"] == "img"
    assert [rect.attrib["class"][-2:] for rect in picture.iter("rect")] == ["c0", "c1", "c1", "c0"]


@pytest.mark.parametrize("called", ["L{}", "a rather long name of a label {}", "体育新闻和娱乐新闻以及其他{}"])
@pytest.mark.parametrize("n_labels", [1, 2, 6, 7, 13, 20])
def test_a_heat_map_of_up_to_twenty_labels_is_inside_its_frame(n_labels, called):
    counts = np.random.default_rng(0).integers(100_000, size=(n_labels, n_labels))
    tree = ElementTree.fromstring(heat_map("a", "A", [called.format(i) for i in range(n_labels)], counts))
    _, _, width, height = map(float, tree.attrib["viewBox"].split())
    corners = []
    for rect in tree.iter("rect"):
        x, y, w, h = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
        assert w > 30  # room for a number of four digits
        corners.append((x, y, w, h))
    assert len(corners) == n_labels**2
    top, left = min(corner[1] for corner in corners), min(corner[0] for corner in corners)
    for text in tree.iter("text"):
        letters = sum(2 if ord(one) > 0x2E80 else 1 for one in text.text)
        long = 6 * letters
        if "transform" in text.attrib:
            x, y = map(float, re.search(r"translate\((\S+) (\S+)\) rotate", text.attrib["transform"]).groups())
            assert y - long >= 0
            assert y < top
        else:
            x, anchor = float(text.attrib["x"]), text.attrib.get("text-anchor", "start")
            assert x - {"end": long, "middle": long / 2, "start": 0}[anchor] >= 0
            assert x < left or anchor != "end"
        assert 0 < x < width


def test_more_labels_than_a_picture_holds():
    names = [f"label {number}" for number in range(30)]
    probabilities, labels = drawn(30, 3000)
    confusion = confusion_matrix(labels, probabilities.argmax(1), 30)
    confusion[3] = 0
    confusion[3, 7], confusion[3, 3] = 500, 1
    section = labels_section(names, *counted(confusion))
    assert "<svg" not in section
    rows = cells(section)
    assert rows[:2] == [
        ["truth", "prediction", "rows", "share of the truth"],
        ["label 3", "label 7", "500", "99.8%"],
    ]
    pairs, table = rows[1:21], rows[21:]
    counts = [int(row[2]) for row in pairs]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] > 0
    assert all(truth != prediction for truth, prediction, *_ in pairs)
    assert table[0][0] == "label"
    assert len(table) == 31
    assert table[1][0] == "label 3"  # the worst first
    f1 = [float(row[3]) for row in table[1:]]
    assert f1 == sorted(f1)
    assert "Confused" not in labels_section(names, *counted(np.eye(30, dtype=int)))


def test_calibration():
    confidence, right = np.array([0.6, 0.6, 0.95, 0.95]), np.array([1, 0, 1, 1])
    section = calibration_section(confidence, right)
    assert cells(section) == [
        ["confidence", "rows", "mean confidence", "share right", "difference"],
        ["0.53 to 0.60", "2", "0.600", "0.500", "-0.100"],
        ["0.93 to 1.00", "2", "0.950", "1.000", "+0.050"],
    ]
    assert "Expected calibration error: 0.0750" in section
    reliable, _ = parsed(section).iter("svg")
    points = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in reliable.iter("circle")]
    assert len(points) == 2
    assert points[0][0] < points[1][0]
    assert points[0][1] > points[1][1]


def test_the_most_confident_errors_come_first():
    rows = [
        {"text": f"text {i}", "label": "a", "predicted": "ab"[i % 2], "confidence": i / 100, "where": f"x.csv:{i}"}
        for i in range(100)
    ]
    section = wrong_rows_section(iter(rows))
    shown = [
        "".join(example.itertext()) for example in parsed(section).iter("div") if example.get("class") == "example"
    ]
    assert len(shown) == 20
    assert shown[0] == "a taken for b, confidence 0.990, x.csv:99text 99"
    assert [float(re.search(r"confidence (\S+),", one)[1]) for one in shown] == [i / 100 for i in range(99, 60, -2)]
    assert wrong_rows_section([row for row in rows if row["label"] == row["predicted"]]) == ""


def answer(number, **changes):
    texts = {"prompt": f"say {number}", "answer": f"wanted {number}", "generated": f"said {number}"}
    return {**texts, "finished": number % 2, "chrf": number, "rouge_l": number / 40, "where": f"f:{number}", **changes}


def test_answers_from_the_worst_to_the_best():
    section = answers_section([answer(number) for number in reversed(range(40))])
    examples = [one for one in parsed(section).iter("div") if one.get("class") == "example"]
    heads = [one.find("p").text for one in examples]
    assert len(heads) == 12
    assert heads[0] == "ROUGE-L 0.000, chrF 0.0, without an end, f:0"
    assert heads[-1] == "ROUGE-L 0.975, chrF 39.0, f:39"
    assert [text.text for text in examples[-1].iter("pre")] == ["say 39", "wanted 39", "said 39"]
    assert answers_section([answer(0, prompt=EVIL, generated=EVIL * 1000)]).count("&lt;script&gt;") > 1
    assert "<script" not in answers_section([answer(0, prompt=EVIL, answer=EVIL, generated=EVIL, where=EVIL)])


def test_a_report_with_all_of_it(tmp_path):
    probabilities, labels = drawn(20)
    names = [f"{EVIL} {number}" for number in range(20)]
    wrong = [
        {"text": EVIL * 10_000, "label": EVIL * 999, "predicted": "x", "confidence": 0.9, "where": EVIL * 999}
        for _ in range(1000)
    ]
    sections = [
        labels_section(names, labels, probabilities.argmax(1)),
        calibration_section(*best_guess(probabilities, labels)),
        wrong_rows_section(wrong),
    ]
    page = report(tmp_path / "report.html", sections)
    assert len(page.encode()) < 500_000
    assert "<script" not in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) == 6
    many = [EVIL * 100 + str(number) for number in range(1500)]
    page = report(tmp_path / "many.html", [labels_section(many, *counted(np.ones((1500, 1500), int)))])
    assert len(page.encode()) < 1_000_000
    assert ".example" not in report(tmp_path / "plain.html", [])  # nothing to style


def test_predictions(tmp_path):
    path = tmp_path / "predictions.jsonl"
    rows = [{"text": "中文\u2028\n", "label": "a", "confidence": 0.5}, {"text": "\ud800"}]
    write_predictions(path, iter(rows))
    lines = path.read_bytes().split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == rows
    assert "中文".encode() in lines[0]
    assert lines[-1] == b""
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_predictions(path, [{"loss": math.nan}])
    assert path.read_bytes().split(b"\n") == lines  # what was there is whole
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
