"""Union-find against a plain computation."""

import random

import numpy as np
import pytest

from bigtrain.data.dedup.clusters import Forest


def plain(n: int, pairs: list[tuple[int, int]]) -> list[int]:
    """The least member of each cluster, by merging sets."""
    clusters = [{number} for number in range(n)]
    for a, b in pairs:
        if clusters[a] is not clusters[b]:
            clusters[a] |= clusters[b]
            for member in clusters[b]:
                clusters[member] = clusters[a]
    return [min(cluster) for cluster in clusters]


@pytest.mark.parametrize("seed", range(30))
def test_roots_are_the_least_members(seed: int) -> None:
    """In whatever batches the pairs come."""
    draw = random.Random(seed)
    n = draw.choice((1, 5, 100, 1000))
    pairs = [(draw.randrange(n), draw.randrange(n)) for _ in range(draw.choice((0, n // 4, n // 2, n)))]
    for size in (1, 7, len(pairs) + 1):
        forest = Forest(n)
        for start in range(0, len(pairs), size):
            batch = np.array(pairs[start : start + size], np.int64)
            forest.join(batch[:, 0], batch[:, 1])
        assert forest.all_roots().tolist() == plain(n, pairs)


@pytest.mark.parametrize("order", ["up", "down", "shuffled"])
def test_a_long_chain_is_no_slower_than_its_logarithm(order: str) -> None:
    """Step by step this would take 200,000 passes over the whole array."""
    n = 200_000
    links = np.arange(n - 1)
    links = {"up": links, "down": links[::-1], "shuffled": np.random.default_rng(0).permutation(links)}[order]
    forest = Forest(n)
    forest.join(links, links + 1)
    assert not forest.all_roots().any()


def test_the_middle_of_a_star_may_be_its_greatest() -> None:
    n = 100_000
    forest = Forest(n)
    forest.join(np.full(n - 1, n - 1), np.arange(n - 1))
    assert not forest.all_roots().any()
