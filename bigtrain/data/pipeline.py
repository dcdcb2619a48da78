"""Raw text -> a prepared set: in a folder of the user's choice, or in a cache that knows what is there already."""

from __future__ import annotations

import collections
import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bigtrain.data.schema import (
    AutoTokenizerConfig,
    BPEConfig,
    DataConfig,
    FileTokenizerConfig,
    TokenizerConfig,
    TrainableTokenizerConfig,
)
from bigtrain.data.shards import FORMAT, PreparedSet, ShardWriter
from bigtrain.data.sources import Document, Source, find, read, readable
from bigtrain.data.split import PARTS, Split
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.storage import new_folder, sha256
from bigtrain.tokenizer import Tokenizer, train

_BATCH_CHARACTERS = 4 << 20
_BATCH_DOCUMENTS = 4096
_REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG}


def prepare(data: DataConfig, tokenizer_config: TokenizerConfig, output: Path) -> PreparedSet:
    """Prepare raw text into the new folder `output`. If that is there and holds the very same set, it is left alone.

    Raises UserError for bad input, or where `output` holds anything else; DiskFull. Nothing half-written stays.
    """
    if data.path:
        raise UserError(
            f"data.path={data.path}", "a prepared set is not prepared again", "name raw text with data.files=[GLOB,...]"
        )
    output = output.expanduser().resolve()
    work = _Work.plan(data, tokenizer_config)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        return _already_there(work, output)
    with _writable(output, "choose another folder with output=DIR"):
        prepared, _ = work.into(output)
    return prepared


def prepared(data: DataConfig, tokenizer_config: TokenizerConfig, tokenizer: Tokenizer | None = None) -> PreparedSet:
    """The set of `data.path`, or raw text prepared on the way, into a cache keyed by fingerprint.

    tokenizer: of a checkpoint that is trained further; it is used instead of what `tokenizer_config` says. Raises
    UserError for bad input, and where the set of `data.path` was made with another tokenizer.
    """
    if data.path:
        found = PreparedSet.open(Path(data.path).expanduser())
        _check_tokenizer(found, tokenizer_config, tokenizer)
        return found
    work = _Work.plan(data, tokenizer_config, tokenizer)
    folder = cache_folder() / "prepared" / work.fingerprint
    with _writable(folder, "set BIGTRAIN_CACHE to a folder that can be written"):
        found, new = work.into(folder)
    log.info("prepared data %s %s", "cached in" if new else "reused from", folder)
    return found


def cache_folder() -> Path:
    """$BIGTRAIN_CACHE, else $XDG_CACHE_HOME/bigtrain, else ~/.cache/bigtrain."""
    if own := os.environ.get("BIGTRAIN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bigtrain"


@dataclass(frozen=True)
class _Work:
    """Everything that decides the content of a prepared set, read from the input once before anything is made."""

    data: DataConfig
    sources: list[Source]
    stamps: list[tuple[int, int]]  # size and time of change of each source
    tokenizer: Tokenizer | TrainableTokenizerConfig  # given, or to be trained on the training text
    settings: dict[str, Any]
    fingerprint: str

    @classmethod
    def plan(cls, data: DataConfig, tokenizer_config: TokenizerConfig, tokenizer: Tokenizer | None = None) -> _Work:
        """Find and hash the input. Raises UserError."""
        sources = find(data)
        chosen = tokenizer or _choose(tokenizer_config)
        settings = {
            "text_field": data.text_field if any(source.format == "jsonl" for source in sources) else None,
            "validation_fraction": data.validation_fraction,
            "split_by": str(data.split_by),
            "tokenizer": {"name": "file", "hash": chosen.hash, "eos_id": chosen.eos_id}
            if isinstance(chosen, Tokenizer)
            else asdict(chosen),
        }
        stamps, content = [], []
        for source in sources:
            with readable(source.path):
                stamps.append(_stamp(source))
                content.append((source.format, sha256(source.path)))
        everything = json.dumps([FORMAT, settings, content], sort_keys=True)
        fingerprint = hashlib.sha256(everything.encode("utf-8")).hexdigest()
        return cls(data, sources, stamps, chosen, settings, fingerprint)

    def into(self, final: Path) -> tuple[PreparedSet, bool]:
        """The set in the folder `final`, and whether it is new: another process may have been there first."""
        _remove_leftovers(final)
        new = not (final / "manifest.json").exists()
        if new:
            with contextlib.ExitStack() as until_renamed:
                try:
                    with new_folder(final) as folder:
                        until_renamed.enter_context(_locked(folder))
                        folder.mkdir(exist_ok=True)  # should another process have removed it before it was locked
                        self._write(folder)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not final.is_dir():
                        raise
                    new = False  # another process made the same set in the meantime
        return PreparedSet.open(final), new

    def documents(self) -> Iterator[Document]:
        """All documents, from the start."""
        return read(self.sources, self.data.text_field)

    def _write(self, folder: Path) -> None:
        start = time.perf_counter()
        split = Split.choose(self.documents(), self.data.split_by, self.data.validation_fraction)
        tokenizer = self.tokenizer
        if not isinstance(tokenizer, Tokenizer):
            tokenizer = train(tokenizer, split.training_text(self.documents()))
        writer = ShardWriter(folder, tokenizer)
        for batch in _batches(split.apply(self.documents())):
            for part in PARTS:
                writer.add(part, [text for text_part, text in batch if text_part == part])
        writer.finish(
            self.fingerprint,
            settings=self.settings,
            split={"by": str(split.by), "fraction": split.fraction},
            sources={
                "builtin": self.data.builtin and str(self.data.builtin),
                "files": len(self.sources),
                "bytes": sum(size for size, _ in self.stamps),
                "formats": dict(sorted(collections.Counter(source.format for source in self.sources).items())),
            },
        )
        for source, stamp in zip(self.sources, self.stamps, strict=True):
            with readable(source.path):
                if _stamp(source) != stamp:
                    raise UserError(
                        f"{source.path}: changed while it was read", "input keeps still", "run the command again"
                    )
        seconds = time.perf_counter() - start
        log.info("%d files, %d documents, %d tokens in %.1f s", len(self.sources), *writer.totals(), seconds)


def _choose(config: TokenizerConfig) -> Tokenizer | TrainableTokenizerConfig:
    """The tokenizer of a file, or the config of one to be trained: byte-level BPE where nothing is asked for."""
    match config:
        case FileTokenizerConfig():
            return Tokenizer.load(Path(config.path or ""))
        case AutoTokenizerConfig():
            return BPEConfig()
    return config


def _stamp(source: Source) -> tuple[int, int]:
    status = source.path.stat()
    return status.st_size, status.st_mtime_ns


def _batches(texts: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """(part, text) pairs in lists of a few megabytes, so that memory does not grow with the corpus."""
    batch, characters = [], 0
    for part, text in texts:
        batch.append((part, text))
        characters += len(text)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _already_there(work: _Work, output: Path) -> PreparedSet:
    try:
        found = PreparedSet.open(output)
    except UserError as error:
        raise UserError(
            f"output={output} exists ({error.given})",
            "nothing is overwritten",
            "choose a new folder, or delete this one",
        ) from error
    if found.fingerprint != work.fingerprint:
        raise UserError(
            f"output={output} holds a set made from other input or settings",
            "nothing is overwritten",
            "choose a new folder, or delete this one",
        )
    log.info("already prepared: %s", output)
    return found


def _check_tokenizer(found: PreparedSet, config: TokenizerConfig, tokenizer: Tokenizer | None) -> None:
    """Refuse a set made with another tokenizer than the one that was asked for, if one was. Raises UserError."""
    own, made_with = found.manifest["tokenizer"], found.manifest["settings"]["tokenizer"]
    asked = "the checkpoint's tokenizer"
    if tokenizer is None and isinstance(config, FileTokenizerConfig):
        tokenizer, asked = Tokenizer.load(Path(config.path or "")), f"tokenizer.path={config.path}"
    if tokenizer:
        same = tokenizer.hash == own["hash"]
        asked += f" ({tokenizer.vocab_size} entries, hash {tokenizer.hash[:12]})"
    else:
        same = isinstance(config, AutoTokenizerConfig) or asdict(config) == made_with
        asked = _as_keys(asdict(config))
    if not same:
        raise UserError(
            f"data.path={found.path} with {asked}",
            f"the set has the tokenizer it was made with: {_as_keys(made_with)} "
            f"({own['vocab_size']} entries, hash {own['hash'][:12]})",
            "leave the tokenizer out to use the set's own, or prepare the text again with the other one",
        )


def _as_keys(settings: dict[str, Any]) -> str:
    """The settings of a tokenizer as they are typed."""
    size = f" tokenizer.vocab_size={settings['vocab_size']}" if "vocab_size" in settings else ""
    return f"tokenizer={settings['name']}{size}"


@contextlib.contextmanager
def _writable(folder: Path, remedy: str) -> Iterator[None]:
    """Turn the operating system's refusal to write beside `folder` into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise UserError(f"{folder}: {error.strerror}", "the folder must be one that can be made", remedy) from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock, which the kernel gives back however this process ends. False: there are no locks here."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that is preparing the same set")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # some network file systems
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _remove_leftovers(final: Path) -> None:
    """Delete what killed writers of `final` left beside it; wait for one that is still alive."""
    for folder in final.parent.glob(glob.escape(final.name) + "." + "[0-9a-f]" * 8 + ".tmp"):
        with contextlib.suppress(FileNotFoundError), _locked(folder) as dead:
            if dead:
                shutil.rmtree(folder, ignore_errors=True)
