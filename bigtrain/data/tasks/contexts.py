"""Questions with their contexts as rows of tokens: a long context becomes several windows that overlap."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bigtrain.data.frame import Frame
from bigtrain.data.loader import Batch
from bigtrain.data.tasks.questions import Question
from bigtrain.data.tasks.ragged import RaggedRows
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.tokenizer import Tokenizer

Ints = NDArray[np.int64]
_AT_ONCE = 1024  # texts


@dataclass(frozen=True)
class PairFrame:
    """What stands before, between and after two texts, and the segment of each of the five parts' tokens."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    segments: tuple[tuple[int, ...], int, tuple[int, ...], int, tuple[int, ...]]
    null_last: bool  # the row's last token stands for no answer, else its first

    def __len__(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    @classmethod
    def of_encoder(cls, tokenizer: Tokenizer, n_segments: int) -> PairFrame:
        """As the tokenizer itself frames a pair; if it does not, as it frames a text, [CLS] a [SEP] b [SEP].

        Its first token, which sees all others, stands for no answer.
        """
        pair = tokenizer.backend.encode("a", "b", add_special_tokens=True)
        kinds = np.minimum(pair.type_ids, n_segments - 1).tolist()
        first, second = ([i for i, text in enumerate(pair.sequence_ids) if text == number] for number in (0, 1))
        special = len(pair.ids) - len(first) - len(second)
        if first and second and special:
            bounds = [(0, first[0]), (first[-1] + 1, second[0]), (second[-1] + 1, len(pair.ids))]
            before, between, after = (tuple(pair.ids[start:end]) for start, end in bounds)
            about = [tuple(kinds[start:end]) for start, end in bounds]
            segments = (about[0], kinds[first[0]], about[1], kinds[second[0]], about[2])
            return cls(before, between, after, segments, null_last=False)
        frame, other = Frame.of(tokenizer), min(1, n_segments - 1)
        n_after = len(frame.after)
        segments = ((0,) * len(frame.before), 0, (0,) * n_after, other, (other,) * n_after)
        return cls(frame.before, frame.after, frame.after, segments, null_last=False)

    @classmethod
    def of_decoder(cls, tokenizer: Tokenizer) -> PairFrame:
        """A line break between the texts, and the token that ends a document after them.

        That one stands for no answer: a row's first token has seen nothing, and its last token of text may be an
        answer's. Raises UserError where the tokenizer has no such token.
        """
        if tokenizer.eos_id is None:
            raise UserError(
                "objective=span with a decoder whose tokenizer has no token that ends a document",
                "that token stands for no answer",
                "name it as eos_token in tokenizer_config.json, or start from an encoder",
            )
        between = tuple(tokenizer.encode("\n"))
        return cls((), between, (tokenizer.eos_id,), ((), 0, (0,) * len(between), 0, (0,)), null_last=True)

    def tokens(self, first: Ints, second: Ints) -> Ints:
        """The row of two texts."""
        parts = (np.array(self.before), first, np.array(self.between), second, np.array(self.after))
        return np.concatenate([part.astype(np.int64) for part in parts])

    def kinds(self, n_first: int, n_second: int) -> Ints:
        """The segment of each token of a row."""
        before, first, between, second, after = self.segments
        return np.array([*before, *[first] * n_first, *between, *[second] * n_second, *after], np.int64)


class _Window(NamedTuple):
    """A row: part of the tokens of a question's context."""

    question: int
    start: int
    stop: int
    answer: tuple[int, int] | None  # first and last token, counted in the context; None: not in here


class ContextRows(RaggedRows):
    """Each question with its context, in rows of `seq_len` tokens at most.

    Of a longer context a row holds a window; neighbours share `overlap` tokens, or half a window where the question
    leaves no room for more. The first of a question's answers is the one to be learned. A row without all of it is one
    without an answer, as in transformers' run_qa example.

    Raises UserError, with file and id, for a question that leaves no room for its context, and for an answer of which
    the tokenizer leaves nothing.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        tokenizer: Tokenizer,
        seq_len: int,
        frame: PairFrame,
        *,
        overlap: int,
        batch_rows: int,
        n_widths: int | None = None,  # see `RaggedRows`
    ) -> None:
        self.questions, self.frame, self.pad_id = questions, frame, tokenizer.pad_id
        self._asked = [ids for ids, _ in _encoded([question.question.strip() for question in questions], tokenizer)]
        texts = list(dict.fromkeys(question.context for question in questions))  # many are asked about one
        number = {context: i for i, context in enumerate(texts)}
        self._contexts = list(_encoded(texts, tokenizer))
        self._context_of = [number[question.context] for question in questions]
        self._windows: list[_Window] = []
        for i, question in enumerate(questions):
            room = seq_len - len(frame) - len(self._asked[i])
            self._windows += self._cut(i, question, room, overlap)
        self.question_of: Ints = np.array([window.question for window in self._windows], np.int64)
        super().__init__(np.array([self._length(window) for window in self._windows]), batch_rows, n_widths=n_widths)

    def _length(self, window: _Window) -> int:
        return len(self.frame) + len(self._asked[window.question]) + window.stop - window.start

    def _cut(self, i: int, question: Question, room: int, overlap: int) -> Iterator[_Window]:
        ids, spans = self._contexts[self._context_of[i]]
        if room < min(2, len(ids)):
            raise UserError(
                f"{question.where}: a question of {len(self._asked[i])} tokens",
                "question and context stand in one row, and only the context may be cut",
                f"give train.seq_len= (evaluate: evals.seq_len=) {4 * len(self._asked[i])} or more, as far as the "
                "model goes, or shorten the question",
            )
        answer = self._answer(question, spans)
        step = room - min(overlap, room // 2)
        for start in range(0, max(1, len(ids) - room + step), step):
            stop = min(start + room, len(ids))
            inside = answer is not None and start <= answer[0] and answer[1] < stop
            yield _Window(i, start, stop, answer if inside else None)

    def _answer(self, question: Question, spans: Ints) -> tuple[int, int] | None:
        """First and last token of the first answer: all that share a character with it."""
        if not question.answers:
            return None
        answer = question.answers[0]
        first = int(np.searchsorted(spans[:, 1], answer.start, side="right"))
        last = int(np.searchsorted(spans[:, 0], answer.end)) - 1
        if first > last:
            raise UserError(
                f"{question.where}: of the answer {answer.text!r} the tokenizer leaves nothing",
                "an answer has a token at least",
                "correct or remove the question",
            )
        return first, last

    def batch(self, index: np.ndarray, epoch: np.ndarray | None = None) -> Batch:
        """The rows `index` (N,): tokens and, for a model that has them, segments (N, T); lengths and rows (N,).

        context (N, 2): where the context begins in the row and where it is over. span (N, 2): the first and last token
        of the answer, or twice the token that stands for none; null (N,): that token.
        """
        windows = [self._windows[i] for i in index]
        asked = np.array([len(self._asked[window.question]) for window in windows])
        sizes = np.array([window.stop - window.start for window in windows])
        begins = len(self.frame.before) + asked + len(self.frame.between)
        lengths = self.lengths[index]
        null = lengths - 1 if self.frame.null_last else np.zeros_like(lengths)
        span = np.stack([null, null], 1)
        for row, window in enumerate(windows):
            if window.answer is not None:
                span[row] = begins[row] + np.array(window.answer) - window.start
        batch = {
            "tokens": self.padded([self._tokens(window) for window in windows], self.pad_id),
            "lengths": lengths,
            "context": np.stack([begins, begins + sizes], 1),
            "span": span,
            "null": null,
            "rows": np.asarray(index),
        }
        if any(map(np.any, self.frame.segments)):
            kinds = [self.frame.kinds(n, size) for n, size in zip(asked.tolist(), sizes.tolist(), strict=True)]
            batch["segments"] = self.padded(kinds, 0)
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def _tokens(self, window: _Window) -> Ints:
        context, _ = self._contexts[self._context_of[window.question]]
        return self.frame.tokens(self._asked[window.question], context[window.start : window.stop])

    def text(self, row: int, first: int, last: int) -> str:
        """What stands in the context from token `first` to token `last` of a row, without space around it."""
        window = self._windows[row]
        shift = window.start - len(self.frame.before) - len(self._asked[window.question]) - len(self.frame.between)
        spans = self._contexts[self._context_of[window.question]][1]
        return self.questions[window.question].context[spans[first + shift, 0] : spans[last + shift, 1]].strip()

    @property
    def n_without_answer(self) -> int:
        """Rows of questions that have an answer, which is not in the row."""
        return sum(w.answer is None and bool(self.questions[w.question].answers) for w in self._windows)

    def longer_answers(self, most: int) -> int:
        """Questions whose first answer has more than so many tokens."""
        found = {w.question: w.answer for w in self._windows if w.answer is not None}
        return sum(last - first >= most for first, last in found.values())

    def batches(self, batch_rows: int) -> ContextBatches:
        """Every row once, for evaluation."""
        return ContextBatches(self, batch_rows)


class ContextBatches(Sequence[Batch]):
    """All rows in batches, rows of like length together."""

    def __init__(self, rows: ContextRows, batch_rows: int) -> None:
        self.rows, self.n_rows = rows, len(rows)
        order = np.argsort(rows.lengths, kind="stable")
        self.parts = [order[start : start + batch_rows] for start in range(0, len(order), batch_rows)]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> Batch:  # type: ignore[override]  # slices are not needed
        return self.rows.batch(self.parts[number])


def _encoded(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[tuple[Ints, Ints]]:
    """Ids (n,) of each text, and the characters (n, 2) that each stands for, from and to.

    Both columns ascend. Tokens that are parts of one character all stand for the whole of it; whether the blank before
    a word belongs to its token depends on the tokenizer.
    """
    for start in range(0, len(texts), _AT_ONCE):
        for text, encoding in zip(
            texts[start : start + _AT_ONCE],
            tokenizer.backend.encode_batch(list(texts[start : start + _AT_ONCE]), add_special_tokens=False),
            strict=True,
        ):
            ids, offsets = encoding.ids, encoding.offsets
            yield np.array(ids, np.int64), np.maximum.accumulate(np.array(offsets, np.int64).reshape(-1, 2))
