"""Lines that are removed: each rule by itself, on text made for it and on real text that must stay."""

import textwrap
from pathlib import Path

import pytest

from bigtrain.data.cleaning import lines
from bigtrain.data.cleaning.profile import Profile
from bigtrain.data.cleaning.schema import C4Config, LinesConfig

PROSE = "A sentence that stays where it is, since it says something about the world."


def removed(text: str, config: LinesConfig | None = None, c4: C4Config | None = None) -> tuple[str, dict[str, int]]:
    return lines.remove_lines(Profile(text), config or LinesConfig(), c4 or C4Config())


def test_nothing_is_removed_unless_it_is_asked_for() -> None:
    text = "Accept cookies [1]\n\n\n\na\na\na\na\n" + "x" * 2000
    assert removed(text) == (text, {})


@pytest.mark.parametrize(
    "notice",
    [
        "This site uses cookies to improve your experience. Accept all cookies",
        "Please enable JavaScript to continue.",
        "By signing up you agree to our Terms of Use and Privacy Policy.",
        "Diese Website verwendet Cookies. Mehr in der Datenschutzerklärung.",
        "本网站的隐私政策",
        "© 2021 Example Ltd. All rights reserved.",
    ],
)
def test_notices(notice: str) -> None:
    assert removed(f"{PROSE}\n{notice}\n{PROSE}", LinesConfig(boilerplate=True)) == (
        f"{PROSE}\n{PROSE}",
        {"notices": 1},
    )
    essay = f"{PROSE} {PROSE} {notice} {PROSE}"
    assert removed(essay, LinesConfig(boilerplate=True)) == (essay, {})


def test_the_quick_look_for_notices_finds_each_of_them() -> None:
    for notice in lines.NOTICES:
        assert notice == notice.lower()
        assert lines._may_hold_notices(f"before {notice} after"), notice


def test_repeated_lines_stay_once() -> None:
    text = "Reply\none\nReply\ntwo\nReply\nthree\nReply\nfour\ntwo"
    assert removed(text, LinesConfig(max_repeats=3)) == ("Reply\none\ntwo\nthree\nfour\ntwo", {"repeated_lines": 3})
    assert removed(text, LinesConfig(max_repeats=4)) == (text, {})


def test_repeated_paragraphs_stay_once() -> None:
    long = PROSE + " " + PROSE
    wrapped = "\n".join([PROSE, "It goes on in a second line,", "and in a third one."])
    text = f"{long}\n\n{wrapped}\n\nshort\n\n{long}\n\n{wrapped}\n\nshort\n\nother\n{long}"
    assert removed(text, LinesConfig(unique_paragraphs=True)) == (
        f"{long}\n\n{wrapped}\n\nshort\n\nshort\n\nother",
        {"repeated_paragraphs": 5},
    )
    chinese = "这是一个很长的段落，里面有许多不同的句子，所以它不应该在同一个文件里出现两次。"
    assert removed(f"{chinese}\n是\n{chinese}\n是", LinesConfig(unique_paragraphs=True))[0] == f"{chinese}\n是\n是"


def test_page_headers_of_a_novel(test_data: Path) -> None:
    """Heads and numbers put at page ends of real prose are found; nothing is taken from the prose itself."""
    novel = (test_data / "eltec_novels" / "ENG18610_Eliot.txt").read_text(encoding="utf-8")[:200_000]
    source = [line for paragraph in novel.split("\n\n") for line in [*textwrap.wrap(paragraph, 70), ""]]
    pages, n_pages = [], 0
    for start in range(0, len(source), 38):
        n_pages += 1
        head = f"{n_pages} SILAS MARNER" if n_pages % 2 else f"THE WEAVER OF RAVELOE {n_pages}"
        pages += [head, *source[start : start + 38], f"- {n_pages} -"]
    config = LinesConfig(page_headers=True)
    text, edits = removed("\n".join(pages), config)
    assert edits == {"page_headers": 2 * n_pages}
    assert text == "\n".join(source).rstrip("\n")
    assert removed("\n".join(source), config) == ("\n".join(source), {})


def test_verse_keeps_its_refrain() -> None:
    verse = "\n\n".join(f"A stanza, number {n}, of a song\nwith two lines of its own\nHey nonny no" for n in range(9))
    assert removed(verse, LinesConfig(page_headers=True)) == (verse, {})


def test_a_play_keeps_its_speakers(test_data: Path) -> None:
    play = (test_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    assert removed(play[:300_000], LinesConfig(page_headers=True)) == (play[:300_000], {})


@pytest.mark.parametrize(
    ("config", "line", "name"),
    [
        (C4Config(line_ends=True), "Home | About | Contact us today", "unfinished_lines"),
        (C4Config(line_ends=True), "To be continued...", "unfinished_lines"),
        (C4Config(min_words_per_line=3), "Read more", "short_lines"),
        (C4Config(max_word_length=1000), "An address: " + "x" * 1001 + " it was.", "lines_with_long_words"),
    ],
)
def test_line_rules_of_c4(config: C4Config, line: str, name: str) -> None:
    assert removed(f"{PROSE}\n{line}\n\n{PROSE}", c4=config) == (f"{PROSE}\n\n{PROSE}", {name: 1})


def test_line_rules_of_c4_for_chinese(test_data: Path) -> None:
    text = (test_data / "udhr_languages" / "cmn_hans.txt").read_text(encoding="utf-8")
    paragraph = "".join(text.split())
    assert len(paragraph) > 2000
    assert removed(paragraph, c4=C4Config(max_word_length=1000)) == (paragraph, {})
    menu = f"首页\n{paragraph}\n联系"
    assert removed(menu, c4=C4Config(min_words_per_line=3)) == (paragraph, {"short_lines": 2})


def test_citations() -> None:
    text = "Rain fell.[12] It[citation needed] was wet.[edit] See a[i] and [12a]."
    assert removed(text, c4=C4Config(citations=True)) == (
        "Rain fell. It was wet. See a[i] and [12a].",
        {"citations": 3},
    )


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("", 0),
        ("no mark", 1),
        ("One. Two! Three?", 3),
        ('He said: "Stop." Then he left. 3.5 percent', 2),
        ("One line\n\nand another one", 2),
        ("第一句。第二句！第三句？“第四句。”", 4),
        ("पहला वाक्य। दूसरा वाक्य।", 2),
    ],
)
def test_sentences(text: str, n: int) -> None:
    assert lines.n_sentences(text, 99) == n
    assert lines.n_sentences(text, 2) == min(n, 2)
