"""Where in its context the answer to a question begins and ends.

Devlin et al. 2019, "BERT" (arXiv 1810.04805), section 4.2 and 4.3; the choice among windows is that of transformers'
run_qa example. Shapes in comments: N rows, T tokens, A tokens of the longest answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bigtrain.data.loader import Batch
from bigtrain.data.tasks.contexts import ContextRows
from bigtrain.data.tasks.questions import Question
from bigtrain.metrics.answers import squad_scores
from bigtrain.metrics.text import mostly_chinese
from bigtrain.models.base import Model
from bigtrain.objectives.base import hidden_states

DEFAULT_THRESHOLD = 0.5  # of the probability that there is no answer


def span_logits(model: Model, batch: Batch, keys: Tensor | None = None) -> Tensor:
    """(N, T, 2), fp32: of each token, that the answer begins or ends there, as transformers' ForQuestionAnswering.

    Padding has minus infinity.
    """
    logits = model.logits(hidden_states(model, batch, keys)).float()
    padding = torch.arange(logits.shape[1], device=logits.device) >= batch["lengths"][:, None]
    return logits.masked_fill(padding[..., None], -torch.inf)


def best_spans(logits: Tensor, context: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """First and last token and score, (N,) each, of the best pair of logits (N, T, 2), their sum, inside a context.

    context: (N, 2), its first token and the one after its last. most: tokens of an answer. Of equal ones the first.
    """
    most = min(most, logits.shape[1])
    place = torch.arange(logits.shape[1], device=logits.device)
    inside = (place >= context[:, :1]) & (place < context[:, 1:])
    start, end = logits.masked_fill(~inside[..., None], -torch.inf).unbind(-1)  # (N, T)
    ends = F.pad(end, (0, most - 1), value=-torch.inf).unfold(1, most, 1)  # (N, T, A)
    score, flat = (start[..., None] + ends).flatten(1).max(1)
    first = flat // most
    return first, first + flat % most, score


class Found(NamedTuple):
    """What a model says to a question."""

    row: int  # the window with the best answer
    first: int
    last: int
    text: str
    score: float  # logits of its first and last token, added
    null_score: float  # those of the token that stands for no answer, in the window where they are lowest
    confidence: float  # probability of the answer in its window
    null_confidence: float  # probability in its window that there is none

    @property
    def no_answer(self) -> float:
        """Probability of no answer, against the best one."""
        return float(1 / (1 + np.exp(np.clip(self.score - self.null_score, -700, 700))))


class Span:
    """Predict the first and the last token of the answer."""

    per_row = frozenset({"spans"})

    def __init__(
        self,
        rows: ContextRows | None,
        max_answer_tokens: int = 30,
        *,
        threshold: float | None = None,
        tuned: Callable[[float], None] | None = None,
    ) -> None:
        """rows: what is measured. threshold: no answer is given from this probability of `Found.no_answer` on.

        Without a threshold each evaluation finds the best and tells `tuned`, where the rows have questions without an
        answer; where they have none, every question gets an answer.
        """
        self.rows, self.max_answer_tokens, self.threshold, self.tuned = rows, max_answer_tokens, threshold, tuned
        questions = rows.questions if rows else ()
        self.references = [question.references for question in questions]
        self.language: Literal["en", "zh"] = "zh" if is_chinese(questions) else "en"
        self.unanswerable = not all(self.references)
        parts = ("answerable_f1", "unanswerable_accuracy") if self.unanswerable and any(self.references) else ()
        names = ("exact_match", "f1", *parts)
        self.metric_names: tuple[str, ...] = ("loss", *names, *(("threshold",) if self.unanswerable else ()))
        self.higher_is_better = frozenset(names)

    def weight(self, batch: Batch) -> float:
        """Rows."""
        return float(len(batch["span"]))

    def __call__(self, model: Model, batch: Batch) -> Tensor:
        """Cross entropy in nats of the first and of the last token, their mean."""
        return self._loss(span_logits(model, batch, batch.get("keys")), batch)

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch["span"], reduction="sum") / 2

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Nats and rows; of each row first, last, score, null score, and what makes probabilities of scores (N, 5)."""
        logits = span_logits(model, batch)
        first, last, score = best_spans(logits, batch["context"], self.max_answer_tokens)
        null = logits[torch.arange(len(logits), device=logits.device), batch["null"]].sum(-1)
        columns = (first, last, score, null, logits.logsumexp(1).sum(-1))
        return {
            "loss": self._loss(logits, batch),
            "weight": torch.tensor(len(logits)),
            "spans": torch.stack([column.double() for column in columns], 1),
        }

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """The mean loss; exact match and F1 as the official scripts compute them; the threshold that was used."""
        found = self.found(sums)
        threshold = self.threshold
        if threshold is None and self.unanswerable:
            threshold = self._best_threshold(found)
            if self.tuned:
                self.tuned(threshold)
        answers = self.answers(found, threshold)
        measured = squad_scores(answers, self.references, self.language)
        if "answerable_f1" in self.metric_names:
            pairs = list(zip(answers, self.references, strict=True))
            f1 = [self._f1(answer, references) for answer, references in pairs if references]
            silent = [not answer for answer, references in pairs if not references]
            measured |= {"answerable_f1": sum(f1) / len(f1), "unanswerable_accuracy": sum(silent) / len(silent)}
        if self.unanswerable:
            assert threshold is not None
            measured["threshold"] = threshold
        return {"loss": float(sums["loss"] / sums["weight"]), **measured}

    def found(self, sums: dict[str, np.ndarray]) -> list[Found]:
        """The best answer to each question in any of its windows."""
        assert self.rows is not None
        spans, question_of = sums["spans"], self.rows.question_of
        # Windows of one question follow each other.
        parts = np.split(np.arange(len(spans)), np.flatnonzero(np.diff(question_of)) + 1)
        return [self._best(part, spans) for part in parts]

    def _best(self, part: NDArray[np.int64], spans: NDArray[np.float64]) -> Found:
        assert self.rows is not None
        row, null_row = part[spans[part, 2].argmax()], part[spans[part, 3].argmin()]
        first, last, score, _, normaliser = spans[row].tolist()
        null_score, null_normaliser = spans[null_row, 3:].tolist()
        text = self.rows.text(int(row), int(first), int(last))
        confidence, null_confidence = np.exp(score - normaliser), np.exp(null_score - null_normaliser)
        place = (int(row), int(first), int(last), text)
        return Found(*place, score, null_score, float(confidence), float(null_confidence))

    def answers(self, found: Sequence[Found], threshold: float | None = None) -> list[str]:
        """The texts; empty where no answer is given."""
        return ["" if threshold is not None and one.no_answer >= threshold else one.text for one in found]

    def _best_threshold(self, found: Sequence[Found]) -> float:
        """The threshold with the best F1, between two questions' probabilities; of equal ones the largest."""
        no_answer = np.array([one.no_answer for one in found])
        answered = np.array([self._f1(one.text, given) for one, given in zip(found, self.references, strict=True)])
        silent = np.array([not given for given in self.references], float)
        order = np.argsort(no_answer, kind="stable")
        ordered = no_answer[order]
        # With the first n answered, for n from none to all.
        f1 = np.concatenate([[0], np.cumsum((answered - silent)[order])])
        bounds = np.concatenate([[0.0], (ordered[1:] + ordered[:-1]) / 2, [1.0]])
        possible = np.concatenate([[True], ordered[1:] > ordered[:-1], [ordered[-1] < 1]])
        f1[~possible] = -np.inf
        return float(bounds[len(f1) - 1 - f1[::-1].argmax()])

    def _f1(self, text: str, references: list[str]) -> float:
        return squad_scores([text], [references], self.language)["f1"]


def is_chinese(questions: Sequence[Question]) -> bool:
    """Whether answers are compared as CMRC does."""
    return mostly_chinese(answer.text for question in questions for answer in question.answers)
