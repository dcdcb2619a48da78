"""Config of device placement."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bigtrain.errors import UserError
from bigtrain.options import option


class DeviceKind(StrEnum):
    """Where tensors live."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    """What matrices are multiplied in. Weights and optimizer state are fp32 in both."""

    fp32 = "fp32"
    bf16 = "bf16"


class Fp32Matmul(StrEnum):
    """How fp32 products are computed."""

    exact = "exact"
    fast = "fast"


@dataclass
class DeviceConfig:
    """The device and its arithmetic."""

    kind: DeviceKind = option(DeviceKind.auto, "auto: cuda where there is one, else cpu")
    precision: Precision = option(Precision.bf16, "bf16: autocast, fp32 master weights; fp32: no autocast")
    compile: bool = option(
        False, "compile the blocks and the loss with torch.compile: slower to start, faster per step"
    )
    fp32_matmul: Fp32Matmul = option(
        Fp32Matmul.exact,
        "with precision=fp32; fast: oneDNN's bf16 route on CPU, TF32 on CUDA; part of the run's identity",
    )


class Reduction(StrEnum):
    """How gradients of several processes are summed."""

    fast = "fast"
    exact = "exact"


@dataclass
class ThreadsConfig:
    """Several processes that share out rows."""

    threads: int | None = option(
        None, "threads of a process on CPU; null: the cores shared out", at_least=1, at_most=1024
    )


@dataclass
class ParallelConfig:
    """Several processes."""

    reduction: Reduction = option(
        Reduction.fast, "exact: the same bits at any number of processes that divides `shards`"
    )
    shards: int = option(
        4,
        "exact: equal parts of the global batch, summed in one fixed tree; a power of two",
        at_least=1,
        at_most=1 << 16,
    )
    threads: int | None = option(
        None, "threads of a process on CPU; null: 1 with exact, else the cores shared out", at_least=1, at_most=1024
    )
    hang_minutes: float | None = option(
        30.0, "a process without progress for so long is ended, exit code 5; null: never", above=0
    )

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if self.shards & (self.shards - 1):
            raise UserError(
                f"parallel.shards={self.shards}", "the tree needs a power of two", "choose 1, 2, 4, 8, 16, ..."
            )
