"""config.json: which of its shapes are ours, in the keys of transformers 4 and 5; and ours in keys that both read."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.errors import UserError
from bigtrain.models.adapter_folder import BASE, config_of_adapter, is_adapter, read_adapter
from bigtrain.models.base import ModelConfig
from bigtrain.models.encoder_schema import EncoderArchitecture, EncoderConfig
from bigtrain.models.huggingface_encoder import CLASSES, encoder_json, read_encoder
from bigtrain.models.huggingface_keys import Key, check_bounds, check_off, read_json, unsupported, value_of
from bigtrain.models.huggingface_recurrent import CLASSES as RECURRENT_CLASSES
from bigtrain.models.huggingface_recurrent import read_recurrent, recurrent_json
from bigtrain.models.huggingface_rope import read_rope, write_rope
from bigtrain.models.output import CLASSES as HEADS
from bigtrain.models.output import LANGUAGE, PROBLEMS, Output, OutputKind
from bigtrain.models.recurrent_schema import RecurrentArchitecture, RecurrentConfig
from bigtrain.models.schema import Architecture, DecoderConfig, RopeScalingConfig

if TYPE_CHECKING:
    from bigtrain.tokenizer import Tokenizer


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder's config.json says."""

    folder: Path
    config: ModelConfig  # resolved
    output: Output  # what its model gives
    eos_ids: list[int]  # that end a text; empty where it does not say
    marks: dict[str, int]  # pad_token and such, where it names them
    bos_id: int | None  # that begins a text, where it says so


_GPT2_KEYS = {
    "dim": Key("n_embd", 768),
    "n_layers": Key("n_layer", 12),
    "n_heads": Key("n_head", 12),
    "mlp_dim": Key("n_inner", None, null=True),
    "vocab_size": Key("vocab_size", 50257),
    "max_seq_len": Key("n_positions", 1024),
    "norm_eps": Key("layer_norm_epsilon", 1e-5),
    "tied": Key("tie_word_embeddings", True),
    "dropout": Key("resid_pdrop", 0.1),
}
_LLAMA_KEYS = {
    "dim": Key("hidden_size"),
    "n_layers": Key("num_hidden_layers"),
    "n_heads": Key("num_attention_heads"),
    "n_kv_heads": Key("num_key_value_heads", None, null=True),
    "head_dim": Key("head_dim", None, null=True),
    "mlp_dim": Key("intermediate_size"),
    "vocab_size": Key("vocab_size"),
    "max_seq_len": Key("max_position_embeddings", 2048),
    "norm_eps": Key("rms_norm_eps", 1e-6),
    "tied": Key("tie_word_embeddings", False),
    "dropout": Key("dropout", 0.0),  # ours: transformers keeps it and does nothing with it
}
_QWEN2_KEYS = _LLAMA_KEYS | {
    "n_kv_heads": Key("num_key_value_heads", 32, null=True),
    "max_seq_len": Key("max_position_embeddings", 32768),
}
_KEYS = {
    Architecture.gpt2: _GPT2_KEYS,
    Architecture.llama: _LLAMA_KEYS,
    Architecture.mistral: _LLAMA_KEYS
    | {
        "n_kv_heads": Key("num_key_value_heads", 8, null=True),
        "max_seq_len": Key("max_position_embeddings", 131072),
        "sliding_window": Key("sliding_window", 4096, null=True),
    },
    Architecture.qwen2: _QWEN2_KEYS,
    Architecture.qwen3: _QWEN2_KEYS | {"head_dim": Key("head_dim", 128)},
}

# Features that are not built here, by key: the values that leave them off. The first stands for an absent key.
_ACTIVATION: dict[str, tuple[Any, ...]] = {"hidden_act": ("silu", "swish")}
_NO_BIAS: dict[str, tuple[Any, ...]] = {"attention_bias": (False, None)}
_NO_WINDOW: dict[str, tuple[Any, ...]] = {
    "use_sliding_window": (False, None)
}  # without it Qwen's sliding_window is idle
_OFF: dict[Architecture, dict[str, tuple[Any, ...]]] = {
    Architecture.gpt2: {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False, None),
        "add_cross_attention": (False, None),
    },
    Architecture.llama: _ACTIVATION | _NO_BIAS | {"mlp_bias": (False, None), "sliding_window": (None,)},
    Architecture.mistral: _ACTIVATION,
    Architecture.qwen2: _ACTIVATION | _NO_WINDOW,
    Architecture.qwen3: _ACTIVATION | _NO_BIAS | _NO_WINDOW,
}
_CLASSES = {architecture: architecture.capitalize() for architecture in Architecture} | {Architecture.gpt2: "GPT2"}
_LM_CLASSES = {Architecture.gpt2: "LMHeadModel"}
_MOST_LABELS = 1 << 20
_MARKS = ("pad_token", "cls_token", "sep_token", "mask_token")
_PRETRAINING = "ForPreTraining"  # of BERT: hidden tokens and the next sentence


def read_config(folder: Path) -> ModelFolder:
    """The shape and the output of a Hugging Face folder. Raises UserError for what is no decoder that is built here."""
    if not is_adapter(folder):
        return _read(folder, folder / "config.json", read_json(folder / "config.json"))
    if (config := config_of_adapter(folder)) is not None:
        return _read(folder, folder / BASE, config)
    adapter = read_adapter(folder)
    base = read_config(adapter.base)
    return dataclasses.replace(base, folder=folder, output=adapter.output(base.output))


def _read(folder: Path, path: Path, raw: dict[str, Any]) -> ModelFolder:
    """The same from the content of a config.json, wherever that lies."""
    kind = raw.get("model_type")
    supported = [*Architecture, *EncoderArchitecture, *RecurrentArchitecture]
    if kind not in supported:
        code = ", auto_map" if "auto_map" in raw else ""
        raise UserError(
            f"{path}: model_type {kind!r}{code}",
            f"the supported architectures are {', '.join(supported)}"
            + ("; code that comes with a checkpoint is never run" if code else ""),
            "name a model of one of them",
        )
    if "auto_map" in raw:
        raise UserError(
            f"{path}: auto_map {json.dumps(raw['auto_map'])}",
            "code that comes with a checkpoint is never run",
            f"name a {kind} model without any; where its tensors are those of {kind}, take auto_map out of config.json",
        )
    if "quantization_config" in raw:
        raise unsupported(path, "quantization_config", "", "quantised weights are not read")
    config: ModelConfig
    if kind in list(EncoderArchitecture):
        config = read_encoder(path, raw, EncoderArchitecture(kind))
    elif kind in list(RecurrentArchitecture):
        config = read_recurrent(path, raw, RecurrentArchitecture(kind))
    else:
        config = _decoder(path, raw, Architecture(str(kind))).resolved(0)
    marks = {mark: raw[f"{mark}_id"] for mark in _MARKS if type(raw.get(f"{mark}_id")) is int}
    bos_id = raw.get("bos_token_id")
    return ModelFolder(folder, config, _output(path, raw), eos_ids(raw), marks, bos_id if type(bos_id) is int else None)


def _decoder(path: Path, raw: dict[str, Any], architecture: Architecture) -> DecoderConfig:
    check_off(path, raw, _OFF[architecture], architecture)
    fields = {name: value_of(path, raw, key) for name, key in _KEYS[architecture].items()}
    _check_layers(path, raw, fields.get("sliding_window"))
    theta, scaling = 10000.0, RopeScalingConfig()
    if architecture is not Architecture.gpt2:
        theta, scaling = read_rope(path, raw, fields["max_seq_len"])
    config = DecoderConfig(architecture=architecture, rope_theta=theta, rope_scaling=scaling, **fields)
    try:
        scaling.check()
        config.check()
    except UserError as error:
        raise UserError(f"{path}: {error.given}", error.rule, "restore the file") from None
    check_bounds(path, config, _KEYS[architecture])
    return config


def _check_layers(path: Path, raw: dict[str, Any], window: int | None) -> None:
    """All layers of these shapes look alike: through the window, or at everything."""
    kinds = raw.get("layer_types") or []
    if not isinstance(kinds, list):
        raise UserError(f"{path}: layer_types {json.dumps(kinds)}", "it is a JSON list or null", "restore the file")
    alike = "full_attention" if window is None else "sliding_attention"
    if others := [kind for kind in kinds if kind != alike]:
        raise unsupported(path, "layer_types", others[0], f"only {alike} is built here: its layers are all alike")


def _output(path: Path, raw: dict[str, Any]) -> Output:
    names = [name for name in raw.get("architectures") or [] if isinstance(name, str)]
    kinds = [kind for kind, ending in HEADS.items() if any(name.endswith(ending) for name in names)]
    if not kinds:
        return Output(next_sentence=True) if "Bert" + _PRETRAINING in names else LANGUAGE
    if kinds == [OutputKind.span]:
        return Output(OutputKind.span, thresholds=_thresholds(path, raw, 1))
    # transformers leaves the names out where they are its own.
    count = value_of(path, raw, Key("num_labels", 2))
    if count > _MOST_LABELS:
        raise UserError(f"{path}: num_labels {count}", f"{_MOST_LABELS} at most", "restore the file")
    by_id = raw.get("id2label") or {str(number): f"LABEL_{number}" for number in range(count)}
    try:
        labels = tuple(str(by_id[str(number)]) for number in range(len(by_id)))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: id2label", "it names the labels 0, 1, 2, ...", "restore the file") from error
    kind = next((kind for kind in kinds if PROBLEMS.get(kind) == raw.get("problem_type")), kinds[0])
    if kind is OutputKind.labels:
        return Output(kind, labels, _thresholds(path, raw, len(labels)))
    return Output(kind, () if kind is OutputKind.score else labels)


def _thresholds(path: Path, raw: dict[str, Any], n_labels: int) -> tuple[float, ...]:
    """What is kept beside transformers' own keys, of which it takes no notice."""
    given = raw.get("thresholds", [])
    numbers = isinstance(given, list) and all(isinstance(one, float | int) and 0 <= one <= 1 for one in given)
    if not numbers or len(given) not in (0, n_labels):
        raise UserError(f"{path}: thresholds", "it is a probability for each of the labels", "restore the file")
    return tuple(map(float, given))


def eos_ids(raw: dict[str, Any]) -> list[int]:
    """The tokens that end a text, by a config.json or a generation_config.json."""
    given = raw.get("eos_token_id")
    return [id_ for id_ in (given if isinstance(given, list) else [given]) if isinstance(id_, int)]


def config_json(config: ModelConfig, tokenizer: Tokenizer, output: Output) -> dict[str, Any]:
    """The config.json of a model with this output."""
    if isinstance(config, EncoderConfig):
        kind = CLASSES[config.architecture] + (_PRETRAINING if output.next_sentence else "ForMaskedLM")
        shape = encoder_json(config, tokenizer)
    elif isinstance(config, RecurrentConfig):
        kind, shape = RECURRENT_CLASSES[config.architecture] + "ForCausalLM", recurrent_json(config)
    else:
        kind = _CLASSES[config.architecture] + _LM_CLASSES.get(config.architecture, "ForCausalLM")
        shape = _decoder_json(config)
        if not output.language:
            # Where a row ends. Not in a language model: transformers would freeze the embedding of the padding token.
            shape["pad_token_id"] = tokenizer.pad_id
    content: dict[str, Any] = {
        "architectures": [kind],
        "model_type": config.architecture.value,
        **shape,
        "initializer_range": 0.02,
        "use_cache": True,
        "dtype": "float32",
        **token_ids(tokenizer),
    }
    if not output.language:
        content["architectures"] = [re.sub("(For|LMHead).*", HEADS[output.kind], kind)]
    if output.kind in PROBLEMS:
        content["problem_type"] = PROBLEMS[output.kind]
    if output.thresholds:
        content["thresholds"] = list(output.thresholds)
    labels = ("LABEL_0",) if output.kind is OutputKind.score else output.labels
    if labels:
        content["id2label"] = {str(number): label for number, label in enumerate(labels)}
        content["label2id"] = {label: number for number, label in enumerate(labels)}
    return content


def _decoder_json(config: DecoderConfig) -> dict[str, Any]:
    content: dict[str, Any] = {key.name: getattr(config, name) for name, key in _KEYS[config.architecture].items()}
    off = {key: values[0] for key, values in _OFF[config.architecture].items()}
    if config.architecture is Architecture.gpt2:
        return content | {"embd_pdrop": config.dropout, "attn_pdrop": 0.0} | off
    content |= write_rope(config) | {"attention_dropout": 0.0}
    return content | {key: value for key, value in off.items() if value is not None}


def token_ids(tokenizer: Tokenizer) -> dict[str, int | None]:
    """The tokens that begin and end a text; null where the tokenizer has none.

    A document follows the end of the one before it, so that token also begins a text unless the tokenizer has another.
    """
    return {"bos_token_id": tokenizer.roles.get("bos_token", tokenizer.eos_id), "eos_token_id": tokenizer.eos_id}
