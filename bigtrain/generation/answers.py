"""Answers that a language model writes itself, and how near they are to those that it should have written."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bigtrain.data.loader import Batch
from bigtrain.data.tasks.prompts import LossThenAnswers, PromptRows
from bigtrain.data.tasks.ragged import LikeLengths
from bigtrain.generation.generate import Request, StoppedBy, Writing, write
from bigtrain.generation.sampling import Sampling
from bigtrain.generation.stream import TextStream
from bigtrain.metrics.answers import exact_match
from bigtrain.metrics.text import bleu, chrf, mostly_chinese, require_sacrebleu, rouge_l
from bigtrain.models.base import Model
from bigtrain.objectives.causal import Causal
from bigtrain.tokenizer import Tokenizer

PROMPTS_AT_ONCE = 32


class Answers(Causal):
    """Next-token prediction, and at each evaluation the answers to prompts: the likeliest token, one after the other.

    The metrics compare them with the references, blanks around both left out. Where most characters of the references
    are Chinese, BLEU counts characters.
    """

    per_row = frozenset({"answers", "finished"})

    def __init__(
        self,
        prompts: PromptRows,
        tokenizer: Tokenizer,
        *,
        max_new_tokens: int,
        eos_ids: Collection[int],
        compile: bool = False,
    ) -> None:
        """eos_ids: tokens that end an answer besides the tokenizer's own. Raises UserError without sacrebleu."""
        super().__init__(compile=compile)
        require_sacrebleu()
        self.prompts, self.tokenizer, self.max_new_tokens, self.eos_ids = prompts, tokenizer, max_new_tokens, eos_ids
        self.references = [[prompt.answer] for prompt in prompts.prompts]
        chinese = mostly_chinese(prompt.answer for prompt in prompts.prompts)
        self.language: Literal["en", "zh"] = "zh" if chinese else "en"
        names = ("exact_match", "bleu", "chrf", "rouge_l")
        self.metric_names = (*self.metric_names, *names, "unfinished")
        self.higher_is_better = self.higher_is_better | set(names)

    def batches(self, packed: LikeLengths, prompts_at_once: int = PROMPTS_AT_ONCE) -> LossThenAnswers:
        """What is measured: the loss of packed conversations, and then the answers."""
        return LossThenAnswers(packed, self.prompts.batches(prompts_at_once))

    def statistics(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """Sums of `Causal`, of which prompts add nothing; of each prompt its answer, and whether that came to an end.

        answers: (N, max_new_tokens) ids with -1 behind them; finished: (N,) 0 or 1.
        """
        if "targets" in batch:
            none = batch["rows"]
            answers = none.new_empty(0, self.max_new_tokens)
            return {**super().statistics(model, batch), "answers": answers, "finished": none}
        nothing = torch.zeros((), dtype=torch.int64)
        answers, finished = self._answered(model, batch)
        sums = {"loss": torch.zeros(()), "weight": nothing, "correct": nothing}
        return {**sums, "answers": answers, "finished": finished}

    def _answered(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is written to each prompt; to one that the model has no positions for, nothing."""
        prompts = [
            row[:length].tolist() for row, length in zip(batch["tokens"], batch["lengths"].tolist(), strict=True)
        ]
        answers = torch.full((len(prompts), self.max_new_tokens), -1)
        finished = torch.zeros(len(prompts), dtype=torch.int64)
        longest = model.config.max_seq_len
        requests = [Request(prompt, row) for row, prompt in enumerate(prompts) if len(prompt) <= longest]
        writing = Writing(self.max_new_tokens, Sampling(temperature=0), batch_size=len(prompts), eos_ids=self.eos_ids)
        for request, completion in write(model, requests, self.tokenizer, writing):
            ids = torch.tensor(completion.tokens, dtype=torch.int64)
            answers[request.number, : len(ids)] = ids
            finished[request.number] = completion.stopped_by is StoppedBy.eos
        return answers, finished

    def metrics(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Those of the loss; `exact_match`, `bleu`, `chrf`, `rouge_l`; the share of answers that came to no end."""
        texts = self.texts(sums)
        return {
            **super().metrics(sums),
            "exact_match": exact_match(texts, self.references),
            "bleu": bleu(texts, self.references, self.language),
            "chrf": chrf(texts, self.references),
            "rouge_l": rouge_l(texts, self.references),
            "unfinished": 1 - float(sums["finished"].mean()),
        }

    def texts(self, sums: dict[str, np.ndarray]) -> list[str]:
        """The answers as text, without the blanks around them."""
        rows = zip(self.prompts.prompts, sums["answers"].astype(np.int64), strict=True)
        return [TextStream(self.tokenizer, prompt.ids).whole(ids[ids >= 0].tolist()).strip() for prompt, ids in rows]
