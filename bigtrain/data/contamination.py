"""Evaluation sets found in training text: an index of their word n-grams, and the first overlap of a document.

As in GPT-3 (Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C): 13 words in a row, without case
and punctuation. Evaluation texts with fewer words, down to 8, are looked for as a whole. Other than there, all of a
document is dropped, and n-grams that many documents hold are not excused.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.contamination_schema import DecontaminateConfig
from bigtrain.data.dedup.words import PIECE, Hashes, constants, placed_words
from bigtrain.data.reading.sources import Piece, Source, find, no_text, read
from bigtrain.data.schema import DataConfig
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.storage import new_folder, write_json

_FEWEST_WORDS, _FEWEST_CHARACTERS = 8, 32  # of an evaluation text that is looked for; 8 Chinese characters are too few
_STREAM = 13  # of constants: another one than the signatures of documents use
_LONGEST_WORD = 64  # on average, where pieces of a long text overlap
_SHOWN = 500  # characters of an overlap
_SLOTS = 16  # of the table for each n-gram: one look-up in sixteen goes on to the sorted hashes
_ARRAYS = ("hashes", "passages", "words", "table", "text", "starts", "files", "lines")


@dataclass(frozen=True)
class Overlap:
    """Where a document repeats an evaluation set, and the words that it repeats, as the document writes them."""

    file: str
    line: int | None
    text: str


class Index:
    """The n-grams of evaluation sets.

    hashes: (n,) uint64, sorted; passages: (n,) uint32, in which passage each of them comes first; words: (n,) uint32,
    the number of its first word there; table: (2^bits,) bool, whether a hash begins with these bits; text: (bytes,)
    uint8, the passages in UTF-8; starts: (passages + 1,) int64, where each begins; files, lines: (passages,) int64,
    where each is from, -1 for no line.
    """

    def __init__(self, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        self._meta, self._arrays = meta, arrays
        self.ngram: int = meta["ngram"]
        self._lengths = frozenset(meta["lengths"])
        self._constants = constants(self.ngram, _STREAM)
        self._hashes: Hashes = arrays["hashes"]
        self._table = arrays["table"]
        self._shift = np.uint64(64 - (len(self._table).bit_length() - 1))

    @classmethod
    def build(cls, config: DecontaminateConfig) -> Index:
        """Read the evaluation sets. Raises UserError where one cannot be read or holds no text."""
        return _Builder(config.ngram).build(evaluation_sources(config))

    def save(self, folder: Path) -> None:
        """Write the index into a new folder."""
        with new_folder(folder) as new:
            for name, array in self._arrays.items():
                np.save(new / f"{name}.npy", array)
            write_json(new / "index.json", self._meta)

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Open what `save` wrote, memory-mapped: processes of one machine share it."""
        meta = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return cls(meta, {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS})

    def find(self, text: str) -> Overlap | None:
        """The first overlap of a document."""
        return self.find_all([text])[0]

    def find_all(self, texts: Sequence[str]) -> list[Overlap | None]:
        """The first overlap of each document: for many short ones faster than one by one."""
        found: list[Overlap | None] = [None] * len(texts)
        for batch in _batches(texts, self.ngram):
            if any(found[number] is None for number, _ in batch):
                for number, overlap in self._search(batch):
                    found[number] = found[number] or overlap
        return found

    def _search(self, batch: list[tuple[int, str]]) -> Iterator[tuple[int, Overlap]]:
        """The overlaps of pieces of text, by where they begin; of each piece at least the first one."""
        joined = "\n".join(piece for _, piece in batch)
        words, places = placed_words(joined)
        hits = self._hits(words)
        if not hits:
            return
        stops = np.cumsum([len(piece) + 1 for _, piece in batch])
        owners = np.searchsorted(stops, places, side="right")
        done = set()
        for first, length, entry in sorted(hits):
            owner = int(owners[first])
            if owner in done or owners[first + length - 1] != owner:
                continue
            last = int(np.searchsorted(owners, owner, side="right"))
            text = joined[: int(stops[owner]) - 1]
            if overlap := self._verified(words[first:last], places[first:last], text, length, entry):
                done.add(owner)
                yield batch[owner][0], overlap

    def _hits(self, words: Hashes) -> list[tuple[int, int, int]]:
        """First word, number of words and place in `hashes` of the n-grams that the evaluation sets hold."""
        hits = []
        sums: Hashes = np.zeros(len(words), np.uint64)
        for length in range(1, min(self.ngram, len(words)) + 1):
            sums = sums[: len(words) - length + 1] + words[length - 1 :] * self._constants[length - 1]
            if length in self._lengths:
                likely = np.flatnonzero(self._table[sums >> self._shift])
                entries = np.searchsorted(self._hashes, sums[likely])
                entries[entries == len(self._hashes)] = 0
                same = self._hashes[entries] == sums[likely]
                pairs = zip(likely[same].tolist(), entries[same].tolist(), strict=True)
                hits += [(first, length, entry) for first, entry in pairs]
        return hits

    def _verified(self, words: Hashes, places: NDArray[np.int64], text: str, length: int, entry: int) -> Overlap | None:
        """The overlap that begins with these words, as far as it goes; None where only the hashes agree."""
        passage = int(self._arrays["passages"][entry])
        start, stop = self._arrays["starts"][passage : passage + 2]
        evaluation = bytes(self._arrays["text"][start:stop]).decode("utf-8")
        their_words, their_places = placed_words(evaluation)
        first = int(self._arrays["words"][entry])
        n = min(len(words), len(their_words) - first)
        differ = np.flatnonzero(words[:n] != their_words[first : first + n])
        n = int(differ[0]) if len(differ) else n
        mine = _span(text, places, 0, n)
        if n < length or _letters(mine) != _letters(_span(evaluation, their_places, first, first + n)):
            return None
        line = int(self._arrays["lines"][passage])
        return Overlap(self._meta["files"][self._arrays["files"][passage]], line if line >= 0 else None, mine[:_SHOWN])


def evaluation_sources(config: DecontaminateConfig) -> list[Source]:
    """The files of the evaluation sets, in a fixed order. Raises UserError."""
    found = []
    try:
        if config.files:
            found += find(DataConfig(files=config.files, text_field=config.text_field))
        if config.sources:
            found += find(DataConfig(sources=config.sources, text_field=config.text_field))
    except UserError as error:
        raise _renamed(error) from error
    return found


class _Builder:
    """Collects the passages of evaluation sets: what `Index` holds, in the order of reading."""

    def __init__(self, ngram: int) -> None:
        self.ngram = ngram
        self.constants = constants(ngram, _STREAM)
        self.files: dict[str, int] = {}
        self.texts: list[bytes] = []
        self.where: list[tuple[int, int]] = []  # file and line of each passage
        self.grams: list[tuple[int, Hashes]] = []  # of each passage: words in an n-gram, and the n-grams
        self.n_short = 0

    def build(self, sources: list[Source]) -> Index:
        """The index of all texts. Raises UserError."""
        for source in sources:
            n_before = len(self.texts) + self.n_short
            for document in read(Piece(source), _stop):
                for piece in _pieces(document.text, self.ngram):
                    self._add(piece, document.file, document.line)
            if len(self.texts) + self.n_short == n_before:
                raise _renamed(no_text([source]))
        self._tell()
        if sources and not self.texts:
            raise UserError(
                f"no text of {min(_FEWEST_WORDS, self.ngram)} words in {', '.join(list(self.files)[:3])}",
                "shorter texts stand everywhere: they are not looked for",
                "leave these evaluation sets out, or name the fields that hold their text: decontaminate.text_field=",
            )
        lengths = [len(grams) for _, grams in self.grams]
        everything = np.concatenate([np.zeros(0, np.uint64), *(grams for _, grams in self.grams)])
        hashes, first = np.unique(everything, return_index=True)
        ends = np.cumsum([0, *lengths])
        passages = np.searchsorted(ends, first, side="right") - 1
        bits = max(16, int(len(hashes) * _SLOTS).bit_length())
        table = np.zeros(1 << bits, np.bool_)
        table[hashes >> np.uint64(64 - bits)] = True
        arrays = {
            "hashes": hashes,
            "passages": passages.astype(np.uint32),
            "words": (first - ends[passages]).astype(np.uint32),
            "table": table,
            "text": np.frombuffer(b"".join(self.texts), np.uint8),
            "starts": np.cumsum([0, *map(len, self.texts)], dtype=np.int64),
            "files": np.array([file for file, _ in self.where], np.int64),
            "lines": np.array([line for _, line in self.where], np.int64),
        }
        used = sorted({length for length, _ in self.grams})
        return Index({"ngram": self.ngram, "lengths": used, "files": list(self.files)}, arrays)

    def _add(self, text: str, file: str, line: int | None) -> None:
        words, _ = placed_words(text)
        length = min(self.ngram, len(words))
        if length < self.ngram and (length < _FEWEST_WORDS or len(text) < _FEWEST_CHARACTERS):
            self.n_short += 1
            self.files.setdefault(file, len(self.files))
            return
        n = len(words) - length + 1
        grams: Hashes = np.zeros(n, np.uint64)
        for place in range(length):
            grams = grams + words[place : place + n] * self.constants[place]
        self.grams.append((length, grams))
        self.texts.append(text.encode("utf-8"))
        self.where.append((self.files.setdefault(file, len(self.files)), -1 if line is None else line))

    def _tell(self) -> None:
        log.info("evaluation sets: %d texts in %d files", len(self.texts) + self.n_short, len(self.files))
        if self.n_short:
            log.warning(
                "evaluation texts with fewer than %d words or %d characters are not looked for: %d",
                min(_FEWEST_WORDS, self.ngram),
                _FEWEST_CHARACTERS,
                self.n_short,
            )


def _stop(error: UserError) -> None:
    """An evaluation set that cannot be read must not pass for one that was not found."""
    raise _renamed(error)


def _renamed(error: UserError) -> UserError:
    """The error with the keys of `decontaminate` in the place of those of `data`."""
    rename = re.compile(r"\bdata\.(?=files|sources|text_field)")
    parts = [rename.sub("decontaminate.", part) for part in (error.given, error.rule, error.remedy)]
    return UserError(*(re.sub(r"\bdata\.(?=delimiter|format)", "decontaminate.sources.NAME.", part) for part in parts))


def _batches(texts: Sequence[str], ngram: int) -> Iterator[list[tuple[int, str]]]:
    """Pieces of the texts, with the number of their text, of PIECE characters at most in each list."""
    batch: list[tuple[int, str]] = []
    room = PIECE
    for number, text in enumerate(texts):
        for piece in _pieces(text, ngram):
            if len(piece) >= room:
                yield batch
                batch, room = [], PIECE
            batch.append((number, piece))
            room -= len(piece) + 1
    if batch:
        yield batch


def _pieces(text: str, ngram: int) -> Iterator[str]:
    """Pieces of fewer than PIECE characters, cut at white space where there is some; neighbours share n - 1 words."""
    start = 0
    while len(text) - start >= PIECE:
        stop = max(text.rfind(space, start + PIECE // 2, start + PIECE) for space in " \n")
        stop = stop if stop > 0 else start + PIECE - 1
        yield text[start:stop]
        back = stop - _LONGEST_WORD * ngram
        start = max(back, min(text.find(space, back, stop) for space in " \n"))
    yield text[start:]


def _span(text: str, places: NDArray[np.int64], first: int, stop: int) -> str:
    """The words `first` to `stop` of a text whose words begin at `places`, without what separates them from others."""
    end = int(places[stop]) if stop < len(places) else len(text)
    span = text[int(places[first]) : end]
    while span and not _letters(span[-1]):
        span = span[:-1]
    return span


def _letters(text: str) -> str:
    """What is compared: letters and digits, without case and diacritics."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text.lower())))
