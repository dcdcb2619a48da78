"""report.html: complete, safe, small, and without anything from elsewhere."""

import math
import re
from html.parser import HTMLParser

import pytest

from bigtrain.evaluation.report import write_report

ENVIRONMENT = {
    "bigtrain": "0.1.0",
    "torch": "2.13.0",
    "cpu": "A <fast> one",
    "cuda_devices": [],
    "started": "2026-01-01T00:00:00",
}
VOID = {"meta", "br", "hr"}


class Checker(HTMLParser):
    """Every element is closed where it should be; collects tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def record(step, split="train", **values):
    return {"step": step, "split": split, "tokens": step * 100, "seconds": step / 10, **values}


def training(n, every=10):
    for step in range(1, n + 1):
        yield record(step, loss=5 / math.sqrt(step), lr=0.1, grad_norm=1.0, tokens_per_second=1e4, mfu=None)
        if step % every == 0:
            yield record(step, "validation", loss=5.1 / math.sqrt(step), bits_per_byte=2 / math.sqrt(step))


def written(tmp_path, **parts):
    path = tmp_path / "report.html"
    given = {
        "title": "demo",
        "config_yaml": "seed: 1\n",
        "environment": ENVIRONMENT,
        "metrics": [],
        "samples": [],
        "result": {},
    }
    write_report(path, **{**given, **parts})
    text = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert len(text.encode()) < 2_000_000
    return text, checker


def test_everything_is_there_and_nothing_comes_from_elsewhere(tmp_path):
    samples = [{"step": 10, "prompt": "def f(", "text": "x):\n    return x"}]
    result = {
        "val_loss": 1.234,
        "seconds": 75.0,
        "parameters": 4_734_976,
        "stopped_by": "max_steps",
        "best": {"step": 3},
    }
    text, checker = written(tmp_path, metrics=list(training(100)), samples=samples, result=result)
    words = "".join(checker.words)
    for word in ("Loss", "Bits per byte", "Learning rate", "Gradient norm", "Tokens per second", "train", "validation"):
        assert word in words
    for word in (
        "def f(x):\n    return x",
        "seed: 1",
        "2.13.0",
        "A <fast> one",
        "1:15",
        "4.73M",
        "4,734,976",
        "max_steps",
    ):
        assert word in words
    assert checker.tags.count("svg") == 5  # no chart of MFU, which is not known
    assert not {"script", "link", "img", "iframe", "object"} & set(checker.tags)
    assert not [
        value for name, value in checker.attributes if name in ("src", "href", "srcset") or name.startswith("on")
    ]
    assert not re.search(r"url\(|@import|https?:", text)
    ids = [value for name, value in checker.attributes if name == "id"]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("n", [0, 1, 2, 59, 60, 61])
def test_few_points(tmp_path, n):
    _, checker = written(tmp_path, metrics=list(training(n)))
    assert checker.tags.count("svg") == (0 if n == 0 else 4 + (n >= 10))
    assert "nan" not in "".join(value for _, value in checker.attributes if value)


def test_a_long_run_stays_small(tmp_path):
    line = record(1, loss=1.0, lr=0.1, grad_norm=1.0, tokens_per_second=1e4)
    metrics = [{**line, "step": step, "loss": 2 + math.sin(step)} for step in range(300_000)]
    metrics += [record(step, "validation", loss=2.0, **{f"metric_{i}": 0.5 for i in range(60)}) for step in range(1000)]
    samples = [{"step": step, "prompt": '"' * 10_000, "text": '"' * 10_000} for step in range(500) for _ in range(10)]
    many = {f"key {i}": "x" * 10_000 for i in range(300)}
    text, _ = written(
        tmp_path, metrics=metrics, samples=samples, config_yaml="é" * 10**6, environment=many, result=many
    )
    assert len(text) > 100_000


def test_hostile_text_stays_text(tmp_path):
    evil = "<script>alert(1)</script>\"'&\x00\x1b[31m\ud800\r"
    sample = {"step": evil, "prompt": evil, "text": evil}
    metrics = [record(1, evil, loss=1.0, **{evil: 2.0}), record(2, evil, loss=1.0, **{evil: 2.0})]
    given = {
        "title": evil,
        "config_yaml": evil,
        "environment": {evil: evil},
        "samples": [sample],
        "result": {evil: evil},
    }
    text, checker = written(tmp_path, metrics=metrics, **given)
    assert "script" not in checker.tags
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
    assert "".join(checker.words).count("<script>alert(1)</script>") >= 8


def test_broken_numbers_are_left_out(tmp_path):
    metrics = [record(step, loss=loss, lr=None) for step, loss in enumerate([3.0, math.nan, math.inf, None, 2.0])]
    metrics.append({"step": None, "split": "validation", "loss": 1.0})
    text, _ = written(tmp_path, metrics=metrics, result={"val_loss": math.nan, "loss": None})
    assert not re.search(r'="[^"]*\b(nan|inf)\b', text)


def test_several_evaluations_share_a_chart_and_keep_their_colour(tmp_path):
    metrics = [
        record(step, split, loss=1.0 + step, accuracy=0.5) for step in (1, 2) for split in ("train", "wiki", "code")
    ]
    text, _ = written(tmp_path, metrics=metrics)
    accuracy = text.split("<figcaption>Accuracy</figcaption>")[1].split("</figure>")[0]
    assert set(re.findall(r"\bc\d\b", accuracy)) == {"c1", "c2"}
