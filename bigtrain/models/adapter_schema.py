"""Config of adapters. No torch at import: the command line reads it first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bigtrain.errors import UserError
from bigtrain.options import option

ALL = "all"  # stands for every linear layer of the blocks


@dataclass
class NoAdapterConfig:
    """The weights themselves are trained."""

    name: str = option("none", "the adapter")


@dataclass
class LoraConfig:
    """LoRA (Hu et al. 2021, arXiv 2106.09685): a frozen matrix W becomes W + scale B A, and A and B are trained."""

    name: str = option("lora", "the adapter")
    rank: int = option(8, "columns of B and rows of A", at_least=1, at_most=1 << 16)
    alpha: float = option(16.0, "the product B A counts alpha / rank times", above=0)
    rank_stabilised: bool = option(
        False, "the product counts alpha / sqrt(rank) times (Kalajdzievski 2023, arXiv 2312.03732)"
    )
    dropout: float = option(0.0, "dropout of what A reads, keyed by sample", at_least=0, below=1)
    targets: list[str] = option(
        lambda: [ALL], "linear layers of the blocks, such as attention.q, mlp.* or blocks.0.*; all: every one"
    )
    merge: bool = option(False, "the end of the run also writes the model with the adapter merged into it: merged/")

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if not self.targets:
            rule = "an adapter sits on some layers"
            raise UserError("adapter.targets=[]", rule, "leave it out for all linear layers of the blocks")

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    @property
    def magnitudes(self) -> bool:
        """Whether the length of each row is a parameter of its own."""
        return self.name == "dora"


@dataclass
class DoraConfig(LoraConfig):
    """DoRA (Liu et al. 2024, arXiv 2402.09353): LoRA turns the rows of a matrix, and their lengths are trained."""

    name: str = option("dora", "the adapter")
