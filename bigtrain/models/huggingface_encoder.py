"""config.json of encoders: theirs to ours and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.errors import UserError
from bigtrain.models.encoder_schema import EncoderArchitecture, EncoderConfig
from bigtrain.models.huggingface_keys import Key, check_bounds, check_off, value_of

if TYPE_CHECKING:
    from bigtrain.tokenizer import Tokenizer

CLASSES = {EncoderArchitecture.bert: "Bert", EncoderArchitecture.roberta: "Roberta"}
_KEYS = {
    "dim": Key("hidden_size", 768),
    "n_layers": Key("num_hidden_layers", 12),
    "n_heads": Key("num_attention_heads", 12),
    "mlp_dim": Key("intermediate_size", 3072),
    "vocab_size": Key("vocab_size", 30522),
    "max_seq_len": Key("max_position_embeddings", 512),
    "n_segments": Key("type_vocab_size", 2),
    "norm_eps": Key("layer_norm_eps", 1e-12),
    "dropout": Key("hidden_dropout_prob", 0.1),
}
_OFF: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute", None),
    "tie_word_embeddings": (True,),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
}


def read_encoder(path: Path, raw: dict[str, Any], architecture: EncoderArchitecture) -> EncoderConfig:
    """The shape that a config.json describes. Raises UserError for what is not built here."""
    check_off(path, raw, _OFF, architecture)
    fields = {name: value_of(path, raw, key) for name, key in _KEYS.items()}
    pad_id = None
    if architecture is EncoderArchitecture.roberta:
        pad_id = raw.get("pad_token_id", 1)
        if not isinstance(pad_id, int) or isinstance(pad_id, bool) or not 0 <= pad_id < fields["max_seq_len"] - 1:
            raise UserError(
                f"{path}: pad_token_id {json.dumps(pad_id)} with max_position_embeddings {fields['max_seq_len']}",
                "RoBERTa's positions begin behind the padding token",
                "restore the file",
            )
        fields["max_seq_len"] -= pad_id + 1
    config = EncoderConfig(architecture=architecture, pad_id=pad_id, **fields)
    try:
        config.check()
    except UserError as error:
        raise UserError(f"{path}: {error.given}", error.rule, "restore the file") from None
    check_bounds(path, config, _KEYS)
    return config.resolved(0, 0)


def encoder_json(config: EncoderConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    """What config.json says of the shape, whatever the head."""
    content = {key.name: getattr(config, name) for name, key in _KEYS.items()}
    # transformers keeps the embedding of the padding token at its first value: it must be no token of the text.
    pad_id = None if tokenizer.pad_id == tokenizer.eos_id else tokenizer.pad_id
    if config.pad_id is not None:
        content["max_position_embeddings"] += config.pad_id + 1
        pad_id = config.pad_id
    content |= {"attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0, "pad_token_id": pad_id}
    return content | {key: values[0] for key, values in _OFF.items()}
