"""Metrics of spans, answers and generated text: by hand, against sacrebleu, and against plain ways to compute them."""

import builtins
import json
import random
import re

import pytest

from bigtrain.errors import UserError
from bigtrain.metrics.answers import exact_match, squad_scores
from bigtrain.metrics.spans import span_scores, spans_of, spans_per_type
from bigtrain.metrics.text import bleu, chrf, rouge_l

# ---- spans


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("", set()),
        ("O O", set()),
        ("B-PER I-PER O B-LOC", {("PER", 0, 2), ("LOC", 3, 4)}),
        ("B-PER B-PER I-PER", {("PER", 0, 1), ("PER", 1, 3)}),
        ("S-PER B-LOC I-LOC E-LOC O", {("PER", 0, 1), ("LOC", 1, 4)}),
        ("S-PER S-PER", {("PER", 0, 1), ("PER", 1, 2)}),
        ("B-PER M-PER M-PER E-PER S-PER", {("PER", 0, 4), ("PER", 4, 5)}),
        ("B E S B M E O", {("", 0, 2), ("", 2, 3), ("", 3, 6)}),  # words without types
        # what no scheme allows, as conlleval reads it
        ("O I-PER I-PER", {("PER", 1, 3)}),
        ("B-PER I-LOC I-LOC", {("PER", 0, 1), ("LOC", 1, 3)}),
        ("B-PER E-PER E-PER", {("PER", 0, 2), ("PER", 2, 3)}),
        ("S-PER I-PER", {("PER", 0, 1), ("PER", 1, 2)}),
        ("B-PER", {("PER", 0, 1)}),
        ("B-A-B I-A-B", {("A-B", 0, 2)}),
    ],
)
def test_spans_by_hand(tags, spans):
    assert spans_of(tags.split()) == spans


def conlleval(tags):
    """The script's two tables, which say between which neighbours a span ends and begins."""
    ends = {"EE", "EI", "EB", "ES", "EO", "SE", "SI", "SB", "SS", "SO", "BB", "BS", "BO", "IB", "IS", "IO"}
    begins = {"BB", "IB", "OB", "EB", "SB", "BS", "IS", "OS", "ES", "SS", "EE", "EI", "SE", "SI", "OE", "OI"}
    found, start, before = set(), None, "O-"
    for number, tag in enumerate([*tags, "O"]):
        pair, other = before[0] + tag[0], before[2:] != tag[2:]
        if start is not None and (pair in ends or (before[0] != "O" and other)):
            found.add((before[2:], start, number))
            start = None
        if pair in begins or (tag != "O" and other):
            start = number
        before = tag
    return found


def test_any_sequence_of_tags_is_read_as_conlleval_reads_it():
    draw = random.Random(0)
    every = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("X", "Y"))]
    for _ in range(5000):
        tags = draw.choices(every, k=draw.randint(0, 8))
        assert spans_of(tags) == conlleval(tags), tags


def test_a_tag_that_marks_no_span_is_an_error():
    for tag in ("NN", "U-PER", "O-PER", ""):
        with pytest.raises(UserError, match="B-, I-, E- or S-"):
            spans_of(["O", tag])


def test_span_scores_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG", "O"], ["O", "O"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["O", "B-ORG", "I-ORG"], ["B-LOC", "O"]]
    # true: 3 spans, predicted: 4, right: the person
    assert span_scores(predicted, gold) == pytest.approx(
        {"span_precision": 1 / 4, "span_recall": 1 / 3, "span_f1": 2 / 7}
    )
    types = spans_per_type(predicted, gold)
    assert list(types) == ["LOC", "ORG", "PER"]
    assert types["PER"] == {"precision": 1, "recall": 1, "f1": 1, "support": 1}
    assert types["ORG"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert span_scores([["O"]], [["O"]]) == {"span_precision": 0, "span_recall": 0, "span_f1": 0}


# ---- answers


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "f1"),
    [
        ("The  Broncos!", ["Denver Broncos", "broncos"], 1, 1),
        ("the Denver Broncos team", ["Denver Broncos"], 0, 0.8),
        ("cat cat dog", ["cat cat cat"], 0, 2 / 3),  # a word counts as often as it is on both sides
        ("U.S.", ["US"], 1, 1),
        ("theatre", ["atre"], 0, 0),  # an article is a word
        ("", [], 1, 1),
        ("", [""], 1, 1),
        ("something", [], 0, 0),
        ("the", [""], 1, 1),  # nothing is left of it
        ("", ["something"], 0, 0),
        ("Ünïted", ["ünïted"], 1, 1),
    ],
)
def test_squad_by_hand(prediction, references, exact, f1):
    assert squad_scores([prediction], [references]) == pytest.approx({"exact_match": exact, "f1": f1})


def test_squad_as_the_official_script_computes_it(test_data):
    """Answers of real questions, damaged, against the definition of the script of SQuAD 2.0, written anew."""

    def words(text):
        kept = re.sub(r"[!-/:-@\[-`{-~]", "", text.lower())  # ASCII's punctuation
        return [word for word in re.split(r"\s+", re.sub(r"\b(a|an|the)\b", " ", kept)) if word]

    def f1(found, wanted):
        if not found or not wanted:
            return float(found == wanted)
        rest = list(wanted)
        common = sum(1 for word in found if word in rest and not rest.remove(word))
        precision, recall = common / len(found), common / len(wanted)
        return 2 * precision * recall / (precision + recall) if common else 0.0

    draw = random.Random(0)
    predictions, references = [], []
    for article in json.loads((test_data / "squad" / "dev.json").read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = [answer["text"] for answer in question["answers"]]
                near = [word for word in (answers or ["nothing at all"])[0].split() if draw.random() < 0.7]
                near += draw.sample(paragraph["context"].split(), draw.randint(0, 2))
                predictions.append(" ".join(near) if draw.random() < 0.7 else (answers or [""])[-1].upper() + ".")
                references.append(answers)
    expected_f1 = expected_exact = 0.0
    for prediction, answers in zip(predictions, references, strict=True):
        wanted = [words(answer) for answer in answers if words(answer)] or [[]]
        expected_f1 += max(f1(words(prediction), one) for one in wanted)
        expected_exact += any(words(prediction) == one for one in wanted)
    found = squad_scores(predictions, references)
    assert len(predictions) > 200
    assert 0.2 < found["exact_match"] < found["f1"] < 0.95
    assert found["exact_match"] == expected_exact / len(predictions)
    assert found["f1"] == pytest.approx(expected_f1 / len(predictions))


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "f1"),
    [
        ("《泡泡堂》", ["泡泡堂"], 1, 1),
        ("游戏橘子公司", ["游戏橘子"], 0, 2 * 4 / 10),
        ("一二X三四", ["一二三四"], 0, 2 * 2 / 9),  # the longest run, not all four
        ("4分钟", ["四分钟", "4 分钟"], 0, 1),  # a word and two characters
        ("ibm system", ["IBM System p570"], 0, 0.8),
        ("tim's", ["Tim’s"], 0, 0),
        ("1,000.5人。", ["1,000.5人"], 1, 1),
        ("s.k.", ["s.k"], 0, 2 / 3),  # a period at the end is a word
        ("", [], 1, 1),
        ("有", [], 0, 0),
        ("", ["有"], 0, 0),
    ],
)
def test_cmrc_by_hand(prediction, references, exact, f1):
    assert squad_scores([prediction], [references], "zh") == pytest.approx({"exact_match": exact, "f1": f1})


def test_cmrc_as_a_plain_search_for_the_longest_run(test_data):
    draw = random.Random(0)
    text = (test_data / "cmrc2018" / "cmrc2018_trial.json").read_text(encoding="utf-8")
    for article in json.loads(text)["data"][:60]:
        for paragraph in article["paragraphs"]:
            context = re.sub("[^\u4e00-\u9fa5]", "", paragraph["context"])  # there a character is a word
            for _ in range(3):
                a, b = draw.randrange(len(context)), draw.randrange(len(context))
                found, wanted = context[a : a + 8], context[max(0, a + draw.randint(-4, 4)) :][:6] + context[b : b + 3]
                runs = {found[i:j] for i in range(len(found)) for j in range(i + 1, len(found) + 1)}
                longest = max((len(run) for run in runs if run in wanted), default=0)
                expected = 2 * longest / (len(found) + len(wanted))
                assert squad_scores([found], [[wanted]], "zh")["f1"] == pytest.approx(expected)


def test_means_over_questions():
    assert squad_scores(["a cat", "dog"], [["cat"], ["big dog"]]) == pytest.approx({"exact_match": 0.5, "f1": 5 / 6})
    assert exact_match([" x\n", "X", "y"], [["x"], ["x"], ["z", "y "]]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="zip"):
        squad_scores(["a"], [])


# ---- generated text


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("police kill the gunman", ["police killed the gunman"], 0.75),  # Lin 2004, section 3.1
        ("the gunman kill police", ["police killed the gunman"], 0.5),
        ("Police_killed, the GUNMAN!", ["police killed the gunman"], 1),
        ("one two", ["three", "two"], 2 / 3),
        ("", ["x"], 0),
        ("x", [""], 0),
        ("", [], 0),
        ("我爱北京", ["我很爱北京"], 8 / 9),
        ("iphone 14 发布", ["iPhone 14 发布了"], 8 / 9),
        ("Ça va très bien", ["ça va bien"], 6 / 7),
        ("हिन्दी भाषा", ["हिन्दी"], 2 / 3),
        ("한국어 문장", ["한국어"], 2 / 3),
    ],
)
def test_rouge_l_by_hand(prediction, references, expected):
    assert rouge_l([prediction], [references]) == pytest.approx(expected)


def test_rouge_l_is_that_of_rouge_score():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    draw = random.Random(4)

    def text():
        return "".join(draw.choices("ab C1_.,-'\n", weights=[6, 6, 8, *[1] * 8], k=draw.randrange(60)))

    for _ in range(300):
        one, references = text(), [text() for _ in range(draw.randrange(1, 4))]
        assert rouge_l([one], [references]) == pytest.approx(scorer.score_multi(references, one)["rougeL"].fmeasure)


def test_rouge_l_is_the_longest_common_subsequence():
    draw = random.Random(0)
    for _ in range(300):
        a, b = (draw.choices("abcd", k=draw.choice([1, 5, 70])) for _ in range(2))
        table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, one in enumerate(a):
            for j, other in enumerate(b):
                table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
        assert rouge_l([" ".join(a)], [[" ".join(b)]]) == pytest.approx(2 * table[-1][-1] / (len(a) + len(b)))


def test_bleu_and_chrf_are_those_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    predictions = ["The cat sat on the mat.", "It is a small house.", "Nobody came, to be sure."]
    one = [["The cat sat on a mat."], ["It's a small house."], ["Nobody came to the party."]]
    streams = [[given[0] for given in one]]
    assert bleu(predictions, one) == sacrebleu.BLEU().corpus_score(predictions, streams).score
    assert chrf(predictions, one) == sacrebleu.CHRF().corpus_score(predictions, streams).score
    several = [[*one[0], "A cat sat on the mat."], one[1], [*one[2], "Nobody came, to be sure.", "x"]]
    padded = [[*streams[0]], [several[0][1], None, several[2][1]], [None, None, "x"]]
    assert bleu(predictions, several) == sacrebleu.BLEU().corpus_score(predictions, padded).score
    assert chrf(predictions, several) == sacrebleu.CHRF().corpus_score(predictions, padded).score
    assert bleu(predictions, several) > bleu(predictions, one) > 0
    chinese, wanted = ["猫坐在垫子上。"], [["猫坐在一个垫子上。"]]
    assert bleu(chinese, wanted, "zh") == sacrebleu.BLEU(tokenize="zh").corpus_score(chinese, wanted).score
    assert bleu(chinese, wanted, "zh") > bleu(chinese, wanted)


def test_a_known_value_of_bleu():
    """Precisions 5/6, 3/5, 1/4, and 0/3, which `exp` smooths to (1/2)/3; no brevity penalty."""
    expected = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25
    assert bleu(["a b c x d e"], [["a b c y d e"]]) == pytest.approx(expected)


def test_without_sacrebleu_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name == "sacrebleu":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for metric in (bleu, chrf):
        with pytest.raises(UserError, match=r"bigtrain\[metrics\]"):
            metric(["a"], [["a"]])
