"""Checkpoints: a folder that is whole or absent, verified before use, and without a pickle.

step-00001000/model/        the Hugging Face layout: every tool that knows it opens it as it lies
step-00001000/state/        optimizer.safetensors (fp32) and counters.json
step-00001000/manifest.json sizes, sha256 and shapes of all that, written last, with a sha256 of its own
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from bigtrain import storage
from bigtrain.errors import DiskFull, UserError
from bigtrain.log import log
from bigtrain.models.adapter_folder import is_adapter
from bigtrain.units import si

_NAME = re.compile(r"step-\d{8}")
_FORMAT = 1


class Damaged(Exception):
    """A checkpoint that is not what was written; the text says where."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint."""

    path: Path
    manifest: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self.manifest["step"])

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.path / "model"

    def counters(self) -> dict[str, Any]:
        """The loop's counters."""
        return json.loads((self.path / "state" / "counters.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def optimizer(self) -> dict[str, Tensor]:
        """The optimizer's tensors by name."""
        return load_file(self.path / "state" / "optimizer.safetensors")


def folder_name(step: int) -> str:
    """The name of a step's checkpoint."""
    return f"step-{step:08d}"


def save(
    checkpoints: Path,
    step: int,
    *,
    write_model: Callable[[Path], None],
    optimizer: dict[str, Tensor],
    counters: dict[str, Any],
    identity: dict[str, Any],
) -> Path:
    """Write the checkpoint of `step` under a temporary name and rename it. Raises DiskFull; older ones stay intact.

    One of this step is replaced: it was written when less had been measured.
    """
    final = checkpoints / folder_name(step)
    with storage.new_folder(final, replace=True) as folder:
        (folder / "model").mkdir()
        (folder / "state").mkdir()
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in optimizer.items()}
        try:
            write_model(folder / "model")
            save_file(tensors, folder / "state" / "optimizer.safetensors")
        except SafetensorError as error:  # wraps the operating system's error as text
            raise_if_disk_full(error)
        storage.write_json(folder / "state" / "counters.json", counters)
        body = {"format": _FORMAT, "step": step, "identity": identity, "files": _describe(folder)}
        storage.write_json(folder / "manifest.json", {"sha256": _digest(body), "body": body})
    return final


def raise_if_disk_full(error: SafetensorError) -> None:
    """Raise the OSError that safetensors reports as text, so that a full disk is recognised; else raise `error`."""
    if found := re.search(r"os error (\d+)", str(error)):
        raise OSError(int(found[1]), str(error)) from error
    raise error


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _describe(folder: Path) -> dict[str, dict[str, Any]]:
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        entry: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": storage.sha256(path)}
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as tensors:
                entry["shapes"] = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
        files[path.relative_to(folder).as_posix()] = entry
    return files


def verify(path: Path, *, only: str = "") -> Checkpoint:
    """The checkpoint at `path`, every file checked (or those whose name begins with `only`). Raises Damaged."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        body = manifest["body"]
        if manifest["sha256"] != _digest(body):
            raise Damaged("manifest.json does not match its own checksum")
        if body["format"] != _FORMAT:
            raise Damaged(f"format {body['format']}, this version reads {_FORMAT}")
        if path.name != folder_name(body["step"]):
            raise Damaged(f"the manifest is that of step {body['step']}")
        for name, entry in body["files"].items():
            if not name.startswith(only):
                continue
            file = path / name
            if path.resolve() not in file.resolve().parents:
                raise Damaged(f"{name} lies outside the checkpoint")
            if file.stat().st_size != entry["bytes"]:
                raise Damaged(f"{name} has {file.stat().st_size} bytes, {entry['bytes']} were written")
            if storage.sha256(file) != entry["sha256"]:
                raise Damaged(f"{name} does not match its checksum")
    except OSError as error:
        raise Damaged(f"{error.strerror}: {error.filename}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"manifest.json cannot be read: {error}") from error
    return Checkpoint(path, body)


def folders(checkpoints: Path) -> list[Path]:
    """Checkpoint folders, newest step first: by their names, never by time stamps."""
    if not checkpoints.is_dir():
        return []
    return sorted((path for path in checkpoints.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def newest(checkpoints: Path, *, only_look: bool = False) -> Checkpoint | None:
    """The newest intact checkpoint; damaged newer ones are reported and, but with `only_look`, renamed `.damaged`.

    None where there never was one. Raises UserError when there were some and none is intact: a run does not silently
    start again from nothing.
    """
    if not only_look:
        storage.remove_leftovers(checkpoints)
    reports = []
    for path in folders(checkpoints):
        try:
            checkpoint = verify(path)
        except Damaged as damage:
            log.warning("damaged checkpoint %s: %s", path, damage)
            reports.append((path, damage))
            continue
        for damaged, _ in [] if only_look else reports:
            aside = damaged.with_name(f"{damaged.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(damaged, aside)
        if reports:
            log.warning("continuing from the one before: %s", checkpoint.path)
        return checkpoint
    if reports or (checkpoints.is_dir() and any(checkpoints.glob("*.damaged"))):
        raise UserError(
            f"no intact checkpoint in {checkpoints}: " + "; ".join(f"{p.name}: {d}" for p, d in reports),
            "a run that has checkpoints continues from one of them, never silently from the start",
            "restore one from a copy, or start anew with another run.dir=",
        )
    return None


def point(checkpoints: Path, name: str, step: int) -> None:
    """Let `latest` or `best` name the checkpoint of a step."""
    storage.write_text(checkpoints / name, folder_name(step) + "\n")


def pointed(checkpoints: Path, name: str) -> Path | None:
    """The checkpoint that `latest` or `best` names, if it is there."""
    try:
        target = (checkpoints / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    path = checkpoints / target
    return path if _NAME.fullmatch(target) and path.is_dir() else None


def point_and_prune(checkpoints: Path, *, step: int, best_step: int | None, keep_last: int) -> None:
    """Let `latest` and `best` say what the state says, and delete all but the `keep_last` newest and the best one."""
    point(checkpoints, "latest", step)
    if best_step and (checkpoints / folder_name(best_step)).is_dir():
        point(checkpoints, "best", best_step)
    for path in folders(checkpoints)[keep_last:]:
        if path.name != folder_name(best_step or 0):
            # Renamed first: a kill in the middle leaves no folder that looks like a checkpoint.
            doomed = path.with_name(f"{path.name}.tmp")
            os.rename(path, doomed)
            shutil.rmtree(doomed)


def space(checkpoints: Path, checkpoint_bytes: int, keep_last: int) -> tuple[int, int]:
    """Bytes of disk that a run needs at most, by those of a checkpoint, and those that are free for it.

    At the worst moment the kept checkpoints, the best one and the one being written are on disk.
    """
    there = sum(file.stat().st_size for file in checkpoints.rglob("*") if file.is_file()) if checkpoints.is_dir() else 0
    disk = next(folder for folder in checkpoints.absolute().parents if folder.exists())
    return (keep_last + 2) * checkpoint_bytes, shutil.disk_usage(disk).free + there


def require_space(checkpoints: Path, checkpoint_bytes: int, keep_last: int) -> None:
    """Estimate the disk need of a run before it begins, see `space`. Raises DiskFull."""
    need, free = space(checkpoints, checkpoint_bytes, keep_last)
    log.info("disk: checkpoints need up to %sB, %sB are free", si(need), si(free))
    if free < need:
        raise DiskFull(
            f"checkpoints need up to {si(need)}B on the disk of {checkpoints.parent}, "
            f"{si(free)}B are free: free some, choose another run.dir=, or a smaller train.keep_last="
        )


def resolve(path: Path, key: str = "checkpoint") -> Path:
    """The model folder behind a run, a checkpoint or a Hugging Face folder. key: that names it, for errors.

    A run means its `best` checkpoint if there is one, else `latest`. Files with a manifest are verified; a damaged
    checkpoint of a run falls back to the newest intact one, loudly. Raises UserError.
    """
    if not path.is_dir():
        raise UserError(
            f"{key}={path}",
            "it is a file" if path.exists() else "there is no such folder",
            "name a run folder, a checkpoint folder or a Hugging Face folder",
        )
    if (path / "config.json").is_file() or is_adapter(path):
        if (path.parent / "manifest.json").is_file():
            _verified(path.parent)
        return path
    if (path / "manifest.json").is_file() and (path / "model").is_dir():
        return _verified(path).model
    checkpoints = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    candidates = [p for p in (pointed(checkpoints, "best"), pointed(checkpoints, "latest")) if p] + folders(checkpoints)
    damages: dict[Path, str] = {}
    for candidate in dict.fromkeys(candidates):
        try:
            checkpoint = verify(candidate, only="model/")
        except Damaged as damage:
            log.warning("damaged checkpoint %s: %s", candidate, damage)
            damages[candidate] = f"{candidate.name}: {damage}"
            continue
        which = [name for name in ("best", "latest") if pointed(checkpoints, name) == candidate]
        log.info("checkpoint: %s%s", checkpoint.path, f" ({' and '.join(which)})" if which else "")
        return checkpoint.model
    raise UserError(
        f"{key}={path}",
        f"there is no intact checkpoint in it: {'; '.join(damages.values())}"
        if damages
        else "it holds neither checkpoints nor a config.json",
        "name a run folder, a checkpoint folder (step-...) or a Hugging Face folder",
    )


def _verified(path: Path) -> Checkpoint:
    try:
        return verify(path, only="model/")
    except Damaged as damage:
        raise UserError(f"checkpoint {path}", f"it is damaged: {damage}", "use another checkpoint of the run") from None
