"""The recurrent language model: an embedding, layers of GRU or LSTM cells, a head.

Cho et al. 2014 (arXiv 1406.1078); Hochreiter and Schmidhuber 1997, in the form of torch's modules.

Shapes in comments: B rows, T tokens, D width of a layer's input, H cells, V outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_sequence

from bigtrain.errors import UserError
from bigtrain.models.base import Model, generator_for, n_parameters
from bigtrain.models.layers import Embedding, keyed_dropout
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.models.recurrent_schema import RecurrentArchitecture, RecurrentConfig

if TYPE_CHECKING:
    from bigtrain.generation.cache import KVCache

_STD = 0.05  # of the embedding


class Layer(nn.Module):
    """One layer of cells."""

    def __init__(self, kind: RecurrentArchitecture, width: int, hidden_dim: int) -> None:
        super().__init__()
        gru = kind is RecurrentArchitecture.bigtrain_gru
        self.cells: nn.RNNBase = (nn.GRU if gru else nn.LSTM)(width, hidden_dim, batch_first=True)
        self.hidden_dim = hidden_dim

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> outputs (B, T, H), and the state behind each row's last token.

        state: (S, B, H) before the first one, S = 1 (GRU) or 2 (LSTM: output and cell); None: empty.
        """
        out, after = self.cells(x, None if state is None else _apart(state))
        return out, _together(after)

    def pieces(self, x: Tensor, pieces: Pieces) -> tuple[Tensor, Tensor]:
        """Tokens (N, D) of pieces that know nothing of each other -> (N, H), and the states behind them (S, n, H)."""
        out, after = self.cells(PackedSequence(x[pieces.order], pieces.n_at, pieces.by_length, pieces.back))
        return out.data[pieces.order.argsort()], _together(after)


class Pieces(NamedTuple):
    """How torch's modules take pieces of several lengths: their first tokens, then their second ones, and so on.

    Not by its `pack_sequence` and back: the gradient of each piece would be a tensor of all of them.
    """

    order: Tensor  # (N,): which token, counted over the pieces one behind the other
    n_at: Tensor  # (T,), on the CPU: pieces that are so long
    by_length: Tensor  # (n,): the pieces, longest first
    back: Tensor  # (n,): the place of each of them there

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Pieces:
        """Of pieces of so many tokens."""
        each = torch.tensor(lengths)
        longest_first = each.argsort(descending=True, stable=True)
        place = torch.arange(int(each.max()))[:, None]  # (T, 1)
        there = place < each[longest_first]  # (T, n)
        order = ((each.cumsum(0) - each)[longest_first] + place)[there]
        back = longest_first.argsort()
        return cls(order.to(device), there.sum(1), longest_first.to(device), back.to(device))


def _apart(state: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """(S, B, H) -> what torch's modules take."""
    return state.contiguous() if len(state) == 1 else (state[:1].contiguous(), state[1:].contiguous())


def _together(state: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    return state if isinstance(state, Tensor) else torch.cat(state)


class Recurrent(Model):
    """Embedding, layers, head. `output`: what the head gives."""

    config: RecurrentConfig

    def __init__(self, config: RecurrentConfig, output: Output = LANGUAGE) -> None:
        super().__init__()
        assert config.vocab_size is not None
        assert config.hidden_dim is not None
        self.config, self.output = config, output
        self.carried = (config.carry_tokens or 0) if output.language else 0
        self.embedding = Embedding(config.vocab_size, config.dim)
        widths = [config.dim, *[config.hidden_dim] * (config.n_layers - 1)]
        self.blocks = nn.ModuleList(Layer(config.architecture, width, config.hidden_dim) for width in widths)
        self.head = nn.Linear(config.hidden_dim, output.size or config.vocab_size)

    def forward(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        keys: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Hidden states (B, T, H) of tokens (B, T): see `Model.forward`.

        While it is trained, no gradient flows through the first `carried` tokens of a row.
        """
        x = self.embedding(tokens)
        if cache is not None:
            return self._from_cache(x, cache)
        keys = keys if self.config.dropout else None
        carried = self.carried if self.training and torch.is_grad_enabled() else 0
        if documents is not None:
            return self._in_documents(x, documents, keys)
        if not carried:
            return self._from(x, None, keys)[0]
        if tokens.shape[1] <= carried:
            raise UserError(
                f"a row of {tokens.shape[1]} tokens with model.carry_tokens={carried}",
                "the first tokens only bring the state of the others",
                "give longer rows",
            )
        with torch.no_grad():
            before, states = self._from(x[:, :carried], None, None)
        after, _ = self._from(x[:, carried:], states, keys)
        return torch.cat([before, after], 1)

    def _cells(self) -> list[Layer]:
        return [layer for layer in self.blocks if isinstance(layer, Layer)]

    def _in_documents(self, x: Tensor, documents: Tensor, keys: Tensor | None) -> Tensor:
        """The state is empty where a document begins."""
        n_rows, n_tokens = documents.shape
        pieces = Pieces.of(_lengths(documents), x.device)
        for number, layer in enumerate(self._cells()):
            out, _ = layer.pieces(x.flatten(0, 1), pieces)
            x = self._dropped(out.view(n_rows, n_tokens, -1), keys, number)
        return x

    def _from(self, x: Tensor, states: list[Tensor] | None, keys: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Through all layers, from their states to those behind the last token."""
        after = []
        for number, layer in enumerate(self.blocks):
            x, state = layer(x, states[number] if states else None)
            after.append(state)
            x = self._dropped(x, keys, number)
        return x, after

    def _dropped(self, x: Tensor, keys: Tensor | None, number: int) -> Tensor:
        return x if keys is None else keyed_dropout(x, self.config.dropout, keys, number)

    def _from_cache(self, x: Tensor, cache: KVCache) -> Tensor:
        """Rows go on from the state that they left; new ones, filled up at their ends, begin with an empty one."""
        n_tokens = x.shape[1]
        lengths = cache.lengths_read(len(x))
        if lengths is None or min(lengths) == n_tokens:
            for layer, memory in zip(self._cells(), cache.layers, strict=True):
                x, state = layer(x, memory.state())
                memory.keep(state)
        else:
            pieces = Pieces.of(lengths, x.device)
            x = torch.cat([row[:length] for row, length in zip(x, lengths, strict=True)])
            for layer, memory in zip(self._cells(), cache.layers, strict=True):
                x, state = layer.pieces(x, pieces)
                memory.keep(state)
            x = nn.functional.pad(pad_sequence(x.split(lengths), batch_first=True), (0, 0, 0, n_tokens - max(lengths)))
        cache.advance(n_tokens, len(x))
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., H) -> (..., V)."""
        logits: Tensor = self.head(hidden)
        return logits

    def init_weights(self, seed: int, *, only: Container[str] | None = None) -> None:
        """Fill every parameter, or those of the names in `only`.

        ==================================  =========================================================
        embedding                           normal, deviation 0.05
        layers, head                        normal, deviation 1 / sqrt(width of what they read)
        biases                              0; of an LSTM's forget gates 1 (Jozefowicz et al. 2015)
        ==================================  =========================================================

        A parameter's values depend on the seed, its name and its shape alone, not on the device or the order.
        """
        lstm = self.config.architecture is RecurrentArchitecture.bigtrain_lstm
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if only is not None and name not in only:
                    continue
                if parameter.dim() == 1:
                    parameter.zero_()
                    if lstm and name.endswith("bias_ih_l0"):
                        parameter.view(4, -1)[1] = 1.0  # torch's order: input, forget, cell, output
                else:
                    std = _STD if name == "embedding.weight" else parameter.shape[1] ** -0.5
                    drawn = torch.empty(parameter.shape).normal_(0.0, std, generator=generator_for(seed, name))
                    parameter.copy_(drawn)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Of every layer, what multiplies its input and what multiplies its state: the gates on top of each other."""
        return [parameter for parameter in self.blocks.parameters() if parameter.dim() == 2]

    def flops_per_token(self, seq_len: int) -> float:
        """Forward and backward: 6 N, whatever the length of the row."""
        return 6.0 * (n_parameters(self) - self.embedding.weight.numel())


def _lengths(documents: Tensor) -> list[int]:
    """Lengths of the pieces that rows of document numbers (B, T) fall into, one row after the other."""
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    starts = begins.flatten().nonzero()[:, 0].tolist()
    return [end - start for start, end in itertools.pairwise([*starts, documents.numel()])]
