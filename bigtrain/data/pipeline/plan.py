"""Everything that decides the content of a prepared set, read from the input once before anything is made."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from bigtrain.data.contamination_schema import DecontaminateConfig
from bigtrain.data.pipeline.steps import Steps
from bigtrain.data.reading import files
from bigtrain.data.reading.sources import Piece, Source, find, pieces
from bigtrain.data.schema import (
    AutoTokenizerConfig,
    DataConfig,
    Format,
    OnError,
    TokenizerConfig,
    TrainableTokenizerConfig,
    WordBoundaries,
)
from bigtrain.data.shard_writer import end_of_document
from bigtrain.data.shards import FORMAT
from bigtrain.environment import usable_cpus
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.tokenizer import Tokenizer, choose
from bigtrain.tokenizer import settings as tokenizer_settings

_SMALLEST_PART, _LARGEST_PART = 1 << 20, 8 << 20  # bytes of text, about; small ones are for slow steps
_PARTS = 64  # there are about so many, within these bounds
_UNPACKED = 4  # a compressed byte stands for so many, about
_SAMPLED_PARTS = 64
_HEAD = 1 << 20  # bytes of a file by which a sample knows it


@dataclass(frozen=True)
class Part:
    """A share of the input: pieces of files, of which at most so many documents are read."""

    number: int
    pieces: tuple[Piece, ...]
    n_bytes: float  # of text, about
    most: int | None = None


@dataclass(frozen=True)
class Plan:
    """What is prepared, and how."""

    data: DataConfig
    steps: Steps
    sources: list[Source]
    stamps: list[files.Stamp | None]  # None: it is not there, which `data.on_error` lets pass
    evaluation: list[Source]  # files of the evaluation sets
    parts: list[Part]
    tokenizer: Tokenizer | TrainableTokenizerConfig  # given, or to be trained on the training text
    words: WordBoundaries  # which flags are stored beside the tokens
    settings: dict[str, Any]
    fingerprint: str  # of a plan without one (a dry run's): empty
    left_out: dict[str, int]  # what else the folders hold, by extension, and links to folders

    @classmethod
    def make(
        cls,
        data: DataConfig,
        tokenizer_config: TokenizerConfig,
        tokenizer: Tokenizer | None = None,
        steps: Steps | None = None,
        *,
        hashed: bool = True,
    ) -> Plan:
        """Find, divide and hash the input. Raises UserError.

        tokenizer: taken instead of what `tokenizer_config` says. hashed: False where no fingerprint is needed.
        """
        steps = steps or Steps()
        steps.check()
        chosen = tokenizer or choose(tokenizer_config)
        words = (
            WordBoundaries.none
            if isinstance(tokenizer_config, AutoTokenizerConfig)
            else tokenizer_config.word_boundaries
        )
        if isinstance(chosen, Tokenizer):
            end_of_document(chosen)
        left_out: dict[str, str] = {}
        sources = find(data, left_out)
        others = left_out.keys() - {source.path for source in sources}
        kinds = dict(sorted(Counter(left_out[path] for path in others).items()))
        if kinds:
            log.info("left out of folders: %s", ", ".join(f"{count} {kind}" for kind, count in kinds.items()))
        stamps = [_stamp(source.path, data.on_error) for source in sources]
        evaluation = _evaluation_sources(steps.decontaminate) if steps.decontaminate else []
        parts = _sample(_divide(sources, stamps, _SMALLEST_PART if steps.names else _LARGEST_PART), data.sample)
        settings = _settings(data, sources, steps, chosen, words)
        plan = cls(data, steps, sources, stamps, evaluation, parts, chosen, words, settings, "", kinds)
        return replace(plan, fingerprint=_fingerprint(plan)) if hashed else plan

    @property
    def n_bytes(self) -> int:
        """Size of the input, as stored."""
        return sum(stamp.size for stamp in self.stamps if stamp)

    def input(self) -> dict[str, Any]:
        """The input as the manifest tells of it."""
        return {
            "builtin": self.data.builtin and str(self.data.builtin),
            "files": len(self.sources),
            "bytes": self.n_bytes,
            "formats": dict(sorted(Counter(str(source.format) for source in self.sources).items())),
            "left_out": self.left_out,
        }

    def check_unchanged(self) -> list[str]:
        """Raises UserError where a file is not what it was when the plan was made.

        Returns the files that are gone since; with data.on_error=stop there are none.
        """
        gone = []
        for source, before in zip(self.sources, self.stamps, strict=True):
            now = _stamp(source.path, self.data.on_error)
            if now is None and before is not None:
                gone.append(source.path)
            elif now != before:
                given = f"{source.path}: changed while it was read"
                raise UserError(given, "input keeps still", "run the command again")
        return gone

    def names(self) -> dict[str, str]:
        """What each file is called in reports: its path below the folder that holds all of them."""
        return _names(self.sources) | _names(self.evaluation)


def _names(sources: list[Source]) -> dict[str, str]:
    near = {source.path: os.path.abspath(source.path) for source in sources if not files.is_url(source.path)}  # noqa: PTH100
    folder = os.path.commonpath({path.rpartition("/")[0] or "/" for path in near.values()}) if near else ""
    names = {path: absolute.removeprefix(folder).lstrip("/") for path, absolute in near.items()}
    return {source.path: names.get(source.path, source.path.rpartition("/")[2]) for source in sources}


def _evaluation_sources(config: DecontaminateConfig) -> list[Source]:
    from bigtrain.data.contamination import evaluation_sources

    return evaluation_sources(config)


def _stamp(path: str, on_error: OnError) -> files.Stamp | None:
    """Of a file; None where there is none and errors are skipped: who reads it counts them. Raises UserError."""
    try:
        return files.stamp(path)
    except UserError:
        if on_error is OnError.stop:
            raise
        return None


def _divide(sources: list[Source], stamps: list[files.Stamp | None], smallest: int) -> list[Part]:
    """Whole files, and pieces of large ones, in parts of about the same size, at least of `smallest` bytes."""
    stored = [stamp.size if stamp else 0 for stamp in stamps]
    sizes = [size * unpacked_bytes(source) for source, size in zip(sources, stored, strict=True)]
    size = min(max(sum(sizes) // _PARTS, smallest), _LARGEST_PART)
    parts, held, filled = list[Part](), list[Piece](), 0.0
    for source, n_bytes in zip(sources, sizes, strict=True):
        cut = [Piece(source)] if n_bytes <= size else pieces(source, size)
        for piece in cut:
            if held and filled + n_bytes / len(cut) > size:
                parts.append(Part(len(parts), tuple(held), filled))
                held, filled = [], 0.0
            held.append(piece)
            filled += n_bytes / len(cut)
    return [*parts, Part(len(parts), tuple(held), filled)]


def unpacked_bytes(source: Source) -> int:
    """Bytes of text that a stored byte of a file stands for, about."""
    return _UNPACKED if source.compression is not None or source.format is Format.parquet else 1


def _sample(parts: list[Part], n_documents: int | None) -> list[Part]:
    """Parts from all over the input, of each the first few documents."""
    if n_documents is None:
        return parts
    n = min(len(parts), n_documents, _SAMPLED_PARTS)
    chosen = [parts[number * len(parts) // n] for number in range(n)]
    return [
        replace(part, number=number, most=n_documents // n + (number < n_documents % n))
        for number, part in enumerate(chosen)
    ]


def _settings(
    data: DataConfig,
    sources: list[Source],
    steps: Steps,
    chosen: Tokenizer | TrainableTokenizerConfig,
    words: WordBoundaries,
) -> dict[str, Any]:
    """What was asked for, as far as it decides the content."""
    by_name = {source.name: source for source in sources}
    rows = {source.name for source in sources if source.format.has_fields}
    return {
        "sources": {
            name: {
                "text_field": source.settings.text_field if name in rows else None,
                "group_field": source.settings.group_field,
                "encoding": source.settings.encoding,
                "document": source.settings.document and str(source.settings.document),
                "columns": source.settings.columns,
                "delimiter": source.settings.delimiter,
                "weight": source.settings.weight,
            }
            for name, source in by_name.items()
        },
        "max_row_bytes": data.max_row_bytes,
        "validation_fraction": data.validation_fraction,
        "test_fraction": data.test_fraction,
        "split_by": str(data.split_by),
        "sample": data.sample,
        **steps.settings(),
        "tokenizer": tokenizer_settings(chosen),
        "word_boundaries": str(words),
        "loss_between": data.loss_between,
        "provenance": steps.provenance({source.format for source in sources}, words),
    }


def _fingerprint(plan: Plan) -> str:
    """Hex digest of the settings and the content of every file; of a sample: sizes, and heads of the files it reads."""
    most = None if plan.data.sample is None else _HEAD
    read = {piece.source.path for part in plan.parts for piece in part.pieces}

    def content(source: Source, stamp: files.Stamp | None) -> list[Any]:
        size = stamp.size if most and stamp else None
        return [source.name, source.format, source.compression, size, digest(source) if stamp else None]

    def digest(source: Source) -> str | None:
        try:
            return _sha256(source.path, most) if source.path in read else None
        except UserError:
            if plan.data.on_error is OnError.stop:
                raise
            return None

    with ThreadPoolExecutor(usable_cpus()) as pool:
        contents = list(pool.map(content, plan.sources, plan.stamps))
        evaluation = list(pool.map(lambda source: _sha256(source.path, None), plan.evaluation))
    everything = json.dumps([FORMAT, plan.settings, contents, evaluation], sort_keys=True)
    return hashlib.sha256(everything.encode("utf-8")).hexdigest()


def _sha256(path: str, most: int | None) -> str:
    digest = hashlib.sha256()
    with files.opened(path) as file:
        while chunk := file.read(_HEAD):
            digest.update(chunk)
            if most is not None:
                break
    return digest.hexdigest()
