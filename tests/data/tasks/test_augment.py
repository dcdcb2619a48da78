"""Changed copies of texts: what every change keeps, and what each of them does."""

import gzip
import itertools
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from harness import text as sentences
from random_text import random_text

from bigtrain.data.tasks.augment import Augmenter
from bigtrain.data.tasks.schema import AugmentConfig
from bigtrain.errors import UserError

SYNONYMS = {
    "good": ["fine", "very nice"],
    "dog": ["hound"],
    "北京": ["首都"],
    "高兴": ["愉快", "开心"],
    "Paris": ["Rome"],
}


def table(folder: Path, rows: dict[str, list[str]] = SYNONYMS, name: str = "words.tsv") -> str:
    path = folder / name
    path.write_text("".join("\t".join([word, *others]) + "\n" for word, others in rows.items()), encoding="utf-8")
    return str(path)


def augmenter(seed: int = 1, **keys: object) -> Augmenter:
    given = {"probability": 1.0, **({"mask_token": "[MASK]"} if keys.get("mask") else {}), **keys}
    config = AugmentConfig(**given)  # type: ignore[arg-type]
    config.check()
    return Augmenter(config, seed)


def passes(made: Augmenter, text: str, n: int = 400) -> list[str]:
    return [made(text, 3, epoch) for epoch in range(n)]


def everything(folder: Path, **keys: object) -> Augmenter:
    paraphrases = table(folder, {"a good dog": ["the dog is good", "good dog"]}, "texts.tsv")
    shares = dict.fromkeys(("delete", "swap", "insert", "replace", "mask", "paraphrase"), 0.2)
    return augmenter(**{**shares, "synonyms": table(folder), "paraphrases": paraphrases, **keys})


# ---- what every change keeps


@pytest.mark.parametrize("seed", range(30))
def test_any_text_by_any_shares_keeps_a_word_and_its_white_space_around(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    names = ("delete", "swap", "insert", "replace", "mask")
    known = table(tmp_path, {"the": ["a b"], "中": ["汉语", "x"], "文字": ["字"], "!": ["?"]}, "odd.tsv")
    made = everything(tmp_path, **{name: draw.choice([0.1, 0.3, 1.0]) for name in names}, synonyms=known)
    for row in range(40):
        text = random_text(draw)
        changed = made(text, row, 0)
        assert bool(changed.strip()) == bool(text.strip())
        assert len(changed) - len(changed.lstrip()) == len(text) - len(text.lstrip())
        assert len(changed) - len(changed.rstrip()) == len(text) - len(text.rstrip())


@pytest.mark.parametrize("seed", range(10))
def test_no_share_changes_nothing(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    still = Augmenter(AugmentConfig(probability=1.0, synonyms=table(tmp_path)), 0)
    for row in range(100):
        text = random_text(draw)
        assert still(text, row, 0) == text
        assert Augmenter(AugmentConfig(probability=1.0), 1)(text, row, 0) == text


def test_a_change_depends_on_seed_row_and_pass_alone(tmp_path: Path) -> None:
    text = sentences(40)
    one, same, other = (everything(tmp_path, seed=seed) for seed in (1, 1, 2))
    pairs = [(row, epoch) for row in range(20) for epoch in range(5)]
    changed = {pair: one(text, *pair) for pair in pairs}
    assert len(set(changed.values())) == len(pairs)
    random.Random(0).shuffle(pairs)
    assert {pair: same(text, *pair) for pair in pairs} == changed
    assert same(text, np.int64(7), np.int64(2)) == changed[7, 2]
    assert all(other(text, *pair) != changed[pair] for pair in pairs)


def test_the_numbers_stay_what_they_were() -> None:
    """A resumed run may have another Python: the change of this row is written down."""
    made = augmenter(delete=0.2, swap=0.2, mask=0.2)
    text = "one two three four five six seven eight nine ten"
    assert made(text, 0, 0) == "one two three [MASK] ten [MASK] eight six"


def test_a_share_of_the_rows_is_touched() -> None:
    made = augmenter(probability=0.3, swap=1.0)
    text = " ".join(map(str, range(50)))
    assert sum(made(text, row, 0) != text for row in range(2000)) == pytest.approx(600, abs=70)


def test_line_breaks_outlive_the_words_around_them() -> None:
    made = augmenter(delete=0.5, mask=0.2)
    for changed in passes(made, "one two three four\n\nfive six seven\n eight nine"):
        assert changed.count("\n") <= 3
        assert "\n" not in changed[:1] + changed[-1:]
    whole = augmenter(mask=1.0)
    assert set(passes(whole, "one\ntwo three")) == {"[MASK]"}
    assert set(passes(augmenter(delete=1 / 3), "a\nb c")) == {"a\nb", "a\nc", "b c"}


# ---- what each of them does


@pytest.mark.parametrize("share", [0.05, 0.1, 0.37])
def test_a_share_holds_on_average_in_short_texts_too(share: float, tmp_path: Path) -> None:
    text = "good good good good good good good"
    synonyms = table(tmp_path)

    def mean(name: str, count: str) -> float:
        keys = {"synonyms": synonyms} if name in ("replace", "insert") else {}
        found = passes(augmenter(**{name: share}, **keys), text, 3000)
        return sum(len([word for word in changed.split() if word == count]) for changed in found) / 3000

    assert 7 - mean("delete", "good") == pytest.approx(7 * share, rel=0.12)
    assert 7 - mean("replace", "good") == pytest.approx(7 * share, rel=0.12)
    assert 7 - mean("mask", "good") == pytest.approx(7 * share, rel=0.12)
    assert mean("insert", "fine") + mean("insert", "nice") == pytest.approx(7 * share, rel=0.12)


def test_deletion_takes_words_and_leaves_the_order() -> None:
    words = [str(number) for number in range(30)]
    for changed in passes(augmenter(delete=0.4), " ".join(words)):
        assert changed.split() == sorted(changed.split(), key=int)
        assert len(changed.split()) == 18
        assert changed == " ".join(changed.split())
    assert {len(changed.split()) for changed in passes(augmenter(delete=1.0), "one two three")} == {1}


def test_swaps_move_words_and_not_white_space() -> None:
    text = "a  b\tc d\ne f g h i j"
    for changed in passes(augmenter(swap=0.4), text):
        assert sorted(changed.split()) == sorted(text.split())
        assert sum(one != other for one, other in zip(changed.split(), text.split(), strict=True)) == 4
        assert [c for c in changed if c.isspace()] == [c for c in text if c.isspace()]


def test_replacement_keeps_capitals_and_punctuation(tmp_path: Path) -> None:
    made = augmenter(replace=1.0, synonyms=table(tmp_path))
    assert set(passes(made, "Good (dog), DOG! doge paris Paris")) == {
        f"{good} (hound), HOUND! doge paris Rome" for good in ("Fine", "Very nice")
    }


def test_synonyms_of_a_script_without_spaces_are_found_inside_its_text(tmp_path: Path) -> None:
    made = augmenter(replace=1.0, synonyms=table(tmp_path))
    assert set(passes(made, "我们在北京，很高兴。高了兴")) == {
        f"我们在首都，很{glad}。高了兴" for glad in ("愉快", "开心")
    }
    assert set(passes(made, "a北京b 北 京")) == {"a首都b 北 京"}


def test_insertion_adds_synonyms_of_the_text_anywhere(tmp_path: Path) -> None:
    made = augmenter(insert=0.25, synonyms=table(tmp_path))
    found = set(passes(made, "  a good b dog\n"))
    places = {tuple(changed.strip().split(" ")).index("hound") for changed in found if "hound" in changed}
    assert places == {0, 1, 2, 3, 4}
    for changed in found:
        assert len(changed) - len(changed.lstrip()) == 2
        kept = [word for word in changed.split() if word not in ("fine", "very", "nice", "hound")]
        assert kept == ["a", "good", "b", "dog"]
    assert set(passes(made, "none of it is known")) == {"none of it is known"}
    assert "他很愉快高兴" in passes(augmenter(insert=0.3, synonyms=table(tmp_path)), "他很高兴")


def test_masked_spans_are_one_token_each_and_three_words_long() -> None:
    words = [f"w{number}" for number in range(100)]
    lengths: Counter[int] = Counter()
    for changed in passes(augmenter(mask=0.3), " ".join(words)):
        kept = [int(word[1:]) if word != "[MASK]" else None for word in changed.split()]
        assert sum(word is not None for word in kept) == 70
        numbers = [-1, *(word for word in kept if word is not None), 100]
        gaps = [after - before - 1 for before, after in itertools.pairwise(numbers)]
        spans = [gap for gap in gaps if gap]
        assert len(spans) == kept.count(None)  # no two of them touch
        lengths.update(spans)
    mean = sum(length * n for length, n in lengths.items()) / lengths.total()
    assert 2.6 < mean < 3.1
    assert lengths[1] > lengths[2] > lengths[3] > lengths[5] > 0
    assert set(passes(augmenter(mask=1.0, mask_token="<x>"), "one two three")) == {"<x>"}


def test_characters_of_a_script_without_spaces_are_words() -> None:
    assert {len(changed) for changed in passes(augmenter(delete=0.25), "北京是首都很高兴")} == {6}
    marked = "\u0e01\u0e49\u0e04\u0e34\u0e19"  # Thai: two letters with a tone mark or vowel sign, one without
    letters = {"\u0e01\u0e49", "\u0e04\u0e34", "\u0e19"}
    assert set(passes(augmenter(delete=1.0), marked)) == letters


def test_words_of_a_script_with_spaces_do_not_run_together() -> None:
    for changed in passes(augmenter(delete=0.5), "love我love你love"):
        assert "lovelove" not in changed


def test_paraphrases_stand_in_for_their_text(tmp_path: Path) -> None:
    rows = {"a good dog": ["the dog is good", "good dog"]}
    made = augmenter(paraphrase=0.5, paraphrases=table(tmp_path, rows))
    found = Counter(passes(made, " a good dog\n", 1000))
    assert found.keys() == {" a good dog\n", "the dog is good", "good dog"}
    assert found[" a good dog\n"] == pytest.approx(500, abs=60)
    assert found["good dog"] == pytest.approx(250, abs=50)
    assert set(passes(made, "a good cat")) == {"a good cat"}


# ---- files


def test_tables_of_both_kinds_say_the_same(tmp_path: Path) -> None:
    rows = [{"word": word, "synonyms": others} for word, others in SYNONYMS.items()]
    rows += [{"word": "dog", "synonyms": ["hound", "canine"]}]
    path = tmp_path / "words.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    plain = Path(table(tmp_path))
    plain.write_text(plain.read_text(encoding="utf-8") + "\n dog\tcanine\n", encoding="utf-8")
    one, other = (augmenter(replace=0.1, synonyms=str(file)) for file in (path, plain))
    assert one.synonyms == other.synonyms == {**{w: tuple(o) for w, o in SYNONYMS.items()}, "dog": ("hound", "canine")}
    assert one.fingerprint == other.fingerprint != augmenter(replace=0.1, synonyms=table(tmp_path)).fingerprint


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.tsv", "good\tfine\nbad\n", "a.tsv:2: no tab"),
        ("a.tsv", "good\tfine\n\n\tfine\n", "a.tsv:3: .* empty"),
        ("a.tsv", "good\t\n", "a.tsv:1: .* empty"),
        ("a.tsv", "very good\tfine\n", "a.tsv:1: 'very good' is several words"),
        ("a.tsv", "\n\n", "no rows"),
        ("a.tsv", b"good\tfine\ncaf\xe9\tbar\n", "a.tsv:2: not UTF-8"),
        ("a.jsonl", '{"word": "good", "synonyms": ["fine"]}\n{"word": "bad"}\n', "a.jsonl:2: no word"),
        ("a.jsonl", '{"word": "good", "synonyms": "fine"}\n', "a.jsonl:1: no word"),
        ("a.jsonl", '{"word": "good", "synonyms": []}\n', "a.jsonl:1: .* empty"),
        ("a.jsonl", '{"word": "good", "synonyms": ["\\ud800"]}\n', "a.jsonl:1: the row holds half of a surrogate"),
        ("a.jsonl", "{good}\n", "a.jsonl:1: not JSON"),
        ("a.csv", "good,fine\n", "unknown format '.csv'"),
        ("", "", "No such file|Is a directory"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path: Path, name: str, content: str | bytes, named: str) -> None:
    path = tmp_path / (name or "absent.tsv")
    if name:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=named):
        augmenter(replace=0.1, synonyms=str(path))


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"replace": 0.1}, "data.augment.replace=0.1 without data.augment.synonyms="),
        ({"insert": 0.1}, "data.augment.insert=0.1 without data.augment.synonyms="),
        ({"paraphrase": 0.1}, "without data.augment.paraphrases="),
        ({"synonyms": "a.tsv"}, "data.augment.replace=0.1, or data.augment.insert=0.1"),
        ({"paraphrases": "a.tsv"}, "data.augment.paraphrases=a.tsv, of which nothing is used"),
        ({"mask_token": "_"}, "data.augment.mask_token=_ without a share"),
        ({"probability": 1.0}, "data.augment.probability=1.0 without any change"),
    ],
)
def test_shares_and_what_they_need_go_together(keys: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        AugmentConfig(**keys).check()  # type: ignore[arg-type]


def test_off_is_off() -> None:
    assert not AugmentConfig().on
    assert AugmentConfig(mask=0.1).on
