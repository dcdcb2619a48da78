"""The next step's batches are made in a thread while this step is computed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from bigtrain.data.loader import Batch, Loader


class Prefetch:
    """Micro-batches of one process. parts: (first row, row behind the last) of the global batch, one after the other.

    pin: put them where a GPU fetches them from without waiting.
    """

    def __init__(self, loader: Loader, parts: list[tuple[int, int]], micro_batch_rows: int, *, pin: bool) -> None:
        self.loader, self.parts, self.rows, self.pin = loader, parts, micro_batch_rows, pin
        self.thread = ThreadPoolExecutor(1, "loader")
        self.begun: tuple[int, Future[list[list[Batch]]]] | None = None

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown()

    def batches(self, step: int) -> list[list[Batch]]:
        """The micro-batches of each part; those of the next step are begun."""
        future = self.begun[1] if self.begun and self.begun[0] == step else self.thread.submit(self._make, step)
        batches = future.result()
        self.begun = step + 1, self.thread.submit(self._make, step + 1)
        return batches

    def _make(self, step: int) -> list[list[Batch]]:
        def one(start: int, stop: int) -> Batch:
            batch = self.loader.batch(step, start, stop)
            return {name: tensor.pin_memory() for name, tensor in batch.items()} if self.pin else batch

        return [
            [one(at, min(at + self.rows, stop)) for at in range(start, stop, self.rows)] for start, stop in self.parts
        ]
