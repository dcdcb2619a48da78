"""The encoder: BERT and RoBERTa, which see a text from both sides.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers" (arXiv 1810.04805); Liu et al. 2019,
"RoBERTa" (arXiv 1907.11692). They differ in where positions begin and how many segments there are.

Shapes in comments: B rows, T tokens, D width, H heads, E head width, F MLP width, V outputs.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigtrain.errors import UserError
from bigtrain.models.base import Model, generator_for, n_parameters
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.layers import Embedding, attend_both_ways, document_positions, fold, keyed_dropout
from bigtrain.models.output import LANGUAGE, Output

if TYPE_CHECKING:
    from bigtrain.generation.cache import KVCache

_STD = 0.02
_ASKED = 0.15  # the share of tokens that the masked head is asked about


class Attention(nn.Module):
    """Self-attention in both directions."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.head_dim = config.dim // config.n_heads
        self.q = nn.Linear(config.dim, config.dim)
        self.k = nn.Linear(config.dim, config.dim)
        self.v = nn.Linear(config.dim, config.dim)
        self.o = nn.Linear(config.dim, config.dim)

    def forward(self, x: Tensor, mask: Tensor | None, n: int | None) -> Tensor:
        """Mix tokens of x (B, T, D) into the first n of them, or all.

        mask: (B, 1, T, T), true where a token may look; None: everywhere.
        """
        q, k, v = (
            part(x[:, :end]).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for part, end in ((self.q, n), (self.k, None), (self.v, None))
        )
        mask = None if mask is None else mask[:, :, :n]
        mixed: Tensor = self.o(attend_both_ways(q, k, v, mask).transpose(1, 2).flatten(2))
        return mixed  # (B, n or T, D)


class MLP(nn.Module):
    """GELU by the error function."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        assert config.mlp_dim is not None
        self.up = nn.Linear(config.dim, config.mlp_dim)
        self.down = nn.Linear(config.mlp_dim, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), each token by itself."""
        out: Tensor = self.down(F.gelu(self.up(x)))  # from (B, T, F)
        return out


class Block(nn.Module):
    """Attention and MLP, each added to the stream, which is then normalised."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention = Attention(config)
        self.attention_norm = _norm(config)
        self.mlp = MLP(config)
        self.mlp_norm = _norm(config)

    def forward(self, x: Tensor, mask: Tensor | None, keys: Tensor | None, n: int | None = None) -> Tensor:
        """(B, T, D) -> (B, n or T, D): of the first n tokens, or all. keys (B,): dropout keys of this layer."""
        h = self.attention(x, mask, n)
        x = self.attention_norm(x[:, :n] + (h if keys is None else keyed_dropout(h, self.dropout, keys, 0)))
        h = self.mlp(x)
        out: Tensor = self.mlp_norm(x + (h if keys is None else keyed_dropout(h, self.dropout, keys, 1)))
        return out


class MaskedHead(nn.Module):
    """What a hidden token is, by the embedding's own matrix and a bias."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        assert config.vocab_size is not None
        self.dense = nn.Linear(config.dim, config.dim)
        self.norm = _norm(config)
        self.bias = nn.Parameter(torch.empty(config.vocab_size))

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """(..., D) -> (..., V), with the embedding (V, D)."""
        return F.linear(self.norm(F.gelu(self.dense(hidden))), embedding, self.bias)


class ClassifierHead(nn.Module):
    """Outputs from a hidden state; of a row, from that of its first token through BERT's pooler."""

    def __init__(self, config: EncoderConfig, output: Output) -> None:
        super().__init__()
        self.dense = nn.Linear(config.dim, config.dim) if output.pooled else None
        self.out = nn.Linear(config.dim, output.size)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., output.size)."""
        logits: Tensor = self.out(hidden if self.dense is None else torch.tanh(self.dense(hidden)))
        return logits


def _norm(config: EncoderConfig) -> nn.LayerNorm:
    assert config.norm_eps is not None
    return nn.LayerNorm(config.dim, eps=config.norm_eps)


class Encoder(Model):
    """Embeddings, blocks, and the head that masked tokens are guessed by, or one for labelled data."""

    causal = False
    config: EncoderConfig

    def __init__(self, config: EncoderConfig, output: Output = LANGUAGE) -> None:
        super().__init__()
        assert config.vocab_size is not None
        assert config.n_segments is not None
        self.config, self.output = config, output
        self.first_position = 0 if config.pad_id is None else config.pad_id + 1
        self.embedding = Embedding(config.vocab_size, config.dim)
        self.positions = Embedding(self.first_position + config.max_seq_len, config.dim)
        self.segments = Embedding(config.n_segments, config.dim)
        self.embedding_norm = _norm(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.head = MaskedHead(config) if output.language else None
        self.next_sentence = ClassifierHead(config, Output.numbered(2)) if output.next_sentence else None
        self.classifier = None if output.language else ClassifierHead(config, output)

    def forward(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        keys: Tensor | None = None,
        cache: KVCache | None = None,
        segments: Tensor | None = None,
        n: int | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) of tokens (B, T): see `Model.forward`. Padding is a document of its own.

        segments: (B, T) int64, the kind of text each token belongs to; all 0 without them. n: give those of the first n
        tokens only, (B, n, D): the last block, which none looks at after, then computes no others. Raises UserError
        beyond `max_seq_len`.
        """
        assert cache is None  # a token changes what all the others are: there is nothing to keep
        if tokens.shape[1] > self.config.max_seq_len:
            raise UserError(
                f"a row of {tokens.shape[1]} tokens with model.max_seq_len={self.config.max_seq_len}",
                "the model has no positions beyond that",
                "give shorter rows, or a larger model.max_seq_len for a new model",
            )
        keys = keys if self.config.dropout else None
        x: Tensor = self.embedding(tokens) + self.positions(self._positions(tokens, documents))  # (B, T, D), fp32
        x = x + (self.segments.weight[0] if segments is None else self.segments(segments))
        x = self.embedding_norm(x)
        if keys is not None:
            x = keyed_dropout(x, self.config.dropout, keys, 0)
        mask = None if documents is None else documents[:, None, :, None] == documents[:, None, None, :]
        for number, block in enumerate(self.blocks, 1):
            layer_keys = None if keys is None else fold(keys, number)
            x = block(x, mask, layer_keys, n if number == len(self.blocks) else None)
        return x

    def _positions(self, tokens: Tensor, documents: Tensor | None) -> Tensor:
        """(B or 1, T): rows of the table of positions. RoBERTa does not count padding tokens, wherever they stand."""
        if documents is not None:
            return document_positions(documents) + self.first_position
        if self.config.pad_id is None:
            return torch.arange(tokens.shape[1], device=tokens.device)[None]
        counted = tokens != self.config.pad_id
        return counted.cumsum(1) * counted + self.config.pad_id

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V); what is said of a row comes from the hidden state of its first token."""
        if self.classifier is not None:
            labels: Tensor = self.classifier(hidden)
            return labels
        assert self.head is not None
        logits: Tensor = self.head(hidden, self.embedding.weight)
        return logits

    def init_weights(self, seed: int, *, only: Container[str] | None = None) -> None:
        """Fill every parameter, or those of the names in `only`.

        ==================================  =========================================================
        all matrices                        normal, deviation 0.02
        norms                               1
        biases                              0
        ==================================  =========================================================

        A parameter's values depend on the seed, its name and its shape alone, not on the device or the order.
        """
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if only is not None and name not in only:
                    continue
                if parameter.dim() == 1:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                else:
                    drawn = torch.empty(parameter.shape).normal_(0.0, _STD, generator=generator_for(seed, name))
                    parameter.copy_(drawn)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """q, k, v, o, up and down of every block."""
        return [parameter for parameter in self.blocks.parameters() if parameter.dim() == 2]

    def flops_per_token(self, seq_len: int) -> float:
        """Forward and backward: see `Model.flops_per_token`. The masked head is asked about 15 % of the tokens only."""
        n = float(n_parameters(self.blocks))
        if self.head is not None:
            n += _ASKED * (self.head.dense.weight.numel() + self.embedding.weight.numel())
        return 6.0 * n + 12.0 * self.config.n_layers * self.config.dim * seq_len
