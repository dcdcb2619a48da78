"""The shape of a model that starts from another: with other settings that are no tensors, and another vocabulary."""

from __future__ import annotations

import dataclasses
from typing import Any

from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.models.base import ModelConfig
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.schema import Architecture, DecoderConfig, RopeScalingConfig, Scaling, StartConfig, StartedConfig
from bigtrain.models.vocabulary import resized
from bigtrain.tokenizer import Tokenizer


def starting_shape(config: ModelConfig, tokenizer: Tokenizer, start: StartConfig) -> ModelConfig:
    """The shape of a model that starts from one of shape `config`. Raises UserError where a change does not fit it."""
    if isinstance(start, StartedConfig):
        config = _changed(config, start)
        if start.dropout is None and config.dropout:
            log.info("dropout is %g, as in the model it starts from: model.dropout= changes it", config.dropout)
    return resized(config, tokenizer) if start.resize_vocab else config


def _changed(config: ModelConfig, start: StartedConfig) -> ModelConfig:
    """The same with what `start` changes; asked again of the result it changes nothing."""
    given = {name: getattr(start, name) for name in ("max_seq_len", "rope_theta", "sliding_window", "dropout")}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    learned = isinstance(config, EncoderConfig) or config.architecture is Architecture.gpt2
    if learned and "max_seq_len" in fields:
        rule = f"its {config.max_seq_len} positions are learned, a row for each"
        raise _refused(config, "max_seq_len", start.max_seq_len, rule)
    if not isinstance(config, DecoderConfig) or learned:
        if "rope_theta" in fields:
            raise _refused(config, "rope_theta", start.rope_theta, "it has no rotary positions")
        if start.rope_scaling.kind:
            raise _refused(config, "rope_scaling.kind", start.rope_scaling.kind, "it has no rotary positions")
    if not isinstance(config, DecoderConfig):
        if "sliding_window" in fields:
            raise _refused(config, "sliding_window", start.sliding_window, "only Mistral looks through a window")
    else:
        if "sliding_window" in fields:
            fields["sliding_window"] = start.sliding_window or None
        if start.rope_scaling.kind:
            fields["rope_scaling"] = _scaling(config, start.rope_scaling)
    changed = dataclasses.replace(config, **fields)
    changed.check()
    return changed


def _scaling(config: DecoderConfig, asked: RopeScalingConfig) -> RopeScalingConfig:
    """The scaling that is asked for, over the length that the model had before any."""
    values = {field.name: getattr(asked, field.name) for field in dataclasses.fields(asked)}
    if asked.kind in (Scaling.llama3, Scaling.yarn) and asked.original_seq_len is None:
        values["original_seq_len"] = config.rope_scaling.original_seq_len or config.max_seq_len
    return RopeScalingConfig(**values)


def _refused(config: ModelConfig, key: str, value: Any, rule: str) -> UserError:
    return UserError(f"model.{key}={value} with a {config.architecture} to start from", rule, f"leave model.{key} out")
