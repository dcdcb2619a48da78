"""Which family a config belongs to: its module, and the names of its tensors in Hugging Face files."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from bigtrain.models import names, names_encoder, names_recurrent
from bigtrain.models.base import Model, ModelConfig
from bigtrain.models.decoder import Decoder
from bigtrain.models.encoder import Encoder
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.names import Entry
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.models.recurrent import Recurrent
from bigtrain.models.recurrent_schema import RecurrentConfig
from bigtrain.models.schema import DecoderConfig
from bigtrain.tokenizer import Tokenizer


@dataclass(frozen=True)
class Names:
    """A family's tensors in files; see the functions of the same names in `names.py`, `names_encoder.py`, ..."""

    entries: Callable[[Any, Output], list[Entry]]
    full_names: Callable[[Iterable[str], Any, Output], dict[str, str]]
    new: Callable[[Any, Output, Output, Container[str]], set[str]]
    unused: Callable[[Any, Output, Output, Iterable[str]], set[str]]
    copies: Callable[[Any], dict[str, str]]


class Family(NamedTuple):
    """A module and its names."""

    on_meta: Callable[[Any, Output], Model]
    names: Names


def _names(module: Any) -> Names:
    return Names(module.entries, module.full_names, module.new, module.unused, module.copies)


_FAMILIES: dict[type, Family] = {
    DecoderConfig: Family(Decoder.on_meta, _names(names)),
    EncoderConfig: Family(Encoder.on_meta, _names(names_encoder)),
    RecurrentConfig: Family(Recurrent.on_meta, _names(names_recurrent)),
}


def on_meta(config: ModelConfig, output: Output = LANGUAGE) -> Model:
    """The module of a resolved config without memory: see `models.base.materialise`."""
    return _FAMILIES[type(config)].on_meta(config, output)


def names_of(config: ModelConfig) -> Names:
    """What its tensors are called in files."""
    return _FAMILIES[type(config)].names


def resolved(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """The same shape with every null filled in for a tokenizer. Raises UserError where they do not go together."""
    if isinstance(config, EncoderConfig):
        return config.resolved(tokenizer.vocab_size, tokenizer.pad_id)
    return config.resolved(tokenizer.vocab_size)
