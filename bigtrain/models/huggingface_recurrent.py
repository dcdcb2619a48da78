"""config.json of recurrent models, in keys such as transformers uses; it knows none of these shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigtrain.errors import UserError
from bigtrain.models.huggingface_keys import Key, check_bounds, value_of
from bigtrain.models.recurrent_schema import RecurrentArchitecture, RecurrentConfig

CLASSES = {RecurrentArchitecture.bigtrain_gru: "BigtrainGRU", RecurrentArchitecture.bigtrain_lstm: "BigtrainLSTM"}
_KEYS = {
    "dim": Key("embedding_size"),
    "hidden_dim": Key("hidden_size"),
    "n_layers": Key("num_hidden_layers"),
    "vocab_size": Key("vocab_size"),
    "max_seq_len": Key("max_position_embeddings"),
    "carry_tokens": Key("carry_tokens", None, null=True),
    "dropout": Key("hidden_dropout_prob", 0.0),
}


def read_recurrent(path: Path, raw: dict[str, Any], architecture: RecurrentArchitecture) -> RecurrentConfig:
    """The shape that a config.json describes. Raises UserError for one that cannot be."""
    fields = {name: value_of(path, raw, key) for name, key in _KEYS.items()}
    config = RecurrentConfig(architecture=architecture, **fields)
    try:
        config.check()
    except UserError as error:
        raise UserError(f"{path}: {error.given}", error.rule, "restore the file") from None
    check_bounds(path, config, _KEYS)
    return config.resolved(0)


def recurrent_json(config: RecurrentConfig) -> dict[str, Any]:
    """What config.json says of the shape."""
    return {key.name: getattr(config, name) for name, key in _KEYS.items()}
