"""Which process this is, which device it computes on, and what the processes say to each other.

One process, `--nproc N` and torchrun are the same code path: the environment variables that torchrun sets decide.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from bigtrain.environment import usable_cpus
from bigtrain.errors import BigtrainError, LostProcess, Stopped, UserError
from bigtrain.log import log
from bigtrain.parallel.allocator import keep_freed_memory
from bigtrain.parallel.hardware import worst_error
from bigtrain.parallel.schema import DeviceConfig, DeviceKind, Fp32Matmul, ParallelConfig, Precision, Reduction

T = TypeVar("T")


@dataclass(frozen=True)
class Placement:
    """One process among `world_size`, and its device."""

    device: torch.device
    precision: Precision
    rank: int = 0
    world_size: int = 1

    @classmethod
    def start(cls, config: DeviceConfig, threads: int | None = None) -> Placement:
        """Join the other processes, if there are any, and take the configured device. threads: of this process."""
        return cls.join().configured(config, ParallelConfig(threads=threads))

    @classmethod
    def join(cls) -> Placement:
        """Meet the other processes. No device is taken yet: which one, the leading process may have to tell."""
        rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if world_size > 1 and not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, timeout=timedelta(minutes=30))
        return cls(torch.device("cpu"), Precision.fp32, rank, world_size)

    def configured(self, config: DeviceConfig, parallel: ParallelConfig) -> Placement:
        """The same process on the configured device, with the arithmetic and the threads that the config says."""
        device = _device(config.kind, int(os.environ.get("LOCAL_RANK", 0)))
        fast = config.fp32_matmul is Fp32Matmul.fast
        if device.type == "cpu":
            keep_freed_memory()
            torch.backends.mkldnn.matmul.fp32_precision = "bf16" if fast else "ieee"  # type: ignore[attr-defined]
        else:
            torch.set_float32_matmul_precision("high" if fast else "highest")
        if fast and self.leads:
            found = worst_error(device, torch.float32)
            log.info("device.fp32_matmul=fast: products here err by up to %.0e (fp32: 1e-04, bf16: 4e-01)", found)
        local_world = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        if parallel.threads or parallel.reduction is Reduction.exact:
            # Some kernels, LayerNorm's backward among them, give other bits with another number of threads.
            torch.set_num_threads(parallel.threads or 1)
        elif local_world > 1:
            torch.set_num_threads(max(1, usable_cpus() // local_world))
        return dataclasses.replace(self, device=device, precision=config.precision)

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bf16 where matrices are multiplied, with `precision=bf16`."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is Precision.bf16)

    def to_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch on the device; from pinned memory the copy does not wait."""
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def synchronise(self) -> None:
        """Wait until the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def sum(self, *values: float) -> list[float]:
        """Host numbers summed over the processes. Never touches the device, so it does not wait for it."""
        if self.world_size == 1:
            return list(values)
        table = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(table)
        return [float(value) for value in table.tolist()]

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any process."""
        return self.sum(float(flag))[0] > 0

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The tensor summed over the processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def from_lead(self, value: T) -> T:
        """What the leading process holds; the argument of the others is ignored."""
        if self.world_size == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]  # type: ignore[no-any-return]

    def lead_first(self, work: Callable[[], T]) -> T:
        """Let the leading process do what leaves files behind, then the others, which find them.

        An error of its own, a BigtrainError or Stopped, is raised in all of them.
        """
        if self.world_size == 1:
            return work()
        # A group of its own: the work may take longer than the others' patience with a process that hangs.
        patient = dist.new_group(backend="gloo", timeout=timedelta(days=1))
        result: Any = None
        error: BigtrainError | Stopped | None = None
        if self.leads:
            try:
                result = work()
            except (BigtrainError, Stopped) as raised:
                error = raised
        box = [error]
        dist.broadcast_object_list(box, src=0, group=patient)
        if box[0] is not None:
            raise box[0]
        return result if self.leads else work()

    def wait(self) -> None:
        """Wait for the other processes."""
        self.sum(0.0)


@contextlib.contextmanager
def lost_peers_are_an_error(placement: Placement) -> Iterator[None]:
    """Turn what a broken connection to another process raises into LostProcess (exit code 5)."""
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        text = str(error)
        if placement.world_size == 1 or not re.search(r"gloo|NCCL|c10d|peer|[Tt]imed out", text):
            raise
        raise LostProcess(f"process {placement.rank} lost another one of the run: {text.splitlines()[0]}") from error


def _device(kind: DeviceKind, local_rank: int) -> torch.device:
    if kind is DeviceKind.auto:
        kind = DeviceKind.cuda if torch.cuda.is_available() else DeviceKind.cpu
    if kind is DeviceKind.cpu:
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"device=cuda for process {local_rank} of this machine",
            f"each process needs a CUDA device of its own, and there are {torch.cuda.device_count()}",
            "use device=cpu or fewer processes; `bigtrain doctor` shows what torch sees",
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
