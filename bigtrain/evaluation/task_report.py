"""What the report of a task model has besides curves: labels, calibration, wrong rows. And its predictions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.evaluation.bars import histogram
from bigtrain.evaluation.page import Number, cut, evenly, figures, section, table, text
from bigtrain.evaluation.svg import Series, chart, heat_map
from bigtrain.metrics.classification import (
    calibration_error,
    confused,
    confusion_matrix,
    label_counts,
    per_class,
    reliability,
)
from bigtrain.storage import write_bytes

MOST_DRAWN = 20  # labels: a picture of more cannot be read
MOST_PAIRS, MOST_WRONG, MOST_ANSWERS = 20, 20, 12
MOST_TEXT, MOST_NAME = 400, 200  # characters
MOST_WORDS = 120  # of a sentence


def labels_section(names: Sequence[str], labels: np.ndarray, predictions: np.ndarray, *, counted: str = "rows") -> str:
    """Precision, recall, F1 and support of each label, and what is taken for what.

    names: of the labels, C; both others: (N,) int below C, of what `counted` names. Up to 20 labels stand in their
    order, with the confusion matrix as a picture; of more the worst come first, below a table of the pairs that are
    confused most.
    """
    measured = per_class(label_counts(labels, predictions, len(names)))
    order = np.arange(len(names))
    if len(names) > MOST_DRAWN:
        order = np.lexsort((order, measured["f1"]))
    scores = [[Number(f"{value:.3f}") for value in measured[name]] for name in ("precision", "recall", "f1")]
    rows = [(names[i], *(values[i] for values in scores), int(measured["support"][i])) for i in order.tolist()]
    content = table(("label", "precision", "recall", "F1", counted), rows)
    if len(names) > MOST_DRAWN:
        wrong = labels != predictions
        pairs = confused(labels[wrong], predictions[wrong], len(names))
        return section("Labels", _confused_most(names, *pairs, measured["support"], counted) + content)
    picture = heat_map("confusion", "Confusion matrix", names, confusion_matrix(labels, predictions, len(names)))
    return section("Labels", figures([("Confusion matrix", picture, len(names) > 6)]) + content)


def _confused_most(
    names: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    counts: np.ndarray,
    support: np.ndarray,
    counted: str,
) -> str:
    most = np.argsort(-counts, kind="stable")[:MOST_PAIRS]
    pairs = zip(truth[most].tolist(), predicted[most].tolist(), counts[most].tolist(), strict=True)
    rows = [(names[i], names[j], count, Number(f"{count / support[i]:.1%}")) for i, j, count in pairs]
    found = table(("truth", "prediction", counted, "share of the truth"), rows)
    return f"<h3>Confused most</h3>{found}<h3>All labels</h3>" if found else ""


def calibration_section(confidence: np.ndarray, right: np.ndarray) -> str:
    """Whether the model is right as often as it says: accuracy over confidence. Given as to `reliability`."""
    found = reliability(confidence, right)
    edges = np.linspace(0, 1, len(found.rows) + 1).round(2).tolist()
    curves = [
        Series("share right", found.confidence, found.accuracy, marked=True),
        Series("as right as confident", np.array([0.0, 1.0]), np.array([0.0, 1.0]), colour=1),
    ]
    title, axis = "Share right by confidence", "confidence"
    reliable = chart("calibration", title, curves, x_label=axis, from_zero=True, last_values=False)
    spread = histogram("confidence", "Rows by confidence", edges, found.rows.tolist())
    rows = [
        (
            f"{low:.2f} to {high:.2f}",
            int(n),
            *(Number(f"{value:.3f}") for value in (said, accuracy)),
            Number(f"{accuracy - said:+.3f}"),
        )
        for low, high, n, said, accuracy in zip(
            edges, edges[1:], found.rows, found.confidence, found.accuracy, strict=False
        )
        if n
    ]
    error = f"<p>Expected calibration error: {calibration_error(confidence, right):.4f}</p>"
    pictures = figures([(title, reliable, False), ("Rows by confidence", spread, False)])
    columns = ("confidence", "rows", "mean confidence", "share right", "difference")
    return section("Calibration", f"{error}\n{pictures}\n{table(columns, rows)}")


def wrong_rows_section(rows: Iterable[Mapping[str, Any]]) -> str:
    """The 20 rows that are wrong most confidently: what to read first, in the model and in the labels.

    rows: `text`, `label`, `predicted`, `confidence` (0 to 1) and `where` (file and line) each; right ones are left out.
    """
    wrong = [row for row in rows if row["label"] != row["predicted"]]
    worst = sorted(wrong, key=lambda row: -row["confidence"])[:MOST_WRONG]
    return section(
        "Wrong with most confidence", f'<div class="examples">{"".join(map(_wrong, worst))}</div>' if worst else ""
    )


def _wrong(row: Mapping[str, Any]) -> str:
    said = f"<b>{cut(row['label'], MOST_NAME)}</b> taken for <b>{cut(row['predicted'], MOST_NAME)}</b>"
    where = f"{said}, confidence {row['confidence']:.3f}, {cut(row['where'], MOST_NAME)}"
    return f'<div class="example"><p class="where">{where}</p><pre>{cut(row["text"], MOST_TEXT)}</pre></div>'


def wrong_tags_section(rows: Iterable[Mapping[str, Any]]) -> str:
    """The 20 sentences with the most wrong tags, each wrong word with its tag and what it was taken for.

    rows: `words`, `tags`, `predicted` (lists) and `where` (file and line) each; right ones are left out.
    """
    counted = [(sum(a != b for a, b in zip(row["tags"], row["predicted"], strict=True)), row) for row in rows]
    worst = sorted(((wrong, row) for wrong, row in counted if wrong), key=lambda pair: -pair[0])[:MOST_WRONG]
    shown = "".join(_wrong_tags(wrong, row) for wrong, row in worst)
    return section("Sentences with the most wrong tags", f'<div class="examples">{shown}</div>' if shown else "")


def _wrong_tags(wrong: int, row: Mapping[str, Any]) -> str:
    words = [
        text(word) if tag == found else f"<b>{text(word)}</b> [{text(tag)} taken for {text(found)}]"
        for word, tag, found in zip(row["words"], row["tags"], row["predicted"], strict=True)
    ]
    where = f"{wrong} of {len(words)} tags, {cut(row['where'], MOST_NAME)}"
    more = " …" if len(words) > MOST_WORDS else ""
    return f'<div class="example"><p class="where">{where}</p><pre>{" ".join(words[:MOST_WORDS])}{more}</pre></div>'


def answers_section(rows: Sequence[Mapping[str, Any]]) -> str:
    """Up to 12 answers from the worst to the best by ROUGE-L: what was asked, wanted and written.

    rows: `prompt`, `answer`, `generated`, `finished`, `chrf`, `rouge_l` and `where` (file and line) each.
    """
    examples = evenly(sorted(rows, key=lambda row: row["rouge_l"]), MOST_ANSWERS)
    return section(
        "Answers, from the worst to the best", f'<div class="examples">{"".join(map(_answer, examples))}</div>'
    )


def _answer(row: Mapping[str, Any]) -> str:
    scores = f"ROUGE-L {row['rouge_l']:.3f}, chrF {row['chrf']:.1f}{'' if row['finished'] else ', without an end'}"
    texts = (("prompt", row["prompt"]), ("answer of the data", row["answer"]), ("written", row["generated"]))
    parts = "".join(f'<p class="where"><b>{name}</b></p><pre>{cut(said, MOST_TEXT)}</pre>' for name, said in texts)
    return f'<div class="example"><p class="where">{scores}, {cut(row["where"], MOST_NAME)}</p>{parts}</div>'


def preferences_section(rows: Iterable[Mapping[str, Any]]) -> str:
    """The 20 pairs of which the worse answer has most reward above the better one.

    rows: `prompt`, `chosen`, `rejected`, `reward_chosen`, `reward_rejected` and `where` (file and line) each.
    """
    wrong = [row for row in rows if row["reward_chosen"] < row["reward_rejected"]]
    worst = sorted(wrong, key=lambda row: row["reward_chosen"] - row["reward_rejected"])[:MOST_WRONG]
    title, shown = "Pairs whose rejected answer is preferred", "".join(map(_preference, worst))
    return section(title, f'<div class="examples">{shown}</div>' if shown else "")


def _preference(row: Mapping[str, Any]) -> str:
    scores = f"margin {row['reward_chosen'] - row['reward_rejected']:.3f}"
    parts = "".join(
        f'<p class="where"><b>{name}</b></p><pre>{cut(row[name], MOST_TEXT)}</pre>'
        for name in ("prompt", "chosen", "rejected")
    )
    return f'<div class="example"><p class="where">{scores}, {cut(row["where"], MOST_NAME)}</p>{parts}</div>'


def write_predictions(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON Lines in UTF-8, atomically. Raises ValueError for a number that JSON does not have."""
    write_bytes(path, b"".join(_line(row) for row in rows))


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate, which JSON has and UTF-8 has not
        return (json.dumps(row, allow_nan=False) + "\n").encode("ascii")
