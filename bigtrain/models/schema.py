"""Config of the model families."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from bigtrain.errors import UserError
from bigtrain.options import REQUIRED, option

LONGEST = 1 << 22  # tokens of a row, as the longest published: tables of angles for all of them are in memory


class Architecture(StrEnum):
    """The decoder shapes, each exactly one that transformers knows under the same `model_type`."""

    gpt2 = "gpt2"  # LayerNorm, learned positions, GELU, biases
    llama = "llama"  # RMSNorm, rotary positions, SwiGLU
    mistral = "mistral"  # llama with a sliding window
    qwen2 = "qwen2"  # llama with biases on queries, keys and values
    qwen3 = "qwen3"  # llama with RMSNorm on each query and key head


class Scaling(StrEnum):
    """How rotary frequencies are changed, so that a model reads longer texts than it was first trained on."""

    none = "none"
    linear = "linear"  # every frequency divided by the factor
    llama3 = "llama3"  # only the low ones, with a ramp in between
    yarn = "yarn"  # the same by another ramp, and sharper attention


@dataclass
class RopeScalingConfig:
    """Rotary frequencies for longer texts: see `models.rotary.frequencies`."""

    kind: Scaling = option(Scaling.none, "none, linear, llama3 or yarn")
    factor: float = option(1.0, "how many times longer the texts become", at_least=1)
    original_seq_len: int | None = option(
        None, "llama3, yarn: longest sequence before; null: model.max_seq_len", at_least=1, at_most=1 << 28
    )
    low_freq_factor: float = option(1.0, "llama3: fewer turns than this over the original length are slowed", above=0)
    high_freq_factor: float = option(4.0, "llama3: more turns than this stay as they are", above=0)
    beta_fast: float = option(32.0, "yarn: more turns than this over the original length stay as they are", above=0)
    beta_slow: float = option(1.0, "yarn: fewer turns than this are slowed", above=0)
    attention_factor: float | None = option(
        None, "yarn: multiplies queries and keys; null: 1 + ln(factor) / 10", above=0
    )

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default and field.name != "kind" and self.kind not in _READ_BY[field.name]:
                raise UserError(
                    f"model.rope_scaling.{field.name}={value} with model.rope_scaling.kind={self.kind}",
                    f"it is read with kind={' or '.join(_READ_BY[field.name])}",
                    "leave it out, or choose that kind",
                )
        if self.low_freq_factor >= self.high_freq_factor:
            raise UserError(
                f"model.rope_scaling.low_freq_factor={self.low_freq_factor:g} with high_freq_factor="
                f"{self.high_freq_factor:g}",
                "the ramp goes up from the low factor to the high one",
                "give a smaller low_freq_factor, or a larger high_freq_factor",
            )


_LONGER = (Scaling.llama3, Scaling.yarn)
_READ_BY: dict[str, tuple[Scaling, ...]] = {
    "factor": (Scaling.linear, *_LONGER),
    "original_seq_len": _LONGER,
    "low_freq_factor": (Scaling.llama3,),
    "high_freq_factor": (Scaling.llama3,),
    "beta_fast": (Scaling.yarn,),
    "beta_slow": (Scaling.yarn,),
    "attention_factor": (Scaling.yarn,),
}


@dataclass
class StartConfig:
    """What may change in a model that starts from another."""

    resize_vocab: bool = option(
        False,
        "with init_from: the embedding grows or shrinks to another tokenizer; tokens that stay keep their rows",
    )


@dataclass
class StartedScalingConfig(RopeScalingConfig):
    """The same for a model that starts from another."""

    kind: Scaling | None = option(  # type: ignore[assignment]
        None, "none, linear, llama3 or yarn; null: as in the model it starts from"
    )
    original_seq_len: int | None = option(
        None, "llama3, yarn: longest sequence before; null: that of init_from", at_least=1, at_most=1 << 28
    )


@dataclass
class StartedConfig(StartConfig):
    """What may change in a model that starts from another: nothing that is a tensor. Null: as it is there."""

    max_seq_len: int | None = option(
        None, "longest sequence, where positions are not learned; null: as it is", at_least=1, at_most=LONGEST
    )
    rope_theta: float | None = option(None, "base of the rotary frequencies; null: as it is", above=0)
    rope_scaling: StartedScalingConfig = option(StartedScalingConfig, "rotary frequencies for longer texts")
    sliding_window: int | None = option(
        None, "mistral: a token sees this many; 0: all before it; null: as it is", at_least=0, at_most=1 << 28
    )
    dropout: float | None = option(None, "of embeddings and residual branches; null: as it is", at_least=0, below=1)


@dataclass
class InheritedConfig(StartedConfig):
    """The model of init_from: what `model` is in a run of pretrain that starts from one."""

    name: str = option("inherited", "the family")


def padded(vocab_size: int) -> int:
    """Rows of an embedding for a tokenizer of `vocab_size` entries: a multiple of 64 is multiplied faster."""
    return -(-vocab_size // 64) * 64


_ANY_HEAD_DIM = (Architecture.mistral, Architecture.qwen3)  # the others want heads that divide the width


@dataclass
class DecoderConfig(StartConfig):
    """A GPT-style decoder. A size left null follows from the others.

    `resolved` fills the nulls in; a model is built from that.
    """

    name: str = option("decoder", "the family")
    architecture: Architecture = option(Architecture.llama, "the shape, as transformers knows it")
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
    max_seq_len: int = option(1024, "longest sequence the model is made for, in tokens", at_least=1, at_most=LONGEST)
    rope_theta: float = option(10000.0, "base of the rotary frequencies (all but gpt2)", above=0)
    rope_scaling: RopeScalingConfig = option(RopeScalingConfig, "rotary frequencies for longer texts (all but gpt2)")
    sliding_window: int | None = option(
        None, "mistral: a token sees this many, itself among them; null: all before it", at_least=1, at_most=1 << 28
    )
    norm_eps: float = option(1e-5, "epsilon of the norms", above=0)
    tied: bool = option(False, "one matrix for embedding and head")
    dropout: float = option(0.0, "dropout of embeddings and residual branches, keyed by sample", at_least=0, below=1)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        self._check_heads()
        gpt2 = self.architecture is Architecture.gpt2
        if gpt2 and self.rope_scaling.kind is not Scaling.none:
            raise UserError(
                f"model.rope_scaling.kind={self.rope_scaling.kind} with model.architecture=gpt2",
                "GPT-2 learns its positions: it has no rotary frequencies",
                "leave model.rope_scaling out, or use another model.architecture",
            )
        if self.rope_scaling.kind is Scaling.yarn and self.rope_theta <= 1:
            raise UserError(
                f"model.rope_theta={self.rope_theta:g} with model.rope_scaling.kind=yarn",
                "yarn tells pairs apart by how often they turn, and here none turns less often than the one before",
                "give a model.rope_theta above 1",
            )
        if self.sliding_window is not None and self.architecture is not Architecture.mistral:
            raise UserError(
                f"model.sliding_window={self.sliding_window} with model.architecture={self.architecture}",
                "of the shapes that are built, only Mistral's looks through a window",
                "leave model.sliding_window null, or use model.architecture=mistral",
            )

    def _check_heads(self) -> None:
        if self.dim % self.n_heads and (self.head_dim is None or self.architecture not in _ANY_HEAD_DIM):
            even = 2 * self.n_heads  # which rotary positions need
            near = even * max(1, round(self.dim / even))
            raise UserError(
                f"model.n_heads={self.n_heads} with model.dim={self.dim}",
                f"the heads must divide the width (only {' and '.join(_ANY_HEAD_DIM)} take any model.head_dim)",
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
        gpt2, scaling = self.architecture is Architecture.gpt2, self.rope_scaling
        if scaling.kind in _LONGER:
            original = scaling.original_seq_len or self.max_seq_len
            scaling = dataclasses.replace(scaling, original_seq_len=original)
        return dataclasses.replace(
            self,
            rope_scaling=scaling,
            n_kv_heads=self.n_kv_heads or self.n_heads,
            head_dim=self.head_dim or self.dim // self.n_heads,
            mlp_dim=self.mlp_dim or (4 * self.dim if gpt2 else -(-8 * self.dim // (3 * 32)) * 32),
            vocab_size=self.vocab_size or padded(vocab_size),
        )
