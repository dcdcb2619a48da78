"""The answers of conversations: instructions, chats, translation, summaries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bigtrain.commands.tasks.base import Measurement, Task, batch_rows, refuse_unread, row_length, window_length
from bigtrain.commands.tasks.rows import apart, check_rows, fingerprint, measured_files, rows_at_once, validation_file
from bigtrain.commands.tasks.text import check_samples, check_vocabulary
from bigtrain.config import Loaded
from bigtrain.data.tasks.conversations import Conversation, prompts_of, read_conversations
from bigtrain.data.tasks.packed import PackedRows, fitted
from bigtrain.errors import UserError
from bigtrain.evaluation.evaluator import Part
from bigtrain.generation.chat import Chat
from bigtrain.log import log
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, read_folder
from bigtrain.models.vocabulary import resized
from bigtrain.objectives.causal import Causal
from bigtrain.tokenizer import Tokenizer
from bigtrain.tokenizer.chat import with_template

if TYPE_CHECKING:
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig, FinetuneConfig

_OF_LABELS = ("data.text_field", "data.pair_field", "data.label_field", "data.label_separator", "data.columns")
_RULE = "conversations have fields of their own, see data.form="


def sft_task(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's language model on the answers of conversations, packed into rows."""
    config: FinetuneConfig = loaded.config
    training, checked = _read_parts(loaded)
    source, own = read_folder(folder, resize_vocab=config.model.resize_vocab)
    _check_model(source, f"objective=sft with init_from={config.init_from}")
    tokenizer = with_template(own, config.objective.template, grow=config.model.resize_vocab)
    ending = Chat(tokenizer, str(folder)).end_of_answer()
    tokenizer = Tokenizer(tokenizer.spec, {**tokenizer.config, "eos_token": ending})  # where `generate` stops
    model = on_meta(resized(source.config, tokenizer) if config.model.resize_vocab else source.config)
    check_vocabulary(model, tokenizer)
    check_samples(config.train.sample_prompts, tokenizer, model.config.max_seq_len)
    seq_len = row_length(config.train, model)
    chat = Chat(tokenizer, str(folder))
    n_rows = batch_rows(config.train, seq_len)
    rows = _packed(training, chat, seq_len, tokenizer, config.seed, f"data.train={config.data.train}")
    validation = (
        _packed(checked, chat, seq_len, tokenizer, config.seed, "the validation conversations") if checked else None
    )
    if placement.leads:
        log.info("%d conversations in %d rows, %.1f %% padding", len(training), len(rows), 100 * rows.padding)
        text, answers = chat.answers(training[0].messages, training[0].where)
        log.info(
            "the first as the model reads it (%s), answers in [[ ]]:\n%s", training[0].where, _marked(text, answers)
        )
    return Task(
        model=model,
        init_from=folder,
        objective=Causal(compile=config.device.compile),
        rows=rows,
        validation=lambda rows: [Part(validation.batches(rows))] if validation else [],
        tokenizer=tokenizer,
        fingerprint=fingerprint(*([one.messages for one in part] for part in (training, checked))),
        seq_len=seq_len,
        batch_rows=n_rows,
    )


def sft_measurement(loaded: Loaded, source: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> Measurement:
    """The answers of conversations in files, as in the run."""
    config: EvaluateConfig = loaded.config
    refuse_unread(loaded, _OF_LABELS, "evals.answers=true", _RULE)
    refuse_unread(loaded, ["evals.alone_tokens"], "evals.answers=true", "nothing is hidden in them")
    _check_model(source, f"evals.answers=true with checkpoint={config.checkpoint}")
    answers = Path(config.data.answers) if config.data.answers else None
    conversations: list[Conversation] = []
    for path in measured_files(loaded, source):
        form, found = read_conversations(path, config.data, answers)
        log.info("%s: %d conversations of the form %s", path, len(found), form)
        conversations += found
    if not conversations:
        raise UserError("evals.answers=true without data.files=", "there is something to measure", "name a file")
    seq_len = window_length(config, source)
    chat = Chat(tokenizer, config.checkpoint)
    packed = _packed(conversations[: config.evals.max_tokens], chat, seq_len, tokenizer, 0, "data.files=")
    batches = packed.batches(rows_at_once(config, seq_len))
    return Measurement(Causal(), batches, {"rows": len(packed.conversations)})


def _check_model(source: ModelFolder, given: str) -> None:
    encoder = isinstance(source.config, EncoderConfig)
    if encoder or not source.output.language:
        raise UserError(
            f"{given}, {'an encoder' if encoder else source.output}",
            "answers are written by a language model that reads from left to right",
            "name a decoder",
        )


def _read_parts(loaded: Loaded) -> tuple[list[Conversation], list[Conversation]]:
    """Training and validation conversations: of two files, or of one, of which a share is held out."""
    config: FinetuneConfig = loaded.config
    data = config.data
    check_rows(loaded)
    refuse_unread(loaded, _OF_LABELS, "objective=sft", _RULE)
    augment = sorted(key for key in loaded.named if key.startswith("data.augment."))
    refuse_unread(loaded, augment, "objective=sft", "what the model is to write stays as it is")
    assert data.train
    training = _read(loaded, data.train, data.train_answers)
    if path := validation_file(loaded):
        return training, _read(loaded, path, data.validation_answers)
    return apart(training, prompts_of(training), data.validation_fraction, "conversations", "prompts")


def _read(loaded: Loaded, path: str, answers: str | None) -> list[Conversation]:
    form, found = read_conversations(Path(path), loaded.config.data, Path(answers) if answers else None)
    log.info("%s: %d conversations of the form %s", path, len(found), form)
    return found


def _packed(
    conversations: Sequence[Conversation], chat: Chat, seq_len: int, tokenizer: Tokenizer, seed: int, given: str
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
    return PackedRows(fit.conversations, seq_len, pad_id=tokenizer.pad_id, seed=seed)


def _marked(text: str, answers: Sequence[tuple[int, int]]) -> str:
    """A text with its answers in [[ ]], 1,000 characters of it at most."""
    for start, end in reversed(answers):
        text = f"{text[:start]}[[{text[start:end]}]]{text[end:]}"
    return text if len(text) <= 1000 else f"{text[:1000]} ..."
