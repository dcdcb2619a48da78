"""Config of the recurrent language models."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from bigtrain.errors import UserError
from bigtrain.models.schema import StartConfig, padded
from bigtrain.options import REQUIRED, option


class RecurrentArchitecture(StrEnum):
    """The recurrent shapes. transformers knows none of them; their files open here."""

    bigtrain_gru = "bigtrain_gru"
    bigtrain_lstm = "bigtrain_lstm"


GATES = {RecurrentArchitecture.bigtrain_gru: 3, RecurrentArchitecture.bigtrain_lstm: 4}


@dataclass
class RecurrentConfig(StartConfig):
    """Embedding, layers of GRU or LSTM cells, head. Sizes left null follow from the others.

    `resolved` fills the nulls in; a model is built from that.
    """

    name: str = option("recurrent", "the family")
    architecture: RecurrentArchitecture = option(RecurrentArchitecture.bigtrain_gru, "the cells")
    dim: int = option(REQUIRED, "width of the embedding", at_least=1, at_most=1 << 20)
    hidden_dim: int | None = option(None, "cells of a layer; null: dim", at_least=1, at_most=1 << 20)
    n_layers: int = option(REQUIRED, "layers of cells", at_least=1, at_most=10_000)
    vocab_size: int | None = option(
        None, "rows of the embedding; null: the tokenizer's, padded to 64s", at_least=1, at_most=1 << 28
    )
    max_seq_len: int = option(1024, "longest row and longest text, in tokens", at_least=1, at_most=1 << 28)
    carry_tokens: int | None = option(
        None,
        "training rows begin with the state that this many tokens before them leave, through which no gradient flows; "
        "null: with an empty state",
        at_least=1,
        at_most=1 << 28,
    )
    dropout: float = option(0.0, "dropout after every layer, keyed by sample", at_least=0, below=1)

    @property
    def mlp_dim(self) -> int:
        """Numbers that a layer computes for a token besides its state."""
        return GATES[self.architecture] * (self.hidden_dim or self.dim)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if self.carry_tokens is not None and self.carry_tokens >= self.max_seq_len:
            raise UserError(
                f"model.carry_tokens={self.carry_tokens} with model.max_seq_len={self.max_seq_len}",
                "a row holds the tokens that bring its state and others that are learned from",
                "give fewer model.carry_tokens, or a larger model.max_seq_len",
            )

    def resolved(self, vocab_size: int) -> RecurrentConfig:
        """The same shape with every null filled in. `vocab_size` is the tokenizer's, used where none was given."""
        return dataclasses.replace(
            self, hidden_dim=self.hidden_dim or self.dim, vocab_size=self.vocab_size or padded(vocab_size)
        )
