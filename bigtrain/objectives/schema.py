"""Config of the objectives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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


@dataclass
class ClassifyConfig:
    """One label per row, from a table or jsonl: a head on the last token of the text, or on an encoder's first."""

    name: str = option("classify", "the objective")
