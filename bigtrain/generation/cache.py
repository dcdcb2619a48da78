"""Keys and values of the tokens so far, so that a new token costs one token's work."""

from __future__ import annotations

from torch import Tensor


class LayerCache:
    """One layer's keys and values, written in place into memory taken once.

    B rows, K key/value heads, E head width, capacity S.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.length = capacity, 0
        self._memory: Tensor | None = None  # (2, B, K, S, E): taken when shape, dtype and device are first seen

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, K, T, E) keys and values; returns views of all so far, (B, K, length, E) each."""
        if self._memory is None:
            rows, heads, _, width = k.shape
            self._memory = k.new_empty(2, rows, heads, self.capacity, width)
        end = self.length + k.shape[2]
        self._memory[0, :, :, self.length : end] = k
        self._memory[1, :, :, self.length : end] = v
        self.length = end
        return self._memory[0, :, :, :end], self._memory[1, :, :, :end]


class KVCache:
    """The caches of all layers. The model that extends them also counts `length`, the tokens it has seen."""

    def __init__(self, n_layers: int, capacity: int) -> None:
        self.layers = [LayerCache(capacity) for _ in range(n_layers)]
        self.length = 0
