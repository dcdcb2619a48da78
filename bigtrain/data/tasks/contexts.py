"""Questions with their contexts as rows of tokens: a long context becomes several windows that overlap."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bigtrain.data.loader import Batch
from bigtrain.data.tasks.encoding import PairFrame
from bigtrain.data.tasks.questions import Question
from bigtrain.data.tasks.ragged import RaggedRows
from bigtrain.errors import UserError
from bigtrain.tokenizer import Ids, Tokenizer

Ints = NDArray[np.int64]
_AT_ONCE = 1024  # texts
_CORRECT = "correct or remove the question"


def encoder_frame(tokenizer: Tokenizer) -> PairFrame:
    """What an encoder reads around a question and its context. Raises UserError where the tokenizer has nothing."""
    frame = PairFrame.of(tokenizer)
    if frame is None or not len(frame.before):
        raise UserError(
            "objective=span with an encoder whose tokenizer puts nothing before a text",
            "the first token stands for no answer: [CLS] of BERT, <s> of RoBERTa",
            "give the tokenizer these tokens, or start from another encoder",
        )
    return frame


def decoder_frame(tokenizer: Tokenizer) -> PairFrame:
    """Before the question what begins a document, a line break after it, and last the token that ends a document.

    That one stands for no answer: a row's first token has seen nothing, its last token of text may be an answer's.
    Raises UserError where the tokenizer has no such token.
    """
    if tokenizer.eos_id is None:
        raise UserError(
            "objective=span with a decoder whose tokenizer has no token that ends a document",
            "that token stands for no answer",
            "name it as eos_token in tokenizer_config.json, or start from an encoder",
        )
    parts = tokenizer.begin_ids, tokenizer.encode("\n"), [tokenizer.eos_id]
    before, between, after = (np.array(ids, np.int64) for ids in parts)
    segments = np.zeros_like(before), np.zeros_like(between), np.zeros_like(after)
    return PairFrame(before, between, after, segments=segments, of_texts=(0, 0))


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

    null_last: whether the row's last token stands for no answer, else its first.

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
        null_last: bool = False,
        segments: bool = True,  # whether the model has more than one
        batch_rows: int = 1,  # of the global batch of training
    ) -> None:
        self.questions, self.frame, self.pad_id = questions, frame, tokenizer.pad_id
        self.null_last, self.segments = null_last, segments
        self._asked = [ids for ids, _ in _encoded([question.question.strip() for question in questions], tokenizer)]
        texts = list(dict.fromkeys(question.context for question in questions))  # many are asked about one
        number = {context: i for i, context in enumerate(texts)}
        self._contexts = list(_encoded(texts, tokenizer))
        self._context_of = [number[question.context] for question in questions]
        self._windows: list[_Window] = []
        for i, question in enumerate(questions):
            self._windows += self._cut(i, question, seq_len - frame.size - len(self._asked[i]), overlap)
        self.question_of: Ints = np.array([window.question for window in self._windows], np.int64)
        lengths = np.array([self._begin(window) + window.stop - window.start for window in self._windows])
        lengths += len(frame.after)
        super().__init__(lengths, batch_rows)

    def _begin(self, window: _Window) -> int:
        """Where the context begins in the row."""
        return len(self.frame.before) + len(self._asked[window.question]) + len(self.frame.between)

    def _cut(self, i: int, question: Question, room: int, overlap: int) -> Iterator[_Window]:
        ids, spans = self._contexts[self._context_of[i]]
        if not len(ids):
            rule = "answers are made of the tokens of the context"
            raise UserError(f"{question.where}: a context of which the tokenizer leaves nothing", rule, _CORRECT)
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
                _CORRECT,
            )
        return first, last

    def batch(self, index: np.ndarray, epoch: np.ndarray | None = None) -> Batch:
        """The rows `index` (N,): tokens and, for a model that has them, segments (N, T); lengths and rows (N,).

        context (N, 2): where the context begins in the row and where it is over. span (N, 2): the first and last token
        of the answer, or twice the token that stands for none; null (N,): that token.
        """
        windows = [self._windows[i] for i in index]
        framed = [self._framed(window) for window in windows]
        begins = np.array([self._begin(window) for window in windows])
        sizes = np.array([window.stop - window.start for window in windows])
        lengths = self.lengths[index]
        null = lengths - 1 if self.null_last else np.zeros_like(lengths)
        span = np.stack([null, null], 1)
        for row, window in enumerate(windows):
            if window.answer is not None:
                span[row] = begins[row] + np.array(window.answer) - window.start
        batch = {
            "tokens": self.padded([ids for ids, _ in framed], self.pad_id),
            "lengths": lengths,
            "context": np.stack([begins, begins + sizes], 1),
            "span": span,
            "null": null,
            "rows": np.asarray(index),
        }
        if self.segments:
            batch["segments"] = self.padded([kinds for _, kinds in framed], 0)
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def _framed(self, window: _Window) -> tuple[Ints, Ints]:
        """Ids and segments of a row."""
        context, _ = self._contexts[self._context_of[window.question]]
        return self.frame.around(self._asked[window.question], context[window.start : window.stop])

    def text(self, row: int, first: int, last: int) -> str:
        """What stands in the context from token `first` to token `last` of a row, without space around it."""
        window = self._windows[row]
        shift = window.start - self._begin(window)
        spans = self._contexts[self._context_of[window.question]][1]
        return self.questions[window.question].context[spans[first + shift, 0] : spans[last + shift, 1]].strip()

    def out_of_reach(self, most: int) -> int:
        """Questions whose first answer has more than `most` tokens, or is cut by every window."""
        found = {w.question for w in self._windows if w.answer is not None and w.answer[1] - w.answer[0] < most}
        return sum(bool(question.answers) for question in self.questions) - len(found)


def _encoded(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[tuple[Ids, Ints]]:
    """Ids (n,) of each text, as `Tokenizer.encode` gives them, and the characters (n, 2) each stands for, from and to.

    Both columns ascend. Tokens that are parts of one character all stand for the whole of it; whether the blank before
    a word belongs to its token depends on the tokenizer.
    """
    named = [token["content"] for token in tokenizer.spec["added_tokens"] if token["special"]]
    special = re.compile("|".join(map(re.escape, named)) or r"(?!)")
    for start in range(0, len(texts), _AT_ONCE):
        some = list(texts[start : start + _AT_ONCE])
        encodings = tokenizer.backend.encode_batch(some, add_special_tokens=False)
        for text, encoding in zip(some, encodings, strict=True):
            ids, spans = encoding.ids, encoding.offsets
            if special.search(text) and ids != tokenizer.encode(text):
                ids, spans = _in_pieces(text, special, tokenizer)
            yield np.array(ids, np.uint32), np.maximum.accumulate(np.array(spans, np.int64).reshape(-1, 2))


def _in_pieces(text: str, special: re.Pattern[str], tokenizer: Tokenizer) -> tuple[list[int], list[tuple[int, int]]]:
    """Where a model itself (Unigram) knows a special token as a piece of text, it must not see the whole of it."""
    cuts = {cut for match in special.finditer(text) for cut in (match.start(), match.start() + 1)}
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    for begin, end in itertools.pairwise(sorted({0, *cuts, len(text)})):
        piece = tokenizer.backend.encode(text[begin:end], add_special_tokens=False)
        ids += piece.ids
        spans += [(begin + start, begin + stop) for start, stop in piece.offsets]
    return ids, spans
