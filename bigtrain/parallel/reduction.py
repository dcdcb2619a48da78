"""Gradients of several processes, summed, and their norm.

`fast`: the usual all-reduce. `exact`: the global batch is `shards` equal parts; their gradients are added in one fixed
binary tree, so any number of processes that divides `shards` gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bigtrain.parallel.placement import Placement

_BUCKET_ELEMENTS = 1 << 25


def all_reduce(tensors: Sequence[Tensor], placement: Placement) -> None:
    """Sum the tensors over the processes in place, several per message."""
    if placement.world_size == 1:
        return
    bucket: list[Tensor] = []
    for position, tensor in enumerate(tensors):
        bucket.append(tensor)
        if sum(t.numel() for t in bucket) >= _BUCKET_ELEMENTS or position == len(tensors) - 1:
            flat = torch.cat([t.flatten() for t in bucket])
            dist.all_reduce(flat)
            _scatter(flat, bucket)
            bucket = []


def _scatter(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = flat.split([t.numel() for t in tensors])
    torch._foreach_copy_(list(tensors), [part.view_as(t) for part, t in zip(parts, tensors, strict=True)])


class Tree:
    """A running sum in the order of a binary tree: at most log2(shards) + 1 sums are alive at a time.

    `push` takes the leaves from left to right, as a binary counter does: two sums of the same height become one.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[int, list[Tensor]]] = []

    def push(self, leaf: list[Tensor]) -> None:
        """Add the next leaf; its tensors are taken over."""
        height = 0
        while self.nodes and self.nodes[-1][0] == height:
            left = self.nodes.pop()[1]
            torch._foreach_add_(left, leaf)
            leaf, height = left, height + 1
        self.nodes.append((height, leaf))

    def root(self, placement: Placement) -> list[Tensor]:
        """The sum over all processes, each of which pushed the same power of two of leaves.

        Recursive doubling: in round k a process exchanges its sum with the one whose rank differs in bit k. a + b and
        b + a have the same bits, so every process ends with the tree that one process would have built.
        """
        ((_, tensors),) = self.nodes
        if placement.world_size == 1:
            return tensors
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distance = 1
        while distance < placement.world_size:
            theirs, peer = torch.empty_like(flat), placement.rank ^ distance
            exchange = [dist.P2POp(dist.isend, flat, peer), dist.P2POp(dist.irecv, theirs, peer)]
            for work in dist.batch_isend_irecv(exchange):
                work.wait()
            flat = flat + theirs
            distance *= 2
        _scatter(flat, tensors)
        return tensors


def gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients that there are."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The L2 norm of all gradients as one vector, (): row by row on a CPU.

    torch takes the norm of a whole tensor with one thread, however many it has. It shares rows among them, and adds up
    each in the same order whatever their number.
    """
    parts = [torch.linalg.vector_norm(g, dim=-1) if g.dim() > 1 and g.device.type == "cpu" else g for g in gradients]
    return torch.nn.utils.get_total_norm(parts)
