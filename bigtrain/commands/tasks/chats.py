"""What tasks on conversations share: a language model, how it reads them, and what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bigtrain.commands.tasks.base import refuse_unread, row_length
from bigtrain.commands.tasks.text import check_samples, check_vocabulary
from bigtrain.config import Loaded
from bigtrain.errors import UserError
from bigtrain.generation.chat import Chat
from bigtrain.models.base import Model
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import ModelFolder, read_folder
from bigtrain.models.starting import starting_shape
from bigtrain.tokenizer import Tokenizer
from bigtrain.tokenizer.chat import with_template

if TYPE_CHECKING:
    from bigtrain.schema import FinetuneConfig

_OF_LABELS = ("data.text_field", "data.pair_field", "data.label_field", "data.label_separator")
_SHOWN = 1000  # characters of an example


@dataclass(frozen=True)
class Chatting:
    """A model, on the meta device, that is to learn from conversations of up to `seq_len` tokens."""

    model: Model
    tokenizer: Tokenizer
    chat: Chat
    seq_len: int


def chatting(loaded: Loaded, folder: Path) -> Chatting:
    """The model of a folder with the template that the objective names. Raises UserError where they do not fit."""
    config: FinetuneConfig = loaded.config
    source, own = read_folder(folder, resize_vocab=config.model.resize_vocab)
    check_decoder(source, f"objective={config.objective.name} with init_from={config.init_from}")
    tokenizer = with_template(own, config.objective.template, grow=config.model.resize_vocab)
    named = config.objective.template
    origin = str(folder) if named == "auto" else f"objective.template={named}"  # of the template
    ending = Chat(tokenizer, origin).end_of_answer()
    tokenizer = Tokenizer(tokenizer.spec, {**tokenizer.config, "eos_token": ending})  # where `generate` stops
    model = on_meta(starting_shape(source.config, tokenizer, config.model))
    check_vocabulary(model, tokenizer)
    check_samples(config.train.sample_prompts, tokenizer, model.config.max_seq_len)
    return Chatting(model, tokenizer, Chat(tokenizer, origin), row_length(config.train, model))


def check_decoder(source: ModelFolder, given: str) -> None:
    """Raises UserError for a model that writes no answers."""
    encoder = isinstance(source.config, EncoderConfig)
    if encoder or not source.output.language:
        raise UserError(
            f"{given}, {'an encoder' if encoder else source.output}",
            "answers are written by a language model that reads from left to right",
            "name a decoder",
        )


def refuse_labels(loaded: Loaded, given: str) -> None:
    """Refuse what says how labelled rows are read, or changed."""
    refuse_unread(loaded, _OF_LABELS, given, "conversations have fields of their own, see data.form=")
    augment = sorted(key for key in loaded.named if key.startswith("data.augment."))
    refuse_unread(loaded, augment, given, "what the model is to write stays as it is")


def marked(text: str, answers: Sequence[tuple[int, int]]) -> str:
    """A text with its answers in [[ ]], 1,000 characters of it at most."""
    for start, end in reversed(answers):
        text = f"{text[:start]}[[{text[start:end]}]]{text[end:]}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
