"""What is held out: by document and by tail."""

import random
from pathlib import Path

import numpy as np
import pytest

from bigtrain.data.schema import SplitBy
from bigtrain.data.split import PARTS, TEST, TRAIN, VALIDATION, Split, stable_hash
from bigtrain.errors import UserError

MANY = [f"document {n}" for n in range(2000)]


def hashes(texts: list[str]) -> np.ndarray:
    return np.array([stable_hash(text.encode()) for text in texts], np.uint64)


def parts(by: SplitBy, validation: float, given: list[str], test: float = 0.0, *, grouped: bool = False) -> dict:
    """The texts, or their pieces, of each part."""
    numbers = Split(by, validation, test).numbers(hashes(given))
    n_documents = np.bincount(numbers, minlength=len(PARTS)).tolist()
    split = Split(by, validation, test).settled(n_documents, sum(map(len, given)), grouped=grouped)
    result: dict[str, list[str]] = {part: [] for part in PARTS}
    start = 0
    for text, number in zip(given, numbers, strict=True):
        pieces = [(number, text)] if split.by is SplitBy.document else split.pieces(start, text)
        for place, piece in pieces:
            result[PARTS[place]].append(piece)
        start += len(text)
    return result


def test_by_document_the_shares_are_about_right() -> None:
    found = parts(SplitBy.document, 0.1, MANY, 0.2)
    assert 150 < len(found[VALIDATION]) < 250
    assert 330 < len(found[TEST]) < 470
    assert sorted(found[TRAIN] + found[VALIDATION] + found[TEST]) == sorted(MANY)


def test_by_document_the_part_depends_on_the_content_alone() -> None:
    """Documents that are added, moved or repeated change nothing for the others."""
    before = parts(SplitBy.document, 0.1, MANY, 0.1)
    grown = [*(f"new {n}" for n in range(500)), *MANY, *MANY[:50]]
    random.Random(0).shuffle(grown)
    after = parts(SplitBy.document, 0.1, grown, 0.1)
    for part in PARTS:
        assert set(before[part]) <= set(after[part])
    assert not set(after[TRAIN]) & (set(after[VALIDATION]) | set(after[TEST]))


def test_a_test_part_takes_nothing_from_the_validation_part() -> None:
    alone, both = parts(SplitBy.document, 0.1, MANY), parts(SplitBy.document, 0.1, MANY, 0.1)
    assert alone[VALIDATION] == both[VALIDATION]
    assert set(parts(SplitBy.document, 0.2, MANY)[VALIDATION]) > set(alone[VALIDATION])


def test_by_document_the_hash_does_not_change_between_versions() -> None:
    found = parts(SplitBy.document, 0.05, MANY[:125], 0.05)
    assert found[VALIDATION] == ["document 40", "document 70", "document 100", "document 118", "document 123"]
    assert found[TEST] == [f"document {n}" for n in (29, 32, 39, 58, 93, 104, 109)]


def test_by_tail_a_single_text_is_cut_as_nanogpt_cuts_it(test_data: Path) -> None:
    text = (test_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    cut = int(len(text) * 0.9)
    assert parts(SplitBy.tail, 0.1, [text]) == {TRAIN: [text[:cut]], VALIDATION: [text[cut:]], TEST: []}


@pytest.mark.parametrize("validation", [0.1, 0.2, 0.25, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("test", [0.0, 0.04])
def test_by_tail_nothing_is_lost(validation: float, test: float) -> None:
    given = ["äöü", "bb", "c" * 10, "dddd", "日本語", "f" * 9]
    text = "".join(given)
    split = parts(SplitBy.tail, validation, given, test)
    cut, second = int(len(text) * (1 - (validation + test))), int(len(text) * (1 - test))
    assert "".join(split[TRAIN]) == text[:cut]
    assert "".join(split[VALIDATION]) == text[cut:second]
    assert "".join(split[TEST]) == text[second:]
    assert "" not in split[TRAIN] + split[VALIDATION] + split[TEST]


def test_few_documents_fall_back_to_the_tail_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    given = ["one document only, of some length"]
    with caplog.at_level("INFO", "bigtrain"):
        found = parts(SplitBy.document, 0.1, given, 0.1)
    assert "too few documents (1)" in caplog.text
    assert all(found.values())


def test_groups_are_never_cut() -> None:
    with pytest.raises(UserError, match=r"data\.group_field=.*none in the validation part"):
        parts(SplitBy.document, 0.001, MANY[:5], grouped=True)
    with pytest.raises(UserError, match=r"data\.split_by=tail with data\.group_field="):
        parts(SplitBy.tail, 0.1, MANY, grouped=True)
    assert parts(SplitBy.document, 0.1, MANY, grouped=True) == parts(SplitBy.document, 0.1, MANY)


def test_no_other_part_when_none_is_wanted() -> None:
    for by in SplitBy:
        assert parts(by, 0.0, MANY) == {TRAIN: MANY, VALIDATION: [], TEST: []}


def test_a_test_part_alone() -> None:
    for by in SplitBy:
        found = parts(by, 0.0, MANY, 0.1)
        assert found[VALIDATION] == []
        assert found[TEST]


@pytest.mark.parametrize(("text", "fraction"), [("a", 0.1), ("a", 0.9), ("abc", 1e-20)])
def test_a_text_too_short_to_be_split(text: str, fraction: float) -> None:
    with pytest.raises(UserError, match="validation_fraction"):
        parts(SplitBy.document, fraction, [text])
    with pytest.raises(UserError, match="test_fraction"):
        parts(SplitBy.document, 0.0, [text], fraction)
