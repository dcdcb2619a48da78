"""A tag for each word, at its first token."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from bigtrain.data.loader import IGNORED, Batch
from bigtrain.data.tasks.tagged import TaggedRows
from bigtrain.metrics.classification import count_scores, label_counts
from bigtrain.metrics.spans import span_scores
from bigtrain.models.base import Model
from bigtrain.objectives.base import hidden_states, summed_cross_entropy

_SPAN_TAG = re.compile("O|[BIESM](-.*)?")
_OF_TAGS = ("token_accuracy", "macro_precision", "macro_recall", "macro_f1")
_OF_SPANS = ("span_precision", "span_recall", "span_f1")


def mark_spans(labels: tuple[str, ...]) -> bool:
    """Whether these tags say where spans begin and end: O, or B-, I-, E-, S-, M- and a type."""
    return all(_SPAN_TAG.fullmatch(label) for label in labels) and any(label != "O" for label in labels)


class Tag:
    """Predict the tag of each word."""

    per_row = frozenset({"tags"})

    def __init__(self, labels: tuple[str, ...], rows: TaggedRows | None) -> None:
        """labels: the tags in the order of the model's outputs. rows: what is measured."""
        self.labels, self.rows, self.marks_spans = labels, rows, mark_spans(labels)
        names = _OF_TAGS + (_OF_SPANS if self.marks_spans else ())
        self.metric_names: tuple[str, ...] = ("loss", *names)
        self.higher_is_better = frozenset(names)

    def weight(self, batch: Batch) -> float:
        """Words."""
        return float((batch["labels"] != IGNORED).sum())

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """Cross entropy in nats."""
        return summed_cross_entropy(model, hidden_states(model, batch, batch.get("keys")), batch["labels"])

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Nats and words; of each row the likeliest tags of its words (N, W), -1 beyond its own."""
        hidden, words = hidden_states(model, batch), batch["words"]
        rows = torch.arange(len(words), device=words.device)[:, None]
        best = model.logits(hidden[rows, words.clamp(min=0)]).argmax(-1)
        return {
            "loss": summed_cross_entropy(model, hidden, batch["labels"]),
            "weight": (batch["labels"] != IGNORED).sum(),
            "tags": best.masked_fill(words < 0, -1),
        }

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The mean loss, the metrics of single tags and, where they mark spans, those of spans."""
        assert self.rows is not None
        found = self.rows.of_words(sums["tags"])
        scores = count_scores(label_counts(self.rows.tags, found, len(self.labels)))
        scores["token_accuracy"] = scores["accuracy"]
        measured = {"loss": float(sums["loss"] / sums["weight"]), **{name: scores[name] for name in _OF_TAGS}}
        if self.marks_spans:
            truth = [sentence.tags for sentence in self.rows.sentences]
            measured |= span_scores(list(self.rows.by_sentence(found)), truth)
        return measured
