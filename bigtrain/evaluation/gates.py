"""Gates: bounds on metrics, such as `accuracy: ">=0.9"`, that decide about an exit code."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bigtrain.errors import UserError

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_GATE = re.compile(r"\s*(>=|<=|==|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Gate:
    """A bound on a metric."""

    metric: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, metric: str, text: str) -> Gate:
        """From text such as `>=0.9`. Raises UserError."""
        found = _GATE.fullmatch(text)
        if not found:
            rule = f"a gate is one of {' '.join(_OPERATORS)} and a number"
            raise UserError(f"gates.{metric}={text}", rule, f'write, for example, gates.{metric}=">=0.9"')
        return cls(metric, found[1], float(found[2]))

    def missed(self, metrics: Mapping[str, float]) -> str | None:
        """What is wrong, if anything is. A metric without a value, and one that is not a number, miss every gate."""
        value = metrics.get(self.metric)
        if value is not None and _OPERATORS[self.sign](value, self.bound):
            return None
        return f"{self.metric} {self.sign} {self.bound:g}: it is {'not known' if value is None else f'{value:.6g}'}"


_OF_LABELS = ("precision", "recall", "f1")


def parse(gates: Mapping[str, str], metric_names: tuple[str, ...], labels: Sequence[str] = ()) -> list[Gate]:
    """The gates of a config. Raises UserError for a malformed one, and for a metric that is not measured.

    labels: those of which each has a precision, a recall and an F1.
    """
    of_labels = {f"{name}_{label}" for name in _OF_LABELS for label in labels}
    parsed = [Gate.parse(metric, text) for metric, text in gates.items()]
    for gate in parsed:
        if gate.metric not in metric_names and gate.metric not in of_labels:
            more = [f"{name}_LABEL" for name in _OF_LABELS if labels]
            raise UserError(
                f"gates.{gate.metric}",
                f"the metrics of this checkpoint are: {', '.join([*metric_names, *more])}",
                "name one of these",
            )
    return parsed


def scores_of_labels(per_class: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """precision_LABEL, recall_LABEL and f1_LABEL, as gates call them."""
    return {f"{name}_{label}": scores[name] for label, scores in per_class.items() for name in _OF_LABELS}
