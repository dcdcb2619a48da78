"""Config of the objectives."""

from __future__ import annotations

from dataclasses import dataclass

from bigtrain.options import option


@dataclass
class CausalConfig:
    """Predict each token from those before it."""

    name: str = option("causal", "the objective")


@dataclass
class ClassifyConfig:
    """One label per row, from csv, tsv or jsonl: a linear head on the last token of the text."""

    name: str = option("classify", "the objective")
