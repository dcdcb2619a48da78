"""Predictions of an evaluation of tagged sentences, and the sections of its report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bigtrain.evaluation.page import Number, section, table
from bigtrain.evaluation.task_report import labels_section, wrong_tags_section
from bigtrain.metrics.spans import spans_per_type
from bigtrain.objectives.tag import Tag

if TYPE_CHECKING:
    from numpy.typing import NDArray

Sums = dict[str, "NDArray[Any]"]


class TagReport:
    """What was predicted for the words of each sentence."""

    def __init__(self, objective: Tag) -> None:
        assert objective.rows is not None
        self.objective, self.rows = objective, objective.rows

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

    def sections(self, sums: Sums) -> list[str]:
        """Spans by type, tags, and the sentences with the most wrong ones."""
        confusion = self.objective.confusion(self.rows.of_words(sums["tags"]))
        predictions = list(self.predictions(sums))
        return [
            self._spans(predictions) if self.objective.marks_spans else "",
            labels_section(self.rows.labels, confusion, counted="words"),
            wrong_tags_section(predictions),
        ]

    def _spans(self, predictions: list[dict[str, Any]]) -> str:
        measured = spans_per_type([row["predicted"] for row in predictions], [row["tags"] for row in predictions])
        rows = [
            (kind, *(Number(f"{scores[name]:.3f}") for name in ("precision", "recall", "f1")), scores["support"])
            for kind, scores in measured.items()
        ]
        return section("Spans", table(("type", "precision", "recall", "F1", "spans"), rows))
