"""Beam search: the likeliest texts that a search over so many unfinished ones at a time finds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import torch

from bigtrain.generation.cache import KVCache
from bigtrain.generation.generate import Completion, StoppedBy, as_written, check_prompt, limit, require_finite
from bigtrain.generation.sampling import Sampling, penalised
from bigtrain.generation.stream import TextStream
from bigtrain.models.base import Model
from bigtrain.tokenizer import Tokenizer

_NEVER = -1e9  # the score of what is not to be continued


@dataclass(frozen=True)
class _Beam:
    """A text so far, the sum of its log-probabilities, and each of them."""

    score: float
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Ended:
    """A finished text and its log-probability per token, the one that ends it counted."""

    score: float
    beam: _Beam
    stopped_by: StoppedBy


def search(
    model: Model,
    prompt: Sequence[int],
    tokenizer: Tokenizer,
    *,
    beams: int,
    n: int,
    max_new_tokens: int,
    logprobs: bool = False,
    eos_ids: Collection[int] = (),
    stop: Sequence[str] = (),
    sampling: Sampling | None = None,
) -> list[Completion]:
    """The n best of `beams` completions, by log-probability per token, less the penalties of `sampling`.

    As transformers' `generate` has it with length_penalty=1 and early_stopping=False: a text is finished where an end
    is among the `beams` likeliest continuations of all; the search ends when the best unfinished one is no better per
    token than the worst of `beams` finished ones. A stop text ends a text as a token does. Penalties are taken from
    log-probabilities, as there. Raises UserError, see `generate.check_prompt`.
    """
    check_prompt(model, prompt)
    n_tokens, full = limit(model, prompt, max_new_tokens)
    ends = {*eos_ids, *([] if tokenizer.eos_id is None else [tokenizer.eos_id])}
    cache = KVCache(model.config.n_layers, len(prompt) + n_tokens - 1, beams)
    device = next(model.parameters()).device
    running = [_Beam(0.0), *(_Beam(_NEVER) for _ in range(beams - 1))]  # all but one would only repeat it
    ended: list[_Ended] = []
    tokens = torch.tensor([list(prompt)], device=device)
    cache.begin([len(prompt)] * beams, [0] * beams)
    with torch.inference_mode(), as_written():
        for length in range(1, n_tokens + 1):
            hidden = model(tokens, cache=cache)[:, -1]  # (1, D) of the prompt, then (beams, D)
            logits = model.logits(hidden)[:, : tokenizer.vocab_size].float()
            if length == 1:
                require_finite(logits)
            scores = logits.log_softmax(-1)
            written = [beam.tokens for beam in running[: len(scores)]]
            wanted = penalised(scores, sampling or Sampling(), [prompt] * len(written), written)
            n_best = max(2, 1 + len(ends)) * beams
            candidates = _candidates(running, wanted.expand(beams, -1), n_best, scores.expand(beams, -1))
            unfinished: list[tuple[int, _Beam]] = []
            for place, (parent, beam) in enumerate(candidates):
                end = StoppedBy.eos if beam.tokens[-1] in ends else None
                if not end and stop and _stopped(beam, tokenizer, prompt, stop):
                    end = StoppedBy.stop
                if not end and length < n_tokens:
                    unfinished.append((parent, beam))
                elif place < beams:
                    ended.append(_Ended(beam.score / length, beam, end or full))
            ended = sorted(ended, key=lambda end: -end.score)[:beams]
            if not unfinished or (
                len(ended) == beams and unfinished[0][1].score / length <= min(end.score for end in ended)
            ):
                break
            while len(unfinished) < beams:  # so many texts have ended
                unfinished.append((unfinished[0][0], replace(unfinished[0][1], score=_NEVER)))
            running = [beam for _, beam in unfinished[:beams]]
            cache.reorder([parent for parent, _ in unfinished[:beams]])
            tokens = torch.tensor([[beam.tokens[-1]] for beam in running], device=device)
    return [_completion(end, tokenizer, prompt, stop, logprobs=logprobs) for end in ended[:n]]


def _candidates(running: list[_Beam], scores: torch.Tensor, n: int, logprobs: torch.Tensor) -> list[tuple[int, _Beam]]:
    """The n best continuations by one token of all beams, best first, each with the place of its beam.

    scores: (B, V) of the tokens; logprobs: the same without penalties.
    """
    vocab_size = scores.shape[1]
    sums = (scores + torch.tensor([[beam.score] for beam in running], device=scores.device)).flatten()
    best = sums.topk(min(n, len(sums)))
    found = []
    for score, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        parent, token = divmod(place, vocab_size)
        beam = running[parent]
        logprob = float(logprobs[parent, token])
        found.append((parent, _Beam(score, [*beam.tokens, token], [*beam.logprobs, logprob])))
    return found


def _stopped(beam: _Beam, tokenizer: Tokenizer, prompt: Sequence[int], stop: Sequence[str]) -> bool:
    stream = TextStream(tokenizer, prompt, stop)
    stream.whole(beam.tokens)
    return stream.stopped


def _completion(
    end: _Ended, tokenizer: Tokenizer, prompt: Sequence[int], stop: Sequence[str], *, logprobs: bool
) -> Completion:
    n_tokens = len(end.beam.tokens) - (end.stopped_by is StoppedBy.eos)
    tokens = end.beam.tokens[:n_tokens]
    text = TextStream(tokenizer, prompt, stop).whole(tokens)
    return Completion(tokens, text, end.stopped_by, end.beam.logprobs[:n_tokens] if logprobs else None)
