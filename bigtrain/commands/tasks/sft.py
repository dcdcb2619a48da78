"""The answers of conversations: instructions, chats, translation, summaries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bigtrain.commands.tasks.answers import AnswersReport, answering
from bigtrain.commands.tasks.base import Measurement, Task, batch_rows, window_length
from bigtrain.commands.tasks.chats import Chatting, chatting, check_decoder, marked, refuse_labels
from bigtrain.commands.tasks.rows import (
    apart,
    check_rows,
    fingerprint,
    measured_files,
    rows_at_once,
    validation_file,
    warn_of_leaks,
)
from bigtrain.config import Loaded
from bigtrain.data.tasks.conversations import Conversation, prompts_of, read_conversations
from bigtrain.data.tasks.packed import PackedRows, fitted
from bigtrain.data.tasks.ragged import LikeLengths
from bigtrain.errors import UserError
from bigtrain.evaluation.evaluator import Batches, Part
from bigtrain.generation.answers import PROMPTS_AT_ONCE, Answers
from bigtrain.generation.chat import Chat
from bigtrain.log import log
from bigtrain.models.huggingface import ModelFolder
from bigtrain.models.huggingface_generation import ending_ids, inherited
from bigtrain.objectives.causal import Causal
from bigtrain.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig, FinetuneConfig


def sft_task(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's language model on the answers of conversations, packed into rows."""
    config: FinetuneConfig = loaded.config
    training, checked = _read_parts(loaded)
    found = chatting(loaded, folder)
    chat, tokenizer, seq_len = found.chat, found.tokenizer, found.seq_len
    n_rows = batch_rows(config.train, seq_len)
    given = f"data.train={config.data.train}"
    rows = _packed(training, chat, seq_len, tokenizer, config.seed, given, n_rows)
    validation = (
        _packed(checked, chat, seq_len, tokenizer, config.seed, "the validation conversations") if checked else None
    )
    before = None
    if placement.leads:
        said = "%d conversations in %d rows; %.1f %% of the tokens are padding in batches of %d rows"
        log.info(said, len(training), len(rows), 100 * rows.padding(config.seed, n_rows), n_rows)
        text, answers = chat.answers(training[0].messages, training[0].where)
        said = "the first as the model reads it (%s), answers in [[ ]]:\n%s"
        log.info(said, training[0].where, marked(text, answers))
        before = warn_of_leaks(_places(training), _places(checked), "prompts")
    objective = _objective(config, checked, found, folder)
    return Task(
        model=found.model,
        init_from=folder,
        objective=objective,
        rows=rows,
        validation=lambda rows: [Part(_measured(objective, validation.batches(rows)))] if validation else [],
        tokenizer=tokenizer,
        fingerprint=fingerprint(*([one.messages for one in part] for part in (training, checked))),
        seq_len=seq_len,
        batch_rows=n_rows,
        before=before,
        sections=AnswersReport(objective).sections if isinstance(objective, Answers) else None,
    )


def _objective(config: FinetuneConfig, checked: Sequence[Conversation], found: Chatting, folder: Path) -> Causal:
    """With `objective.eval_answers` the first so many validation conversations are answered at each evaluation."""
    n_answers, compiled = config.objective.eval_answers, config.device.compile
    if not n_answers:
        return Causal(compile=compiled)
    if not checked:
        raise UserError(
            f"objective.eval_answers={n_answers} without validation data",
            "what is answered is the prompts of validation conversations",
            "hold some out (data.validation_fraction=, data.validation=), or leave objective.eval_answers out",
        )
    return answering(
        checked[:n_answers],
        found.chat,
        found.tokenizer,
        found.model.config,
        max_new_tokens=config.objective.max_new_tokens,
        eos_ids=inherited(folder, found.tokenizer)["eos_token_id"],
        compile=compiled,
    )


def _places(conversations: Sequence[Conversation]) -> list[tuple[str, str]]:
    return [*zip(prompts_of(conversations), (one.where for one in conversations), strict=True)]


def _measured(objective: Causal, packed: LikeLengths) -> Batches:
    return objective.batches(packed) if isinstance(objective, Answers) else packed


def sft_measurement(loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> Measurement:
    """The answers of conversations in files, as in the run."""
    config: EvaluateConfig = loaded.config
    refuse_labels(loaded, "evals.answers=true")
    check_decoder(source, f"evals.answers=true with checkpoint={config.checkpoint}")
    answers = Path(config.data.answers) if config.data.answers else None
    conversations: list[Conversation] = []
    for path in measured_files(loaded, source):
        form, found = read_conversations(path, config.data, answers, config.data.columns)
        log.info("%s: %d conversations of the form %s", path, len(found), form)
        conversations += found
    if not conversations:
        raise UserError("evals.answers=true without data.files=", "there is something to measure", "name a file")
    seq_len = window_length(config, source)
    chat = Chat(tokenizer, config.checkpoint)
    asked = conversations[: config.evals.max_tokens]
    packed = _packed(asked, chat, seq_len, tokenizer, 0, "data.files=")
    batches, size = packed.batches(rows_at_once(config, seq_len)), {"rows": len(packed.conversations)}
    if not (most := config.evals.max_new_tokens):
        return Measurement(Causal(), batches, size)
    ends = ending_ids(source.folder)
    objective = answering(asked, chat, tokenizer, source.config, max_new_tokens=most, eos_ids=ends)
    report, size = AnswersReport(objective), {**size, "answers": len(asked)}
    measured = objective.batches(batches, config.evals.batch_rows or PROMPTS_AT_ONCE)
    return Measurement(objective, measured, size, report.predictions, report.sections, written=len(asked) * most)


def _read_parts(loaded: Loaded) -> tuple[list[Conversation], list[Conversation]]:
    """Training and validation conversations: of two files, or of one, of which a share is held out."""
    config: FinetuneConfig = loaded.config
    data = config.data
    check_rows(loaded)
    refuse_labels(loaded, "objective=sft")
    assert data.train
    training = _read(loaded, data.train, data.train_answers)
    if path := validation_file(loaded):
        return training, _read(loaded, path, data.validation_answers)
    return apart(loaded, training, prompts_of(training), "conversations", "prompts")


def _read(loaded: Loaded, path: str, answers: str | None) -> list[Conversation]:
    data = loaded.config.data
    form, found = read_conversations(Path(path), data, Path(answers) if answers else None, data.columns)
    log.info("%s: %d conversations of the form %s", path, len(found), form)
    return found


def _packed(
    conversations: Sequence[Conversation],
    chat: Chat,
    seq_len: int,
    tokenizer: Tokenizer,
    seed: int,
    given: str,
    n_rows: int = 1,  # of the global batch of training
) -> PackedRows:
    """Rows of conversations. Raises UserError where none has an answer within `seq_len` tokens."""
    answered = chat.encode_answered([(one.messages, one.where) for one in conversations])
    fit = fitted(answered, seq_len)
    if fit.n_cut or fit.n_dropped:
        said = "%d of %d conversations are longer than %d tokens and lose their end; %d more lose all of their answers"
        log.warning(said + " and are left out", fit.n_cut, len(conversations), seq_len, fit.n_dropped)
    if not fit.conversations:
        raise UserError(
            f"{given}: no conversation has an answer within {seq_len} tokens",
            "what is learned is the answers",
            "give longer rows (train.seq_len=), or shorter conversations",
        )
    return PackedRows(fit.conversations, seq_len, pad_id=tokenizer.pad_id, seed=seed, batch_rows=n_rows)
