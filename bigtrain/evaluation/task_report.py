"""What the report of a task model has besides curves: labels, calibration, wrong rows. And its predictions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.evaluation.bars import histogram
from bigtrain.evaluation.page import Number, cut, figures, section, table
from bigtrain.evaluation.svg import Series, chart, heat_map
from bigtrain.metrics.classification import calibration_error, per_class, reliability
from bigtrain.storage import write_bytes

MOST_DRAWN = 20  # labels: a picture of more cannot be read
MOST_PAIRS, MOST_WRONG = 20, 20
MOST_TEXT, MOST_NAME = 400, 200  # characters


def labels_section(labels: Sequence[str], confusion: np.ndarray) -> str:
    """Precision, recall, F1 and support of each label, and what is taken for what.

    confusion: (C, C) counts, truth by prediction. Up to 20 labels stand in their order, with the matrix as a picture;
    of more the worst come first, below a table of the pairs that are confused most.
    """
    measured = per_class(confusion)
    order = np.arange(len(labels))
    if len(labels) > MOST_DRAWN:
        order = np.lexsort((order, measured["f1"]))
    scores = [[Number(f"{value:.3f}") for value in measured[name]] for name in ("precision", "recall", "f1")]
    rows = [(labels[i], *(values[i] for values in scores), int(measured["support"][i])) for i in order.tolist()]
    content = table(("label", "precision", "recall", "F1", "rows"), rows)
    if len(labels) > MOST_DRAWN:
        return section("Labels", _confused_pairs(labels, confusion) + content)
    picture = heat_map("confusion", "Confusion matrix", labels, confusion)
    return section("Labels", figures([("Confusion matrix", picture, len(labels) > 6)]) + content)


def _confused_pairs(labels: Sequence[str], confusion: np.ndarray) -> str:
    wrong = np.where(np.eye(len(labels), dtype=bool), 0, confusion)
    most = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS].tolist()
    pairs = [divmod(place, len(labels)) for place in most]
    rows = [
        (labels[i], labels[j], int(wrong[i, j]), Number(f"{wrong[i, j] / confusion[i].sum():.1%}"))
        for i, j in pairs
        if wrong[i, j]
    ]
    found = table(("truth", "prediction", "rows", "share of the truth"), rows)
    return f"<h3>Confused most</h3>{found}<h3>All labels</h3>" if found else ""


def calibration_section(probabilities: np.ndarray, labels: np.ndarray) -> str:
    """Whether the model is right as often as it says: accuracy over confidence.

    probabilities: (N, C) float; labels: (N,) int below C.
    """
    found = reliability(probabilities, labels)
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
            *(Number(f"{value:.3f}") for value in (confidence, accuracy)),
            Number(f"{accuracy - confidence:+.3f}"),
        )
        for low, high, n, confidence, accuracy in zip(
            edges, edges[1:], found.rows, found.confidence, found.accuracy, strict=False
        )
        if n
    ]
    error = f"<p>Expected calibration error: {calibration_error(probabilities, labels):.4f}</p>"
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


def write_predictions(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON Lines in UTF-8, atomically. Raises ValueError for a number that JSON does not have."""
    write_bytes(path, b"".join(_line(row) for row in rows))


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate, which JSON has and UTF-8 has not
        return (json.dumps(row, allow_nan=False) + "\n").encode("ascii")
