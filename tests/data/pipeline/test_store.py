"""The documents of a part on disk."""

import tracemalloc
from pathlib import Path

import pytest

from bigtrain.data.pipeline.store import Documents, DocumentWriter
from bigtrain.data.split import stable_hash

TEXTS = ["first", "zweiter: äöü", "", "第四\n", "\x00 \ud7ff"]


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    with DocumentWriter(tmp_path) as writer:
        for number, text in enumerate(TEXTS):
            writer.add(
                text,
                text.encode(),
                group=f"g{number % 2}" if number else None,
                line=number or None,
                files=f"f{number // 3}",
                sources="web",
                languages=("en", "de")[number % 2],
            )
    return Documents(tmp_path)


def test_what_was_written_is_read(documents: Documents) -> None:
    assert list(documents) == TEXTS
    assert len(documents) == 5
    assert documents[-1] == TEXTS[-1]
    assert documents[1:4] == TEXTS[1:4]
    assert documents[::-2] == TEXTS[::-2]
    with pytest.raises(IndexError):
        documents[5]
    assert documents.table["characters"].tolist() == [len(text) for text in TEXTS]
    assert documents.table["hash"].tolist() == [stable_hash(text.encode()) for text in TEXTS]
    assert documents.where(0) == {"file": "f0", "line": None}
    assert documents.where(4) == {"file": "f1", "line": 4}
    assert [documents.languages[number] for number in documents.table["language"]] == ["en", "de", "en", "de", "en"]


def test_a_group_has_one_hash_and_a_document_without_one_its_own(documents: Documents) -> None:
    groups = documents.table["group"].tolist()
    assert groups[0] == stable_hash(TEXTS[0].encode())
    assert groups[1] == groups[3] != groups[2] == groups[4]


def test_no_documents(tmp_path: Path) -> None:
    with DocumentWriter(tmp_path):
        pass
    assert list(Documents(tmp_path)) == []


def test_a_row_takes_little_memory_while_it_is_written(tmp_path: Path) -> None:
    """A part may be one large archive of short rows."""
    n = 20_000
    tracemalloc.start()
    try:
        with DocumentWriter(tmp_path) as writer:
            for number in range(n):
                writer.add("a", b"a", group=None, line=number + 1, files="f", sources="web", languages="")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * n
    documents = Documents(tmp_path)
    assert documents.table["line"].tolist() == list(range(1, n + 1))
    assert documents[n - 1] == "a"
