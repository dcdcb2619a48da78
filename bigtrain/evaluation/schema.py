"""Config of evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from bigtrain.errors import UserError
from bigtrain.options import option


@dataclass
class EvalsConfig:
    """How a checkpoint is measured."""

    seq_len: int | None = option(None, "tokens of a window or row at most; null: the model's max_seq_len", at_least=1)
    stride: int | None = option(
        None, "tokens a window moves on; null: half a window, so that every token has context", at_least=1
    )
    max_tokens: int | None = option(None, "tokens (or rows of labelled data) measured; null: all", at_least=1)
    alone_tokens: int = option(
        2048, "tokens of a masked model's text that are hidden one at a time, for pseudo-perplexity", at_least=0
    )
    batch_rows: int | None = option(None, "windows or rows computed at once; null: about 8,192 tokens", at_least=1)
    answers: bool = option(False, "data.files are conversations: their answers are measured, and written anew")
    max_new_tokens: int = option(
        128, "with answers: tokens that the model writes to a prompt at most; 0: it writes none", at_least=0
    )
    pairs: bool = option(False, "data.files are pairs of a chosen and a rejected answer: which one is preferred")
    reference: str | None = option(
        None, "with pairs: the model that rewards are measured against; null: the one that the run started from"
    )
    beta: float | None = option(None, "with pairs: null: that of the run, else 0.1", above=0)
    overlap: int | None = option(
        None, "tokens that windows of a long context share (answers to questions); null: 128, or a quarter", at_least=0
    )
    max_answer_tokens: int = option(30, "tokens of an answer to a question at most", at_least=1)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if self.answers and self.pairs:
            rule = "a row of conversations holds one answer, a row of pairs two"
            raise UserError("evals.answers=true with evals.pairs=true", rule, "leave one of them out")
