"""Sections whose names users make up: `data.sources.NAME.*` and `data.sets.NAME.*`, like `gates`."""

from pathlib import Path

import pytest
from composed import _packaged_configs_are_composed_once  # noqa: F401

from bigtrain.commands import configs
from bigtrain.config import from_plain, load, read_yaml, to_yaml
from bigtrain.config.completion import complete
from bigtrain.data.schema import DataConfig, Format, SetConfig, SourceConfig
from bigtrain.errors import UserError

BOOKS = "data.sources.books.files=x"


def data(*lines: str) -> DataConfig:
    config: DataConfig = load("pretrain", ["train.max_steps=1", *lines]).config.data
    return config


def error(*lines: str) -> str:
    with pytest.raises(UserError) as caught:
        data(*lines)
    return str(caught.value)


def test_entries_come_into_being_key_by_key() -> None:
    books = ["data.sources.books.files=[a b.txt, c/*.md]", "data.sources.books.weight=0.5"]
    web = ["data.sources.web.files=x, y=1.html", "data.sources.web.format=html", "data.sources.web.encoding=1e3"]
    with pytest.raises(UserError, match="1e3"):  # text, not a number; and no encoding
        data(*books, *web)
    assert data(*books, *web[:2]).sources == {
        "books": SourceConfig(files=["a b.txt", "c/*.md"], weight=0.5),
        "web": SourceConfig(files=["x, y=1.html"], format=Format.html),
    }
    assert data("data.sets.a.path=one, two", "data.sets.b.path='x'", "data.sets.b.weight=3").sets == {
        "a": SetConfig("one, two"),
        "b": SetConfig("'x'", 3.0),
    }


@pytest.mark.parametrize(
    "value", ["Hello, world.txt", "语料/*.txt", "a='b'", "(x).txt", " x ", "${HOME}", "null.txt", "1e3"]
)
def test_paths_are_verbatim(value: str) -> None:
    assert data(f"data.sources.books.files={value}").sources["books"].files == [value]
    assert data(f"data.sets.a.path={value}").sets["a"].path == value
    assert data(f"data.sources.语料.files={value}").sources["语料"].files == [value]


def test_a_plus_is_allowed_as_below_gates() -> None:
    assert data("+data.sources.books.files=x", "+data.sources.books.weight=2").sources["books"].weight == 2


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([BOOKS, "data.files=y"], ["data.files=['y'] and data.sources.books", "exactly one"]),
        ([BOOKS, "data.sets.a.path=y"], ["data.sources.books and data.sets.a", "exactly one"]),
        (["data.sets.a.path=y", "data=stdlib"], ["data=stdlib and data.sets.a", "exactly one"]),
        (["data.sources.books.weight=2"], ["data.sources.books without files", "data.sources.books.files="]),
        (["data.sets.a.weight=2"], ["data.sets.a.path is required", "give data.sets.a.path="]),
        (["data.sources.books=x"], ["data.sources.books=x", "section of keys"]),
        (["data.sources=x"], ["data.sources=x", "give data.sources.NAME.files="]),
        (["data.sources.books.wieght=2"], ["did you mean data.sources.books.weight=2?"]),
        ([BOOKS, "data.sources.books.weight=0"], ["data.sources.books.weight=0", "above 0"]),
        (
            ["data.sources.books.files=x", "data.sources.books.weight=much"],
            ["data.sources.books.weight=much", "number"],
        ),
        ([BOOKS, "data.sources.books.format=doc"], ["data.sources.books.format=doc", "parquet"]),
        (
            ["data.sources.books.files=x", "data.sources.books.encoding=klingon"],
            ["data.sources.books.encoding=klingon"],
        ),
        ([BOOKS, 'data.sources.books.text_field=[""]'], ["data.sources.books.text_field="]),
        (
            ["data.files=x", "data.validation_fraction=0.5", "data.test_fraction=0.5"],
            ["data.test_fraction=0.5", "left"],
        ),
    ],
)
def test_what_is_wrong_is_named(lines: list[str], words: list[str]) -> None:
    message = error(*lines)
    assert [word for word in words if word not in message] == []


def test_yaml_holds_entries_and_gives_them_back(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(
        "# Mine\nsources:\n  books:\n    files: [a.txt, b.txt]\n"
        "  web:\n    files: c.html\n    weight: ${data.sources.books.weight}\n"
    )
    loaded = load("prepare", ["data=mine", "data.sources.books.weight=3", "output=o"], config_dir=tmp_path)
    sources = {
        "books": SourceConfig(files=["a.txt", "b.txt"], weight=3),
        "web": SourceConfig(files=["c.html"], weight=3),
    }
    assert loaded.config.data.sources == sources
    assert from_plain("prepare", read_yaml(to_yaml(loaded))).data.sources == sources
    (tmp_path / "data" / "mine.yaml").write_text("sources:\n  books:\n    file: a.txt\n")
    with pytest.raises(UserError, match=r"data\.sources\.books\.file=a\.txt \(.*mine\.yaml, line 3\)"):
        load("prepare", ["data=mine", "output=o"], config_dir=tmp_path)
    (tmp_path / "data" / "mine.yaml").write_text("sources:\n  books: a.txt\n")
    with pytest.raises(UserError, match=r"data\.sources\.books=a\.txt \(.*mine\.yaml, line 2\)"):
        load("prepare", ["data=mine", "output=o"], config_dir=tmp_path)


def test_their_keys_are_listed() -> None:
    (kind, *_) = configs.run("data")["kinds"]
    keys = {row["key"] for row in kind["keys"]}
    assert {"data.sources", "data.sources.NAME.files", "data.sources.NAME.weight", "data.sets.NAME.path"} <= keys
    assert "data.sources=" in complete("prepare", [], "data.so")
