"""report.html: one file that opens offline, prints on A4 and shows what a run or an evaluation came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.evaluation.page import (
    cut,
    evenly,
    figures,
    section,
    shown,
    text,
    tiles,
    write_page,
)
from bigtrain.evaluation.style import CSS, DATA_CSS
from bigtrain.evaluation.svg import Series, chart
from bigtrain.units import clock, si

# What the first line of numbers shows, as far as the result holds it, and how it is called.
HEADLINES = {
    "val_loss": "validation loss",
    "val_bits_per_byte": "bits per byte",
    "loss": "loss",
    "bits_per_byte": "bits per byte",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge_l": "ROUGE-L",
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
    ended: str = "",
    sections: Sequence[str] = (),
) -> None:
    """Write the report, atomically. Below 2 MB whatever the run's length: curves, samples and tables are thinned.

    metrics: the lines of metrics.jsonl, in order. samples: those of samples.jsonl, each with a `step` and texts by
    name. ended: how, if not well. sections: HTML of `task_report`, which stands after the curves. Any of them may be
    empty.
    """
    body = [
        f"<h1>{text(title)}</h1>",
        f'<p class="subtitle">{text(_subtitle(environment, result))}</p>',
        f"<p><b>{text(ended)}</b></p>" if ended else "",
        _headlines(result),
        section("Curves", _curves(metrics)),
        *sections,
        section("Samples", _samples(samples)),
        section("Result", _table({key: value for key, value in result.items() if not isinstance(value, dict)})),
        section("Config", f"<pre>{text(config_yaml[:MOST_CONFIG])}</pre>" if config_yaml.strip() else ""),
        section("Environment", _table(environment)),
    ]
    write_page(path, title, CSS + DATA_CSS if any(sections) else CSS, body)


def _subtitle(environment: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    parts = [
        f"bigtrain {environment['bigtrain']}" if environment.get("bigtrain") else "",
        str(environment.get("started", "")).replace("T", " "),
        ", ".join(environment.get("cuda_devices") or [str(environment.get("cpu", ""))]),
        f"stopped by {result['stopped_by']}" if result.get("stopped_by") else "",
    ]
    return " · ".join(part for part in parts if part)


def _headlines(result: Mapping[str, Any]) -> str:
    found = [(key, name) for key, name in HEADLINES.items() if isinstance(result.get(key), int | float)]
    return tiles([(_headline(key, result[key]), name) for key, name in found[:MOST_HEADLINES]])


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
    return figures(charts)


def _series(name: str, records: Sequence[Mapping[str, Any]], key: str, **look: Any) -> Series:
    x, y = (np.array([record.get(key) for record in records], dtype=float) for key in ("step", key))  # null: NaN
    return Series(name, x, y, **look)


def _by_split(measured: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> list[Series]:
    splits = enumerate(measured.items(), start=1)
    return [_series(split, records, key, colour=number, marked=True) for number, (split, records) in splits]


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    by_step: dict[Any, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_step.setdefault(sample.get("step", ""), []).append(sample)
    parts = []
    for step in evenly(list(by_step), MOST_SAMPLED_STEPS):
        parts.append(f"<h3>step {text(step)}</h3>")
        for sample in by_step[step][:MOST_SAMPLES]:
            texts = [f"<b>{cut(sample['prompt'], MOST_TEXT)}</b>"] if sample.get("prompt") else []
            texts += [cut(value, MOST_TEXT) for key, value in sample.items() if key not in ("step", "prompt")]
            parts.append(f'<pre class="sample">{"".join(texts)}</pre>')
    return "\n".join(parts)


def _table(values: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><th>{cut(key, MOST_CELL)}</th><td>{cut(shown(value), MOST_CELL)}</td></tr>"
        for key, value in values.items()
    ]
    return f"<table>{''.join(rows[:MOST_ROWS])}</table>" if rows else ""
