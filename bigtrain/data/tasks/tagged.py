"""Sentences as rows of tokens, for training and evaluating taggers: a word's first token carries its tag."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bigtrain.data.cleaning.characters import UNSPACED
from bigtrain.data.frame import Frame
from bigtrain.data.loader import IGNORED, Batch
from bigtrain.data.tasks.labels import unknown_label
from bigtrain.data.tasks.ragged import RaggedRows
from bigtrain.data.tasks.sentences import Sentence
from bigtrain.errors import UserError
from bigtrain.tokenizer import Ids, Tokenizer

Ints = NDArray[np.int64]

# Characters that stand beside others without a blank: of scripts that have none, and their punctuation.
_CLOSE = re.compile(f"[{UNSPACED}\u3000-\u303f\uff00-\uffef]")


def spelled(words: Sequence[str]) -> list[str]:
    """Words as they stand in running text, for a tokenizer that reads the blank before a word as part of it."""
    found = [words[0]]
    for before, word in itertools.pairwise(words):
        found.append(word if _CLOSE.match(before[-1]) or _CLOSE.match(word[0]) else f" {word}")
    return found


class WordTokens(NamedTuple):
    """Tokens of a word; `first` is the place of the one that carries the tag."""

    ids: Ids
    first: int


def encode_words(sentences: Sequence[Sentence], tokenizer: Tokenizer) -> Iterator[list[WordTokens]]:
    """The tokens of every word of each sentence, with each spelling encoded once.

    They are those of transformers' fast tokenizers with `is_split_into_words`, where the tokenizer itself puts a blank
    before a word or needs none. Others find a word as in running text: with a blank before it, unless it is the first
    one or belongs to a script that has none. A blank that is a token of its own does not carry a tag. A word of which
    the tokenizer leaves nothing is the token for unknown text; raises UserError, with file and line, without one.
    """
    blanks = _needs_blanks(tokenizer)
    texts = (spelled(sentence.words) if blanks else sentence.words for sentence in sentences)
    rows = [list(row) for row in texts]
    unique = list(dict.fromkeys(text for row in rows for text in row))
    blank = tokenizer.encode(" ")
    tokens = {
        text: WordTokens(ids, len(blank) if len(ids) > len(blank) and ids[: len(blank)].tolist() == blank else 0)
        for text, ids in zip(unique, tokenizer.encode_documents(unique), strict=True)
    }
    unknown = None if tokenizer.unknown_id is None else WordTokens(np.array([tokenizer.unknown_id], np.uint32), 0)
    for sentence, row in zip(sentences, rows, strict=True):
        found = [tokens[text] if len(tokens[text].ids) else unknown for text in row]
        if None in found:
            place = found.index(None)
            raise UserError(
                f"{sentence.where(place)}: of the word {sentence.words[place]!r} the tokenizer leaves nothing",
                "a word has a token, which carries its tag; this tokenizer has none for unknown text",
                "correct or remove the word",
            )
        yield [one for one in found if one is not None]


def _needs_blanks(tokenizer: Tokenizer) -> bool:
    """Whether a word after another one looks other to the tokenizer than by itself."""

    def seen(text: str) -> str:
        backend = tokenizer.backend
        text = backend.normalizer.normalize_str(text) if backend.normalizer else text
        pieces = backend.pre_tokenizer.pre_tokenize_str(text) if backend.pre_tokenizer else [(text, None)]
        return "".join(piece for piece, _ in pieces)

    return seen("b a") != seen("b") + seen("a")


class _Row(NamedTuple):
    """A sentence, or a piece of one: tokens, the places of those that carry tags, and the tags."""

    ids: Ints
    firsts: Ints
    tags: Ints


class TaggedRows(RaggedRows):
    """Sentences in rows of `seq_len` tokens at most. One that is longer goes on in the next row: no word is lost.

    Of a word that is longer than a row the end is. labels: the tags in the order of the model's outputs. Raises
    UserError, with file and line, for a tag that is not among the labels, and for a word without tokens.
    """

    def __init__(
        self,
        sentences: Sequence[Sentence],
        tokenizer: Tokenizer,
        labels: Sequence[str],
        seq_len: int,
        frame: Frame,
        *,
        batch_rows: int = 1,  # of the global batch of training
    ) -> None:
        self.sentences, self.labels, self.frame, self.pad_id = sentences, labels, frame, tokenizer.pad_id
        place_of = {label: place for place, label in enumerate(labels)}
        tags = [_numbers(sentence, place_of) for sentence in sentences]
        self.tags = np.concatenate(tags)  # of all words of all sentences
        self._rows: list[_Row] = []
        self.n_cut = 0  # sentences in several rows
        room = seq_len - len(frame)
        for words, numbers in zip(encode_words(sentences, tokenizer), tags, strict=True):
            n_before = len(self._rows)
            self._rows += self._pieces(words, numbers, room)
            self.n_cut += len(self._rows) > n_before + 1
        self.n_words = np.array([len(row.tags) for row in self._rows])  # of each row
        lengths = np.array([len(row.ids) for row in self._rows])
        super().__init__(lengths, batch_rows)

    def _pieces(self, words: Sequence[WordTokens], tags: Ints, room: int) -> Iterator[_Row]:
        """As many words in a row as it holds."""
        start, size = 0, 0
        for place, word in enumerate(words):
            if size and size + len(word.ids) > room:
                yield self._row(words[start:place], tags[start:place], room)
                start, size = place, 0
            size += len(word.ids)
        yield self._row(words[start:], tags[start:], room)

    def _row(self, words: Sequence[WordTokens], tags: Ints, room: int) -> _Row:
        ids = np.concatenate([word.ids for word in words])[:room].astype(np.int64)
        starts = np.cumsum([0, *(len(word.ids) for word in words[:-1])])
        firsts = np.minimum(starts + [word.first for word in words], room - 1)
        return _Row(self.frame.around(ids), firsts + len(self.frame.before), tags)

    def batch(self, index: np.ndarray, epoch: np.ndarray | None = None) -> Batch:
        """The rows `index` (N,): tokens and labels (N, T), lengths (N,), words (N, W), rows (N,).

        labels: the tag of a word at its first token, IGNORED elsewhere. words: where those tokens are, for as many
        words as the longest of all rows has; -1 beyond a row's own.
        """
        rows = [self._rows[row] for row in index]
        tokens = self.padded([row.ids for row in rows], self.pad_id)
        labels = np.full_like(tokens, IGNORED)
        words = np.full((len(rows), self.n_words.max()), -1)
        for number, row in enumerate(rows):
            labels[number, row.firsts] = row.tags
            words[number, : len(row.firsts)] = row.firsts
        batch = {"tokens": tokens, "labels": labels, "words": words, "rows": np.asarray(index)}
        batch["lengths"] = self.lengths[index]
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def of_words(self, table: NDArray[np.float64]) -> Ints:
        """The predictions of a table (rows, W) for all words of all sentences, in their order, as `tags`."""
        return table[np.arange(table.shape[1]) < self.n_words[:, None]].astype(np.int64)

    def by_sentence(self, values: Ints) -> Iterator[list[str]]:
        """Numbers of tags of all words -> the names of each sentence's."""
        names, start = [self.labels[value] for value in values.tolist()], 0
        for sentence in self.sentences:
            yield names[start : start + len(sentence.words)]
            start += len(sentence.words)


def _numbers(sentence: Sentence, place_of: dict[str, int]) -> Ints:
    for place, tag in enumerate(sentence.tags):
        if tag not in place_of:
            raise unknown_label(f"{sentence.where(place)}, word {sentence.words[place]!r}", tag, list(place_of))
    return np.array([place_of[tag] for tag in sentence.tags], np.int64)
