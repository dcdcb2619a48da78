"""Characters: repair against ftfy itself, and each step on the cases it is for."""

import json
import random
import re
import unicodedata
from pathlib import Path

import ftfy
import ftfy.badness
import pytest

from bigtrain.data.cleaning import unicode
from bigtrain.data.cleaning.mojibake import Repairer
from bigtrain.data.cleaning.schema import Repair, UnicodeConfig, WhiteSpace

BOTH = [Repair.encoding, Repair.full]


def cleaned(text: str, config: UnicodeConfig) -> str:
    for _, step in unicode.steps(config):
        text, _ = step(text, unicode.odd_characters(text))
    return text


def cases(test_data: Path) -> list[tuple[str, dict[str, str]]]:
    return [
        (name, case)
        for name in ("in-the-wild", "negative")
        for case in json.loads((test_data / "mojibake" / f"{name}.json").read_text(encoding="utf-8"))
    ]


def repaired(repairer: Repairer, text: str) -> str:
    """As the cleaner calls it: not at all where nothing in the text can be repaired."""
    return repairer(text)[0] if repairer.touches(text, unicode.odd_characters(text)) else text


# ---- repair


@pytest.mark.parametrize(("repair", "key"), [(Repair.encoding, "fixed-encoding"), (Repair.full, "fixed")])
def test_mojibake_is_repaired_as_expected(test_data: Path, repair: Repair, key: str) -> None:
    """ftfy's own cases: `fixed` also straightens quotes and widths, `fixed-encoding` only undoes wrong decoding."""
    found = cases(test_data)
    assert len(found) == 101
    config = UnicodeConfig(repair=repair)
    right = [cleaned(case["original"], config) == case.get(key, case["fixed"]) for _, case in found]
    assert sum(right) >= 95
    assert all(is_right for (name, _), is_right in zip(found, right, strict=True) if name == "negative")
    assert repair is Repair.encoding or all(right)


@pytest.mark.parametrize("repair", BOTH)
def test_repair_equals_ftfy_on_real_text(test_data: Path, repair: Repair) -> None:
    """Also where it is damaged: the same text read in five wrong encodings."""
    repairer = Repairer(repair)
    texts = [text for _, case in cases(test_data) for text in (case["original"], case["fixed"])]
    for path in [*(test_data / "udhr_languages").glob("*.txt"), *(test_data / "web_html").glob("*.html")]:
        whole = path.read_bytes().decode("utf-8", "replace")
        texts.append(whole[:5000])
        for encoding in ("latin-1", "cp1252", "cp1251", "cp1250", "mac_roman"):
            texts.append(whole[2000:2300].encode().decode(encoding, "replace"))
    for text in texts:
        assert repaired(repairer, text) == ftfy.fix_text(text, repairer._config)


def test_nothing_that_ftfy_calls_bad_is_overlooked() -> None:
    """Strings put together from the characters of its patterns."""
    repairer = Repairer(Repair.encoding)
    characters = list(map(chr, range(0x20, 0x10000)))
    sets = [
        [character for character in characters if re.match(f"[{category}]", character)]
        for category in ftfy.badness.MOJIBAKE_CATEGORIES.values()
    ]
    literals = [*set(re.sub(r"\s|#.*", "", ftfy.badness.BADNESS_RE.pattern))]
    sets += [literals, literals, list("abzAZ.,?!1 \n")]
    draw = random.Random(5)
    n_bad = 0
    for _ in range(40_000):
        text = "".join(draw.choice(draw.choice(sets)) for _ in range(draw.randint(1, 5)))
        if ftfy.badness.is_bad(text):
            n_bad += 1
            assert repairer._suspicious(text, True), repr(text)
            assert repairer.touches(text, unicode.odd_characters(text)), repr(text)
    assert n_bad > 5000


def test_entities_stay_from_the_first_tag_on() -> None:
    """As ftfy does: what holds `<` is HTML, whose entities belong to it."""
    repairer = Repairer(Repair.encoding)
    text = "a &amp; b\nc &lt; d\n<p>e &amp; f\ng &amp; h"
    assert repairer(text) == ("a & b\nc < d\n<p>e &amp; f\ng &amp; h", 2)
    assert repaired(repairer, text) == ftfy.fix_text(text, repairer._config)


def test_ordinary_text_does_not_reach_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    repairer = Repairer(Repair.encoding)
    monkeypatch.setattr(repairer, "_fix", None)
    for text in ("Plain text, 5 > 3 & 2 < 4.", "“It’s café time” — said Ågot…", "这是一个句子。", "Это предложение."):
        assert repaired(repairer, text) == text


# ---- the other steps


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\x00b\x07c\x7fd\x9fe\ufffff", "abcdef"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("tab\tline\nfeed\fbreak\r\n\x85", "tab\tline\nfeed\fbreak\r\n\x85"),
    ],
)
def test_control_characters(before: str, after: str) -> None:
    assert cleaned(before, UnicodeConfig(controls=True)) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("zero\u200bwidth \ufeffword\u2060s soft\u00adhyphen", "zerowidth words softhyphen"),
        ("\u202eoverride\u202c left\u200e", "override left"),
        ("a\u200db x\u200cy", "ab xy"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner that shapes Persian
        ("👩\u200d💻", "👩\u200d💻"),  # and one inside an emoji
        ("שלום\u200f!", "שלום\u200f!"),
        ("ភាសា\u200bខ្មែរ", "ភាសា\u200bខ្មែរ"),  # Khmer's break between words
        ("🏴\U000e0067\U000e0062\U000e007f", "🏴\U000e0067\U000e0062\U000e007f"),  # a flag
        ("text\U000e0068\U000e0069", "text"),  # hidden text
    ],
)
def test_invisible_characters(before: str, after: str) -> None:
    assert cleaned(before, UnicodeConfig(invisible=True)) == after


def test_nfc(test_data: Path) -> None:
    text = (test_data / "udhr_languages" / "vie.txt").read_text(encoding="utf-8")
    config = UnicodeConfig(nfc=True)
    assert cleaned(unicodedata.normalize("NFD", text), config) == unicodedata.normalize("NFC", text)
    assert cleaned("e\u0301 ﬁ ①", config) == "é ﬁ ①"  # no compatibility forms


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        (WhiteSpace.none, "  a \t b\u00a0c  \r\n\r\n\u3000d\u2028\n\n\n\ne \n"),
        (WhiteSpace.ends, "  a \t b\u00a0c\n\n\u3000d\n\n\n\n\ne\n"),
        (WhiteSpace.collapse, "a b c\n\nd\n\ne"),
    ],
)
def test_white_space(kind: WhiteSpace, after: str) -> None:
    assert cleaned("  a \t b\u00a0c  \r\n\r\n\u3000d\u2028\n\n\n\ne \n", UnicodeConfig(white_space=kind)) == after


def test_white_space_takes_linear_time() -> None:
    text = "a" + " " * 300_000 + "b" + "\t\n" * 100_000
    assert cleaned(text, UnicodeConfig(white_space=WhiteSpace.collapse)) == "a b"


def test_steps_are_idempotent_and_find_what_they_skip() -> None:
    """A step that is skipped for want of odd characters would not have altered the text."""
    draw = random.Random(1)
    alphabet = "ab  \n\n\t\r\x00\x0b\x85\xa0\xad\u200b\u200d\u200e\u2028\u202a\u3000\ufeffé\u0301שก한中’“\U000e0041"
    for preset in (UnicodeConfig(nfc=True, controls=True, invisible=True, white_space=WhiteSpace.collapse),):
        for _ in range(3000):
            text = "".join(draw.choices(alphabet, k=draw.randint(0, 12)))
            once = cleaned(text, preset)
            assert cleaned(once, preset) == once, repr(text)
            assert not re.search("  |\n\n\n| \n|\n |\t|\r|\x00|\xa0|^\\s|\\s$", once), repr(text)


def test_edits_are_counted() -> None:
    named = unicode.steps(UnicodeConfig(Repair.encoding, True, True, True, WhiteSpace.collapse))
    assert [name for name, _ in named] == [
        "repaired_lines",
        "control_characters",
        "invisible_characters",
        "invisible_characters",
        "invisible_characters",
        "normalised",
        "white_space",
        "white_space",
    ]
    step = dict(named)["control_characters"]
    assert step("a\x00\x01b", unicode.odd_characters("a\x00\x01b")) == ("ab", 2)
