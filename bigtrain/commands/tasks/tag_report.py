"""Predictions of an evaluation of tagged sentences, and the sections of its report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bigtrain.data.tasks.tagged import TaggedRows
from bigtrain.evaluation.page import Number, section, table
from bigtrain.evaluation.task_report import labels_section, wrong_tags_section
from bigtrain.metrics.classification import label_tables
from bigtrain.metrics.spans import spans_per_type
from bigtrain.objectives.tag import Tag

if TYPE_CHECKING:
    from numpy.typing import NDArray

Sums = dict[str, "NDArray[Any]"]


class TagReport:
    """What was predicted for the words of each sentence."""

    def __init__(self, objective: Tag) -> None:
        self.objective = objective
        types = {label.partition("-")[2] for label in objective.labels if label != "O"}
        self._typed = objective.marks_spans and "" not in types
        self.kinds = tuple(sorted(types)) if self._typed else objective.labels  # of which `tables` tells

    @property
    def rows(self) -> TaggedRows:
        """What is measured."""
        assert self.objective.rows is not None
        return self.objective.rows

    def predictions(self, sums: Sums) -> Iterator[dict[str, Any]]:
        """Words, tags and predicted tags of each sentence."""
        predicted = self.rows.by_sentence(self.rows.of_words(sums["tags"]))
        for sentence, tags in zip(self.rows.sentences, predicted, strict=True):
            yield {
                "words": list(sentence.words),
                "tags": list(sentence.tags),
                "predicted": tags,
                "where": sentence.where(),
            }

    def tables(self, sums: Sums) -> dict[str, Any]:
        """Precision, recall and F1 of each type of span; of each tag, where these are not of typed spans."""
        if not self._typed:
            return label_tables(self.objective.labels, self.rows.tags, self.rows.of_words(sums["tags"]))
        nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
        return {"per_class": dict.fromkeys(self.kinds, nothing) | _by_type(list(self.predictions(sums)))}

    def sections(self, sums: Sums) -> list[str]:
        """Spans by type, tags, and the sentences with the most wrong ones."""
        found = self.rows.of_words(sums["tags"])
        predictions = list(self.predictions(sums))
        return [
            self._spans(predictions) if self.objective.marks_spans else "",
            labels_section(self.rows.labels, self.rows.tags, found, counted="words"),
            wrong_tags_section(predictions),
        ]

    def _spans(self, predictions: list[dict[str, Any]]) -> str:
        rows = [
            (kind, *(Number(f"{scores[name]:.3f}") for name in ("precision", "recall", "f1")), scores["support"])
            for kind, scores in _by_type(predictions).items()
        ]
        return section("Spans", table(("type", "precision", "recall", "F1", "spans"), rows))


def _by_type(predictions: list[dict[str, Any]]) -> dict[str, dict[str, float | int]]:
    return spans_per_type([row["predicted"] for row in predictions], [row["tags"] for row in predictions])
