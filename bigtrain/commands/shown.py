"""What the terminal shows of a training run, or of a dry run: what matters to people. result.json has all of it."""

from __future__ import annotations

from typing import Any

from bigtrain.config.sweep import print_table
from bigtrain.units import clock

# The metrics that tell most, and every loss. Those of text are called `val_...` in a run.
_TELLING = {
    *("bits_per_byte", "token_accuracy", "masked_accuracy", "accuracy", "subset_accuracy", "macro_f1", "mcc"),
    *("precision", "recall", "f1", "exact_match", "mae", "pearson", "spearman", "margin", "bleu", "chrf"),
}
_MOST_WHOLE = 1e15  # a larger number is written with its power of ten
_LEAST_WHOLE = 1e4


def number(value: Any) -> str:
    """A value as people read it: 1,234,567 and 0.123457."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if _LEAST_WHOLE <= abs(value) < _MOST_WHOLE else f"{value:.6g}"
    return str(value)


def show(result: dict[str, Any]) -> None:
    """Of a dry run every value; of a run a table of the metrics that tell most, what it took, and where it lies."""
    if "refused" in result:
        _lines({name: number(value) for name, value in result.items() if not isinstance(value, list | None)})
        for name, examples in result.items():
            if isinstance(examples, list) and examples and isinstance(examples[0], dict):
                print(name, *(f"  {key:<8}  {text}" for one in examples for key, text in one.items()), sep="\n")
        return
    if metrics := _metrics(result):
        print_table([("metric", "final", "best"), *metrics])
        print()
    taken = f"{number(result['step'])} ({result['stopped_by']}), {number(result['tokens'])} tokens"
    n_parameters = result["parameters"]
    trained = result.get("trained_parameters", n_parameters)
    speed = f"{number(result['tokens_per_second'])} tokens/s"
    lines = {
        "steps": f"{taken}, {_epochs(result)}",
        "parameters": number(n_parameters) + (f" ({number(trained)} trained)" if trained < n_parameters else ""),
        "time": f"{clock(result['seconds'])}, {speed}",
        **{name: str(result[name]) for name in ("run", "checkpoint", "best_checkpoint", "merged") if result.get(name)},
    }
    _lines(lines)


def _metrics(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, final and best value of the metrics that tell most; of all where none of those was measured."""
    measured = [name for name in result if f"best_{name}" in result and isinstance(result[name], float | None)]
    telling = [name for name in measured if name.removeprefix("val_") in _TELLING or name.endswith("loss")]
    return [(name, number(result[name]), number(result[f"best_{name}"])) for name in telling or measured]


def _epochs(result: dict[str, Any]) -> str:
    """Passes over the data; in a mixture over each set."""
    passes = {name.removeprefix("epochs").lstrip("_"): value for name, value in result.items() if "epochs" in name}
    return ", ".join(f"{value:.2f} epochs{f' of {name}' if name else ''}" for name, value in passes.items())


def _lines(lines: dict[str, str]) -> None:
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")
