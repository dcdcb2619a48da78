"""Config of the model families."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bigtrain.errors import UserError
from bigtrain.options import REQUIRED, option

if TYPE_CHECKING:
    from bigtrain.models.decoder import Decoder


class Architecture(StrEnum):
    """The decoder shapes, each exactly one that transformers knows under the same `model_type`."""

    gpt2 = "gpt2"  # LayerNorm, learned positions, GELU, biases
    llama = "llama"  # RMSNorm, rotary positions, SwiGLU
    qwen3 = "qwen3"  # llama with RMSNorm on each query and key head


@dataclass
class DecoderConfig:
    """A GPT-style decoder. A size left null follows from the others.

    `resolved` fills the nulls in; a model is built from that.
    """

    name: str = option("decoder", "the family")
    architecture: Architecture = option(Architecture.llama, "gpt2, llama or qwen3: the shape, as transformers knows it")
    dim: int = option(REQUIRED, "width of the residual stream", at_least=1, at_most=1 << 20)
    n_layers: int = option(REQUIRED, "blocks", at_least=1, at_most=10_000)
    n_heads: int = option(REQUIRED, "query heads", at_least=1)
    n_kv_heads: int | None = option(None, "key and value heads (grouped-query attention); null: n_heads", at_least=1)
    head_dim: int | None = option(None, "width of a head; null: dim / n_heads", at_least=1, at_most=1 << 20)
    mlp_dim: int | None = option(
        None, "width of the MLP; null: 4 dim (gpt2), else 8/3 dim up to a multiple of 32", at_least=1, at_most=1 << 24
    )
    vocab_size: int | None = option(
        None, "rows of the embedding; null: the tokenizer's, padded to 64s", at_least=1, at_most=1 << 28
    )
    max_seq_len: int = option(1024, "longest sequence the model is made for, in tokens", at_least=1, at_most=1 << 28)
    rope_theta: float = option(10000.0, "base of the rotary frequencies (llama, qwen3)", above=0)
    norm_eps: float = option(1e-5, "epsilon of the norms", above=0)
    tied: bool = option(False, "one matrix for embedding and head")
    dropout: float = option(0.0, "dropout of embeddings and residual branches, keyed by sample", at_least=0, below=1)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if self.dim % self.n_heads and (self.head_dim is None or self.architecture is not Architecture.qwen3):
            even = 2 * self.n_heads  # which rotary positions need
            near = even * max(1, round(self.dim / even))
            raise UserError(
                f"model.n_heads={self.n_heads} with model.dim={self.dim}",
                "the heads must divide the width (only qwen3 takes any model.head_dim)",
                f"choose model.dim as a multiple of model.n_heads, for example {near}",
            )
        if self.n_kv_heads is not None and self.n_heads % self.n_kv_heads:
            raise UserError(
                f"model.n_kv_heads={self.n_kv_heads} with model.n_heads={self.n_heads}",
                "the key/value heads must divide the query heads",
                "choose model.n_kv_heads among the divisors of model.n_heads",
            )
        head_dim = self.head_dim or self.dim // self.n_heads
        if self.architecture is Architecture.gpt2:
            if self.n_kv_heads not in (None, self.n_heads) or head_dim * self.n_heads != self.dim:
                raise UserError(
                    f"model.n_kv_heads={self.n_kv_heads}, model.head_dim={self.head_dim} with model.architecture=gpt2",
                    "GPT-2 has as many key/value heads as query heads, and heads that fill the width",
                    "leave model.n_kv_heads and model.head_dim null, or use model.architecture=llama",
                )
        elif head_dim % 2:
            raise UserError(
                f"a head of width {head_dim} (model.head_dim, or model.dim / model.n_heads)",
                "rotary positions turn pairs: a head must have even width",
                "choose an even model.head_dim, or another model.n_heads",
            )

    def resolved(self, vocab_size: int) -> DecoderConfig:
        """The same shape with every null filled in. `vocab_size` is the tokenizer's, used where none was given."""
        gpt2 = self.architecture is Architecture.gpt2
        return dataclasses.replace(
            self,
            n_kv_heads=self.n_kv_heads or self.n_heads,
            head_dim=self.head_dim or self.dim // self.n_heads,
            mlp_dim=self.mlp_dim or (4 * self.dim if gpt2 else -(-8 * self.dim // (3 * 32)) * 32),
            vocab_size=self.vocab_size or -(-vocab_size // 64) * 64,
        )

    def on_meta(self, vocab_size: int) -> Decoder:
        """The module without memory yet, for a tokenizer of `vocab_size` entries: see `models.base.materialise`."""
        from bigtrain.models.decoder import Decoder

        return Decoder.on_meta(self.resolved(vocab_size))
