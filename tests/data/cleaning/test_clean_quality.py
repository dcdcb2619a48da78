"""Quality rules: measures against naive versions of their definitions, and each rule at its threshold."""

import dataclasses
import json
import random
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from cleaning_presets import preset

from bigtrain.data.cleaning import quality, repetition, stop_words
from bigtrain.data.cleaning.characters import Kind, code_points, kinds
from bigtrain.data.cleaning.cleaner import Cleaner
from bigtrain.data.cleaning.profile import Profile, Script
from bigtrain.data.cleaning.schema import C4Config, CleanConfig, FineWebConfig, GopherConfig, ProgramsConfig
from bigtrain.data.cleaning.scores import Broken

GOPHER = preset("web").gopher
LANGUAGES = {  # of the UDHR's files
    name: language
    for line in (
        "arb ar, cmn_hans zh, deu_1901 de, ell_monotonic el, eng en, fra fr, heb he, hin hi, ita it, jpn ja, kor ko",
        "nld nl, pol pl, por_PT pt, rus ru, spa es, tha th, tur tr, ukr uk, vie vi",
    )
    for name, language in map(str.split, line.split(", "))
}


def c4(test_data: Path) -> list[str]:
    lines = (test_data / "c4_demo" / "c4_demo.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def udhr(test_data: Path, name: str) -> str:
    text = (test_data / "udhr_languages" / f"{name}.txt").read_text(encoding="utf-8")
    return unicodedata.normalize("NFC", text)


def random_text(draw: random.Random, n_words: int, n_known: int) -> str:
    words = ["".join(draw.choices("abcdé-1—’", k=draw.randint(1, 9))) for _ in range(n_known)]
    return "".join(draw.choice(words) + draw.choice((" ", " ", " ", "\n", "  ", "\t\n")) for _ in range(n_words))


def rule_of(broken: Broken | None) -> str | None:
    return broken and broken.rule


def prose(n_words: int = 120) -> str:
    """English words that break no rule, none of them repeated often."""
    draw = random.Random(n_words)
    letters = "etaoinshrdlu"
    words = ["".join(draw.choices(letters, k=draw.randint(3, 8))) for _ in range(n_words - 8)]
    return " ".join(["the", "be", "to", "of", "and", "that", "have", "with", *words]) + "."


# ---- what is read from the text


def test_kinds_are_those_of_str() -> None:
    everything = "".join(map(chr, range(0x110000)))
    found = kinds(code_points(everything))
    for character, kind in zip(everything, found.tolist(), strict=True):
        assert (kind == Kind.space) == character.isspace()
        assert (kind >= Kind.letter) == character.isalpha() or kind == Kind.southeast
        if kind == Kind.southeast:
            assert unicodedata.category(character)[0] in "LM"


def samples(test_data: Path) -> list[str]:
    draw = random.Random(7)
    texts = ["", " ", "a", "a a", "\n\n", "  lead and trail \n", "one\u3000two\u00a0three\x1ffour", "é" * 3000 + " x"]
    texts += [random_text(draw, draw.randint(1, 60), draw.choice((2, 5, 30))) for _ in range(200)]
    return [
        *texts,
        *c4(test_data)[:60],
        *(udhr(test_data, name)[:3000] for name in ("eng", "fra", "rus", "arb", "kor")),
    ]


def test_words_against_str_split(test_data: Path) -> None:
    for text in samples(test_data):
        profile, words = Profile(text), text.split()
        assert profile.script is Script.spaced
        assert profile.n_words == len(words)
        assert profile.n_written == sum(map(len, words))
        assert profile.tokens.lengths.tolist() == list(map(len, words))
        assert (
            len(set(zip(words, profile.tokens.hashes.tolist(), strict=True)))
            == len(set(words))
            == len(set(profile.tokens.hashes.tolist()))
        )
        expected = sum(any(map(str.isalpha, word)) for word in words) / max(1, len(words))
        assert profile.alphabetic == pytest.approx(expected)
        assert profile.lines == [line.strip() for line in text.split("\n") if line.strip()]


def naive_top(tokens: list[str], n: int) -> float:
    counts = Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))
    most = max(counts.values(), default=1)
    if most == 1:
        return 0.0
    longest = max(sum(map(len, ngram)) for ngram, count in counts.items() if count == most)
    return most * longest / sum(map(len, tokens))


def naive_duplicates(tokens: list[str], n: int) -> float:
    seen, covered = set(), set()
    for start in range(len(tokens) - n + 1):
        ngram = tuple(tokens[start : start + n])
        if ngram in seen:
            covered.update(range(start, start + n))
        seen.add(ngram)
    return sum(len(tokens[place]) for place in covered) / max(1, sum(map(len, tokens)))


def test_ngrams_against_counting(test_data: Path) -> None:
    for text in samples(test_data)[::2]:
        tokens, words = Profile(text).tokens, text.split()
        for n in (1, 2, 3, 4, 5, 7, 10):
            assert repetition.top_ngram(tokens, n)[0] == pytest.approx(naive_top(words, n))
            assert repetition.duplicate_ngrams(tokens, n) == pytest.approx(naive_duplicates(words, n))


def test_ngrams_of_characters_against_counting(test_data: Path) -> None:
    for name in ("cmn_hans", "jpn", "tha"):
        text = udhr(test_data, name)[:1500]
        profile, characters = Profile(text), [character for character in text if not character.isspace()]
        for n in (2, 3, 5, 9, 12, 25):
            assert repetition.top_ngram(profile.tokens, n)[0] == pytest.approx(naive_top(characters, n))
            expected = naive_duplicates(characters, n)
            assert repetition.duplicate_ngrams(profile.tokens, n) == pytest.approx(expected)


def test_duplicate_lines_against_counting() -> None:
    draw = random.Random(2)
    for _ in range(300):
        parts = [draw.choice(("a", "bb", "ccc", "dddd", "eeeee")) for _ in range(draw.randint(1, 8))]
        repeats = [part for place, part in enumerate(parts) if part in parts[:place]]
        share, of_characters = repetition.duplicate_shares(parts)
        assert share == len(repeats) / len(parts)
        assert of_characters == sum(map(len, repeats)) / sum(map(len, parts))


@pytest.mark.parametrize(
    ("name", "script"),
    [(name, {"cmn_hans": "chinese", "jpn": "japanese", "tha": "southeast"}.get(name, "spaced")) for name in LANGUAGES],
)
def test_scripts_and_their_number_of_words(test_data: Path, name: str, script: str) -> None:
    """The declaration says the same in every language: in Chinese, Japanese and Thai as many words as in English."""
    profile = Profile(udhr(test_data, name))
    assert profile.script is Script[script]
    if script != "spaced":
        assert profile.n_words == pytest.approx(len(udhr(test_data, "eng").split()), rel=0.05)


# ---- Gopher


def test_gopher_repetition_against_all_shares(test_data: Path) -> None:
    """The shortcuts (longer n-grams repeat less) never change what is dropped."""
    draw = random.Random(11)
    texts = [random_text(draw, draw.randint(20, 150), draw.choice((10, 40, 200))) for _ in range(300)] + c4(test_data)
    for _ in range(200):  # a passage in the middle of other words
        words, start = prose(draw.randint(90, 110)).split(), draw.randint(10, 60)
        texts.append(" ".join([*words, *words[start : start + draw.randint(9, 18)]]))
    outcomes = Counter()
    for text in texts:
        words = text.split()
        limits = [
            *(
                (f"gopher_top_{n}grams", naive_top(words, n), limit)
                for n, limit in zip((2, 3, 4), GOPHER.max_top_ngrams, strict=True)
            ),
            *(
                (f"gopher_duplicate_{n}grams", naive_duplicates(words, n), limit)
                for n, limit in zip(range(5, 11), GOPHER.max_duplicate_ngrams, strict=True)
            ),
        ]
        expected = next((name for name, share, limit in limits if share > limit), None)
        config = GopherConfig(max_top_ngrams=GOPHER.max_top_ngrams, max_duplicate_ngrams=GOPHER.max_duplicate_ngrams)
        assert rule_of(quality.gopher_repetition(Profile(text), config, {})) == expected, text
        outcomes[expected] += 1
    assert len(outcomes) >= 8
    assert outcomes[None] > 100


@pytest.mark.parametrize(
    ("key", "text", "rule"),
    [
        ("min_words", prose(49), "gopher_words"),
        ("max_words", "the and " * 50_001, "gopher_words"),
        ("min_mean_word_length", "a be to of by " * 12, "gopher_word_length"),
        ("max_mean_word_length", "internationalisation and globalisation " * 20, "gopher_word_length"),
        ("max_symbols", prose() + " #" * 15, "gopher_symbols"),
        ("max_symbols", prose() + " ..." * 15, "gopher_symbols"),
        ("max_bullet_lines", "\n".join("• " + prose(9 + n) for n in range(8)), "gopher_bullet_lines"),
        ("max_ellipsis_lines", "\n".join(prose(9 + n) + "..." for n in range(8)), "gopher_ellipsis_lines"),
        (
            "min_alphabetic_words",
            prose(60) + " 12 34 56 78 90 +1 -2 %3 $4 §5 6. 7, 8 9 0 1 2",
            "gopher_alphabetic_words",
        ),
        ("min_stop_words", prose().partition("with ")[2], "gopher_stop_words"),
        ("max_duplicate_lines", prose() + "\nx y" * 6, "gopher_duplicate_lines"),
        ("max_duplicate_line_characters", prose() + "\nok\n" + prose(), "gopher_duplicate_line_characters"),
        ("max_duplicate_paragraphs", prose() + "\n\nx y" * 6, "gopher_duplicate_paragraphs"),
        (
            "max_duplicate_paragraph_characters",
            prose() + "\n\nok\n\n" + prose(),
            "gopher_duplicate_paragraph_characters",
        ),
        ("max_top_ngrams", prose() + " encore toujours" * 16, "gopher_top_2grams"),
        ("max_duplicate_ngrams", prose() + " " + prose()[-200:], "gopher_duplicate_5grams"),
    ],
)
def test_each_rule_of_gopher_drops_by_itself(key: str, text: str, rule: str) -> None:
    config = GopherConfig(**{key: getattr(GOPHER, key)})
    for judged in (text, prose()):
        broken = quality.gopher_quality(Profile(judged), "en", config, {})
        broken = broken or quality.gopher_repetition(Profile(judged), config, {})
        assert rule_of(broken) == (rule if judged is text else None)


def test_gopher_keeps_every_language(test_data: Path) -> None:
    """Every stretch of the declaration, in every script, with its own stop words or without a known language."""
    for name, language in LANGUAGES.items():
        lines = udhr(test_data, name).split("\n")
        for start in range(5, len(lines) - 45, 20):
            profile = Profile("\n".join(lines[start : start + 45]))
            for known in (language, None):
                scores: dict[str, float] = {}
                assert quality.gopher_quality(profile, known, GOPHER, scores) is None, (name, scores)
                assert quality.gopher_repetition(profile, GOPHER, scores) is None, (name, scores)
                if known or name != "tha":
                    assert scores["stop_words"] >= 3, (name, scores)


@pytest.mark.parametrize("name", ["cmn_hans", "jpn", "tha"])
def test_gopher_drops_debris_of_scripts_without_spaces(test_data: Path, name: str) -> None:
    text = udhr(test_data, name)[700:2500].strip()
    n = Profile(text).scaled(60)  # characters for 60 words
    short, symbols, repeated = text[: n // 2], text[:n] + " #" * n, text + text[:600]
    numbers = "".join(f"{character}{index % 10}" for index, character in enumerate(text[:n]) if character.isalpha())
    rules = [rule_of(quality.gopher_quality(Profile(each), None, GOPHER, {})) for each in (short, symbols, numbers)]
    assert rules == ["gopher_words", "gopher_symbols", "gopher_alphabetic_words"]
    assert str(rule_of(quality.gopher_repetition(Profile(repeated), GOPHER, {}))).startswith("gopher_duplicate")
    stop = "".join(stop_words.UNSPACED[LANGUAGES[name]].split())
    without = "".join(character for character in text if character not in stop)
    found = quality.gopher_quality(Profile(without), LANGUAGES[name], GOPHER, {})
    assert found is not None
    assert found.rule == "gopher_stop_words"
    assert found.score is not None
    assert found.score < (found.limit or 0) == GOPHER.min_stop_words


def test_stop_words_against_sets(test_data: Path) -> None:
    for name in ("eng", "deu_1901", "rus", "fra"):
        text = udhr(test_data, name)
        for language in ("en", "de", "ru", "uk", "fr"):
            words = {word.lower() for word in text.split()}
            expected = len(words & set(stop_words.SPACED[language].split()))
            assert stop_words.count(Profile(text), language) == expected
    assert stop_words.count(Profile("Mundus vult decipi"), "la") is None
    assert stop_words.count(Profile(""), None) == 0
    assert stop_words.count(Profile("Der Hund UND die Katze, der"), None) == 3


def test_english_stop_words_are_those_of_the_paper() -> None:
    assert stop_words.SPACED["en"].split() == ["the", "be", "to", "of", "and", "that", "have", "with"]
    for listed in [*stop_words.SPACED.values(), *stop_words.UNSPACED.values()]:
        assert len(set(listed.split())) == len(listed.split()) >= 8


# ---- FineWeb, program text


@pytest.mark.parametrize(
    ("key", "limit", "text", "rule"),
    [
        (
            "min_line_ends",
            0.12,
            "\n".join([prose(20 + n).rstrip(".") for n in range(8)] + [prose()]),
            "fineweb_line_ends",
        ),
        ("max_short_lines", 0.67, "Home\nAbout us\nContact\n" + prose(), "fineweb_short_lines"),
        (
            "max_short_lines",
            0.67,
            "首页\n关于我们\n联系方式\n" + "这是一个很长的句子，没有重复。" * 2,
            "fineweb_short_lines",
        ),
        (
            "max_duplicate_line_characters",
            0.1,
            prose() + "\n" + prose(30) + "\n" + prose(30),
            "fineweb_duplicate_line_characters",
        ),
    ],
)
def test_each_rule_of_fineweb_drops_by_itself(key: str, limit: float, text: str, rule: str) -> None:
    config = FineWebConfig(**{key: limit})
    kept = "\n".join([prose(20), prose(30), "Short\n这里有一个完整的句子，它足够长。"])
    for judged in (text, kept):
        scores: dict[str, float] = {}
        assert rule_of(quality.fineweb(Profile(judged), config, scores)) == (rule if judged is text else None), scores


def test_one_line_is_not_judged_by_shares_of_lines() -> None:
    config = dataclasses.replace(GOPHER, min_words=None)
    assert quality.fineweb(Profile(prose().rstrip(".")), FineWebConfig(0.12, 0.67, 0.1), {}) is None
    assert quality.gopher_quality(Profile("- " + prose() + "..."), "en", config, {}) is None


@pytest.mark.parametrize(
    ("key", "limit", "text", "rule"),
    [
        ("max_line_length", 1000, "x = 1\n" + "y" * 1001, "codex_line_length"),
        ("max_mean_line_length", 100.0, "x = '" + "y" * 300 + "'\nz = 2", "codex_mean_line_length"),
        ("min_alphanumeric", 0.25, "x" + "=" * 20, "starcoder_alphanumeric"),
    ],
)
def test_rules_for_program_text(key: str, limit: float, text: str, rule: str) -> None:
    config = ProgramsConfig(**{key: limit})
    assert rule_of(quality.programs(Profile(text), config, {})) == rule
    assert quality.programs(Profile(Path(__file__).read_text(encoding="utf-8")), config, {}) is None


def test_paragraphs_of_chinese_wikipedia_stay(test_data: Path) -> None:
    """People have chosen and read them (CMRC 2018): 9 of 256 go; with n-grams as long as English words 24."""
    articles = json.loads((test_data / "cmrc2018" / "cmrc2018_trial.json").read_text(encoding="utf-8"))
    texts = {paragraph["context"] for article in articles["data"] for paragraph in article["paragraphs"]}
    web = Cleaner(preset("web"))
    assert sum(web(text).dropped is not None for text in texts) <= len(texts) // 25


def test_markup_for_the_forms_of_chinese_is_no_program() -> None:
    cleaner = Cleaner(CleanConfig(c4=C4Config(curly_brackets=True)))
    assert cleaner("他是-{zh-hans:计算机; zh-hant:電腦}-科学家。").dropped is None
    assert cleaner("他是-{zh-hans:计算机}-科学家 {").dropped == "quality:c4_curly_bracket"
