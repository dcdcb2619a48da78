"""config.json: which of its shapes are ours, in the keys of transformers 4 and 5; and ours in keys that both read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.errors import UserError
from bigtrain.models.schema import Architecture, DecoderConfig

if TYPE_CHECKING:
    from bigtrain.tokenizer import Tokenizer


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder's config.json says."""

    folder: Path
    config: DecoderConfig  # resolved
    labels: list[str]  # of a classifier, in the order of its head's rows; empty for a language model


# Our field: (their key, what transformers takes where the key is absent; ... where it must be there).
_GPT2_KEYS: dict[str, tuple[str, Any]] = {
    "dim": ("n_embd", 768),
    "n_layers": ("n_layer", 12),
    "n_heads": ("n_head", 12),
    "mlp_dim": ("n_inner", None),
    "vocab_size": ("vocab_size", 50257),
    "max_seq_len": ("n_positions", 1024),
    "norm_eps": ("layer_norm_epsilon", 1e-5),
    "tied": ("tie_word_embeddings", True),
    "dropout": ("resid_pdrop", 0.1),
}
_LLAMA_KEYS: dict[str, tuple[str, Any]] = {
    "dim": ("hidden_size", ...),
    "n_layers": ("num_hidden_layers", ...),
    "n_heads": ("num_attention_heads", ...),
    "n_kv_heads": ("num_key_value_heads", None),
    "head_dim": ("head_dim", None),
    "mlp_dim": ("intermediate_size", ...),
    "vocab_size": ("vocab_size", ...),
    "max_seq_len": ("max_position_embeddings", 2048),
    "norm_eps": ("rms_norm_eps", 1e-6),
    "tied": ("tie_word_embeddings", False),
    "dropout": ("dropout", 0.0),  # ours: transformers keeps it and does nothing with it
}
_QWEN3_KEYS = _LLAMA_KEYS | {"head_dim": ("head_dim", 128), "max_seq_len": ("max_position_embeddings", 32768)}
_KEYS = {Architecture.gpt2: _GPT2_KEYS, Architecture.llama: _LLAMA_KEYS, Architecture.qwen3: _QWEN3_KEYS}

# Features that are not built here, by key: the values that leave them off. The first stands for an absent key.
_LLAMA_OFF: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "sliding_window": (None,),
}
_OFF: dict[Architecture, dict[str, tuple[Any, ...]]] = {
    Architecture.gpt2: {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False, None),
        "add_cross_attention": (False, None),
    },
    Architecture.llama: _LLAMA_OFF,
    # Qwen3's sliding_window counts only where use_sliding_window is true.
    Architecture.qwen3: {key: value for key, value in _LLAMA_OFF.items() if key != "sliding_window"}
    | {"use_sliding_window": (False, None)},
}
_CLASSES = {Architecture.gpt2: "GPT2{}", Architecture.llama: "Llama{}", Architecture.qwen3: "Qwen3{}"}
_CLASSIFIER = "ForSequenceClassification"
_LM_CLASSES = {Architecture.gpt2: "LMHeadModel"}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError that names the file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path.parent}: no {path.name}", "a model folder holds one", "name another folder") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}", "it must be readable JSON", "restore the file") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: a JSON {type(content).__name__}", "it must be a JSON object", "restore the file")
    return content


def read_config(folder: Path) -> ModelFolder:
    """The shape and the labels of a Hugging Face folder. Raises UserError for what is no decoder that is built here."""
    path = folder / "config.json"
    raw = read_json(path)
    kind = raw.get("model_type")
    if kind not in list(Architecture):
        raise UserError(
            f"{path}: model_type {kind!r}",
            f"the supported architectures are {', '.join(Architecture)}",
            "name a model of one of them",
        )
    if "auto_map" in raw:
        raise UserError(
            f"{path}: auto_map", "code that comes with a checkpoint is never run", f"name a {kind} model without any"
        )
    if "quantization_config" in raw:
        raise _unsupported(path, "quantization_config", "", "quantised weights are not read")
    architecture = Architecture(kind)
    for key, values in _OFF[architecture].items():
        if raw.get(key, values[0]) not in values:
            raise _unsupported(path, key, raw[key], f"only {key}={values[0]} is built for {kind}")
    kinds = raw.get("layer_types") or []
    if not isinstance(kinds, list):
        raise UserError(f"{path}: layer_types {json.dumps(kinds)}", "it is a JSON list or null", "restore the file")
    if "sliding_attention" in kinds:
        raise _unsupported(path, "layer_types", "sliding_attention", "sliding windows are not built")
    fields = {name: _value(path, raw, key, default) for name, (key, default) in _KEYS[architecture].items()}
    theta = 10000.0 if architecture is Architecture.gpt2 else _rope_theta(path, raw)
    config = DecoderConfig(architecture=architecture, rope_theta=theta, **fields)
    try:
        config.check()
    except UserError as error:
        raise UserError(f"{path}: {error.given}", error.rule, "restore the file") from None
    return ModelFolder(folder, config.resolved(0), _labels(path, raw))


def _unsupported(path: Path, key: str, value: Any, rule: str) -> UserError:
    given = f"{key} {json.dumps(value)}" if value != "" else key
    return UserError(f"{path}: {given}", rule, "name a model that does not need it")


def _value(path: Path, raw: dict[str, Any], key: str, default: Any) -> Any:
    """The value of a key, checked to be the kind of thing its default is: a size, a share or a switch."""
    value = raw.get(key, default)
    if value is None and default is None:
        return None
    if isinstance(default, bool):
        good = isinstance(value, bool)
    elif isinstance(default, float):
        good = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    else:
        good = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not good:
        given = f"no {key}" if value is ... else f"{key} {json.dumps(value)}"
        wanted = {bool: "true or false", float: "a number"}.get(type(default), "a positive whole number")
        raise UserError(f"{path}: {given}", f"{key} must be {wanted}", "restore the file")
    return value


def _rope_theta(path: Path, raw: dict[str, Any]) -> float:
    """transformers 5 keeps it in rope_parameters; 4 beside a rope_scaling that is null where there is none."""
    rope = raw.get("rope_parameters") or {}
    scaling = raw.get("rope_scaling") or {}
    if not isinstance(rope, dict) or not isinstance(scaling, dict):
        raise UserError(f"{path}: rope_parameters or rope_scaling", "each is a JSON object or null", "restore the file")
    for settings in (rope, scaling):
        kind = settings.get("rope_type", settings.get("type", "default"))
        if kind != "default" or settings.get("partial_rotary_factor", 1.0) != 1.0:
            raise _unsupported(path, "rope scaling", settings, "only the default rotary positions are built")
    flat = {"rope_theta": rope.get("rope_theta", scaling.get("rope_theta", raw.get("rope_theta", 10000.0)))}
    return float(_value(path, flat, "rope_theta", 10000.0))


def _labels(path: Path, raw: dict[str, Any]) -> list[str]:
    names = raw.get("architectures") or []
    if not any(isinstance(name, str) and name.endswith(_CLASSIFIER) for name in names):
        return []
    # transformers leaves the names out where they are its own.
    count = _value(path, raw, "num_labels", 2)
    by_id = raw.get("id2label") or {str(number): f"LABEL_{number}" for number in range(count)}
    try:
        return [str(by_id[str(number)]) for number in range(len(by_id))]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: id2label", "it names the labels 0, 1, 2, ...", "restore the file") from error


def config_json(config: DecoderConfig, tokenizer: Tokenizer, labels: list[str]) -> dict[str, Any]:
    """The config.json of a language model or, with `labels`, of a classifier."""
    architecture = config.architecture
    head = _CLASSIFIER if labels else _LM_CLASSES.get(architecture, "ForCausalLM")
    content: dict[str, Any] = {
        "architectures": [_CLASSES[architecture].format(head)],
        "model_type": architecture.value,
        **{key: getattr(config, name) for name, (key, _) in _KEYS[architecture].items()},
        "initializer_range": 0.02,
        "use_cache": True,
        "dtype": "float32",
        **token_ids(tokenizer),
    }
    if architecture is Architecture.gpt2:
        content |= {"embd_pdrop": config.dropout, "attn_pdrop": 0.0}
        content |= {key: values[0] for key, values in _OFF[architecture].items()}
    else:
        content |= {"rope_theta": config.rope_theta}
        content |= {"rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"}}
        content |= {"attention_dropout": 0.0}
        content |= {key: values[0] for key, values in _OFF[architecture].items() if values[0] is not None}
    if labels:
        content["id2label"] = {str(number): label for number, label in enumerate(labels)}
        content["label2id"] = {label: number for number, label in enumerate(labels)}
        content["problem_type"] = "single_label_classification"
        # Where a row ends. Not in a language model: transformers would freeze the embedding of the padding token.
        content["pad_token_id"] = tokenizer.pad_id
    return content


def generation_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The generation_config.json: where transformers' `generate` begins, ends and pads."""
    return {**token_ids(tokenizer), "pad_token_id": tokenizer.pad_id}


def token_ids(tokenizer: Tokenizer) -> dict[str, int | None]:
    """The tokens that begin and end a text; null where the tokenizer has none.

    A document follows the end of the one before it, so that token also begins a text unless the tokenizer has another.
    """
    token = tokenizer.config.get("bos_token")
    token = token.get("content") if isinstance(token, dict) else token
    bos = tokenizer.backend.token_to_id(token) if isinstance(token, str) else None
    return {"bos_token_id": tokenizer.eos_id if bos is None else bos, "eos_token_id": tokenizer.eos_id}
