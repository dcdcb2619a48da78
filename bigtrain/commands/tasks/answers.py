"""The last answers of conversations, written by the model: for `finetune` while it learns, and for `evaluate`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bigtrain.data.tasks.conversations import Conversation, prompts_of
from bigtrain.data.tasks.prompts import Prompt, PromptRows
from bigtrain.evaluation.task_report import answers_section
from bigtrain.generation.answers import Answers
from bigtrain.generation.chat import Chat
from bigtrain.log import log
from bigtrain.metrics.answers import exact_match
from bigtrain.metrics.text import chrf, rouge_l

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bigtrain.models.base import ModelConfig
    from bigtrain.tokenizer import Tokenizer


def answering(
    conversations: Sequence[Conversation],
    chat: Chat,
    tokenizer: Tokenizer,
    config: ModelConfig,
    *,
    max_new_tokens: int,
    eos_ids: Collection[int],
    compile: bool = False,
) -> Answers:
    """What stands before the last answer of each conversation, as prompts. Raises UserError without sacrebleu.

    eos_ids: tokens that end an answer besides the template's.
    """
    end = tokenizer.backend.token_to_id(chat.end_of_answer())
    assert end is not None  # the marks of a template are tokens
    prompts = [
        Prompt(chat.encode(one.messages[:-1], one.where), text, one.messages[-1]["content"].strip(), one.where)
        for one, text in zip(conversations, prompts_of(conversations), strict=True)
    ]
    if n_long := sum(len(prompt.ids) > config.max_seq_len for prompt in prompts):
        said = "%d of %d prompts are longer than %d tokens, the model's max_seq_len: nothing is answered to them"
        log.warning(said, n_long, len(prompts), config.max_seq_len)
    wanted = tokenizer.encode_documents([prompt.answer for prompt in prompts])
    if n_long := sum(len(ids) > max_new_tokens for ids in wanted):
        said = "%d of %d answers of the data are longer than the %d tokens that are written (max_new_tokens)"
        log.warning(said, n_long, len(prompts), max_new_tokens)
    rows = PromptRows(prompts, tokenizer.pad_id)
    return Answers(rows, tokenizer, max_new_tokens=max_new_tokens, eos_ids={*eos_ids, end}, compile=compile)


class AnswersReport:
    """What was written, row by row."""

    def __init__(self, objective: Answers) -> None:
        self.objective = objective

    def predictions(self, sums: dict[str, NDArray[Any]]) -> Iterator[dict[str, Any]]:
        """Prompt, answer of the data, what was written, whether that came to an end, and scores of the row alone."""
        rows = zip(self.objective.prompts.prompts, self.objective.texts(sums), sums["finished"], strict=True)
        for prompt, text, finished in rows:
            pair = [text], [[prompt.answer]]
            yield {
                "prompt": prompt.text,
                "answer": prompt.answer,
                "generated": text,
                "finished": bool(finished),
                "exact_match": exact_match(*pair),
                "chrf": round(chrf(*pair), 6),
                "rouge_l": round(rouge_l(*pair), 6),
            }

    def sections(self, sums: dict[str, NDArray[Any]]) -> list[str]:
        """Some of the rows, from the worst to the best."""
        where = [prompt.where for prompt in self.objective.prompts.prompts]
        return [answers_section([{**row, "where": at} for row, at in zip(self.predictions(sums), where, strict=True)])]
