"""Adapters: the linear layers of a model frozen, and small trained ones beside them.

LoRA (Hu et al. 2021, arXiv 2106.09685), its rank-stabilised scale (Kalajdzievski 2023, arXiv 2312.03732) and DoRA (Liu
et al. 2024, arXiv 2402.09353), with the initial values of the reference implementation (Hugging Face's PEFT).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigtrain.errors import UserError
from bigtrain.models.adapter_schema import ALL, LoraConfig
from bigtrain.models.base import Model, generator_for
from bigtrain.models.layers import fold, keyed_dropout

_SITE = 1000  # dropout sites of the adapters are numbered from here on: the blocks have some of their own


@dataclass(frozen=True)
class Adapter:
    """What a model's adapter is made of."""

    config: LoraConfig
    base: Path  # the model folder whose weights are frozen
    base_digest: str  # of its weights
    whole: frozenset[str]  # parameters beside it that are trained and saved as they are: new heads, new rows


class RowKeys:
    """The dropout keys (B,) of a block for the batch that the model is computing; None: no dropout.

    Each block has its own, and its layers are numbered alike: blocks share one compiled graph.
    """

    def __init__(self) -> None:
        self.tensor: Tensor | None = None


def _follow_keys(model: Model, blocks: list[RowKeys]) -> None:
    """Take the keys of every call of the model, outside of what is compiled."""

    def keep(_: nn.Module, __: tuple[Any, ...], given: dict[str, Any]) -> None:
        keys = given.get("keys")
        for number, block in enumerate(blocks):
            block.tensor = None if keys is None else fold(keys, number)

    model.register_forward_pre_hook(keep, with_kwargs=True)


class AdaptedLinear(nn.Linear):
    """(W + scale B A) x + b; with magnitudes m the rows of that matrix have the lengths m. Only A, B and m are trained.

    Shapes: W (out, in), A (rank, in), B (out, rank), m (out,).
    """

    def __init__(self, layer: nn.Linear, config: LoraConfig, number: int, keys: RowKeys) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias, device = layer.weight, layer.bias, layer.weight.device
        self.scale, self.dropout, self.number, self.keys = config.scale, config.dropout, number, keys
        self.a = nn.Parameter(torch.empty(config.rank, self.in_features, device=device))
        self.b = nn.Parameter(torch.empty(self.out_features, config.rank, device=device))
        self.magnitude = nn.Parameter(torch.empty(self.out_features, device=device)) if config.magnitudes else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        rows, bias = x.flatten(0, -2), self.bias if self.magnitude is None else None  # (N, in)
        drops = self.dropout > 0 and self.keys.tensor is not None
        if torch.is_grad_enabled() and not drops:
            out: Tensor = _Product.apply(rows, self.weight, bias, self.a, self.b, self.scale)  # type: ignore[no-untyped-call]
        else:
            out = F.linear(rows, self.weight, bias)  # (N, out)
            low = F.linear(self._dropped(x).flatten(0, -2) if drops else rows, self.a)  # (N, rank)
            # Added in place: a sum of its own would read and write all of `out` once more.
            out.addmm_(low, self.b.to(low.dtype).T, alpha=self.scale)
        if self.magnitude is not None:
            turned = out * (self.magnitude / self.row_lengths())  # in fp32: what m learns is small beside it
            out = (turned if self.bias is None else turned + self.bias).to(out.dtype)
        return out.view(*x.shape[:-1], -1)

    def _dropped(self, x: Tensor) -> Tensor:
        assert self.keys.tensor is not None
        return keyed_dropout(x, self.dropout, self.keys.tensor, _SITE + self.number)

    @torch.no_grad()
    def row_lengths(self) -> Tensor:
        """(out,): lengths of the rows of W + scale B A, in fp32 and without a gradient (section 4.3 of the paper)."""
        whole = _whole(self.weight, self.a, self.b, self.scale, torch.float32)
        lengths: Tensor = torch.linalg.vector_norm(whole, dim=1)
        return lengths

    @torch.no_grad()
    def draw(self, seed: int, name: str) -> None:
        """Begin as W itself: A uniform up to 1 / sqrt(in), a function of seed and name; B zero; m the lengths of W."""
        bound = 1 / math.sqrt(self.in_features)
        self.a.copy_(torch.empty(self.a.shape).uniform_(-bound, bound, generator=generator_for(seed, f"{name}.a")))
        self.b.zero_()
        if self.magnitude is not None:
            self.magnitude.copy_(torch.linalg.vector_norm(self.weight, dim=1))


class _Product(torch.autograd.Function):
    """x (N, in) times W + scale B A as one matrix, with gradients for x, A and B alone.

    That matrix costs rank / N of the product. Apart, the small products would read and write the inputs and outputs
    of the layer three times more, which takes longer than they compute. It is made again in `backward`: keeping it
    would hold a second copy of the model.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        kind = x.device.type
        x = x.to(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype)
        ctx.save_for_backward(x, weight, a, b)
        ctx.scale = scale
        return F.linear(x, _whole(weight, a, b, scale, x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        of_x = grad @ _whole(weight, a, b, ctx.scale, x.dtype) if ctx.needs_input_grad[0] else None
        of_a = (grad @ b.to(x.dtype)).T @ x
        of_b = grad.T @ (x @ a.to(x.dtype).T)
        return of_x, None, None, of_a.to(a.dtype) * ctx.scale, of_b.to(b.dtype) * ctx.scale, None


def _whole(weight: Tensor, a: Tensor, b: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    with torch.autocast(weight.device.type, enabled=False):
        return torch.addmm(weight, b, a, alpha=scale).to(dtype)


def adapt(model: Model, adapter: Adapter) -> None:
    """Replace the chosen linear layers by adapted ones and freeze all but those and what is trained whole.

    On the meta device as well: `draw_adapters` gives the values. Raises UserError for targets that name no layer.
    """
    keys = [RowKeys() for _ in model.blocks]
    if adapter.config.dropout:
        _follow_keys(model, keys)
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter_name in adapter.whole)
    for name, layer in _chosen(model, adapter.config).items():
        parent, _, leaf = name.rpartition(".")
        block = int(name.split(".")[1])
        number = list(_linear(model.blocks[block])).index(name.split(".", 2)[2])
        setattr(model.get_submodule(parent), leaf, AdaptedLinear(layer, adapter.config, number, keys[block]))
    model.adapter = adapter


def adapted_layers(model: Model) -> dict[str, AdaptedLinear]:
    """The layers that carry the adapter, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AdaptedLinear)}


def draw_adapters(model: Model, seed: int) -> None:
    """The initial values of an adapter: the model begins as its base."""
    for name, layer in adapted_layers(model).items():
        layer.draw(seed, name)


def _linear(part: nn.Module) -> dict[str, nn.Linear]:
    return {name: module for name, module in part.named_modules() if isinstance(module, nn.Linear)}


def _chosen(model: Model, config: LoraConfig) -> dict[str, nn.Linear]:
    layers = {f"blocks.{name}": module for name, module in _linear(model.blocks).items()}
    if not layers:
        raise UserError(
            f"adapter={config.name} with a model of architecture {model.config.architecture}",
            "an adapter sits on linear layers, and the blocks of this model have none",
            "leave adapter= out: all weights are trained",
        )
    chosen: set[str] = set()
    for pattern in config.targets:
        found = {name for name in layers if pattern == ALL or _matches(name, pattern)}
        if not found:
            known = list(dict.fromkeys(name.split(".", 2)[2] for name in layers))
            raise UserError(
                f"adapter.targets={pattern}",
                f"a target is `{ALL}`, or a pattern of linear layers of the blocks: {', '.join(known)}",
                _near(pattern, known, "adapter.targets"),
            )
        chosen |= found
    return {name: layer for name, layer in layers.items() if name in chosen}


def _matches(name: str, pattern: str) -> bool:
    """blocks.0.attention.q: by its own name or the end of it, or by the name of a part that it lies in."""
    return any(fnmatchcase(name, form) for form in (pattern, f"*.{pattern}", f"{pattern}.*", f"*.{pattern}.*"))


def freeze(model: Model, patterns: Iterable[str]) -> None:
    """Let the parameters of these names (`embedding`, `blocks.0.*`) keep their values.

    A pattern is the name of a parameter or of a part, with `*` for any characters. Raises UserError for one that
    matches nothing, and where nothing would be left to train.
    """
    names = dict(model.named_parameters())
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
        if not found:
            known = [*dict(model.named_modules()), *names][1:]
            raise UserError(
                f"train.freeze={pattern}",
                "a pattern matches parameters of the model, or a part of it",
                _near(pattern, known, "train.freeze"),
            )
        for name in found:
            names[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in names.values()):
        raise UserError("train.freeze: every parameter", "training moves some of them", "leave some patterns out")


def _near(pattern: str, known: list[str], key: str) -> str:
    near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.4)
    return "did you mean " + " or ".join(f"{key}={name}" for name in near) + "?" if near else "name one of them"
