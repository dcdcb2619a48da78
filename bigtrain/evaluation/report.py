"""report.html: one file that opens offline, prints on A4 and shows what a run or an evaluation came to."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.evaluation.style import CSS
from bigtrain.evaluation.svg import Series, chart
from bigtrain.storage import write_text
from bigtrain.units import clock, si

# What the first line of numbers shows, as far as the result holds it, and how it is called.
HEADLINES = {
    "val_loss": "validation loss",
    "val_bits_per_byte": "bits per byte",
    "loss": "loss",
    "bits_per_byte": "bits per byte",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "perplexity": "perplexity",
    "token_accuracy": "token accuracy",
    "parameters": "parameters",
    "step": "steps",
    "tokens": "tokens",
    "seconds": "time",
    "tokens_per_second": "tokens / s",
}
MOST_HEADLINES = 8
CHARTS_OF_TRAINING = {  # key of metrics.jsonl: title, logarithmic scale, scale from zero
    "lr": ("Learning rate", False, True),
    "grad_norm": ("Gradient norm", True, False),
    "tokens_per_second": ("Tokens per second", False, True),
    "mfu": ("Model FLOPs utilisation", False, True),
}
NOT_METRICS = {"step", "tokens", "split", "loss", "seconds", *CHARTS_OF_TRAINING}
MOST_METRICS, MOST_SAMPLED_STEPS, MOST_SAMPLES, MOST_ROWS = 24, 6, 8, 200
MOST_CONFIG, MOST_TEXT, MOST_CELL = 100_000, 2000, 500  # characters


def write_report(
    path: Path,
    *,
    title: str,
    config_yaml: str,
    environment: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    samples: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any],
) -> None:
    """Write the report, atomically. Below 2 MB whatever the run's length: curves, samples and tables are thinned.

    metrics: the lines of metrics.jsonl, in order. samples: those of samples.jsonl, each with a `step` and texts by
    name. Any of them may be empty.
    """
    body = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="subtitle">{_text(_subtitle(environment, result))}</p>',
        _headlines(result),
        _section("Curves", _curves(metrics)),
        _section("Samples", _samples(samples)),
        _section("Result", _table(result)),
        _section("Config", f"<pre>{_text(config_yaml[:MOST_CONFIG])}</pre>" if config_yaml.strip() else ""),
        _section("Environment", _table(environment)),
    ]
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_text(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{CSS}</style>\n</head>\n<body>\n<main>\n{chr(10).join(part for part in body if part)}\n"
        "</main>\n</body>\n</html>\n"
    )
    write_text(path, _visible(page))


def _text(value: object) -> str:
    return html.escape(str(value))


def _visible(page: str) -> str:
    """What HTML cannot hold becomes visible: control characters as pictures, half surrogates as question marks."""
    page = page.encode("utf-8", "replace").decode("utf-8")
    page = re.sub(r"[\x00-\x08\x0b-\x1f]", lambda match: chr(0x2400 + ord(match[0])), page)
    return re.sub(r"[\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", page)


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>" if content else ""


def _subtitle(environment: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    parts = [
        f"bigtrain {environment['bigtrain']}" if environment.get("bigtrain") else "",
        str(environment.get("started", "")).replace("T", " "),
        ", ".join(environment.get("cuda_devices") or [str(environment.get("cpu", ""))]),
        f"stopped by {result['stopped_by']}" if result.get("stopped_by") else "",
    ]
    return " · ".join(part for part in parts if part)


def _headlines(result: Mapping[str, Any]) -> str:
    shown = [(key, name) for key, name in HEADLINES.items() if isinstance(result.get(key), int | float)]
    tiles = [
        f'<div class="tile"><div class="value">{_headline(key, result[key])}</div><div>{name}</div></div>'
        for key, name in shown[:MOST_HEADLINES]
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _headline(key: str, value: float) -> str:
    if key == "seconds":
        return clock(value)
    return si(value) if abs(value) >= 1000 else f"{value:.4g}"


def _curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    splits: dict[str, list[Mapping[str, Any]]] = {}
    for record in metrics:
        splits.setdefault(str(record.get("split", "train")), []).append(record)
    measured = {split: records for split, records in splits.items() if split != "train"}
    train = splits.get("train", [])
    values = [item for records in measured.values() for record in records for item in record.items()]
    names = dict.fromkeys(name for name, value in values if isinstance(value, int | float))

    loss = [_series("train", train, "loss", noisy=True), *_by_split(measured, "loss")]
    charts = [("Loss", chart("loss", "Loss", loss, wide=True, log=True), True)]
    for name in [name for name in names if name not in NOT_METRICS][:MOST_METRICS]:
        title = name.replace("_", " ").capitalize()
        charts.append(
            (title, chart(f"m-{len(charts)}", title, _by_split(measured, name), log=name == "perplexity"), False)
        )
    for name, (title, log, from_zero) in CHARTS_OF_TRAINING.items():
        series = [_series("train", train, name, noisy=name != "lr")]
        charts.append((title, chart(name, title, series, log=log, from_zero=from_zero), False))
    figures = [
        f"<figure{' class=wide' if wide else ''}><figcaption>{_text(title)}</figcaption>{svg}</figure>"
        for title, svg, wide in charts
        if svg
    ]
    return f'<div class="charts">{"".join(figures)}</div>' if figures else ""


def _series(name: str, records: Sequence[Mapping[str, Any]], key: str, **look: Any) -> Series:
    x, y = (np.array([record.get(key) for record in records], dtype=float) for key in ("step", key))  # null: NaN
    return Series(name, x, y, **look)


def _by_split(measured: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> list[Series]:
    splits = enumerate(measured.items(), start=1)
    return [_series(split, records, key, colour=number, marked=True) for number, (split, records) in splits]


def _evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, the first and the last among them."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(int))]


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    by_step: dict[Any, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_step.setdefault(sample.get("step", ""), []).append(sample)
    parts = []
    for step in _evenly(list(by_step), MOST_SAMPLED_STEPS):
        parts.append(f"<h3>step {_text(step)}</h3>")
        for sample in by_step[step][:MOST_SAMPLES]:
            texts = [f"<b>{_cut(sample['prompt'], MOST_TEXT)}</b>"] if sample.get("prompt") else []
            texts += [_cut(value, MOST_TEXT) for key, value in sample.items() if key not in ("step", "prompt")]
            parts.append(f'<pre class="sample">{"".join(texts)}</pre>')
    return "\n".join(parts)


def _table(values: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><th>{_cut(key, MOST_CELL)}</th><td>{_cut(_shown(value), MOST_CELL)}</td></tr>"
        for key, value in values.items()
    ]
    return f"<table>{''.join(rows[:MOST_ROWS])}</table>" if rows else ""


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def _cut(value: object, most: int) -> str:
    text = str(value)
    return _text(text if len(text) <= most else f"{text[:most]} …")
