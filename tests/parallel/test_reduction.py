import os
import random
import subprocess
import sys
import textwrap

import pytest
import torch

from bigtrain.parallel.launch import _free_port
from bigtrain.parallel.placement import Placement
from bigtrain.parallel.reduction import Tree, total_norm
from bigtrain.parallel.schema import Precision

ALONE = Placement(torch.device("cpu"), Precision.fp32)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16])
def test_the_tree_adds_in_one_fixed_order(n):
    leaves = [torch.randn(5) * 10.0 ** random.Random(i).randint(-4, 4) for i in range(n)]
    expected = [leaf.clone() for leaf in leaves]
    while len(expected) > 1:
        expected = [expected[i] + expected[i + 1] for i in range(0, len(expected), 2)]
    tree = Tree()
    for number, leaf in enumerate(leaves):
        tree.push([leaf.clone()])
        assert len(tree.nodes) == (number + 1).bit_count()  # what a binary counter keeps: at most log2(n) + 1
    assert tree.root(ALONE)[0].equal(expected[0])


def test_the_norm_is_that_of_all_gradients_whatever_the_threads():
    shapes = [(3000, 257), (257,), (), (1, 9), (4, 5, 6)]
    parts = [torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i, shape in enumerate(shapes)]
    exact = torch.cat([part.flatten() for part in parts]).double().norm().item()
    before = torch.get_num_threads()
    try:
        norms = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            norms.append(total_norm(parts).item())
    finally:
        torch.set_num_threads(before)
    assert norms[0] == pytest.approx(exact, rel=1e-6)
    assert len(set(norms)) == 1
    for broken in (float("nan"), float("inf")):
        parts[0][1234, 56] = broken
        assert not total_norm(parts).isfinite()
    assert total_norm([]) == 0


SCRIPT = """
    import os, sys, torch
    from bigtrain.parallel.placement import Placement
    from bigtrain.parallel.reduction import Tree, all_reduce
    placement = Placement.join()
    leaves = [torch.randn(1000, generator=torch.Generator().manual_seed(i)) * 10.0 ** (i % 5) for i in range(8)]
    mine = 8 // placement.world_size
    tree = Tree()
    for leaf in leaves[placement.rank * mine : (placement.rank + 1) * mine]:
        tree.push([leaf[:300].clone(), leaf[300:].view(70, 10).clone()])
    a, b = tree.root(placement)
    total = torch.cat([a, b.flatten()])
    alone = leaves
    while len(alone) > 1:
        alone = [alone[i] + alone[i + 1] for i in range(0, len(alone), 2)]
    assert total.equal(alone[0]), "tree"
    parts = [torch.full((3,), float(placement.rank)), torch.full((2, 2), 1.0)]
    all_reduce(parts, placement)
    n = placement.world_size
    assert parts[0].tolist() == [n * (n - 1) / 2] * 3 and parts[1].tolist() == [[n, n], [n, n]]
    assert placement.sum(1.5, 2.0) == [1.5 * n, 2.0 * n]
    assert placement.any(placement.rank == n - 1) and not placement.any(False)
    assert placement.from_lead({"rank": placement.rank}) == {"rank": 0}
    sys.stdout.flush(); os._exit(0)
"""


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_one_tree_and_one_sum(world_size):
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(world_size)}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    processes = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(world_size)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
