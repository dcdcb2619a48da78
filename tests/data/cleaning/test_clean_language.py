"""Language identification: the same as py3langid, and what the lists make of it."""

import random
from pathlib import Path

import pytest

from bigtrain.data.cleaning import language
from bigtrain.data.cleaning.language import LanguageRule
from bigtrain.data.cleaning.schema import LanguageConfig
from bigtrain.errors import UserError

CODES = dict(
    pair.split()
    for line in (
        "arb ar, cmn_hans zh, deu_1901 de, ell_monotonic el, eng en, fra fr, heb he, hin hi, ita it, jpn ja, kor ko",
        "nld nl, pol pl, por_PT pt, rus ru, spa es, tha th, tur tr, ukr uk, vie vi",
    )
    for pair in line.split(", ")
)


def udhr(test_data: Path, name: str) -> str:
    return (test_data / "udhr_languages" / f"{name}.txt").read_text(encoding="utf-8")


def test_probabilities_are_those_of_py3langid(test_data: Path) -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    reference = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    own = language._identifier()
    draw = random.Random(4)
    texts = [udhr(test_data, name) for name in CODES]
    n_alone = 0
    for turn in range(300):
        text, n = draw.choice(texts), draw.choice((1, 4, 30, 200, 600, 1500))
        start = draw.randrange(len(text) - 1500)
        piece = text[start : start + n].upper() if turn % 7 == 0 else text[start : start + n]
        label, confidence = own(piece)
        ranked = dict(reference.rank(piece))
        together = [name for name in ranked if language._MACROLANGUAGES.get(name, name) == label]
        n_alone += len(together) == 1
        assert label == "und" or confidence == pytest.approx(sum(ranked[name] for name in together), abs=2e-5)
        if label == "und":
            assert max(ranked.values()) < 0.015  # as good as none
        elif confidence > 0.5:
            assert language._MACROLANGUAGES.get(reference.classify(piece)[0], reference.classify(piece)[0]) == label
    assert n_alone > 100


def test_samples_tell_languages_apart(test_data: Path) -> None:
    """From the sample that a document of any length is judged by."""
    rule = LanguageRule(LanguageConfig(identify=True, min_confidence=0.65))
    for name, code in CODES.items():
        text = udhr(test_data, name)
        for start in range(300, len(text) - 900, 1000):
            label, confidence, reason = rule(text[start : start + 900])
            assert (label, reason) == (code, None), (start, confidence)
        assert rule(text * 50)[0] == code


def test_sample_is_bounded() -> None:
    for n in (0, 1, 399, 400, 401, 500, 10_000):
        text = "".join(chr(0x4E00 + index % 5000) for index in range(n))
        assert len(language.sample(text)) <= language.SAMPLE + 1
        assert n > language.SAMPLE or language.sample(text) == text


def test_lists_and_floor(test_data: Path) -> None:
    english, german = udhr(test_data, "eng"), udhr(test_data, "deu_1901")
    keep = LanguageRule(LanguageConfig(identify=True, keep=["en"]))
    assert keep(english)[2] is None
    assert keep(german)[2] == "language:unwanted"
    drop = LanguageRule(LanguageConfig(identify=True, drop=["en"]))
    assert drop(english)[2] == "language:unwanted"
    assert drop(german)[2] is None
    floor = LanguageRule(LanguageConfig(identify=True, min_confidence=0.65))
    assert floor("qwx zzk 17-b")[2] == "language:unsure"
    assert floor("")[::2] == ("und", "language:unsure")


@pytest.mark.parametrize("code", ["english", "eng", "xx", "yue"])
def test_unknown_language_is_refused(code: str) -> None:
    with pytest.raises(UserError, match=f"clean.language.keep={code}"):
        LanguageRule(LanguageConfig(identify=True, keep=[code]))
