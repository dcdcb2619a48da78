"""Who does the work: the same results from all of them, and what happens when one is gone."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigtrain.data import executor
from bigtrain.data.executor import InlineExecutor, Workers, dask_workers, local_workers
from bigtrain.data.executor_schema import DaskConfig
from bigtrain.errors import LostProcess, Stopped, UserError


def square(number: int) -> int:
    return number * number


def slow_square(number: int) -> int:
    time.sleep(0.02 * (5 - number % 5))
    return number * number


def refuse_some(number: int) -> int:
    if number in (3, 7, 8):
        time.sleep(0.1 if number == 3 else 0)  # a later one fails first
        raise UserError(f"argument {number}", "rule", "remedy")
    return number


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def too_much_memory(number: int) -> int:
    raise MemoryError


def ignores(number: int) -> bool:
    return signal.getsignal(signal.SIGTERM) == signal.SIG_IGN and os.environ["OMP_NUM_THREADS"] == "1"


def results(pool: Workers, work=square, n: int = 20) -> list:
    found: list = []
    pool.run(work, range(n), found.append)
    return sorted(found)


def test_one_worker_is_this_process() -> None:
    with local_workers(1) as pool:
        assert pool.inline
        assert results(pool) == [number**2 for number in range(20)]
        assert list(pool.executor.map(square, [1, 2])) == [1, 4]


def test_inline_goes_in_order_and_stops_at_the_first_failure() -> None:
    pool, seen = Workers(InlineExecutor(), 1), []
    with pytest.raises(UserError, match="argument 3"):
        pool.run(refuse_some, range(10), seen.append)
    assert seen == [0, 1, 2]


def test_a_signal_ends_inline_work_at_once() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        raise Stopped("now")

    with pytest.raises(Stopped):
        Workers(InlineExecutor(), 1).run(work, range(10))
    assert begun == [0]


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    with local_workers(2) as two:
        yield two


def test_processes_give_the_same_results(pool: Workers) -> None:
    assert not pool.inline
    assert pool.slots == 2
    assert results(pool, slow_square) == results(Workers(InlineExecutor(), 1))


def test_of_several_failures_the_first_argument_s_is_raised(pool: Workers) -> None:
    with pytest.raises(UserError, match="argument 3"):
        pool.run(refuse_some, range(100))
    assert results(pool) == [number**2 for number in range(20)]  # the pool goes on


def test_workers_leave_signals_to_their_parent_and_use_one_thread(pool: Workers) -> None:
    assert set(results(pool, ignores)) == {True}


def test_memory_that_runs_out_is_named(pool: Workers) -> None:
    with pytest.raises(LostProcess, match=r"memory.*\n.*same command.*executor\.workers"):
        pool.run(too_much_memory, range(3))


def test_a_worker_that_dies_is_noticed() -> None:
    with (
        local_workers(2) as pool,
        pytest.raises(LostProcess, match=r"memory.*\n.*same command.*executor\.workers"),
    ):
        pool.run(die, range(20))


POOL = """
import os, sys, time
from bigtrain.data.executor import local_workers
if __name__ == "__main__":
    with local_workers(2) as pool:
        processes = [pool.executor.submit(os.getpid) for _ in range(2)]
        print(*{future.result() for future in processes}, flush=True)
        pool.run(time.sleep, [60, 60])
"""


def test_workers_end_with_the_process_that_started_them() -> None:
    parent = subprocess.Popen([sys.executable, "-c", POOL], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(word) for word in parent.stdout.readline().split()]
    assert children
    time.sleep(0.2)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(alive, children))
    parent.stdout.close()


def alive(pid: int) -> bool:
    try:
        return (
            f"{pid} (" in Path(f"/proc/{pid}/stat").read_text() and ") Z " not in Path(f"/proc/{pid}/stat").read_text()
        )
    except OSError:
        return False


def test_leaving_the_block_ends_tasks_that_have_begun() -> None:
    began = time.monotonic()
    with local_workers(2) as pool:
        pool.executor.submit(time.sleep, 60)
        time.sleep(0.5)
    assert time.monotonic() - began < 10


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", silence_logs="ERROR"
    ) as local:
        yield local.scheduler_address


def test_a_dask_cluster_gives_the_same_results(cluster: str, tmp_path: Path) -> None:
    with dask_workers(DaskConfig(address=cluster), tmp_path) as pool:
        assert results(pool, slow_square) == results(Workers(InlineExecutor(), 1))
        with pytest.raises(UserError, match="argument 3"):
            pool.run(refuse_some, range(100))


@pytest.mark.slow
def test_a_dask_worker_that_dies_is_noticed(tmp_path: Path) -> None:
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs="ERROR", memory_limit=0
        ) as local,
        dask_workers(DaskConfig(address=local.scheduler_address), tmp_path) as pool,
        pytest.raises(LostProcess, match="memory"),
    ):
        pool.run(die, range(20))


def test_a_dask_cluster_that_does_not_see_the_output_is_refused(cluster: str, tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="does not see"),
        dask_workers(DaskConfig(address=cluster), tmp_path / "absent"),
    ):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "127.0.0.1:9", "tcp://no-such-host.invalid:8786"])
def test_a_dask_address_that_does_not_answer(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(executor, "_DASK_PATIENCE_SECONDS", 1)
    began = time.monotonic()
    with (
        pytest.raises(UserError, match=rf"executor\.address={address}"),
        dask_workers(DaskConfig(address=address), tmp_path),
    ):
        pass
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "answer",
    [b"", b"\xff" * 64, b"HTTP/1.0 400 Bad Request\r\n\r\n" + b" " * 99],
    ids=["nothing", "garbage", "a web server's"],
)
def test_a_dask_address_at_which_something_else_listens(answer: bytes, tmp_path: Path) -> None:
    """In a process of its own: what is left of a client that failed says so when Python ends."""
    pytest.importorskip("distributed")
    program = f"""if True:
        from pathlib import Path
        from bigtrain.data import executor
        from bigtrain.data.executor_schema import DaskConfig
        from bigtrain.errors import UserError
        executor._DASK_PATIENCE_SECONDS = 1
        try:
            with executor.dask_workers(DaskConfig(address="tcp://127.0.0.1:PORT"), Path({str(tmp_path)!r})):
                pass
        except UserError as error:
            print(error.given)
        """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-c", program.replace("PORT", str(port))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        server.settimeout(20)
        connection, _ = server.accept()
        with connection:
            connection.sendall(answer)
            written, _ = process.communicate(timeout=20)
    assert written.decode().startswith(f"executor.address=tcp://127.0.0.1:{port}: ")
    assert len(written.splitlines()) == 1


def test_a_dask_address_must_be_named() -> None:
    with pytest.raises(UserError, match=r"executor\.address="):
        DaskConfig().check()
