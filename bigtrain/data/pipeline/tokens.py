"""The last stage of a part: the documents that are kept become tokens of the training, validation and test parts."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.dedup.paragraphs import paragraph_spans, without_paragraphs
from bigtrain.data.dedup.resolve import Kind, Outcome
from bigtrain.data.dedup.schema import DedupConfig
from bigtrain.data.dedup.signatures import paragraph_ends
from bigtrain.data.pipeline.facts import LENGTHS, Tally, utf8_size
from bigtrain.data.pipeline.results import result
from bigtrain.data.pipeline.store import Documents
from bigtrain.data.schema import SplitBy, WordBoundaries
from bigtrain.data.shard_writer import ShardWriter
from bigtrain.data.split import PARTS, TRAIN, Split
from bigtrain.tokenizer import Tokenizer

_BATCH_CHARACTERS = 4 << 20
_BATCH_DOCUMENTS = 4096
_COUNTS = "counts.json"


@dataclass(frozen=True)
class Kept:
    """The documents of a part that are not duplicates. Picklable."""

    number: int
    documents: Path
    duplicates: Path | None
    dedup: DedupConfig | None

    def open(self) -> tuple[Documents, NDArray[np.uint8]]:
        """The documents, and what became of each, (documents,)."""
        documents = Documents(self.documents)
        if self.duplicates is None:
            return documents, np.full(len(documents), Kind.keep, np.uint8)
        return documents, Outcome.load(self.duplicates, self.number).kind

    def kept_rows(self) -> NDArray[Any]:
        """(kept documents,) of DOCUMENT."""
        documents, kinds = self.open()
        rows: NDArray[Any] = documents.table[kinds == Kind.keep]
        return rows

    def texts(self, tally: Tally | None = None) -> Iterator[tuple[int, str]]:
        """Row and text of each kept document, without the paragraphs that stood elsewhere, unless nothing is left."""
        documents, kinds = self.open()
        ends = keep = None
        if self.duplicates and self.dedup and self.dedup.paragraphs:
            keep, ends = Outcome.load(self.duplicates, self.number).paragraphs, paragraph_ends(self.documents)
        for row in map(int, np.flatnonzero(kinds == Kind.keep)):
            text = documents[row]
            if keep is not None and ends is not None and self.dedup:
                here = keep[ends[row - 1] if row else 0 : ends[row]]
                whole = text
                if not here.all():
                    text = without_paragraphs(whole, paragraph_spans(whole, self.dedup)[0], here)
                if tally:
                    _count_cut(tally, whole, text, documents.sources[documents.table["source"][row]])
            if text:
                yield row, text


class Placed(NamedTuple):
    """A document, or a piece of one, with its part and how often it is to be there."""

    row: int
    part: str
    text: str
    copies: int
    counts: bool  # as the document: of its pieces the first that is there, or the first of all


@dataclass(frozen=True)
class Placing:
    """Where the documents of a part go. Picklable."""

    kept: Kept
    split: Split
    start: int  # characters of the parts before (by tail only)
    weights: dict[str, float]  # of the sources

    def placed(self, tally: Tally | None = None) -> Iterator[Placed]:
        """What is kept, in order. Weights are for training: what is held out is there once."""
        documents, kinds = self.kept.open()
        table = documents.table
        numbers = self.split.numbers(table["group"])
        starts = self.start + np.cumsum(table["characters"] * (kinds == Kind.keep)) - table["characters"]
        for row, text in self.kept.texts(tally):
            pieces: Iterable[tuple[int, str]] = [(int(numbers[row]), text)]
            if self.split.by is SplitBy.tail:
                pieces = self.split.pieces(int(starts[row]), text)
            weight = self.weights[documents.sources[table["source"][row]]]
            times = {TRAIN: _copies(int(table["hash"][row]), weight)}
            placed = [(PARTS[number], piece, times.get(PARTS[number], 1)) for number, piece in pieces]
            first = next((place for place, (_, _, copies) in enumerate(placed) if copies), 0)
            for place, (part, piece, copies) in enumerate(placed):
                yield Placed(row, part, piece, copies, place == first)


def _copies(number: int, weight: float) -> int:
    """How often a document is trained on: the whole part of the weight, and once more for a share of all hashes.

    The share is taken by the low half of the hash; the split goes by its size.
    """
    whole = math.floor(weight)
    return whole + ((number & 0xFFFFFFFF) < (weight - whole) * 2**32)


@dataclass(frozen=True)
class TokensJob:
    """One part of this stage. Picklable."""

    placing: Placing
    tokenizer: Path
    fingerprint: str  # of the plan
    words: WordBoundaries
    loss_between: list[str]
    folder: Path
    progress: Callable[[float], None] | None = None  # called with numbers of characters; not where it travels

    @property
    def number(self) -> int:
        """Of the part."""
        return self.placing.kept.number


@dataclass(frozen=True)
class TokensDone:
    """What the command must know of a part."""

    number: int


@functools.lru_cache(maxsize=1)
def stored_tokenizer(folder: Path, fingerprint: str) -> Tokenizer:
    """The tokenizer of a plan with this fingerprint, from where it was left for the workers; loaded once."""
    return Tokenizer.load(folder)


def make_tokens(job: TokensJob) -> TokensDone:
    """Leave the tokens of a part in its folder."""
    kept = job.placing.kept
    with result(job.folder) as folder:
        tokenizer, tally = stored_tokenizer(job.tokenizer, job.fingerprint), Tally()
        writer = ShardWriter(folder, tokenizer, job.words, job.loss_between)
        documents, kinds = kept.open()
        if kept.dedup:
            _count_duplicates(tally, kept.dedup, documents, kinds)
        turn, most = 0, 1
        while turn < most:
            for batch in _batches(job.placing.placed(None if turn else tally)):
                most = max(most, *(placed.copies for placed in batch))
                _add(writer, [placed for placed in batch if placed.copies > turn], documents, tally)
                if not turn:
                    _count_split(tally, batch, documents)
                    if job.progress:
                        job.progress(sum(len(placed.text) for placed in batch))
            turn += 1
        (folder / _COUNTS).write_text(json.dumps(writer.counts), encoding="utf-8")
        tally.save(folder)
    return TokensDone(job.number)


def counts_of(folder: Path) -> dict[str, dict[str, int]]:
    """The counts of each part of the split that `make_tokens` left."""
    counts: dict[str, dict[str, int]] = json.loads((folder / _COUNTS).read_bytes())
    return counts


def _add(writer: ShardWriter, batch: list[Placed], documents: Documents, tally: Tally) -> None:
    for part in PARTS:
        here = [placed for placed in batch if placed.part == part]
        for placed, n_tokens in zip(here, writer.add(part, [placed.text for placed in here]), strict=True):
            source = documents.sources[documents.table["source"][placed.row]]
            tally.add("sources", source, "tokens", **{part: n_tokens})


def _count_split(tally: Tally, batch: list[Placed], documents: Documents) -> None:
    """What is there once or more; copies, and pieces of documents that are cut, are counted apart."""
    for placed in batch:
        row, n_bytes, counts = documents.table[placed.row], utf8_size(placed.text), int(placed.counts)
        source = documents.sources[row["source"]]
        tally.add("stages", "split", documents_in=counts, bytes_in=n_bytes)
        if not placed.copies:
            tally.gone("split", "weight", n_bytes, {source: counts})
            continue
        tally.add("stages", "split", documents_out=counts, bytes_out=n_bytes)
        more = {"documents_again": placed.copies - counts, "bytes_again": (placed.copies - 1) * n_bytes}
        tally.add("sources", source, documents_kept=counts, bytes_kept=n_bytes, **more)
        if language := documents.languages[row["language"]]:
            tally.add("languages", language, documents=counts, bytes=n_bytes)
        tally.histogram("lengths", value=len(placed.text), edges=LENGTHS)


def _count_duplicates(tally: Tally, dedup: DedupConfig, documents: Documents, kinds: NDArray[np.uint8]) -> None:
    """What the comparison with all other documents has dropped of this part."""
    there, sizes = np.ones(len(kinds), np.bool_), np.diff(documents.table["end"], prepend=0)
    for stage, taken, kind in (("exact", dedup.documents, Kind.exact), ("near", dedup.near, Kind.near)):
        if taken:
            tally.add("stages", stage, documents_in=int(there.sum()), bytes_in=int(sizes[there].sum()))
            gone = kinds == kind
            there &= ~gone
            tally.add("stages", stage, documents_out=int(there.sum()), bytes_out=int(sizes[there].sum()))
            of_sources = np.bincount(documents.table["source"][gone], minlength=len(documents.sources)).tolist()
            tally.gone(
                stage, "duplicate", int(sizes[gone].sum()), dict(zip(documents.sources, of_sources, strict=True))
            )


def _count_cut(tally: Tally, whole: str, text: str, source: str) -> None:
    """A document before and after its repeated paragraphs were cut out."""
    if text:
        tally.passed("paragraphs", utf8_size(whole), utf8_size(text))
    else:
        tally.dropped("paragraphs", "nothing left", utf8_size(whole), source)


def _batches(placed: Iterable[Placed]) -> Iterator[list[Placed]]:
    """Lists of a few megabytes, so that memory does not grow with the part."""
    batch, characters = list[Placed](), 0
    for one in placed:
        batch.append(one)
        characters += len(one.text)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
