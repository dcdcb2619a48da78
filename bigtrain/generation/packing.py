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


class Packed(nn.Module):
    """x -> x W^T + b, in one product for several layers that read the same x; on a CPU with GELU in the same kernel."""

    def __init__(self, layers: list[Pair], dtype: torch.dtype) -> None:
        super().__init__()
        weights, biases = zip(*layers, strict=True)
        self.dtype, self.sizes = dtype, [len(weight) for weight in weights]
        self.weight = torch.cat(weights).detach().to(dtype).contiguous()
        # Layers that are read together have a bias, all of them or none.
        self.bias = None if biases[0] is None else torch.cat(biases).detach().to(dtype)
        self.reordered = _can_reorder(self.weight)
        if self.reordered:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, _ROWS)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) of any type -> (..., out) of this type."""
        return self._product(x, "none", "")

    def gelu(self, x: Tensor) -> Tensor:
        """The same, through GELU (tanh)."""
        if self.reordered:
            return self._product(x, "gelu", "tanh")
        return F.gelu(self(x), approximate="tanh")

    def _product(self, x: Tensor, then: str, how: str) -> Tensor:
        x = x.to(self.dtype)
        if not self.reordered:
            return F.linear(x, self.weight, self.bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, then, [], how)
        return out


def _can_reorder(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Summed(nn.Module):
    """x -> x W^T of one row, as the sum of the rows of W^T, x being their weights: what lies under bags of embeddings.

    That kernel reads weights as fast as memory gives them, in bf16 a quarter faster than oneDNN's product does.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.n_outputs, n_inputs = weight.shape
        self.n_strips = -(-self.n_outputs // _STRIP)
        columns = F.pad(weight.detach().to(dtype).t(), (0, self.n_strips * _STRIP - self.n_outputs))
        self.weight = columns.unflatten(1, (-1, _STRIP)).transpose(0, 1).flatten(0, 1).contiguous()  # strip by strip
        self.index = torch.arange(len(self.weight), dtype=torch.int32)
        self.strips = torch.arange(0, len(self.weight), n_inputs, dtype=torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) of any type -> (..., out) of this type. Several rows are computed one after the other."""
        rows = x.to(self.weight.dtype).reshape(-1, x.shape[-1])
        sums = [
            F.embedding_bag(
                self.index, self.weight, self.strips, mode="sum", per_sample_weights=row.repeat(self.n_strips)
            )
            for row in rows
        ]
        return torch.stack(sums).view(*x.shape[:-1], -1)[..., : self.n_outputs]


class Joined(Packed):
    """Several layers that read the same x."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """(..., in) -> the output of each layer."""
        parts: tuple[Tensor, ...] = self._product(x, "none", "").split(self.sizes, -1)
        return parts


class PackedMLP(nn.Module):
    """What `models.decoder.MLP` computes, in two products."""

    def __init__(self, mlp: MLP, dtype: torch.dtype) -> None:
        super().__init__()
        self.gated = mlp.gate is not None
        self.up = Packed(_of(mlp.up) if mlp.gate is None else _of(mlp.gate, mlp.up), dtype)
        self.down = Packed(_of(mlp.down), dtype)

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
        attention.joined = Joined(_of(attention.q, attention.k, attention.v), dtype)
        attention.q = attention.k = attention.v = nn.Identity()  # type: ignore[assignment]
        attention.o = Packed(_of(attention.o), dtype)  # type: ignore[assignment]
        assert isinstance(block.mlp, MLP)
        block.mlp = PackedMLP(block.mlp, dtype)
    head, fbgemm = model.output_weight, "fbgemm" in torch.backends.quantized.supported_engines
    summed = one_row and head.device.type == "cpu" and fbgemm
    model.head = Summed(head, dtype) if summed else Packed([(head, None)], dtype)  # type: ignore[assignment]
    return model


def _of(*layers: nn.Linear) -> list[Pair]:
    return [(layer.weight, layer.bias) for layer in layers]
