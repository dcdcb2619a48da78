"""Text from a language model: many prompts at once, each row for itself."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import Tensor

from bigtrain.errors import UserError
from bigtrain.generation.cache import KVCache
from bigtrain.generation.sampling import Sampling, choose, penalised
from bigtrain.generation.stream import TextStream
from bigtrain.models.base import Model, generator_for
from bigtrain.tokenizer import Tokenizer

_TOGETHER = 8192  # tokens of prompts, filled up to the longest of them, that are read in one pass


class StoppedBy(StrEnum):
    """Why a completion ended."""

    eos = "eos"  # the token that ends a document was drawn; it is not part of the completion
    stop = "stop"  # a stop string was written; the text ends before it
    max_new_tokens = "max_new_tokens"
    max_seq_len = "max_seq_len"  # the model has no positions beyond


@dataclass(frozen=True)
class Completion:
    """What followed a prompt."""

    tokens: list[int]
    text: str
    stopped_by: StoppedBy
    logprobs: list[float] | None = None  # of each token, as the model has it: before temperature and penalties


@dataclass(frozen=True)
class Request:
    """A prompt to be continued; what is drawn depends on the seed, the number and the copy, not on the other rows."""

    prompt: Sequence[int]
    number: int
    copy: int = 0


@dataclass(frozen=True)
class Writing:
    """How text is written."""

    max_new_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    stop: Sequence[str] = ()
    logprobs: bool = False
    batch_size: int = 16
    eos_ids: Collection[int] = ()  # that end a text besides the tokenizer's own


@dataclass
class _Row:
    """A completion in the making."""

    request: Request
    n_tokens: int  # at most
    stopped_by: StoppedBy  # when it gets that far
    generator: torch.Generator
    stream: TextStream | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


def generate(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    tokenizer: Tokenizer,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> list[Completion]:
    """Continue each prompt until it ends, has `max_new_tokens` more, or fills `max_seq_len`: see `write`."""
    requests = [Request(prompt, number) for number, prompt in enumerate(prompts)]
    writing = Writing(max_new_tokens, sampling or Sampling(), seed)
    done = {request.number: completion for request, completion in write(model, requests, tokenizer, writing)}
    return [done[number] for number in range(len(prompts))]


def write(
    model: Model,
    requests: Sequence[Request],
    tokenizer: Tokenizer,
    writing: Writing,
    *,
    on_text: Callable[[Request, str], None] | None = None,
) -> Iterator[tuple[Request, Completion]]:
    """Completions in the order in which they are done.

    `batch_size` rows are computed together; where one ends, the next prompt takes its place at once, the longest first
    (Yu et al. 2022, Orca: iteration-level scheduling). Each row draws from a generator of its own, so its text does not
    depend on the others, but where two tokens are equally likely up to rounding: products of another number of rows
    are rounded differently. Only the tokenizer's ids are drawn, never the rows that pad the embedding. Compiled
    blocks run as they are written: one compilation for every length of the cache would cost more than it gives.
    on_text: is told the text of each row as it comes, whole characters only.
    Raises UserError for a classifier, an empty prompt, one that is longer than the model's `max_seq_len`, and a model
    whose logits are not finite behind a prompt.
    """
    for request in requests:
        check_prompt(model, request.prompt)
    if not requests:
        return
    batch = _Batch(model, requests, tokenizer, writing, on_text)
    waiting = deque(sorted(requests, key=lambda request: len(request.prompt), reverse=True))
    while waiting or batch.rows:
        with torch.inference_mode(), as_written():
            while waiting and (room := writing.batch_size - len(batch.rows)):
                batch.begin(_similar(waiting, room))
            if batch.rows and not batch.done:
                batch.step()
        yield from batch.done
        batch.done.clear()


def check_prompt(model: Model, prompt: Sequence[int]) -> None:
    """Raises UserError where there is nothing to continue, or no position left to do so."""
    if not model.output.language:
        raise UserError("text from a classifier", "its head gives labels, not tokens", "name a language model")
    if not model.causal:
        rule = "it sees the words on both sides of a gap, and does not continue a text"
        raise UserError("text from a masked language model", rule, "name a causal one")
    if not prompt:
        raise UserError("an empty prompt", "there must be a token to continue", "give some text")
    longest = model.config.max_seq_len
    if len(prompt) > longest:
        raise UserError(
            f"a prompt of {len(prompt)} tokens with model.max_seq_len={longest}",
            "the model has no positions for a longer one",
            f"shorten the prompt to {longest} tokens or less",
        )


def limit(model: Model, prompt: Sequence[int], max_new_tokens: int) -> tuple[int, StoppedBy]:
    """How many tokens may follow a prompt, and what sets that limit."""
    room = model.config.max_seq_len - len(prompt) + 1  # the last token drawn is not read again: it needs no position
    if max_new_tokens <= room:
        return max_new_tokens, StoppedBy.max_new_tokens
    return room, StoppedBy.max_seq_len


def require_finite(logits: Tensor) -> None:
    """Raises UserError for logits of a broken model: no token can be drawn with them, and none is the likeliest."""
    if not torch.isfinite(logits).all():
        raise UserError(
            "logits that are not finite",
            "a model gives every token a number: its weights hold one that is none, or is too large",
            "restore the weights, or name another checkpoint",
        )


def as_written() -> contextlib.AbstractContextManager[object]:
    """Nothing is compiled, which needs saying only where torch's compiler is loaded: importing it takes a second."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext()


def _similar(waiting: deque[Request], room: int) -> list[Request]:
    """The next prompts, as long as they are about as long: they are read together, filled up to the longest."""
    longest = len(waiting[0].prompt)
    taken: list[Request] = []
    while waiting and len(taken) < room and (len(taken) + 1) * longest <= max(_TOGETHER, longest):
        if 4 * len(waiting[0].prompt) < 3 * longest:
            break
        taken.append(waiting.popleft())
    return taken


class _Batch:
    """Rows that are computed together, row i of the cache being `rows[i]`."""

    def __init__(
        self,
        model: Model,
        requests: Sequence[Request],
        tokenizer: Tokenizer,
        writing: Writing,
        on_text: Callable[[Request, str], None] | None,
    ) -> None:
        self.model, self.tokenizer, self.writing, self.on_text = model, tokenizer, writing, on_text
        self.rows: list[_Row] = []
        self.done: list[tuple[Request, Completion]] = []
        self.device = next(model.parameters()).device
        self.ends = {*writing.eos_ids, *([] if tokenizer.eos_id is None else [tokenizer.eos_id])}
        capacity = max(len(r.prompt) + limit(model, r.prompt, writing.max_new_tokens)[0] - 1 for r in requests)
        self.cache = KVCache(model.config.n_layers, capacity, min(writing.batch_size, len(requests)))

    def begin(self, requests: list[Request]) -> None:
        """Read prompts, each that is there several times once, and draw the first token of each."""
        prompts = list(dict.fromkeys(tuple(request.prompt) for request in requests))
        source = [prompts.index(tuple(request.prompt)) for request in requests]
        lengths = [len(prompt) for prompt in prompts]
        tokens = torch.zeros(len(prompts), max(lengths), dtype=torch.int64)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        self.cache.begin([lengths[place] for place in source], source)
        hidden = self.model(tokens.to(self.device), cache=self.cache)  # (b, T, D)
        last = hidden[torch.arange(len(prompts)), torch.tensor(lengths) - 1]
        before = len(self.rows)
        self.rows += [self._row(request) for request in requests]
        logits = self._logits(last)
        require_finite(logits)
        self._draw(logits[source], before)

    def step(self) -> None:
        """One more token of every row."""
        tokens = torch.tensor([[row.tokens[-1]] for row in self.rows], device=self.device)
        hidden = self.model(tokens, cache=self.cache)  # (B, 1, D)
        self._draw(self._logits(hidden[:, -1]), 0)

    def _logits(self, hidden: Tensor) -> Tensor:
        return self.model.logits(hidden)[:, : self.tokenizer.vocab_size].float()

    def _row(self, request: Request) -> _Row:
        writing, name = self.writing, f"row {request.number}"
        generator = generator_for(writing.seed, name + (f", copy {request.copy}" if request.copy else ""))
        follows = self.on_text or writing.stop
        stream = TextStream(self.tokenizer, request.prompt, writing.stop) if follows else None
        return _Row(request, *limit(self.model, request.prompt, writing.max_new_tokens), generator, stream)

    def _draw(self, logits: Tensor, first: int) -> None:
        """A token of each row from `first` on, whose logits these are; rows that end make room."""
        rows, sampling = self.rows[first:], self.writing.sampling
        wanted = penalised(logits, sampling, [row.request.prompt for row in rows], [row.tokens for row in rows])
        chosen = choose(wanted, sampling, [row.generator for row in rows])
        logprobs: Sequence[float | None] = [None] * len(rows)
        if self.writing.logprobs:
            logprobs = logits.log_softmax(-1).gather(1, chosen.to(logits.device)[:, None])[:, 0].tolist()
        for row, token, logprob in zip(rows, chosen.tolist(), logprobs, strict=True):
            self._take(row, token, logprob)
        for place in reversed(range(first, len(self.rows))):
            if self.rows[place].n_tokens == 0:
                self.rows[place] = self.rows[-1]
                self.rows.pop()
                self.cache.drop(place)

    def _take(self, row: _Row, token: int, logprob: float | None) -> None:
        """Add a token to a row, and see whether that ends it: then `n_tokens` is 0."""
        ended: StoppedBy | None = None
        if token in self.ends:
            ended = StoppedBy.eos
        else:
            row.tokens.append(token)
            if logprob is not None:
                row.logprobs.append(logprob)
            if len(row.tokens) == row.n_tokens:
                ended = row.stopped_by
            if row.stream:
                row.stream.add(token)
                if ended:
                    row.stream.finish()
                ended = StoppedBy.stop if row.stream.stopped else ended
        if row.stream and ended is StoppedBy.eos:
            row.stream.finish()
        if row.stream and self.on_text and (text := row.stream.new(last=ended is not None)):
            self.on_text(row.request, text)
        if ended:
            row.n_tokens = 0
            text = row.stream.text if row.stream else TextStream(self.tokenizer, row.request.prompt).whole(row.tokens)
            logprobs = row.logprobs if self.writing.logprobs else None
            self.done.append((row.request, Completion(row.tokens, text, ended, logprobs)))
