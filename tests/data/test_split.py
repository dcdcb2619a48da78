"""What is held out: by document and by tail."""

import random
from pathlib import Path

import pytest

from bigtrain.data.schema import SplitBy
from bigtrain.data.sources import Document
from bigtrain.data.split import TRAIN, VALIDATION, Split
from bigtrain.errors import UserError


def documents(*texts: str) -> list[Document]:
    return [Document(text, Path("x")) for text in texts]


MANY = documents(*(f"document {n}" for n in range(2000)))


def parts(split: Split, given: list[Document]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {TRAIN: [], VALIDATION: []}
    for part, text in split.apply(given):
        result[part].append(text)
    return result


def test_by_document_the_share_is_about_right() -> None:
    split = Split.choose(MANY, SplitBy.document, 0.1)
    assert split.by is SplitBy.document
    assert 150 < len(parts(split, MANY)[VALIDATION]) < 250


def test_by_document_the_part_depends_on_the_content_alone() -> None:
    """Documents that are added, moved or repeated change nothing for the others."""
    before = parts(Split.choose(MANY, SplitBy.document, 0.1), MANY)
    grown = [*documents(*(f"new {n}" for n in range(500))), *MANY, *MANY[:50]]
    random.Random(0).shuffle(grown)
    after = parts(Split.choose(grown, SplitBy.document, 0.1), grown)
    assert set(before[VALIDATION]) <= set(after[VALIDATION])
    assert set(before[TRAIN]) <= set(after[TRAIN])
    assert not set(after[TRAIN]) & set(after[VALIDATION])


def test_by_document_the_hash_does_not_change_between_versions() -> None:
    held_out = parts(Split(SplitBy.document, 0.05), MANY[:125])[VALIDATION]
    assert held_out == ["document 40", "document 70", "document 100", "document 118", "document 123"]


def test_by_tail_a_single_text_is_cut_as_nanogpt_cuts_it(test_data: Path) -> None:
    text = (test_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    n = len(text)
    given = documents(text)
    assert parts(Split.choose(given, SplitBy.tail, 0.1), given) == {
        TRAIN: [text[: int(n * 0.9)]],
        VALIDATION: [text[int(n * 0.9) :]],
    }


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.5, 0.7, 0.95])
def test_by_tail_nothing_is_lost(fraction: float) -> None:
    given = documents("äöü", "bb", "c" * 10, "dddd", "日本語", "f")
    text = "".join(document.text for document in given)
    split = parts(Split.choose(given, SplitBy.tail, fraction), given)
    cut = int(len(text) * (1 - fraction))
    assert "".join(split[TRAIN]) == text[:cut]
    assert "".join(split[VALIDATION]) == text[cut:]
    assert "" not in split[TRAIN] + split[VALIDATION]


def test_few_documents_fall_back_to_the_tail_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    given = documents("one document only, of some length")
    with caplog.at_level("INFO", "bigtrain"):
        split = Split.choose(given, SplitBy.document, 0.1)
    assert split.by is SplitBy.tail
    assert "too few documents (1)" in caplog.text
    assert all(parts(split, given).values())


def test_no_validation_part_when_none_is_wanted() -> None:
    for by in SplitBy:
        assert parts(Split.choose(MANY, by, 0.0), MANY)[VALIDATION] == []


@pytest.mark.parametrize(("text", "fraction"), [("a", 0.1), ("a", 0.9), ("abc", 1e-20)])
def test_a_text_too_short_to_be_split(text: str, fraction: float) -> None:
    with pytest.raises(UserError, match="validation_fraction"):
        Split.choose(documents(text), SplitBy.document, fraction)


def test_the_tokenizer_learns_from_the_training_part_only() -> None:
    split = Split.choose(MANY, SplitBy.document, 0.1)
    assert list(split.training_text(MANY)) == parts(split, MANY)[TRAIN]
