"""The work folder: held by one process, kept for the next where there is something to go on from."""

import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from bigtrain.data.pipeline.results import result
from bigtrain.data.pipeline.work import held, remove_finished
from bigtrain.errors import DiskFull, LostProcess, RunBusy, Stopped, UserError


def work_until(error: BaseException, final: Path, *, results: bool = True, reading: bool = True) -> None:
    """A preparation that ends with an error, after it has left a result."""
    with held(final, wait=False) as work:
        work.begin("plan")
        work.reading = reading
        if results:
            with result(work.path / "documents" / "00000") as part:
                (part / "x").write_text("x")
            (work.path / "documents" / "00001.0123abcd.tmp").mkdir()
        raise error


@pytest.mark.parametrize(
    "error", [Stopped("x"), LostProcess("x"), DiskFull("x"), UserError("a", "b", "c"), KeyError("a bug")]
)
def test_what_is_done_stays_for_the_same_command(error: BaseException, tmp_path: Path) -> None:
    final = tmp_path / "set"
    with pytest.raises(type(error)):
        work_until(error, final, results=False)
    assert not list(tmp_path.iterdir()), "nothing was done yet"
    with pytest.raises(type(error)):
        work_until(error, final)
    with held(final, wait=False) as work:
        work.begin("plan")
        assert work.continued
        assert [path.name for path in (work.path / "documents").iterdir()] == ["00000"]
    assert not list(tmp_path.iterdir())


def test_nothing_stays_of_bad_input_that_was_read_to_the_end(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        work_until(UserError("too short to be split", "b", "c"), tmp_path / "set", reading=False)
    assert not list(tmp_path.iterdir())


def test_another_plan_begins_anew(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        work_until(Stopped("x"), tmp_path / "set")
    with held(tmp_path / "set", wait=False) as work:
        work.begin("another")
        assert not work.continued
        assert not (work.path / "documents").exists()


@pytest.mark.parametrize("again", range(40))  # the first may be gone at any moment of the second's beginning
def test_a_second_holder_is_refused_by_name_or_waits(tmp_path: Path, again: int) -> None:
    final, order = tmp_path / "set", []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with held(final, wait=True) as work:
            work.begin("plan")
            order.append("second")

    with held(final, wait=False):
        with pytest.raises(RunBusy, match=rf"process {os.getpid()} on "), held(final, wait=False):
            pass
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert not list(tmp_path.iterdir())


def hold_and_die(final: Path) -> None:
    with held(final, wait=False) as work:
        work.begin("plan")
        with result(work.path / "documents" / "00000"):
            pass
        os._exit(9)


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=hold_and_die, args=(tmp_path / "set",))
    process.start()
    process.join(10)
    assert process.exitcode == 9
    with held(tmp_path / "set", wait=False) as work:
        work.begin("plan")
        assert work.continued


def test_the_work_folder_of_a_finished_set_is_removed(tmp_path: Path) -> None:
    remove_finished(tmp_path / "set")
    with pytest.raises(Stopped):
        work_until(Stopped("killed between the rename and the end"), tmp_path / "set")
    remove_finished(tmp_path / "set")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", [[], ["holder"], ["holder", "documents"], ["holder", "plan.json"]])
def test_a_removal_that_was_killed_is_finished_by_the_next(left: list[str], tmp_path: Path) -> None:
    work = tmp_path / "set.preparing"
    work.mkdir()
    for name in left:
        (work / name).mkdir() if name == "documents" else (work / name).write_text("{}")
    remove_finished(tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "set.preparing").mkdir()
    (tmp_path / "set.preparing" / "notes").write_text("mine")
    with pytest.raises(UserError, match="in the way"), held(tmp_path / "set", wait=False):
        pass
    remove_finished(tmp_path / "set")
    assert (tmp_path / "set.preparing" / "notes").read_text() == "mine"
