"""What works on the parts of the input: this process, other processes of this machine, or a Dask cluster.

Work is a function of one picklable argument that leaves its result in files, so that any of them gives the same bytes
and a part that was begun twice does no harm.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from bigtrain import __version__
from bigtrain.data.executor_schema import DaskConfig
from bigtrain.errors import LostProcess, UserError
from bigtrain.stops import SIGNALS

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_DASK_PATIENCE_SECONDS = 10
_AHEAD = 4  # tasks handed over for each slot: enough to keep it busy, few enough to be small
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Workers:
    """An executor and the number of tasks that it works on at once."""

    executor: Executor
    slots: int
    lost: tuple[type[Exception], ...] = ()  # how the executor says that a worker is gone

    @property
    def inline(self) -> bool:
        """Whether the work is done in this process."""
        return isinstance(self.executor, InlineExecutor)

    def run(
        self,
        work: Callable[[Argument], Result],
        arguments: Iterable[Argument],
        done: Callable[[Result], None] = lambda result: None,
    ) -> None:
        """Call `work` for each argument, and `done` with each result in the order in which they are ready.

        Raises what `work` raises: of several failures the one of the first argument, whatever the number of workers.
        Raises LostProcess where a worker is gone, or has run out of memory.
        """
        pending: dict[Future[Result], int] = {}
        failures: dict[int, BaseException] = {}
        ahead = 1 if self.inline else _AHEAD * self.slots
        with self.watched():
            for number, argument in enumerate(arguments):
                if len(pending) >= ahead:
                    self._collect(pending, failures, done)
                if failures:
                    break
                pending[self.executor.submit(work, argument)] = number
            if failures:  # only what comes after the first one is not needed to name it
                later = [future for future, number in pending.items() if number > min(failures)]
                for future in [future for future in later if future.cancel()]:
                    del pending[future]
            while pending and not any(isinstance(error, self.lost) for error in failures.values()):
                self._collect(pending, failures, done)
            if failures:
                raise failures[min(failures)]

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turn the executor's own words for a lost worker, and for memory that ran out, into LostProcess."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, (*self.lost, MemoryError)):
                raise
            raise LostProcess(
                "a worker process is gone: most often the machine's memory was full and the system ended it\n"
                "  remedy: the same command again goes on from here; fewer executor.workers= need less memory"
            ) from error

    def _collect(
        self, pending: dict[Future[Result], int], failures: dict[int, BaseException], done: Callable[[Result], None]
    ) -> None:
        """Wait until something is ready, and take it off the pending."""
        for future in concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED).done:
            number = pending.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if error is None:
                done(future.result())
            else:
                failures[number] = error


class InlineExecutor(Executor):
    """Does the work at once, in this process; what it raises comes out of `submit`."""

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """The result as a future that is done."""
        future: Future[Result] = Future()
        future.set_result(fn(*args, **kwargs))
        return future

    def map(
        self, fn: Callable[..., Result], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Result]:
        """Each result when it is asked for."""
        return map(fn, *iterables)


@contextlib.contextmanager
def local_workers(slots: int) -> Iterator[Workers]:
    """So many processes for the time of the block; this one alone where it is 1.

    They live as long as this end of a pipe: they end with the block, and with this process however it ends.
    """
    if slots == 1:
        yield Workers(InlineExecutor(), 1)
        return
    context = multiprocessing.get_context("spawn")
    watched, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(slots, mp_context=context, initializer=_begin_worker, initargs=(watched,))
    try:
        yield Workers(pool, slots, (BrokenProcessPool,))
    finally:
        held.close()
        pool.shutdown(wait=True, cancel_futures=True)
        watched.close()


def _begin_worker(watched: Connection) -> None:
    """Leave signals to the process that started this one, end with it, and use one thread."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.environ.update(_ONE_THREAD)
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()


def _end_with(watched: Connection) -> None:
    with contextlib.suppress(OSError, EOFError):
        watched.recv_bytes()  # nothing is ever sent: the pipe ends
    os._exit(0)


@contextlib.contextmanager
def dask_workers(config: DaskConfig, shared: Path) -> Iterator[Workers]:
    """The workers of a Dask cluster. shared: the folder in which results are left.

    Raises UserError where the cluster does not answer, has no workers or cannot be used.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise UserError("executor=dask", "it needs the package distributed", "pip install 'bigtrain[dask]'") from error
    try:
        _greet(config.address or "")
        client = Client(config.address, timeout=_DASK_PATIENCE_SECONDS, set_as_default=False)
    except Exception as error:  # what listens there may be anything, and send anything
        raise UserError(
            f"executor.address={config.address}: {next(iter(str(error).splitlines()), 'no answer')}",
            f"a Dask scheduler must answer there within {_DASK_PATIENCE_SECONDS} seconds",
            "check the address, and that the scheduler runs",
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_DASK_PATIENCE_SECONDS)
        except TimeoutError as error:
            raise UserError(
                f"executor.address={config.address}: a cluster without workers",
                "a worker must be there to do the work",
                "start workers: `dask worker ADDRESS`",
            ) from error
        for worker, problem in client.run(_unfit, __version__, str(shared)).items():
            if problem:
                raise UserError(
                    f"executor.address={config.address}: worker {worker} {problem}",
                    "every worker has this version of bigtrain and sees the output folder under the same path",
                    "install it there, and name an output on a file system that all of them share",
                )
        slots = sum(client.nthreads().values())
        yield Workers(client.get_executor(pure=False), slots, (KilledWorker, CancelledError))


def _greet(address: str) -> None:
    """Shake hands with a scheduler, in the time that it has: a client waits for ever, and leaves threads behind.

    Raises whatever goes wrong.
    """
    from distributed.comm.core import connect
    from distributed.security import Security

    async def shake_hands() -> None:
        ways = Security().get_connection_args("client")
        comm = await connect(address, timeout=_DASK_PATIENCE_SECONDS, **ways)
        await comm.close()

    async def in_time() -> None:
        await asyncio.wait_for(shake_hands(), _DASK_PATIENCE_SECONDS)

    with ThreadPoolExecutor(1) as thread:  # this one may have a loop of its own
        thread.submit(lambda: asyncio.run(in_time())).result()


def _unfit(version: str, shared: str) -> str:
    """Runs on each Dask worker: what keeps it from doing its part; empty where nothing does."""
    if version != __version__:
        return f"has bigtrain {__version__}, not {version}"
    return "" if Path(shared).is_dir() else f"does not see {shared}"
