"""Answers to questions: the search, the loss, and scores against the rules of the official scripts, written again."""

import random
import re
import string
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from encoders import encoder, wordpiece
from harness import text

from bigtrain.data.reading.sources import Problems
from bigtrain.data.schema import CharsConfig, OnError, WordPieceConfig
from bigtrain.data.tasks.contexts import ContextRows, decoder_frame, encoder_frame
from bigtrain.data.tasks.questions import Answer, Question, read_questions
from bigtrain.models.base import Model, materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.output import Output, OutputKind
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.objectives.span import Span, best_spans, is_chinese, span_logits
from bigtrain.tokenizer import Tokenizer, train

SPAN = Output(OutputKind.span)


def questions(n: int, *, without: int = 0) -> list[Question]:
    """Texts of a small language; the last `without` have no answer."""
    found = []
    for seed in range(n):
        context = text(12 + seed, seed)
        start = context.index(" ") + 1
        answers = (Answer(context[start : start + 6], start),) if seed < n - without else ()
        found.append(Question(f"q{seed}", text(4, seed), context, answers, f"a.json, 'q{seed}'"))
    return found


def context_rows(kind: str, given: list[Question]) -> tuple[Model, ContextRows]:
    """An encoder with segments, or a decoder, and rows of 40 tokens for it."""
    tokenizer = wordpiece() if kind == "bert" else train(CharsConfig(), [question.context for question in given])
    if kind == "bert":
        frame = encoder_frame(tokenizer)
        return encoder("bert", SPAN, max_seq_len=64), ContextRows(given, tokenizer, 40, frame, overlap=8)
    shape = DecoderConfig(architecture=Architecture.llama, dim=16, n_layers=2, n_heads=2, max_seq_len=64)
    model = Decoder.on_meta(shape.resolved(tokenizer.vocab_size), SPAN)
    materialise(model, torch.device("cpu"), 5)
    with torch.no_grad():
        for matrix in model.hidden_matrices():
            matrix.mul_(20)
    return model, ContextRows(given, tokenizer, 40, decoder_frame(tokenizer), overlap=8, null_last=True, segments=False)


def sums(objective: Span, model: Model, batch_rows: int) -> dict[str, np.ndarray]:
    rows = objective.rows
    assert rows is not None
    total, table = {"loss": 0.0, "weight": 0.0}, np.zeros((len(rows), 5))
    with torch.no_grad():
        for batch in rows.batches(batch_rows):
            found = objective.statistics(model, batch)
            total = {name: total[name] + float(found[name]) for name in total}
            table[batch["rows"]] = found["spans"]
    return {**{name: np.array(value) for name, value in total.items()}, "spans": table}


@pytest.mark.parametrize("seed", range(20))
def test_the_search_finds_what_trying_all_finds(seed: int) -> None:
    draw = random.Random(seed)
    n_tokens, most = draw.randrange(3, 15), draw.choice([1, 2, 5, 40, 1 << 50])
    logits = torch.randn(4, n_tokens, 2, generator=torch.Generator().manual_seed(seed))
    bounds = [sorted(draw.sample(range(n_tokens + 1), 2)) for _ in range(4)]
    first, last, score = best_spans(logits, torch.tensor(bounds), most)
    for row, (begin, stop) in enumerate(bounds):
        pairs = [(a, b) for a in range(begin, stop) for b in range(a, min(stop, a + most))]
        expected = max(pairs, key=lambda pair: float(logits[row, pair[0], 0] + logits[row, pair[1], 1]))
        assert (int(first[row]), int(last[row])) == expected
        assert float(score[row]) == float(logits[row, expected[0], 0] + logits[row, expected[1], 1])


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_loss_is_the_mean_of_both_cross_entropies_over_the_tokens_of_a_row(kind: str) -> None:
    model, rows = context_rows(kind, questions(6, without=2))
    objective, index = Span(None), np.arange(len(rows))
    whole = rows.batch(index)
    expected = []
    for row in index:  # alone, without padding
        batch = rows.batch(np.array([row]))
        given = {"segments": batch["segments"]} if "segments" in batch else {}
        logits = model.logits(model(batch["tokens"], **given))[0]
        places = batch["span"][0]
        expected.append((F.cross_entropy(logits[:, 0], places[0]) + F.cross_entropy(logits[:, 1], places[1])) / 2)
    assert objective.weight(whole) == len(rows)
    together = objective(model, whole)
    assert torch.isclose(together, torch.stack(expected).sum(), rtol=1e-5)
    together.backward()
    gradient = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    for part in (index[:3], index[3:]):
        objective(model, rows.batch(part)).backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, gradient[name], atol=1e-4), name


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_metrics_do_not_depend_on_the_batches(kind: str) -> None:
    model, rows = context_rows(kind, questions(8, without=3))
    objective = Span(rows, 12)
    found = [objective.metrics(sums(objective, model, batch_rows)) for batch_rows in (1, 4, 100)]
    assert found[0].keys() == set(objective.metric_names)
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    assert found[2] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_question_is_answered_from_its_best_window(kind: str) -> None:
    model, rows = context_rows(kind, questions(8))
    objective = Span(rows, 12)
    for number, found in enumerate(objective.found(sums(objective, model, 4))):
        windows = np.flatnonzero(rows.question_of == number)
        best = []
        for row in windows:
            batch = rows.batch(np.array([row]))
            logits = span_logits(model, batch)[0].detach()
            begin, stop = batch["context"][0].tolist()
            scores = {
                (a, b): float(logits[a, 0] + logits[b, 1])
                for a in range(begin, stop)
                for b in range(a, min(stop, a + 12))
            }
            place = max(scores, key=scores.__getitem__)
            probability = logits.softmax(0)
            null = int(batch["null"][0])
            best.append((scores[place], row, *place, float(probability[place[0], 0] * probability[place[1], 1])))
            assert null == (0 if kind == "bert" else int(batch["lengths"][0]) - 1)
        score, row, first, last, confidence = max(best)
        assert (found.row, found.first, found.last) == (row, first, last)
        assert found.score == pytest.approx(score, rel=1e-4)
        assert found.confidence == pytest.approx(confidence, rel=1e-3)
        assert found.text == rows.text(int(row), first, last)
        assert found.text in rows.questions[number].context


# The rules of the official scripts (SQuAD's evaluate-v1.1.py and evaluate-v2.0.py, CMRC 2018's), written anew.


def squad_words(text: str) -> list[str]:
    kept = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return [word for word in re.sub(r"\b(a|an|the)\b", " ", kept).split() if word]


def squad_score(answer: str, references: list[str]) -> tuple[float, float]:
    scores = []
    for reference in references or [""]:
        ours, theirs = squad_words(answer), squad_words(reference)
        same = sum((Counter(ours) & Counter(theirs)).values())
        if not ours or not theirs:
            f1 = float(ours == theirs)
        elif same == 0:
            f1 = 0.0
        else:
            precision, recall = same / len(ours), same / len(theirs)
            f1 = 2 * precision * recall / (precision + recall)
        scores.append((float(ours == theirs), f1))
    return max(exact for exact, _ in scores), max(f1 for _, f1 in scores)


CMRC_DROPPED = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"


def cmrc_score(answer: str, references: list[str]) -> tuple[float, float]:
    """For texts of Chinese characters, Latin letters, digits and the script's own punctuation."""
    scores = []
    for reference in references:
        ours, theirs = (
            "".join(character for character in one.lower().strip() if character not in CMRC_DROPPED)
            for one in (answer, reference)
        )
        found, wanted = (re.findall("[\u4e00-\u9fa5]|[a-z0-9]+", one) for one in (ours, theirs))
        runs = {tuple(wanted[a:b]) for a in range(len(wanted)) for b in range(a + 1, len(wanted) + 1)}
        ends = [(a, b) for a in range(len(found)) for b in range(a + 1, len(found) + 1)]
        longest = max((b - a for a, b in ends if tuple(found[a:b]) in runs), default=0)
        precision, recall = longest / max(1, len(found)), longest / len(wanted)
        f1 = 2 * precision * recall / (precision + recall) if longest else 0.0
        scores.append((float(ours == theirs), f1))
    return max(exact for exact, _ in scores), max(f1 for _, f1 in scores)


def guesses(rows: ContextRows, draw: random.Random) -> np.ndarray:
    """Random places near the answers, random scores: what a model might say of each row."""
    table = np.zeros((len(rows), 5))
    batch = rows.batch(np.arange(len(rows)))
    for row in range(len(rows)):
        begin, stop = batch["context"][row].tolist()
        first, last = batch["span"][row].tolist()
        if not begin <= first < stop or draw.random() < 0.2:
            first = draw.randrange(begin, stop)
            last = min(stop - 1, first + draw.randrange(6))
        elif draw.random() < 0.6:
            first = min(last, max(begin, first + draw.randrange(-2, 3)))
            last = max(first, min(stop - 1, last + draw.randrange(-2, 3)))
        score = draw.gauss(0, 3)
        table[row] = first, last, score, draw.gauss(0, 3), max(score, 0) + 5
    return table


def real(test_data: Path, name: str) -> tuple[list[Question], Tokenizer]:
    """English questions, a third of them without an answer; or Chinese ones that `cmrc_score` understands."""
    if name == "squad":
        found = read_questions([test_data / "squad" / "dev.json"])
        found += [Question(f"{q.id}-", q.question, q.context, (), q.where) for q in found[::2]]
        return found, train(WordPieceConfig(vocab_size=2000), [q.context for q in found])
    every = read_questions([test_data / "cmrc2018" / "cmrc2018_trial.json"], Problems(OnError.skip, None))
    found = [q for q in every if re.fullmatch(f"[\u4e00-\u9fa5A-Za-z0-9 {re.escape(CMRC_DROPPED)}]+", q.context)]
    return found, train(CharsConfig(), [q.context for q in found])


@pytest.mark.parametrize("name", ["squad", "cmrc2018"])
def test_scores_are_those_of_the_official_rules(name: str, test_data: Path) -> None:
    given, tokenizer = real(test_data, name)
    draw = random.Random(3)
    frame = encoder_frame(tokenizer) if name == "squad" else decoder_frame(tokenizer)
    rows = ContextRows(given, tokenizer, 300, frame, overlap=30, null_last=name != "squad")
    table = guesses(rows, draw)
    objective = Span(rows, threshold=0.5 if name == "squad" else None)
    assert objective.language == ("en" if name == "squad" else "zh")
    measured = objective.metrics({"loss": np.array(1.0), "weight": np.array(2.0), "spans": table})
    exact, f1 = [], []
    for number, question in enumerate(given):
        windows = np.flatnonzero(rows.question_of == number)
        row = max(windows, key=lambda row: table[row, 2])
        answer = rows.text(int(row), int(table[row, 0]), int(table[row, 1]))
        if name == "squad" and table[windows, 3].min() >= table[row, 2]:
            answer = ""
        score = squad_score if name == "squad" else cmrc_score
        one, other = score(answer, question.references)
        exact.append(one)
        f1.append(other)
    assert len(given) > 60
    assert measured["exact_match"] == pytest.approx(np.mean(exact), abs=1e-12)
    assert measured["f1"] == pytest.approx(np.mean(f1), abs=1e-12)
    assert 0.1 < measured["exact_match"] < measured["f1"] < 0.95


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_is_the_best_there_is(seed: int) -> None:
    draw = random.Random(seed)
    _, rows = context_rows("bert", questions(20, without=draw.choice([1, 7, 19, 20])))
    told: list[float] = []
    given = {"loss": np.array(1.0), "weight": np.array(2.0), "spans": guesses(rows, draw)}
    found = Span(rows, tuned=told.append).metrics(given)
    assert [found["threshold"]] == told
    fixed = Span(rows, threshold=told[0]).metrics(given)
    assert fixed == found
    others = [Span(rows, threshold=threshold).metrics(given)["f1"] for threshold in np.linspace(0, 1, 400)]
    assert found["f1"] >= max(others)
    parts = found.get("answerable_f1", 0), found.get("unanswerable_accuracy", found["f1"])
    n = sum(not references for references in Span(rows).references)
    assert found["f1"] == pytest.approx((parts[0] * (20 - n) + parts[1] * n) / 20)


def test_without_unanswerable_questions_every_question_is_answered() -> None:
    model, rows = context_rows("bert", questions(5))
    objective = Span(rows, tuned=lambda threshold: pytest.fail("there is nothing to tune"))
    found = objective.metrics(sums(objective, model, 4))
    assert found.keys() == {"loss", "exact_match", "f1"} == set(objective.metric_names)
    assert all(objective.answers(objective.found(sums(objective, model, 4))))


def test_the_language_is_that_of_the_answers() -> None:
    def of(*texts: str) -> bool:
        return is_chinese([Question("q", "?", "", tuple(Answer(text, 0) for text in texts), "")])

    assert of("南京市长江大桥", "2004年9月")
    assert not of("the 北京 opera", "Beijing")
    assert not is_chinese([])
