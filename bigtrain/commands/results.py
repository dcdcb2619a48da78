"""What a training run came to: the content of result.json, and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain import config as configs
from bigtrain.commands.record import MERGED, SHOWN, TABLES

if TYPE_CHECKING:
    from bigtrain.training.plan import State

# What is measured of text in training as well: result.json calls it `val_...`; other metrics keep their names.
_OF_TEXT = ("loss", "perplexity", "bits_per_byte", "token_accuracy", "masked_accuracy")


def final(state: State, parameters: dict[str, int], epochs: dict[str, float], path: Path) -> dict[str, Any]:
    """The content of result.json."""
    from bigtrain.training import checkpoint as checkpoints

    best = checkpoints.pointed(path / "checkpoints", "best")
    latest = checkpoints.pointed(path / "checkpoints", "latest")
    return {
        **_named(state.last_metrics, ""),
        **_named(state.best_metrics, "best_"),
        **({f"best_{name}": table for name, table in _read(best / TABLES).items()} if best else {}),
        "step": state.step,
        "tokens": state.tokens,
        **epochs,
        **parameters,
        "seconds": round(state.seconds, 2),
        "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1),
        "stopped_by": state.stopped_by,
        "run": str(path),
        "checkpoint": str(latest / "model") if latest else None,
        "best_checkpoint": str(best / "model") if best else None,
        **({"merged": str(path / MERGED)} if (path / MERGED).is_dir() else {}),
    }


def _named(metrics: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + (f"val_{name}" if name.endswith(_OF_TEXT) else name): value for name, value in metrics.items()}


def _so_far(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What the last lines of metrics.jsonl say, for a run that did not come to its result."""
    last = {line["split"]: {key: value for key, value in line.items() if key != "split"} for line in lines}
    return {**_named(last.get("validation", {}), ""), **last.get("train", {})}


def _read(tables: Path) -> dict[str, Any]:
    return dict(json.loads(tables.read_text(encoding="utf-8"))) if tables.is_file() else {}


def write(path: Path, loaded: configs.Loaded, result: dict[str, Any], ended: dict[str, Any]) -> None:
    """Write the report. ended: the state and the error of a run that has no result."""
    from bigtrain.evaluation.report import write_report
    from bigtrain.storage import JsonLines

    lines = JsonLines(path / "metrics.jsonl").read()
    write_report(
        path / "report.html",
        title=loaded.config.run.name or path.name,
        config_yaml=configs.to_yaml(loaded),
        environment=json.loads((path / "environment.json").read_text(encoding="utf-8")),
        metrics=lines,
        samples=JsonLines(path / "samples.jsonl").read(),
        result=result or _so_far(lines),
        ended="" if result else f"{ended['state']}: {ended['error']}",
        sections=_shown(path / "checkpoints"),
    )


def _shown(checkpoints: Path) -> list[str]:
    """Sections of the report: what the best checkpoint said of the validation rows."""
    from bigtrain.evaluation.page import section
    from bigtrain.training.checkpoint import pointed

    best = pointed(checkpoints, "best")
    if best is None or not (best / SHOWN).is_file():
        return []
    step = int(best.name.removeprefix("step-"))
    told = f"<p>What follows is of the validation rows, as the best checkpoint (step {step:,}) sees them.</p>"
    return [section("Validation", told), (best / SHOWN).read_text(encoding="utf-8")]
