"""The contract of a model, and how one comes into being: built on the meta device, materialised, initialised."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Container
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.models.recurrent_schema import RecurrentConfig
from bigtrain.models.schema import DecoderConfig

if TYPE_CHECKING:
    from bigtrain.generation.cache import KVCache
    from bigtrain.models.adapters import Adapter

ModelConfig = DecoderConfig | EncoderConfig | RecurrentConfig


class Model(nn.Module):
    """What the loop, the objectives, evaluation and generation ask of a model.

    B rows, T tokens of a row, D width, V outputs: the vocabulary, or the labels of a head for labelled data.
    """

    causal = True  # a token sees those before it; else all of its row
    config: ModelConfig  # resolved: no nulls
    output: Output  # what its head gives
    carried: int = 0  # tokens that a training row begins with and that are not learned from
    adapter: Adapter | None = None  # what is trained instead of the weights: see `adapters.adapt`
    blocks: nn.ModuleList  # what is compiled, checkpointed and sharded one by one

    @classmethod
    def on_meta(cls, config: Any, output: Output = LANGUAGE) -> Self:
        """The module of a resolved config without memory: see `materialise`."""
        with torch.device("meta"):
            return cls(config, output)

    @abstractmethod
    def forward(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        keys: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) after the final norm.

        tokens: (B, T) int64. documents: (B, T) int32, ascending in a row; a token sees its own document only, and
        positions restart with each. keys: (B,) int64, one per sample, from which dropout masks are made; without keys
        there is no dropout. cache: earlier keys and values, extended in place.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""

    @abstractmethod
    def init_weights(self, seed: int, *, only: Container[str] | None = None) -> None:
        """Fill every buffer and parameter, or with `only` the parameters of these names: a pure function of both."""

    @abstractmethod
    def hidden_matrices(self) -> list[nn.Parameter]:
        """The 2-D weights inside the blocks, which Muon orthogonalises one by one."""

    @abstractmethod
    def flops_per_token(self, seq_len: int) -> float:
        """Forward and backward: 6 N + 12 L C T (Chowdhery et al. 2022, PaLM, appendix B).

        N counts what is multiplied by: not the positions, nor an embedding that is not the head as well.
        """


def materialise(model: Model, device: torch.device, seed: int) -> Model:
    """Give a model from the meta device its memory and its initial weights."""
    model.to_empty(device=device)
    model.init_weights(seed)
    return model


def n_parameters(model: nn.Module) -> int:
    """Parameters, a tied matrix counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def n_trained(model: nn.Module) -> int:
    """Parameters that training moves."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def training_flops(model: Model, seq_len: int) -> float:
    """Forward and backward of a token: see `Model.flops_per_token`. A frozen matrix has no gradient of its own."""
    frozen = sum(parameter.numel() for parameter in model.blocks.parameters() if not parameter.requires_grad)
    return model.flops_per_token(seq_len) - 2.0 * frozen


def generator_for(seed: int, name: str) -> torch.Generator:
    """A generator on the CPU whose numbers depend on the seed and the name, on nothing else."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
