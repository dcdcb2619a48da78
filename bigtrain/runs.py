"""The run folder: who holds it, what ran in it and how it ended.

Imported before torch, so that a folder in use is refused at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from bigtrain import log
from bigtrain.environment import describe, redact
from bigtrain.errors import DiskFull, RunBusy, UserError
from bigtrain.storage import JsonLines, disk_full_is_an_error, write_json, write_text

LOCK_PATIENCE_SECONDS = 0.3  # `read_status` holds the lock for an instant; nobody else holds it that briefly

# What a run leaves in its folder and replaces there.
FILES = (
    *("config.yaml", "overrides.yaml", "environment.json", "log.txt", "status.json", "result.json", "report.html"),
    *("metrics.jsonl", "samples.jsonl"),
)

_held: set[int] = set()  # descriptors of the locks of this process


def _let_go_after_fork() -> None:
    """A forked child shares the lock: it would keep the folder busy after its parent's death."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)


class RunFolder:
    """A folder that this process holds until `close` or its death, however sudden: the kernel gives the lock back.

    Only rank 0 opens one. Usable as a context manager.
    """

    def __init__(self, path: Path, lock: int, *, made: list[Path]) -> None:
        self.path, self._made = path, made
        self.checkpoints = path / "checkpoints"
        self.metrics = JsonLines(path / "metrics.jsonl")
        self.samples = JsonLines(path / "samples.jsonl")
        self._lock: int | None = lock
        self._saved_status = _as_left_behind(_read_json(path / "status.json"))
        self._log = log.to_file(path / "log.txt")

    @classmethod
    def open(cls, path: Path | None, *, verb: str, name: str | None = None) -> RunFolder:
        """Make the folder where it is missing, and take its lock. Without a path: a new `runs/NAME-TIME[-N]`.

        Raises RunBusy where another living process holds it, UserError where it cannot be made or written, or holds
        files of somebody else that a run would replace.
        """
        with _user_errors(path or Path("runs")):
            place = path or Path("runs")
            theirs = [name for name in FILES if path and (path / name).exists()]
            if path and theirs and not is_run(path):  # in this order: another starter may make it one at any time
                rule = f"no run began in this folder, and one would replace what is there: {', '.join(theirs)}"
                raise UserError(f"run.dir={path}", rule, "choose another run.dir")
            made = [folder for folder in (place, *place.parents) if not folder.exists()]
            if path is None:
                path = _new_folder(place, name or verb)
                made.insert(0, path)
            path.mkdir(parents=True, exist_ok=True)
            lock = _take_lock(path)
            try:
                if not os.access(path, os.W_OK | os.X_OK):
                    raise PermissionError(13, "the folder is read-only")
                return cls(path, lock, made=made)
            except BaseException:
                _give_back(lock)
                _remove(made)
                raise

    def saved_config(self) -> dict[str, Any] | None:
        """The config of the run in this folder; None where none began. Raises UserError where it cannot be read."""
        return read_config(self.path)

    def saved_status(self) -> dict[str, Any] | None:
        """How the process that held this folder before left it (`lost`: it died as `running`); None where none did."""
        return self._saved_status

    def write_config(self, yaml_text: str, overrides: list[str], step: int = 0) -> None:
        """Write config.yaml, and the words of the command line into overrides.yaml: below those of earlier commands,
        where the run goes on from a step."""
        write_text(self.path / "config.yaml", yaml_text)
        file = self.path / "overrides.yaml"
        before = f"{file.read_text(encoding='utf-8')}# continued at step {step}\n" if step and file.exists() else ""
        words = [json.dumps(redact(override), ensure_ascii=False) for override in overrides]  # JSON is YAML
        write_text(file, before + "".join(f"- {word}\n" for word in words))

    def write_environment(self) -> dict[str, Any]:
        """Write environment.json and return it; versions that have changed since are warned of and recorded."""
        path = self.path / "environment.json"
        record = describe()
        before = _read_json(path) or {}
        changes = list(before.get("changes", []))
        for key in ("bigtrain", "torch", "python", "git_commit"):
            if key in before and before[key] != record[key]:
                changes.append(f"{record['started']} {key}: {before[key]} -> {record[key]}")
                log.log.warning("%s was %s when this run last began, now it is %s", key, before[key], record[key])
        if changes:
            record["changes"] = changes
        write_json(path, record)
        return record

    def status(self, state: str, step: int | None = None, exit_code: int | None = None, **extra: Any) -> None:
        """Write status.json: running, done, preempted, failed or diverged; what has no value is left out."""
        record = {"state": state, "step": step, "exit_code": exit_code, **extra}
        record |= {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        file, kept = self.path / "status.json", {key: value for key, value in record.items() if value is not None}
        try:
            write_json(file, kept)
        except DiskFull:  # a file that is there has its place on the disk
            with open(file, "r+", encoding="utf-8") as there:
                there.write(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
                there.truncate()

    def result(self, result: dict[str, Any]) -> None:
        """Write result.json; a number that is not finite becomes null."""
        write_json(
            self.path / "result.json", {key: None if _not_finite(value) else value for key, value in result.items()}
        )

    def abandon(self) -> None:
        """Give the folder back as it was found: one made for this command vanishes. For a run that never began."""
        # Still locked; and what another process ran here between our making the folder and our locking it is not ours.
        if not (self.path / "config.yaml").exists():
            _remove(self._made)
        self.close()

    def close(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            log.log.removeHandler(self._log)
            self._log.close()
            _give_back(self._lock)
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_run(path: Path) -> bool:
    """Whether a run has begun in this folder, or in the one that it is a copy of."""
    return (path / ".lock").exists() or "state" in (_read_json(path / "status.json") or {})


_MAPPING = "the config of a run is a YAML mapping"
_ANOTHER = "restore the file, or choose another run.dir"


def read_config(folder: Path) -> dict[str, Any] | None:
    """The config of the run in a folder; None where none began. Raises UserError where it cannot be read."""
    path = folder / "config.yaml"
    if not path.exists():
        return None
    config = read_yaml(path, _ANOTHER)
    if not isinstance(config, dict):
        raise UserError(str(path), _MAPPING, _ANOTHER)
    return {str(key): value for key, value in config.items()}


def read_yaml(path: Path, remedy: str) -> Any:
    """What a config.yaml holds. Raises UserError where it cannot be read."""
    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # whatever the parser raises, the file is at fault
        raise UserError(str(path), f"{_MAPPING}: {error}", remedy) from None


def read_status(path: Path) -> dict[str, Any] | None:
    """status.json of a run folder from outside, `running` with a free lock as `lost`; None where there is none."""
    status = _read_json(path / "status.json")
    return status if status is None or _is_held(path / ".lock") else _as_left_behind(status)


def _as_left_behind(status: dict[str, Any] | None) -> dict[str, Any] | None:
    return {**status, "state": "lost"} if status and status.get("state") == "running" else status


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except ValueError:
        log.log.warning("%s is not JSON: ignored", path)
        return None
    return value if isinstance(value, dict) else None


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


@contextlib.contextmanager
def _user_errors(path: Path) -> Iterator[None]:
    try:
        with disk_full_is_an_error(path):
            yield
    except FileExistsError:
        raise UserError(f"run.dir={path}", "it is a file: a run needs a folder", "choose another run.dir") from None
    except OSError as error:
        rule = f"a run writes into its folder: {error.strerror or error}"
        raise UserError(f"run.dir={path}", rule, "choose a run.dir that can be made and written") from None


def _remove(made: list[Path]) -> None:
    """Delete a run folder and the folders above it, as far as `made` says that they are new; the run's comes first."""
    for folder in made[:1]:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in made[1:]:
        with contextlib.suppress(OSError):  # another run's folder is in it by now
            folder.rmdir()


def _new_folder(parent: Path, stem: str) -> Path:
    """`mkdir` is what decides between many that start in the same second."""
    if Path(stem).name != stem or stem.startswith("."):
        raise UserError(
            f"run.name={stem}",
            "a name is one path component and does not begin with a dot",
            "put the folder into run.dir=",
        )
    parent.mkdir(parents=True, exist_ok=True)
    stem = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1, 10_000):
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise UserError(str(parent / stem), "ten thousand runs began in this second", "give run.dir=")


def _take_lock(path: Path) -> int:
    """An exclusive lock on `.lock`, which is never deleted: two files of that name would be two locks."""
    lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            holder = os.pread(lock, 1000, 0).decode(errors="replace").strip() or "another process"
            os.close(lock)
            raise RunBusy(f"{path} is in use by {holder}: wait for it, stop it, or choose another run.dir") from None
        except OSError:
            os.close(lock)
            raise
    _held.add(lock)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return lock


def _give_back(lock: int) -> None:
    if lock in _held:  # not in a forked child, where the number may be another file's by now
        _held.discard(lock)
        os.close(lock)


def _is_held(path: Path) -> bool:
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(lock)
