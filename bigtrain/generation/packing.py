"""Weights as generation multiplies by them: cast once, and on a CPU laid out once as oneDNN's kernels read them.

The residual stream, the norms and the rotary angles stay in fp32, as in training under autocast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigtrain.models.base import Model
from bigtrain.models.decoder import MLP, Attention, Decoder

Pair = tuple[Tensor, Tensor | None]  # weight (out, in) and bias (out)
_ROWS = 16  # the layout for so many is the fastest, or nearly, for 1 to 256 of them
_STRIP = 128  # columns of a sum of rows that the kernel keeps in registers
_SMALL = 1 << 20  # weights that are read in less time than a call of oneDNN takes besides: some 20 microseconds


class Packed(nn.Module):
    """x -> x W^T + b, in one product for several layers that read the same x."""

    def __init__(self, layers: list[Pair], dtype: torch.dtype) -> None:
        super().__init__()
        weights, biases = zip(*layers, strict=True)
        self.dtype = dtype
        self.weight = torch.cat(weights).detach().to(dtype).contiguous()
        # Layers that are read together have a bias, all of them or none.
        self.bias = None if biases[0] is None else torch.cat(biases).detach().to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) of any type -> (..., out) of this type."""
        return F.linear(x.to(self.dtype), self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """The same, through GELU (tanh)."""
        return F.gelu(self(x), approximate="tanh")


class Reordered(Packed):
    """The same, of weights laid out once as oneDNN's kernels read them, with GELU in the same kernel."""

    def __init__(self, layers: list[Pair], dtype: torch.dtype) -> None:
        super().__init__(layers, dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, _ROWS)

    def forward(self, x: Tensor) -> Tensor:
        """See Packed."""
        return self._product(x, "none", "")

    def gelu(self, x: Tensor) -> Tensor:
        """See Packed."""
        return self._product(x, "gelu", "tanh")

    def _product(self, x: Tensor, then: str, how: str) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.weight, self.bias, then, [], how)
        return out


class Summed(Packed):
    """The same of one row, as the sum of the rows of W^T, x being their weights: what lies under bags of embeddings.

    That kernel reads weights as fast as memory gives them, in bf16 up to a quarter faster than oneDNN's product does,
    and a call of it costs half. Several rows are one product for each strip, which takes longer than oneDNN's.
    """

    def __init__(self, layers: list[Pair], dtype: torch.dtype) -> None:
        super().__init__(layers, dtype)
        self.n_outputs, n_inputs = self.weight.shape
        n_strips = -(-self.n_outputs // _STRIP)
        columns = F.pad(self.weight.t(), (0, n_strips * _STRIP - self.n_outputs))
        self.weight = columns.unflatten(1, (-1, _STRIP)).transpose(0, 1).contiguous()  # (strips, in, columns)
        self.index = torch.arange(n_strips * n_inputs, dtype=torch.int32)
        self.begins = torch.arange(0, n_strips * n_inputs, n_inputs, dtype=torch.int32)
        self.repeated = torch.empty(n_strips, n_inputs, dtype=dtype)  # x, for each strip

    def forward(self, x: Tensor) -> Tensor:
        """See Packed."""
        if x.numel() == x.shape[-1]:
            repeated = self.repeated.copy_(x.view(-1)).view(-1)
            rows = self.weight.view(-1, _STRIP)
            out = torch.embedding_bag(rows, self.index, self.begins, per_sample_weights=repeated)[0].view(-1)
        else:
            each = torch.matmul(x.to(self.dtype).flatten(0, -2), self.weight)  # (strips, rows, columns)
            out = each.transpose(0, 1).flatten(1)
        out = out[..., : self.n_outputs] if self.bias is None else out[..., : self.n_outputs] + self.bias
        return out.view(*x.shape[:-1], self.n_outputs)


def packed(layers: list[Pair], dtype: torch.dtype, *, one_row: bool, small: int = _SMALL) -> Packed:
    """Layers that read the same x, as one, in the layout that is the fastest here.

    one_row: of texts that are written one at a time. small: up to how many weights these are summed.
    """
    weight = layers[0][0]
    kind = Packed
    if weight.device.type == "cpu":
        fbgemm = "fbgemm" in torch.backends.quantized.supported_engines
        if one_row and fbgemm and sum(len(w) for w, _ in layers) * weight.shape[1] <= small:
            kind = Summed
        elif torch.backends.mkldnn.is_available() and (
            dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        ):
            kind = Reordered
    return kind(layers, dtype)


class Joined(nn.Module):
    """x -> the output of each of several layers that read it."""

    def __init__(self, layers: list[Pair], dtype: torch.dtype, *, one_row: bool) -> None:
        super().__init__()
        self.sizes = [len(weight) for weight, _ in layers]
        self.product = packed(layers, dtype, one_row=one_row)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(..., in) -> (..., out) of each layer."""
        parts: tuple[Tensor, ...] = self.product(x).split(self.sizes, -1)
        return parts


class PackedMLP(nn.Module):
    """What `models.decoder.MLP` computes, in two products."""

    def __init__(self, mlp: MLP, dtype: torch.dtype, *, one_row: bool) -> None:
        super().__init__()
        self.gated = mlp.gate is not None
        self.up = packed(_of(mlp.up) if mlp.gate is None else _of(mlp.gate, mlp.up), dtype, one_row=one_row)
        self.down = packed(_of(mlp.down), dtype, one_row=one_row)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self.gated:
            gate, up = self.up(x).chunk(2, -1)
            h = F.silu(gate) * up
        else:
            h = self.up.gelu(x)
        out: Tensor = self.down(h)
        return out


def narrowed(model: Model, dtype: torch.dtype) -> Model:
    """A model of the meta device whose matrices that `pack` casts to this type are of it from the beginning.

    So a model that is to generate in bf16 never takes the memory of its fp32 weights.
    """
    if isinstance(model, Decoder):
        for matrix in [*model.hidden_matrices(), *([] if model.head is None else [model.head.weight])]:
            matrix.data = matrix.data.to(dtype)
    return model


def pack(model: Model, dtype: torch.dtype, *, one_row: bool = False) -> Model:
    """A decoder whose linear layers have given way to packed ones: it generates, and does nothing else from then on.

    dtype: of the products. one_row: it writes one text at a time. A model of another family stays as it is.
    """
    if not isinstance(model, Decoder):
        return model
    for block in model.blocks:
        attention = block.attention
        assert isinstance(attention, Attention)
        attention.joined = Joined(_of(attention.q, attention.k, attention.v), dtype, one_row=one_row)
        attention.q = attention.k = attention.v = nn.Identity()  # type: ignore[assignment]
        attention.o = packed(_of(attention.o), dtype, one_row=one_row)  # type: ignore[assignment]
        assert isinstance(block.mlp, MLP)
        block.mlp = PackedMLP(block.mlp, dtype, one_row=one_row)
    head = model.output_weight  # the largest matrix, which no prompt is multiplied by
    model.head = packed([(head, None)], dtype, one_row=one_row, small=head.numel())  # type: ignore[assignment]
    return model


def _of(*layers: nn.Linear) -> list[Pair]:
    return [(layer.weight, layer.bias) for layer in layers]
