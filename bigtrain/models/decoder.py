"""The decoder: GPT-2, Llama, Mistral, Qwen2 and Qwen3 are one module, whose parts a small table chooses.

Shapes in comments: B rows, T tokens, D width, H query heads, K key/value heads, E head width, F MLP width,
S positions, V outputs (the vocabulary, or a classifier's labels).
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigtrain.errors import UserError
from bigtrain.models.base import Model, generator_for, n_parameters
from bigtrain.models.layers import (
    Embedding,
    attend,
    causal_mask,
    document_mask,
    document_positions,
    fold,
    keyed_dropout,
    ragged_mask,
)
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.models.rotary import rotary_tables, rotate
from bigtrain.models.schema import Architecture, DecoderConfig

if TYPE_CHECKING:
    from bigtrain.generation.cache import KVCache, LayerCache

Rotary = tuple[Tensor, Tensor]  # cosine and sine, (T, E/2) or (B, 1, T, E/2)


class Biases(Enum):
    """Which linear layers of a block have one."""

    none = auto()
    queries_keys_values = auto()
    all = auto()


@dataclass(frozen=True)
class Shape:
    """What the architectures differ in. Where `rotary`, positions turn queries and keys; else a table is added."""

    norm: type[nn.LayerNorm] | type[nn.RMSNorm]
    rotary: bool = True
    gated: bool = True  # SwiGLU; else GELU (tanh)
    biases: Biases = Biases.none
    head_norms: bool = False  # RMSNorm on each query and key head


SHAPES = {
    # Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"
    Architecture.gpt2: Shape(nn.LayerNorm, rotary=False, gated=False, biases=Biases.all),
    # Touvron et al. 2023, arXiv 2302.13971; grouped-query attention as of arXiv 2307.09288
    Architecture.llama: Shape(nn.RMSNorm),
    # Jiang et al. 2023, arXiv 2310.06825; the window is `DecoderConfig.sliding_window`
    Architecture.mistral: Shape(nn.RMSNorm),
    # Yang et al. 2024, arXiv 2407.10671
    Architecture.qwen2: Shape(nn.RMSNorm, biases=Biases.queries_keys_values),
    # Yang et al. 2025, arXiv 2505.09388
    Architecture.qwen3: Shape(nn.RMSNorm, head_norms=True),
}


class Attention(nn.Module):
    """Causal self-attention: H query heads share K key and value heads. Heads are counted by the views, not stored."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        assert config.head_dim is not None
        assert config.n_kv_heads is not None
        shape, self.head_dim, self.window = SHAPES[config.architecture], config.head_dim, config.sliding_window
        bias = shape.biases is not Biases.none
        self.q = nn.Linear(config.dim, config.n_heads * self.head_dim, bias=bias)
        self.k = nn.Linear(config.dim, config.n_kv_heads * self.head_dim, bias=bias)
        self.v = nn.Linear(config.dim, config.n_kv_heads * self.head_dim, bias=bias)
        self.joined: nn.Module | None = None  # x -> q(x), k(x), v(x), where generation packs the three into one
        self.o = nn.Linear(config.n_heads * self.head_dim, config.dim, bias=shape.biases is Biases.all)
        self.q_norm = nn.RMSNorm(self.head_dim, eps=config.norm_eps) if shape.head_norms else None
        self.k_norm = nn.RMSNorm(self.head_dim, eps=config.norm_eps) if shape.head_norms else None

    def forward(self, x: Tensor, rotary: Rotary | None, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        """Mix tokens of x (B, T, D): see `attend` for the mask."""
        q, k, v = self.joined(x) if self.joined is not None else (self.q(x), self.k(x), self.v(x))
        by_head = *x.shape[:2], -1, self.head_dim
        q, k, v = (y.view(by_head).transpose(1, 2) for y in (q, k, v))  # (B, H, T, E), and twice (B, K, T, E)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q.float()), self.k_norm(k.float())
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        k = k.to(v.dtype)  # norms and rotations are fp32 under autocast
        if cache is not None:
            k, v = cache.extend(k, v)  # (B, K, S, E)
            if self.window is not None and cache.aligned:
                seen = x.shape[1] + self.window - 1  # by the first of these tokens, and those after it
                k, v = k[:, :, -seen:], v[:, :, -seen:]
        mixed: Tensor = self.o(attend(q.to(v.dtype), k, v, mask).transpose(1, 2).flatten(2))
        return mixed  # (B, T, D)


class MLP(nn.Module):
    """GELU of one projection, or SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        assert config.mlp_dim is not None
        shape = SHAPES[config.architecture]
        bias = shape.biases is Biases.all
        self.gate = nn.Linear(config.dim, config.mlp_dim, bias=bias) if shape.gated else None
        self.up = nn.Linear(config.dim, config.mlp_dim, bias=bias)
        self.down = nn.Linear(config.mlp_dim, config.dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), each token by itself."""
        h = F.silu(self.gate(x)) * self.up(x) if self.gate is not None else F.gelu(self.up(x), approximate="tanh")
        out: Tensor = self.down(h)  # from (B, T, F)
        return out


class Block(nn.Module):
    """Attention and MLP, each on a norm of the residual stream, each added to it."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        norm, self.dropout = SHAPES[config.architecture].norm, config.dropout
        self.attention_norm = norm(config.dim, eps=config.norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = norm(config.dim, eps=config.norm_eps)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, rotary: Rotary | None, mask: Tensor | None, keys: Tensor | None, cache: LayerCache | None
    ) -> Tensor:
        """(B, T, D) -> (B, T, D). keys (B,): dropout keys of this layer."""
        h = self.attention(self.attention_norm(x), rotary, mask, cache)
        x = x + (h if keys is None else keyed_dropout(h, self.dropout, keys, 0))
        h = self.mlp(self.mlp_norm(x))
        return x + (h if keys is None else keyed_dropout(h, self.dropout, keys, 1))


class Decoder(Model):
    """Embedding, blocks, norm, head. `output`: what the head gives."""

    config: DecoderConfig

    def __init__(self, config: DecoderConfig, output: Output = LANGUAGE) -> None:
        super().__init__()
        assert config.vocab_size is not None
        self.config, self.output, shape = config, output, SHAPES[config.architecture]
        self.embedding = Embedding(config.vocab_size, config.dim)
        self.positions = None if shape.rotary else Embedding(config.max_seq_len, config.dim)
        if shape.rotary:
            assert config.head_dim is not None
            for name in ("cos", "sin"):
                self.register_buffer(name, torch.empty(config.max_seq_len, config.head_dim // 2), persistent=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = shape.norm(config.dim, eps=config.norm_eps)
        # A tied head has no parameter of its own: `logits` multiplies by the embedding.
        tied = config.tied and output.language
        bias = not (output.language or output.pooled)  # as transformers has it
        self.head = None if tied else nn.Linear(config.dim, output.size or config.vocab_size, bias=bias)

    def forward(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        keys: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) of tokens (B, T): see `Model.forward`. Raises UserError beyond `max_seq_len`."""
        n_tokens, past = tokens.shape[1], cache.length if cache else 0
        if past + n_tokens > self.config.max_seq_len:
            raise UserError(
                f"a row of {past + n_tokens} tokens with model.max_seq_len={self.config.max_seq_len}",
                "the model has no positions beyond that",
                "give shorter rows, or a larger model.max_seq_len for a new model",
            )
        positions: slice | Tensor
        if cache and not cache.aligned:
            positions = cache.positions(tokens.device)
            mask: Tensor | None = ragged_mask(positions, past + n_tokens, self.config.sliding_window)
        else:
            positions = slice(past, past + n_tokens) if documents is None else document_positions(documents)
            mask = self._mask(n_tokens, past, documents, tokens.device)  # the same for all blocks
        keys = keys if self.config.dropout else None

        x = self.embedding(tokens)  # (B, T, D), fp32 also under autocast: the stream adds up many small terms
        if self.positions is not None:
            x = x + self.positions.weight[positions]
        if keys is not None:
            x = keyed_dropout(x, self.config.dropout, keys, 0)
        rotary = None if self.positions is not None else self._rotary(positions)
        for number, block in enumerate(self.blocks):
            block_keys = None if keys is None else fold(keys, number + 1)
            x = block(x, rotary, mask, block_keys, cache.layers[number] if cache else None)
        if cache:
            cache.advance(n_tokens, len(tokens))
        hidden: Tensor = self.norm(x)
        return hidden

    def _mask(self, n_tokens: int, past: int, documents: Tensor | None, device: torch.device) -> Tensor | None:
        """What `attend` must be told of who sees whom, over the keys that `Attention` hands it."""
        window, n_keys = self.config.sliding_window, past + n_tokens
        if window is not None:
            n_keys = min(n_keys, n_tokens + window - 1)
            window = window if n_keys > window else None
        if documents is not None:
            return document_mask(documents, window)
        if window is None and (not past or n_tokens == 1):
            return None
        return causal_mask(n_tokens, n_keys, device, window)

    def _rotary(self, positions: slice | Tensor) -> Rotary:
        cos, sin = self.get_buffer("cos")[positions], self.get_buffer("sin")[positions]
        return (cos, sin) if isinstance(positions, slice) else (cos[:, None], sin[:, None])

    @property
    def output_weight(self) -> Tensor:
        """(V, D): what `logits` multiplies by."""
        return self.embedding.weight if self.head is None else self.head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        outputs: Tensor = F.linear(hidden, self.embedding.weight) if self.head is None else self.head(hidden)
        return outputs

    def init_weights(self, seed: int, *, only: Container[str] | None = None) -> None:
        """Fill every parameter and buffer; with `only`, the buffers and the parameters of these names.

        ==================================  =========================================================
        embedding, positions, head          normal, deviation 0.02
        attention q k v, mlp gate up        normal, deviation 0.02
        attention o, mlp down               normal, deviation 0.02 / sqrt(2 n_layers): the stream's
                                            variance does not grow with depth (GPT-2)
        norms                               1
        biases                              0
        ==================================  =========================================================

        A parameter's values depend on the seed, its name and its shape alone, not on the device or the order.
        """
        if self.positions is None:
            assert self.config.head_dim is not None
            shape = self.config.max_seq_len, self.config.head_dim
            tables = rotary_tables(*shape, self.config.rope_theta, self.config.rope_scaling)
            for name, table in zip(("cos", "sin"), tables, strict=True):
                self.get_buffer(name).copy_(table)
        residual = 0.02 / math.sqrt(2 * self.config.n_layers)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if only is not None and name not in only:
                    continue
                if parameter.dim() == 1:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                else:
                    std = residual if name.endswith(("attention.o.weight", "mlp.down.weight")) else 0.02
                    drawn = torch.empty(parameter.shape).normal_(0.0, std, generator=generator_for(seed, name))
                    parameter.copy_(drawn)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """q, k, v, o, gate, up and down of every block."""
        return [parameter for parameter in self.blocks.parameters() if parameter.dim() == 2]

    def flops_per_token(self, seq_len: int) -> float:
        """Forward and backward: see `Model.flops_per_token`."""
        tables = [self.positions] if self.positions is not None else []
        tables += [] if self.head is None else [self.embedding]  # looked up, not multiplied by
        n = n_parameters(self) - sum(table.weight.numel() for table in tables)
        assert self.config.head_dim is not None
        seen = min(seq_len, self.config.sliding_window or seq_len)
        return 6.0 * n + 12.0 * self.config.n_layers * self.config.n_heads * self.config.head_dim * seen
