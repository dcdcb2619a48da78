"""The user's list of words."""

from pathlib import Path

import pytest

from bigtrain.data.cleaning.profile import Profile
from bigtrain.data.cleaning.schema import WordListConfig
from bigtrain.data.cleaning.word_list import WordListRule
from bigtrain.errors import UserError

LIST = "Foo\nbad phrase\n脏话\nस्पैम\n\n  foo  \nC++\n"


@pytest.fixture
def listed(tmp_path: Path) -> str:
    path = tmp_path / "words.txt"
    path.write_text(LIST, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("nothing here, food and seafoo", 0),
        ("FOO, foo! Bad Phrase.", 3),
        ("bad\nphrases bad phrase-like", 1),
        ("这是脏话吗？脏话", 2),
        ("स्पैम संदेश", 1),
        ("C++ is no C", 1),
    ],
)
def test_entries_are_counted(listed: str, text: str, n: int) -> None:
    scores: dict[str, float] = {}
    profile = Profile(text)
    rule = WordListRule(WordListConfig(listed, max_count=n))
    assert rule(profile, scores) is None
    assert scores["listed_words"] == pytest.approx(n / profile.n_words)
    if n:
        assert WordListRule(WordListConfig(listed, max_count=n - 1))(profile, {}) == ("words:count", n, n - 1)
        broken = WordListRule(WordListConfig(listed, max_share=0.01))(profile, {})
        assert broken == ("words:share", scores["listed_words"], 0.01)


@pytest.mark.parametrize(("content", "problem"), [(b"", "empty"), (b" \n\n", "empty"), (b"\xff\xfe", "not UTF-8")])
def test_unusable_list_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem):
        WordListRule(WordListConfig(str(path), max_count=0))


def test_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        WordListRule(WordListConfig(str(tmp_path / "none.txt"), max_count=0))
