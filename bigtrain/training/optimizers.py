"""Optimizers over a model's parameters: torch's own, and Muon with AdamW on the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bigtrain.models.base import Model
from bigtrain.training.schema import (
    AdadeltaConfig,
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    MuonConfig,
    SGDConfig,
)

# Five quintic steps that pull singular values to 1 (Amsel et al. 2025, "Polar Express", arXiv 2505.16932, with the
# safety margin of its section 3.4 folded in).
POLAR_EXPRESS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
_STACK_ELEMENTS = 1 << 27  # matrices orthogonalised in one product: bounds the memory of the stack


class OptimizerSet:
    """Several torch optimizers that step as one, with their state as named tensors for the checkpoint."""

    def __init__(self, optimizers: list[torch.optim.Optimizer], names: dict[nn.Parameter, str]) -> None:
        self.optimizers, self.names = optimizers, names
        for group in self.groups():
            group["peak_lr"], group["lr_ratio"] = group["lr"], 1.0

    def groups(self) -> Iterator[dict[str, Any]]:
        """Every parameter group."""
        for optimizer in self.optimizers:
            yield from optimizer.param_groups

    def parameters(self) -> list[nn.Parameter]:
        """Every parameter, in the order of the model."""
        return list(self.names)

    @property
    def lr(self) -> float:
        """The current rate of the first group, the one that `optimizer.lr` sets."""
        group = next(self.groups())
        return float(group["lr"] / group["lr_ratio"])

    def set_scale(self, scale: float) -> None:
        """Set every rate to its peak times `scale`, and times what `set_ratios` gave its parameters."""
        for group in self.groups():
            group["lr"] = group["peak_lr"] * scale * group["lr_ratio"]

    def set_ratios(self, ratio: Callable[[str], float]) -> None:
        """Give parameters rates of their own: the set one times the ratio of their name."""
        for optimizer in self.optimizers:
            groups = []
            for group in optimizer.param_groups:
                by_ratio: dict[float, list[nn.Parameter]] = defaultdict(list)
                for parameter in group["params"]:
                    by_ratio[ratio(self.names[parameter])].append(parameter)
                groups += [{**group, "params": params, "lr_ratio": one} for one, params in by_ratio.items()]
            optimizer.param_groups = groups

    def step(self) -> None:
        """Move the weights and forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """State by `parameter/key`."""
        return {
            f"{name}/{key}": value
            for parameter, name in self.names.items()
            for optimizer in self.optimizers
            for key, value in optimizer.state.get(parameter, {}).items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave; what is of parameters that are frozen by now is left out."""
        by_name = {name: parameter for parameter, name in self.names.items()}
        owner = {
            p: (optimizer, g) for optimizer in self.optimizers for g in optimizer.param_groups for p in g["params"]
        }
        for full_name, value in tensors.items():
            name, key = full_name.rsplit("/", 1)
            if name not in by_name:
                continue
            parameter = by_name[name]
            optimizer, group = owner[parameter]
            # torch counts steps on the CPU, where reading them waits for nothing, unless a fused kernel does it all.
            on_cpu = key == "step" and not group.get("fused")
            optimizer.state[parameter][key] = value.to("cpu" if on_cpu else parameter.device)


def layer_ratios(model: Model, decay: float) -> Callable[[str], float]:
    """Layer-wise decay of the rate: `decay` to the power of the blocks between a parameter and the model's end.

    The head and the last block move at the full rate, the embeddings at decay^n_layers (Clark et al. 2020, "ELECTRA",
    arXiv 2003.10555).
    """
    n_layers = model.config.n_layers

    def ratio(name: str) -> float:
        first, _, rest = name.partition(".")
        if first == "blocks":
            return decay ** (n_layers - 1 - int(rest.partition(".")[0]))
        return decay**n_layers if first in ("embedding", "positions", "segments", "embedding_norm") else 1.0

    return ratio


def _names(model: Model) -> dict[nn.Parameter, str]:
    return {parameter: name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; norms and biases, which set scales, do not."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _over_all(
    model: Model, kind: Callable[..., torch.optim.Optimizer], weight_decay: float, **arguments: Any
) -> OptimizerSet:
    """One of torch's optimizers over all parameters."""
    names = _names(model)
    return OptimizerSet([kind(_decay_groups(names, weight_decay), **arguments)], names)


def build_adamw(model: Model, config: AdamWConfig) -> OptimizerSet:
    """torch's fused AdamW."""
    arguments = {"lr": config.lr, "betas": config.betas, "eps": config.eps}
    return _over_all(model, torch.optim.AdamW, config.weight_decay, **arguments, fused=True)


def build_adam(model: Model, config: AdamConfig) -> OptimizerSet:
    """torch's fused Adam."""
    arguments = {"lr": config.lr, "betas": config.betas, "eps": config.eps}
    return _over_all(model, torch.optim.Adam, config.weight_decay, **arguments, fused=True)


def build_sgd(model: Model, config: SGDConfig) -> OptimizerSet:
    """torch's SGD."""
    arguments = {"lr": config.lr, "momentum": config.momentum, "nesterov": config.nesterov}
    return _over_all(model, torch.optim.SGD, config.weight_decay, **arguments)


def build_adadelta(model: Model, config: AdadeltaConfig) -> OptimizerSet:
    """torch's Adadelta."""
    return _over_all(model, torch.optim.Adadelta, config.weight_decay, lr=config.lr, rho=config.rho, eps=config.eps)


def build_adafactor(model: Model, config: AdafactorConfig) -> OptimizerSet:
    """torch's Adafactor, with the paper's decay of the moments and clipping of the updates."""
    # torch's own least mean square (1e-7) is above that of gradients in large models; the paper's (1e-30), which torch
    # squares, is nothing in fp32, and a row that never had a gradient would become nan.
    return _over_all(model, torch.optim.Adafactor, config.weight_decay, lr=config.lr, eps=(1e-15, 1e-3))


def build_muon(model: Model, config: MuonConfig) -> OptimizerSet:
    """Muon over the matrices of the blocks, AdamW without decay over embedding, head, norms and biases."""
    names = _names(model)
    hidden = [p for p in model.hidden_matrices() if p in names]
    rest = [p for p in names if not any(p is matrix for matrix in hidden)]
    optimizers: list[torch.optim.Optimizer] = []
    if hidden:
        optimizers.append(Muon(hidden, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay))
    if rest:  # a frozen part leaves none of the one or the other
        arguments: dict[str, Any] = {"lr": config.adamw_lr, "betas": config.betas, "eps": config.eps}
        optimizers.append(torch.optim.AdamW(rest, **arguments, weight_decay=0.0, fused=True))
    return OptimizerSet(optimizers, names)


def orthogonalise(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: (N, R, C) -> (N, R, C), all singular values near 1.

    In bf16: the iteration needs the direction, not the digits.
    """
    x = matrices.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    if transposed := x.size(-2) > x.size(-1):
        x = x.mT
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.mT if transposed else x).to(matrices.dtype)
    return result


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, then each matrix's update replaced by the nearest semi-orthogonal one.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. A matrix with more rows than columns moves
    by sqrt(rows / columns) more, which keeps the change of its outputs alike. Matrices of one shape are orthogonalised
    as one stack.
    """

    def __init__(self, parameters: list[nn.Parameter], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[tuple(parameter.shape)].append(parameter)
            for shape, parameters in by_shape.items():
                at_once = max(1, _STACK_ELEMENTS // (shape[0] * shape[1]))
                for start in range(0, len(parameters), at_once):
                    self._move(parameters[start : start + at_once], group)

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = orthogonalise(torch.stack(torch._foreach_lerp(gradients, momenta, group["momentum"])))
        rows, columns = parameters[0].shape
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        scale = group["lr"] * max(1.0, rows / columns) ** 0.5
        torch._foreach_add_(parameters, list(updates.unbind()), alpha=-scale)
