"""The cleaner as a whole: presets, order, what it reports."""

import builtins
import dataclasses
import json
import pickle
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cleaning_presets import FOLDER, NAMES, preset

from bigtrain.data.cleaning import characters, profile, unicode
from bigtrain.data.cleaning.cleaner import Cleaner, provenance
from bigtrain.data.cleaning.profile import Profile
from bigtrain.data.cleaning.schema import (
    C4Config,
    CleanConfig,
    GopherConfig,
    LanguageConfig,
    LengthConfig,
    Repair,
    UnicodeConfig,
    WordListConfig,
)
from bigtrain.data.cleaning.scores import EDGES
from bigtrain.errors import UserError

DIRTY = "\ufeffCafÃ© &amp; more\x00  \r\n\r\n\r\n\r\nIt\u200b was e\u0301t\u00e9.\u00a0 \n"


def documents(test_data: Path) -> list[str]:
    lines = (test_data / "c4_demo" / "c4_demo.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[:60]]
    texts += [path.read_text(encoding="utf-8") for path in sorted((test_data / "udhr_languages").glob("*.txt"))]
    texts += [path.read_bytes().decode("utf-8", "replace") for path in sorted((test_data / "web_html").glob("*.html"))]
    return [*texts, DIRTY, "", " \n"]


@pytest.fixture(scope="module")
def web() -> Cleaner:
    return Cleaner(preset("web"))


def test_every_preset_has_a_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(NAMES)
    assert preset("none") == CleanConfig()


# ---- presets


def test_none_changes_nothing(test_data: Path) -> None:
    cleaner = Cleaner(preset("none"))
    for text in documents(test_data):
        cleaned = cleaner(text)
        assert (cleaned.text, cleaned.dropped, cleaned.scores, cleaned.edits) == (text, None, {}, {})


def test_light_repairs_and_drops_only_what_is_empty(test_data: Path) -> None:
    cleaner = Cleaner(preset("light"))
    cleaned = cleaner(DIRTY)
    assert cleaned.text == "\ufeffCafé & more\n\n\n\nIt\u200b was été.\n"
    assert cleaned.edits == {"repaired_lines": 1, "control_characters": 1, "normalised": 1, "white_space": 8}
    assert Counter(cleaner(text).dropped for text in documents(test_data)[-3:]) == {None: 1, "length:empty": 2}
    assert not any(cleaner(text).dropped for text in documents(test_data)[:-2])


def test_code_takes_away_nothing_but_control_characters(test_data: Path) -> None:
    cleaner = Cleaner(preset("code"))
    for path in sorted(Path(json.__file__).parent.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        assert (cleaner(source).text, cleaner(source).dropped) == (source, None)
    kept = '\tx = "CafÃ© &amp;"  \r\n\f\n\n\n\n# \u200b\n'
    assert cleaner(kept.replace("x", "x\x00")).text == kept
    assert cleaner("x = '" + "ab" * 600 + "'").dropped == "quality:codex_line_length"


def test_books_keeps_prose_and_verse(test_data: Path) -> None:
    cleaner = Cleaner(preset("books"))
    for path in sorted((test_data / "eltec_novels").glob("*.txt"))[:3]:
        text = path.read_text(encoding="utf-8")
        cleaned = cleaner(text)
        assert cleaned.dropped is None
        assert len(cleaned.text) > 0.999 * len(text)
    sonnet = (test_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")[:20000].rstrip()
    assert cleaner(sonnet).text == sonnet
    assert cleaner("| 12 13 14 | 15 | 16 | 17 18 19").dropped == "quality:gopher_alphabetic_words"


def test_web_keeps_good_text_in_every_language(test_data: Path, web: Cleaner) -> None:
    for path in sorted((test_data / "udhr_languages").glob("*.txt")):
        cleaned = web(path.read_text(encoding="utf-8"))
        assert cleaned.dropped is None, path
        assert cleaned.scores["language_confidence"] > 0.65
    novel = (test_data / "eltec_novels" / "ENG18610_Eliot.txt").read_text(encoding="utf-8")
    assert web(novel[:400_000]).dropped is None


def test_web_drops_debris(web: Cleaner) -> None:
    prose = (
        "The keeper of the lighthouse had lived with the sea for so long that he could tell the weather by its sound."
    )
    page = [
        prose,
        "He wrote it down in a book each morning, and to this day the book is kept in the museum of the town.",
        "Visitors have asked to see it. It has never been lent. It will be there when you come.",
    ]
    text = "\n".join(page)
    assert web(text).dropped is None
    assert web("\n".join([*page, "We use cookies. Accept?", "Read more"])).text == text
    assert web("Home\nAbout").dropped == "language:unsure"
    assert web(prose).dropped == "quality:gopher_words"
    assert web(text + "\n" + "\n".join(page[:2])).dropped == "quality:gopher_duplicate_lines"
    assert web(text + "\nLorem ipsum dolor sit amet.").dropped == "quality:c4_lorem_ipsum"
    assert web(text + "\nfunction () { return; }").dropped == "quality:c4_curly_bracket"


def test_a_cleaned_document_stays_what_it_is(test_data: Path) -> None:
    """Cleaning twice changes nothing more in characters and white space."""
    for name in ("light", "web", "books", "code"):
        config = preset(name)
        cleaner = Cleaner(CleanConfig(unicode=config.unicode))
        for text in documents(test_data):
            once = cleaner(text).text
            assert cleaner(once).text == once


# ---- bounds, order, reports


def test_length_is_that_of_what_stays() -> None:
    cleaner = Cleaner(
        CleanConfig(c4=C4Config(min_words_per_line=3), length=LengthConfig(min_characters=10, max_characters=20))
    )
    assert cleaner("one two three").dropped is None
    assert cleaner("one two").dropped == "length:short"
    assert cleaner("a b c\nd\ne\nf\ng").dropped == "length:short"
    assert cleaner("one two three four five").dropped == "length:long"
    assert cleaner("Menu\n" * 10 + "one two three").dropped is None
    assert cleaner("Menu\n" * 10).dropped == "length:empty"


def test_rules_judge_the_text_before_lines_are_removed() -> None:
    text = "\n".join(["a line of words"] * 9)
    config = CleanConfig(c4=C4Config(min_words_per_line=9), gopher=GopherConfig(max_duplicate_lines=0.3))
    assert Cleaner(config)(text).dropped == "quality:gopher_duplicate_lines"


def test_word_list_is_applied_last(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("darn", encoding="utf-8")
    config = CleanConfig(c4=C4Config(min_words_per_line=3), words=WordListConfig(str(words), max_count=0))
    cleaner = Cleaner(config)
    assert cleaner("Well, darn it all.").dropped == "words:count"
    assert cleaner("darn\na b c").dropped is None
    first = provenance(config)["words"]
    words.write_text("heck", encoding="utf-8")
    assert provenance(config)["words"] != first


def test_provenance_names_what_the_outcome_depends_on() -> None:
    assert set(provenance(preset("none"))) == {"unicode"}
    found = provenance(preset("web"))
    assert set(found) == {"unicode", "ftfy", "py3langid"}
    assert all(found.values())


def test_every_score_has_a_distribution(test_data: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("the", encoding="utf-8")
    config = preset("web", words=WordListConfig(str(words), max_share=1.0), programs=preset("code").programs)
    cleaner = Cleaner(config)
    found = set().union(*(cleaner(text).scores for text in documents(test_data)))
    assert found == set(EDGES)
    for edges in EDGES.values():
        assert list(edges) == sorted(set(edges))


def test_outcome_is_a_function_of_the_text(test_data: Path, web: Cleaner) -> None:
    """In any order, by any copy of the config."""
    texts = documents(test_data)
    other = Cleaner(pickle.loads(pickle.dumps(preset("web"))))
    there = [web(text) for text in texts]
    back = [other(text) for text in reversed(texts)][::-1]
    assert there == back
    assert pickle.loads(pickle.dumps(there)) == there


# ---- what does not go together, what is not installed


@pytest.mark.parametrize(
    ("sections", "given"),
    [
        ({"language": LanguageConfig(keep=["en"])}, "identify"),
        ({"language": LanguageConfig(identify=True, keep=["en"], drop=["en"])}, "en in clean.language.keep"),
        ({"words": WordListConfig(file="a.txt")}, "clean.words.file=a.txt"),
        ({"words": WordListConfig(max_count=1)}, "max_count=1"),
        ({"gopher": GopherConfig(max_top_ngrams=[0.1] * 4)}, "max_top_ngrams"),
        ({"gopher": GopherConfig(max_duplicate_ngrams=[0.1] * 7)}, "max_duplicate_ngrams"),
    ],
)
def test_settings_that_do_not_go_together(sections: dict[str, Any], given: str) -> None:
    with pytest.raises(UserError, match=given):
        preset("light", **sections)


@pytest.mark.parametrize(
    ("package", "config"),
    [
        ("ftfy", CleanConfig(unicode=UnicodeConfig(repair=Repair.encoding))),
        ("py3langid", CleanConfig(language=LanguageConfig(identify=True))),
    ],
)
def test_missing_package_is_named_with_its_extra(
    package: str, config: CleanConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bigtrain.data.cleaning.language import _identifier

    _identifier.cache_clear()
    original = builtins.__import__

    def without(name: str, *rest: Any, **others: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(name)
        return original(name, *rest, **others)

    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'bigtrain\[data\]'"):
        Cleaner(config)


def test_a_huge_document_is_seen_in_blocks_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Ein Wörterbuch, ΟΔΟΣ\nund 12 中文 Wörter\x07\n" * 30
    whole = Profile(text)
    expected = (whole.lowered, whole.n_words, whole.tokens.hashes.tolist(), unicode.odd_characters(text))
    monkeypatch.setattr(characters, "_BLOCK", 7)
    monkeypatch.setattr(profile, "_LONG", 7)
    monkeypatch.setattr(profile, "_WORDS_AT_ONCE", 3)
    pieces = Profile(text)
    assert expected == (pieces.lowered, pieces.n_words, pieces.tokens.hashes.tolist(), unicode.odd_characters(text))


def test_memory_of_a_long_document() -> None:
    """Of clean=web, for each character; str.lower alone takes 12 bytes."""
    text = "".join(f"Die Wörter der Zeile {n} stehen hier, damit sie jemand zählt.\n" for n in range(30_000))
    clean = Cleaner(dataclasses.replace(preset("web"), gopher=GopherConfig(min_mean_word_length=2, min_stop_words=2)))
    clean(text[:1000])
    tracemalloc.start()
    assert clean(text).dropped is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * len(text)
