"""Preparation as other code calls it: into a folder of the user's choice, or into a cache."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bigtrain.data.executor_schema import ExecutorConfig, LocalConfig
from bigtrain.data.pipeline.display import Display
from bigtrain.data.pipeline.plan import Plan
from bigtrain.data.pipeline.run import Preparation
from bigtrain.data.pipeline.statistics import STATISTICS
from bigtrain.data.pipeline.steps import Steps
from bigtrain.data.pipeline.work import held, remove_finished
from bigtrain.data.schema import AutoTokenizerConfig, DataConfig, OnError, TokenizerConfig
from bigtrain.data.shards import MANIFEST, PreparedSet
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.storage import disk_full_is_an_error
from bigtrain.tokenizer import Tokenizer, choose, settings

_scratch: list[Path] = []  # while `kept_nowhere`: where `prepared` puts what the cache has not

_REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG}


def prepare(
    data: DataConfig,
    tokenizer_config: TokenizerConfig,
    output: Path,
    *,
    steps: Steps | None = None,
    executor: ExecutorConfig | None = None,
    candidates: Mapping[str, Tokenizer | TokenizerConfig] | None = None,
    finish: Callable[[Path], None] | None = None,
) -> PreparedSet:
    """Prepare raw text into the new folder `output`. If that is there and holds the very same set, it is left alone.

    candidates: tokenizers that the figures compare the set's own with. finish: called with the set's folder when all
    else is in it. What is stopped, loses a worker or fills the disk
    leaves `output`.preparing, from which the same call goes on; `output` itself is whole or absent. Raises UserError
    for bad input, or where `output` holds anything else; RunBusy where another process prepares it; LostProcess;
    DiskFull.
    """
    refuse_prepared(data)
    output = output.expanduser().resolve()
    plan = Plan.make(data, tokenizer_config, steps=steps)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        return _already_there(plan, output, candidates or {})
    with _writable(output, "choose another folder with output=DIR"):
        found, _ = _into(plan, output, executor or LocalConfig(), candidates or {}, finish, wait=False)
    return found


def refuse_prepared(data: DataConfig) -> None:
    """Raises UserError where the data is prepared already."""
    named = [f"data.path={data.path}"] if data.path else [f"data.sets.{name}" for name in data.sets]
    if named:
        raise UserError(named[0], "a prepared set is not prepared again", "name raw text with data.files=[GLOB,...]")


def prepared(data: DataConfig, tokenizer_config: TokenizerConfig, tokenizer: Tokenizer | None = None) -> PreparedSet:
    """The set of `data.path`, or raw text prepared on the way, into a cache keyed by fingerprint.

    Nothing is cleaned, compared or searched on the way. tokenizer: of a checkpoint that is trained further; it is used
    instead of what `tokenizer_config` says. Raises UserError for bad input, and where the set of `data.path` was made
    with another tokenizer.
    """
    if data.path:
        found = PreparedSet.open(Path(data.path).expanduser())
        _check_tokenizer(found, tokenizer_config, tokenizer)
        return found
    for name, source in data.sources.items():
        if source.clean is not None:
            key = f"data.sources.{name}.clean={source.clean}"
            raise UserError(f"{key} without `bigtrain prepare`", "nothing is cleaned on the way", "prepare a set first")
    plan = Plan.make(data, tokenizer_config, tokenizer)
    folder = cache_folder() / "prepared" / plan.fingerprint
    if _scratch and (folder / MANIFEST).exists():
        found = PreparedSet.open(folder)
        _check_errors(found, data)
        return found
    if _scratch:
        folder = _scratch[-1] / plan.fingerprint
    with _writable(folder, "set BIGTRAIN_CACHE to a folder that can be written"):
        found, new = _into(plan, folder, LocalConfig(), None, None, wait=True)
    if found.fingerprint != plan.fingerprint:
        shutil.rmtree(folder)
        raise UserError("an input file is gone since this began", "input keeps still", "run the command again")
    _check_errors(found, data)
    if not _scratch:
        log.info("prepared data %s %s", "cached in" if new else "reused from", folder)
    return found


@contextlib.contextmanager
def kept_nowhere() -> Iterator[None]:
    """Let `prepared` read the cache and write nothing into it: what it has to make vanishes with the block."""
    with tempfile.TemporaryDirectory(prefix="bigtrain-") as scratch:
        _scratch.append(Path(scratch))
        try:
            yield
        finally:
            _scratch.pop()


def cache_folder() -> Path:
    """$BIGTRAIN_CACHE, else $XDG_CACHE_HOME/bigtrain, else ~/.cache/bigtrain."""
    if own := os.environ.get("BIGTRAIN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bigtrain"


def _into(
    plan: Plan,
    final: Path,
    executor: ExecutorConfig,
    candidates: Mapping[str, Tokenizer | TokenizerConfig] | None,
    finish: Callable[[Path], None] | None,
    *,
    wait: bool,
) -> tuple[PreparedSet, bool]:
    """The set in the folder `final`, and whether it is new: another process may have been there first."""
    if (final / MANIFEST).exists():
        remove_finished(final)
        return PreparedSet.open(final), False
    with disk_full_is_an_error(final), held(final, wait=wait) as work, disk_full_is_an_error(final):
        new = not (final / MANIFEST).exists()
        if new:
            work.begin(plan.fingerprint)
            try:
                with Display() as display:
                    Preparation(plan, work, executor, display, candidates).into(final, finish)
            except OSError:
                if work.locked or not (final / MANIFEST).exists():
                    raise
                new = False  # where there are no locks, another process made the same set in the meantime
    return PreparedSet.open(final), new


def _already_there(plan: Plan, output: Path, candidates: Iterable[str]) -> PreparedSet:
    try:
        found = PreparedSet.open(output)
    except UserError as error:
        raise UserError(
            f"output={output} exists ({error.given})",
            "nothing is overwritten",
            "choose a new folder, or delete this one",
        ) from error
    if found.fingerprint != plan.fingerprint:
        raise UserError(
            f"output={output} holds a set made from other input or settings",
            "nothing is overwritten",
            "choose a new folder, or delete this one",
        )
    _check_errors(found, plan.data)
    remove_finished(output)
    log.info("already prepared: %s", output)
    if new := set(candidates) - _compared(output):
        log.warning(
            "tokenizer.compare: not measured with this set: %s; another output= will be", ", ".join(sorted(new))
        )
    return found


def _compared(folder: Path) -> set[str]:
    """The tokenizers that a set's own was compared with."""
    figures = json.loads((folder / STATISTICS).read_bytes())["tokenizer"]
    return {one["name"] for one in figures.get("candidates", [])}


def _check_errors(found: PreparedSet, data: DataConfig) -> None:
    """Refuse a set that leaves out what could not be read, unless that is allowed. Raises UserError."""
    n = found.manifest.get("errors", 0)
    if n and data.on_error is OnError.stop:
        raise UserError(
            f"data.on_error=stop with {found.path}, which leaves out {n} rows or files that could not be read",
            "nothing is left out unawares",
            "take the set as it is with data.on_error=skip, or correct the input",
        )


def _check_tokenizer(found: PreparedSet, config: TokenizerConfig, tokenizer: Tokenizer | None) -> None:
    """Refuse a set made with another tokenizer than the one that was asked for, if one was. Raises UserError."""
    own, made_with = found.manifest["tokenizer"], found.manifest["settings"]["tokenizer"]
    if tokenizer is None and isinstance(config, AutoTokenizerConfig):
        return
    chosen, remedy = tokenizer or choose(config), "leave the tokenizer out to use the set's own"
    if tokenizer:
        remedy = "train the model with model.resize_vocab=true to let it take the set's own"
    if isinstance(chosen, Tokenizer):
        same = chosen.hash == own["hash"]
        asked = "the checkpoint's tokenizer" if tokenizer else f"tokenizer.path={getattr(config, 'path', None)}"
        asked += f" ({chosen.vocab_size} entries, hash {chosen.hash[:12]})"
    else:
        same = settings(chosen) == made_with
        asked = _as_keys(settings(chosen))
    if not same:
        raise UserError(
            f"data.path={found.path} with {asked}",
            f"the set has the tokenizer it was made with: {_as_keys(made_with)} "
            f"({own['vocab_size']} entries, hash {own['hash'][:12]})",
            f"{remedy}, or prepare the text again with the other one",
        )


def _as_keys(made_with: dict[str, Any]) -> str:
    """The settings of a tokenizer as they are typed."""
    size = f" tokenizer.vocab_size={made_with['vocab_size']}" if "vocab_size" in made_with else ""
    return f"tokenizer={made_with['name']}{size}"


@contextlib.contextmanager
def _writable(folder: Path, remedy: str) -> Iterator[None]:
    """Turn the operating system's refusal to write beside `folder` into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise UserError(f"{folder}: {error.strerror}", "the folder must be one that can be made", remedy) from error
