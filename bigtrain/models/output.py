"""What a model gives: the tokens of its vocabulary, or what a head for labelled data says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OutputKind(StrEnum):
    """The heads; transformers' name of the model class ends alike (`CLASSES`)."""

    tokens = "tokens"  # a language model
    label = "label"  # one label of a row
    labels = "labels"  # any number of labels of a row
    score = "score"  # a number for a row
    tags = "tags"  # a label of each token
    span = "span"  # where an answer begins and ends


CLASSES = {
    OutputKind.label: "ForSequenceClassification",
    OutputKind.labels: "ForSequenceClassification",
    OutputKind.score: "ForSequenceClassification",
    OutputKind.tags: "ForTokenClassification",
    OutputKind.span: "ForQuestionAnswering",
}
# transformers' `problem_type`, which tells the kinds of a row's head apart.
PROBLEMS = {
    OutputKind.label: "single_label_classification",
    OutputKind.labels: "multi_label_classification",
    OutputKind.score: "regression",
}


@dataclass(frozen=True)
class Output:
    """The head of a model; `labels` in the order of its rows."""

    kind: OutputKind = OutputKind.tokens
    labels: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()  # probabilities from which on a row has each of several labels; none: 0.5
    next_sentence: bool = False  # beside its tokens: whether a row's second text follows the first

    @classmethod
    def numbered(cls, n_labels: int) -> Output:
        """A classifier whose labels have transformers' own names; of none: a language model."""
        if not n_labels:
            return cls()
        return cls(OutputKind.label, tuple(f"LABEL_{number}" for number in range(n_labels)))

    @property
    def language(self) -> bool:
        """Whether it gives tokens of the vocabulary."""
        return self.kind is OutputKind.tokens

    @property
    def size(self) -> int:
        """Rows of the head; 0 stands for the vocabulary."""
        return {OutputKind.score: 1, OutputKind.span: 2}.get(self.kind, len(self.labels))

    @property
    def pooled(self) -> bool:
        """Whether it speaks of a row as a whole."""
        return CLASSES.get(self.kind) == CLASSES[OutputKind.label]

    def __str__(self) -> str:
        named = ", ".join(self.labels[:20]) + (", ..." if len(self.labels) > 20 else "")
        return {
            OutputKind.tokens: "a language model",
            OutputKind.label: f"a classifier of {named}",
            OutputKind.labels: f"a multi-label classifier of {named}",
            OutputKind.score: "a model that gives scores",
            OutputKind.tags: f"a tagger of {named}",
            OutputKind.span: "a model that finds answers",
        }[self.kind]


LANGUAGE = Output()
