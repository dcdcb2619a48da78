"""What a model keeps of the tokens so far, so that a new token costs one token's work: keys and values, or a state.

Memory is taken once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class LayerCache:
    """One layer's keys and values, or its state. B rows, T tokens, K key/value heads, E head width, S tokens so far."""

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        self._memory: Tensor | None = None  # (2, rows, K, capacity, E): taken when shape, dtype and device are seen
        self._state: Tensor | None = None  # (parts, rows, width), taken likewise

    @property
    def aligned(self) -> bool:
        """Whether all rows that are being extended have as many tokens."""
        return self._cache.aligned

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, K, T, E) keys and values; returns those of all tokens so far, (B, K, S, E) each."""
        cache, memory = self._cache, self._memory
        if memory is None:
            memory = self._memory = self._take(k, cache.n_rows or len(k), cache.capacity)
        n_rows, n_tokens = k.shape[0], k.shape[2]
        if cache.begun is not None:
            rows, source = cache.begun
            for half, new in enumerate((k, v)):
                memory[half, rows, :, :n_tokens] = new[source].to(memory.dtype)
            return k, v
        begin, end = cache.length, cache.length + n_tokens
        keys, values = memory[0, :n_rows], memory[1, :n_rows]
        if cache.aligned:
            keys.narrow(2, begin, n_tokens).copy_(k)
            values.narrow(2, begin, n_tokens).copy_(v)
            if not begin:
                return k, v
        else:
            for half, new in enumerate((k, v)):
                memory[half, cache.rows, :, cache.places] = new[:, :, 0].to(memory.dtype)
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def state(self) -> Tensor | None:
        """What `keep` was given for the rows that are being extended, (parts, B, width); None for new rows."""
        cache = self._cache
        if self._state is None or cache.begun is not None or not cache.lengths:
            return None
        return self._state[:, : len(cache.lengths)]

    def keep(self, state: Tensor) -> None:
        """The state (parts, B, width) behind the tokens that extend the rows."""
        cache, n_rows = self._cache, state.shape[1]
        if self._state is None:
            self._state = state.new_zeros(len(state), cache.n_rows or n_rows, state.shape[2])
        if cache.begun is not None:
            rows, source = cache.begun
            self._state[:, rows] = state[:, source]
        else:
            self._state[:, :n_rows] = state

    def copy(self, rows: Tensor, source: Tensor, n_tokens: int) -> None:
        """Let `rows` hold what the rows `source` hold, of which that many tokens count."""
        if self._state is not None:
            self._state[:, rows] = self._state[:, source]
        if self._memory is not None:
            self._memory[:, rows, :, :n_tokens] = self._memory[:, source, :, :n_tokens]

    @staticmethod
    def _take(k: Tensor, n_rows: int, capacity: int) -> Tensor:
        # torch's CPU kernels for one query are several times faster in fp32 than in bf16. Under autocast they would
        # cast it all back each time. Zeros, as what a mask hides still is multiplied by 0.
        wide = k.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        shape = (2, n_rows, k.shape[1], capacity, k.shape[3])
        return torch.zeros(shape, dtype=torch.float32 if wide else k.dtype, device=k.device)


class KVCache:
    """The caches of all layers, for rows of different lengths: rows 0 to n - 1 are in use, each as long as it is.

    A model that extends the layers by T tokens calls `advance(T)` when all have been. Rows of different lengths are
    extended by one token at a time.
    """

    def __init__(self, n_layers: int, capacity: int, n_rows: int | None = None) -> None:
        """`capacity`: tokens of the longest row. `n_rows`: at most so many rows; null: those of the first tokens."""
        self.layers = [LayerCache(self) for _ in range(n_layers)]
        self.capacity, self.n_rows = capacity, n_rows
        self.lengths: list[int] = []  # of the rows in use
        self.begun: tuple[Tensor, Tensor] | None = None  # rows that the next tokens begin, and whose tokens they take
        self.rows = self.places = torch.empty(0, dtype=torch.int64)  # where tokens of rows of different lengths go
        self._beginning: list[int] = []

    @property
    def length(self) -> int:
        """Tokens of the longest row that the next tokens extend."""
        return 0 if self.begun is not None else max(self.lengths, default=0)

    @property
    def aligned(self) -> bool:
        """Whether all rows that the next tokens extend have as many tokens."""
        return self.begun is not None or len(set(self.lengths)) <= 1

    def begin(self, lengths: Sequence[int], source: Sequence[int]) -> None:
        """The next tokens that a model reads begin new rows of these lengths, after those in use.

        source: for each of them, which row of the tokens it begins with. Tokens beyond its length only fill up.
        """
        first = len(self.lengths)
        self.begun = torch.arange(first, first + len(lengths)), torch.tensor(source)
        self._beginning = list(lengths)

    def lengths_read(self, n_rows: int) -> list[int] | None:
        """Of the next tokens (n_rows, T), how many of each row count; None: all, as no new rows begin with them."""
        if self.begun is None:
            return None
        lengths = [0] * n_rows
        for row, length in zip(self.begun[1].tolist(), self._beginning, strict=True):
            lengths[row] = length
        return lengths

    def positions(self, device: torch.device) -> Tensor:
        """(B, 1): the place in its row of each row's next token."""
        self.rows = torch.arange(len(self.lengths), device=device)
        self.places = torch.tensor(self.lengths, device=device)
        return self.places[:, None]

    def advance(self, n_tokens: int, n_rows: int) -> None:
        """All layers have been extended: `n_tokens` of each of `n_rows` rows."""
        if self.begun is not None:
            self.lengths += self._beginning
            self.begun = None
        else:
            self.lengths = [length + n_tokens for length in self.lengths or [0] * n_rows]

    def drop(self, row: int) -> None:
        """Forget a row: the last one takes its place."""
        last = len(self.lengths) - 1
        if row != last:
            self.lengths[row] = self.lengths[last]
            for layer in self.layers:
                layer.copy(torch.tensor([row]), torch.tensor([last]), self.lengths[last])
        self.lengths.pop()

    def reorder(self, source: Sequence[int]) -> None:
        """Row i becomes what row `source[i]` is; all rows have as many tokens."""
        rows = [row for row, other in enumerate(source) if row != other]
        if rows:
            other = torch.tensor([source[row] for row in rows])
            for layer in self.layers:
                layer.copy(torch.tensor(rows), other, self.length)
