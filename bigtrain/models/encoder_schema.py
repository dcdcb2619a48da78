"""Config of the encoders."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from bigtrain.errors import UserError
from bigtrain.models.schema import StartConfig, padded
from bigtrain.options import REQUIRED, option

_LAST_PAD_ID = 63  # positions of RoBERTa begin behind the padding token: rows below it are never used


class EncoderArchitecture(StrEnum):
    """The encoder shapes, each exactly one that transformers knows under the same `model_type`."""

    bert = "bert"  # two segments
    roberta = "roberta"  # one segment, positions counted from behind the padding token


@dataclass
class EncoderConfig(StartConfig):
    """A BERT-style encoder. A size left null follows from the others.

    `resolved` fills the nulls in; a model is built from that.
    """

    name: str = option("encoder", "the family")
    architecture: EncoderArchitecture = option(EncoderArchitecture.bert, "the shape, as transformers knows it")
    dim: int = option(REQUIRED, "width of the residual stream", at_least=1, at_most=1 << 20)
    n_layers: int = option(REQUIRED, "blocks", at_least=1, at_most=10_000)
    n_heads: int = option(REQUIRED, "heads", at_least=1)
    mlp_dim: int | None = option(None, "width of the MLP; null: 4 dim", at_least=1, at_most=1 << 24)
    vocab_size: int | None = option(
        None, "rows of the embedding; null: the tokenizer's, padded to 64s", at_least=1, at_most=1 << 28
    )
    max_seq_len: int = option(512, "longest sequence the model is made for, in tokens", at_least=1, at_most=1 << 28)
    n_segments: int | None = option(None, "kinds of text in a row; null: 2 (bert), 1 (roberta)", at_least=1, at_most=64)
    pad_id: int | None = option(
        None, "roberta: the padding token, behind which positions begin; null: the tokenizer's", at_least=0
    )
    norm_eps: float | None = option(None, "epsilon of the norms; null: 1e-12 (bert), 1e-5 (roberta)", above=0)
    dropout: float = option(0.0, "dropout of embeddings and residual branches, keyed by sample", at_least=0, below=1)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if self.dim % self.n_heads:
            near = self.n_heads * max(1, round(self.dim / self.n_heads))
            raise UserError(
                f"model.n_heads={self.n_heads} with model.dim={self.dim}",
                "the heads must divide the width",
                f"choose model.dim as a multiple of model.n_heads, for example {near}",
            )

    def resolved(self, vocab_size: int, pad_id: int) -> EncoderConfig:
        """The same shape with every null filled in. `vocab_size` and `pad_id` are the tokenizer's.

        Raises UserError for a RoBERTa whose tokenizer has its padding token behind many others.
        """
        bert = self.architecture is EncoderArchitecture.bert
        pad_id = pad_id if self.pad_id is None else self.pad_id
        if not bert and pad_id > _LAST_PAD_ID:
            raise UserError(
                f"model.architecture=roberta with a tokenizer whose padding token is {pad_id}",
                f"RoBERTa's positions begin behind the padding token: it is {_LAST_PAD_ID} at most",
                "take a tokenizer that begins with its special tokens (tokenizer=bpe tokenizer.encoder=true), or "
                "model.architecture=bert",
            )
        return dataclasses.replace(
            self,
            mlp_dim=self.mlp_dim or 4 * self.dim,
            vocab_size=self.vocab_size or padded(vocab_size),
            n_segments=self.n_segments or (2 if bert else 1),
            pad_id=None if bert else pad_id,
            norm_eps=self.norm_eps or (1e-12 if bert else 1e-5),
        )
