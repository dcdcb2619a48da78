"""Union-find over whole arrays of pairs: the documents that are connected, and the first of each cluster."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

_CHUNK = 1 << 20


class Forest:
    """Clusters of the numbers below n, 8 bytes each. A parent is never greater than its child, so a root is a minimum.

    The outcome depends on the pairs that were joined, not on their order.
    """

    def __init__(self, n: int) -> None:
        self._parents: Rows = np.arange(n)

    def join(self, some: Rows, others: Rows) -> None:
        """Put some[i] and others[i] into one cluster, for all i: each root is hung below its least neighbour."""
        parents = self._parents
        while True:
            some, others = self.roots(some), self.roots(others)
            apart = some != others
            if not apart.any():
                return
            some, others = some[apart], others[apart]
            children = np.maximum(some, others)
            np.minimum.at(parents, children, np.minimum(some, others))
            while (parents[children] != parents[parents[children]]).any():  # halves the longest path
                parents[children] = parents[parents[children]]

    def roots(self, numbers: Rows) -> Rows:
        """The least member of the cluster of each number."""
        roots = self._parents[numbers]
        while (roots != self._parents[roots]).any():
            roots = self._parents[roots]
        self._parents[numbers] = roots
        return roots

    def all_roots(self) -> Rows:
        """The root of every number, (n,); the array is the forest's own."""
        for start in range(0, len(self._parents), _CHUNK):
            self.roots(np.arange(start, min(start + _CHUNK, len(self._parents))))
        return self._parents
