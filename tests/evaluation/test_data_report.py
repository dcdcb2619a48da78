"""report.html of a prepared set: every number of the statistics, nothing from elsewhere, nothing that runs."""

import copy
import json
import random
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from bigtrain.evaluation.bars import Stage, histogram, share_bar, waterfall
from bigtrain.evaluation.data_report import write

STAGES = ("read", "clean", "decontaminate", "pii", "exact", "paragraphs", "near", "split")
VOID = {"meta"}


class Checker(HTMLParser):
    """Every element is closed where it should be; collects tags, attributes, headings and text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.words, self.headings = [], [], [], [], []

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
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def example(draw, text):
    return {"file": f"crawl/part-{draw.randrange(90)}.jsonl", "line": draw.randrange(100, 10**6), "text": text}


def statistics(seed=0):
    """What `prepare` might have counted: no two numbers alike, so that each can be looked for."""
    draw = random.Random(seed)
    number = lambda: draw.randrange(10**5, 10**7)  # noqa: E731
    stages, documents, n_bytes = [], 9 * 10**6 + 1, 7 * 10**10 + 3
    for name in STAGES:
        reasons = {f"{name}:rule_{i}": {"documents": number(), "bytes": number()} for i in range(draw.randrange(3))}
        for reason, facts in reasons.items():
            facts["sources"] = {"web": number(), "新闻": number()}
            facts["languages"] = {"de": number()}
            facts["examples"] = [example(draw, f"a page dropped by {reason}") | {"language": "de"}]
            facts["examples"][0] |= {"score": round(draw.random(), 4), "limit": round(draw.random(), 4)}
        after = documents - draw.randrange(10**5), n_bytes - draw.randrange(10**8)
        stages.append({"name": name, "documents_in": documents, "bytes_in": n_bytes, "reasons": reasons})
        documents, n_bytes = after
        stages[-1] |= {"documents_out": documents, "bytes_out": n_bytes}
    sources = {
        name: {
            **{
                key: number() for key in ("files", "documents", "documents_kept", "bytes", "bytes_kept", "replacements")
            },
            "weight": 2.5,
            "documents_again": number(),
            "bytes_again": number(),
            "tokens": {part: number() for part in ("train", "validation", "test")},
            "encodings": {"utf-8": number(), "gb18030": number()},
        }
        for name in ("web", "新闻")
    }
    kept, dropped = "The cat sat on the red mat.", "The cat sat on the blue mat."
    return {
        "stages": stages,
        "sources": sources,
        "languages": {name: {"documents": number(), "bytes": number()} for name in ("en", "zh", "de")},
        "lengths": {"edges": [1, 10, 100, 1000], "documents": [number(), number(), number()]},
        "quality": {"stop_words": {"edges": [0, 0.5, 1.0], "documents": [number(), number()]}},
        "edits": {"repaired_lines": number(), "notices": number(), "something_new": number()},
        "personal": {kind: {"count": number(), "samples": ["j***@e***.com"]} for kind in ("email", "iban")},
        "duplicates": {
            **{name: number() for name in ("exact", "near", "paragraphs")},
            "examples": [{"kept": example(draw, kept), "dropped": example(draw, dropped)}],
        },
        "contamination": [{**example(draw, "sixteen eggs per day"), "evaluation_file": "gsm8k", "evaluation_line": 77}],
        "tokenizer": {
            "bytes_per_token": 4.4123,
            "fertility": {"en": 1.271, "zh": 1.613},
            "longest_tokens": [" internationalization"],
            "candidates": [{"tokenizer": "bpe", "vocab_size": 8191}, {"tokenizer": "unigram", "vocab_size": 32767}],
        },
        "errors": {"count": number(), "examples": [{"file": "a.jsonl", "line": 12, "problem": "not JSON"}, "b: cut"]},
    }


MANIFEST = {
    "bigtrain": "0.2.0",
    "fingerprint": "9f" * 32,
    "tokenizer": {"hash": "ab" * 32, "vocab_size": 16384, "eos_id": 0},
    "splits": {
        "train": {"documents": 8_100_200, "tokens": 15_200_300_400, "bytes": 60_000_700_800},
        "validation": {"documents": 80_100, "tokens": 150_200_300, "bytes": 600_700_900},
    },
    "settings": {"clean": "web", "dedup": {"bands": 14}},
}


def written(folder, found, manifest=None):
    (folder / "statistics.json").write_text(json.dumps(found), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(MANIFEST if manifest is None else manifest), encoding="utf-8")
    write(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert len(page.encode()) < 2_000_000
    return page, checker


def numbers(value):
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield value


def test_every_number_and_every_example_is_there(tmp_path):
    found = statistics()
    page, checker = written(tmp_path, found)
    words = "".join(checker.words)
    for value in [*numbers(found), *numbers({**MANIFEST, "tokenizer": MANIFEST["tokenizer"]["vocab_size"]})]:
        assert (f"{value:,}" if isinstance(value, int) else f"{value:.4g}") in words, value
    for text in (
        "a page dropped by clean",
        "gsm8k, line 77",
        "sixteen eggs per day",
        " internationalization",
        "a.jsonl",
    ):
        assert text in words
    assert "The cat sat on the <mark>red</mark> mat." in page
    assert "The cat sat on the <mark>blue</mark> mat." in page
    assert len(checker.headings) == 13


def test_nothing_comes_from_elsewhere(tmp_path):
    page, checker = written(tmp_path, statistics())
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(checker.tags)
    assert not [value for name, value in checker.attributes if name in ("src", "href") or name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", page)
    ids = [value for name, value in checker.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 0
    for svg in re.findall(r"<svg.*?</svg>", page):
        ElementTree.fromstring(svg)


def test_the_same_set_gives_the_same_bytes(tmp_path):
    pages = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        pages.append(written(tmp_path / name, statistics())[0])
    assert pages[0] == pages[1]
    assert str(tmp_path) not in pages[0]


@pytest.mark.parametrize("name", sorted(statistics()))
def test_what_is_not_there_is_left_out(tmp_path, name):
    _, whole = written(tmp_path, statistics())
    for nothing in (None, type(statistics()[name])()):
        _, less = written(tmp_path, {**statistics(), name: nothing})
        assert set(less.headings) < set(whole.headings) or name in ("lengths", "quality")  # these two share a section
    found = {key: value for key, value in statistics().items() if key != name}
    assert len(written(tmp_path, found)[1].headings) <= 12 + (name in ("lengths", "quality"))


def test_almost_nothing_is_enough(tmp_path):
    assert written(tmp_path, {}, {})[1].headings == []
    empty = {"documents": 0, "tokens": 0, "bytes": 0}
    stage = {"name": "read", "documents_in": 0, "documents_out": 0, "bytes_in": 0, "bytes_out": 0, "reasons": {}}
    _, checker = written(tmp_path, {"stages": [stage]}, {"splits": {"train": empty, "validation": empty}})
    assert "nan" not in "".join(checker.words).lower()


def test_hostile_text_stays_text(tmp_path):
    evil = "<script>alert(1)</script>\"'&\x00\x1b[31m\ud800\r"

    def poisoned(value):
        if isinstance(value, dict):
            return {key if key in kept else evil + key: poisoned(item) for key, item in value.items()}
        if isinstance(value, list):
            return [poisoned(item) for item in value]
        return evil + value if isinstance(value, str) else value

    found = statistics()
    kept = set(re.findall(r'"(\w+)": ', json.dumps(found)))
    kept -= {"web", "en", "zh", "de", "email", "iban", "stop_words", "utf-8", "gb18030", "tokenizer", "fertility"}
    kept |= set(found) | set(MANIFEST) | {"hash", "vocab_size", "documents", "tokens", "bytes"}
    (tmp_path / "statistics.json").write_text(json.dumps(poisoned(found)))
    (tmp_path / "manifest.json").write_text(json.dumps(poisoned(copy.deepcopy(MANIFEST))))
    write(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "script" not in checker.tags
    assert "".join(checker.words).count("<script>alert(1)</script>") > 30
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)


def test_a_large_set_still_gives_a_small_page(tmp_path):
    draw, long = random.Random(0), '"' * 3000
    found = statistics()
    examples = [example(draw, long)] * 10
    found["stages"][1]["reasons"] = {
        f"{long}{i}": {"documents": 5, "bytes": 5, "examples": examples} for i in range(500)
    }
    found["sources"] = {f"{'&' * 300}{i}": found["sources"]["web"] for i in range(1000)}
    found["quality"] = {f"score {i}": {"edges": list(range(1001)), "documents": [10**9 + 7] * 1000} for i in range(100)}
    found["contamination"] *= 5000
    found["duplicates"]["examples"] = [{"kept": examples[0], "dropped": example(draw, "a " * 2000)}] * 300
    found["errors"]["examples"] = [long] * 1000
    found["tokenizer"]["longest_tokens"] = [long] * 1000
    found["tokenizer"]["fertility"] = {f"{long}{i}": 1.5 for i in range(1000)}
    written(tmp_path, found)


def test_waterfall_bars_have_the_lengths_of_their_numbers():
    svg = waterfall("w", "Documents", [Stage("read", 1000, 800), Stage("clean", 800, 799), Stage("pii", 799, 900)])
    widths = [float(width) for width in re.findall(r'<rect class="fill c0" [^>]*width="([\d.]+)"', svg)]
    assert widths[0] / widths[2] == pytest.approx(800 / 900, rel=1e-2)
    assert [float(w) for w in re.findall(r'<rect class="taken" [^>]*width="([\d.]+)"', svg)] == [
        pytest.approx(widths[0] / 4, rel=1e-2),
        1.5,  # too thin to be seen
    ]
    for text in ("200 (20.0%)", "1 (0.1%)", "+101"):
        assert text in svg
    assert waterfall("w", "Documents", [Stage("read", 0, 0)]) == ""


@pytest.mark.parametrize(
    ("edges", "counts", "hints"),
    [
        ([0, 1, 2, 3], [0, 5, 0], ["1 to 2: 5"]),
        ([0, 10, 20], [3, 4, 7], ["0 to 10: 3", "10 to 20: 4", "20 or more: 7"]),
        ([-1, 0, float("inf")], [2, 1], ["-1 to 0: 2", "0 or more: 1"]),
    ],
)
def test_histogram_bins(edges, counts, hints):
    svg = histogram("h", "Scores", edges, counts)
    ElementTree.fromstring(svg)
    assert re.findall(r"<title>(.*?)</title></rect>", svg) == hints
    assert "inf" not in svg
    assert histogram("h", "Scores", edges, [0] * len(counts)) == ""


def test_many_bins_are_added_up_and_none_is_lost():
    counts = [random.Random(i).randrange(1, 50) for i in range(997)]
    bins = re.findall(r"<title>[^<]*: ([\d,]+)</title></rect>", histogram("h", "Scores", range(998), counts))
    assert len(bins) <= 60
    assert sum(int(count.replace(",", "")) for count in bins) == sum(counts)


def test_the_parts_of_a_bar_lie_side_by_side():
    parts = re.findall(r'x="([\d.]+)" y="0" width="([\d.]+)"', share_bar([30, 10], 80))
    assert [tuple(map(float, part)) for part in parts] == [(0, 60), (60, 20)]
