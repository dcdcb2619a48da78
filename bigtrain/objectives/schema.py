"""Config of the objectives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bigtrain.errors import UserError
from bigtrain.options import option


@dataclass
class CausalConfig:
    """Predict each token from those before it."""

    name: str = option("causal", "the objective")


class MaskUnit(StrEnum):
    """What is hidden or seen as a whole."""

    tokens = "tokens"
    words = "words"
    spans = "spans"  # of words


@dataclass
class MaskedConfig:
    """Guess hidden tokens from those on both sides."""

    name: str = option("masked", "the objective")
    unit: MaskUnit = option(
        MaskUnit.words, "what is hidden as a whole: tokens, words, or spans of words (in training; evaluation: tokens)"
    )
    fraction: float = option(0.15, "share of the tokens that are asked for", above=0, at_most=0.9)
    next_sentence: bool = option(
        False,
        "rows of two texts, of which the second is another row's in half of them: the model learns to tell (bert)",
    )


class ClassWeights(StrEnum):
    """What the rows of a label count."""

    none = "none"
    balanced = "balanced"  # labels with few rows more


@dataclass
class ClassifyConfig:
    """One label per row, or several, from a table or jsonl: a head on the text's last token, or an encoder's first."""

    name: str = option("classify", "the objective")
    multi_label: bool = option(
        False, "any number of labels per row; also where labels are JSON lists, or with data.label_separator="
    )
    labels: list[str] = option(
        list, "the labels in the order of the model's outputs; empty: sorted, or those that the model has"
    )
    new_head: bool = option(False, "draw a new head where the model has one, for other labels than those it knows")
    class_weights: ClassWeights = option(ClassWeights.none, "balanced: labels with few rows count more in the loss")
    label_smoothing: float = option(0.0, "share of the truth that is spread over all labels", at_least=0, below=1)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        _check_labels(self.labels)


def _check_labels(labels: list[str]) -> None:
    if repeated := [label for label in labels if labels.count(label) > 1]:
        raise UserError(f"objective.labels with {repeated[0]!r} twice", "labels differ", "name each once")
    if len(labels) == 1:
        rule = "two labels or more are told apart"
        raise UserError(f"objective.labels={labels}", rule, "name all labels, or none")


@dataclass
class TagConfig:
    """A tag for each word of a sentence, such as names of people and places, or parts of speech."""

    name: str = option("tag", "the objective")
    labels: list[str] = option(
        list, "the tags in the order of the model's outputs; empty: sorted, or those that the model has"
    )
    new_head: bool = option(False, "draw a new head where the model has one, for other labels than those it knows")

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        _check_labels(self.labels)


@dataclass
class RegressConfig:
    """A number per row, from a table or jsonl, by the mean squared error."""

    name: str = option("regress", "the objective")


@dataclass
class SftConfig:
    """The answers of conversations, by their prompts: instructions, chats, translation, summaries."""

    name: str = option("sft", "the objective")
    template: str = option(
        "auto", "chat template: auto (the model's own, else plain), chatml, llama3, plain, or a file with Jinja"
    )
    eval_answers: int = option(
        0, "validation conversations whose last answer the model writes at each evaluation: bleu and so on", at_least=0
    )
    max_new_tokens: int = option(128, "tokens of such an answer at most", at_least=1)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if not self.eval_answers and self.max_new_tokens != SftConfig.max_new_tokens:
            raise UserError(
                f"objective.max_new_tokens={self.max_new_tokens} with objective.eval_answers=0",
                "no answers are written",
                "give objective.eval_answers=, or leave objective.max_new_tokens= out",
            )


@dataclass
class PreferenceConfig:
    """The better of two answers, by direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290)."""

    name: str = option("preference", "the objective")
    beta: float = option(0.1, "what log-ratios of the model and the one it starts from count in the rewards", above=0)
    template: str = option(
        "auto", "chat template: auto (the model's own, else plain), chatml, llama3, plain, or a file with Jinja"
    )


@dataclass
class SpanConfig:
    """Where in a context the answer to a question begins and ends; or that it has none."""

    name: str = option("span", "the objective")
    overlap: int | None = option(
        None, "tokens that neighbouring windows of a long context share; null: 128, or a quarter of a row", at_least=0
    )
    max_answer_tokens: int = option(30, "tokens of an answer at most, when one is looked for", at_least=1)
