"""Rotary positions in config.json: `rope_parameters` of transformers 5, `rope_theta` and `rope_scaling` of 4."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bigtrain.errors import UserError
from bigtrain.models.schema import DecoderConfig, RopeScalingConfig, Scaling

# Our field: their key.
_LINEAR = {"factor": "factor"}
_LLAMA3 = _LINEAR | {
    "original_seq_len": "original_max_position_embeddings",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
}
_YARN = _LINEAR | {
    "original_seq_len": "original_max_position_embeddings",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "attention_factor": "attention_factor",
}
_KEYS: dict[Scaling, dict[str, str]] = {
    Scaling.none: {},
    Scaling.linear: _LINEAR,
    Scaling.llama3: _LLAMA3,
    Scaling.yarn: _YARN,
}
_REQUIRED = {"factor", "low_freq_factor", "high_freq_factor"}
_KINDS = {"default" if kind is Scaling.none else kind.value: kind for kind in Scaling}  # their name: ours


def read_rope(path: Path, raw: dict[str, Any], max_seq_len: int) -> tuple[float, RopeScalingConfig]:
    """The base of the frequencies and their scaling, from the keys of either version. Raises UserError."""
    for key in ("rope_parameters", "rope_scaling"):
        if not isinstance(raw.get(key) or {}, dict):
            raise UserError(f"{path}: {key} {json.dumps(raw[key])}", "it is a JSON object or null", "restore the file")
    rope = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    kind = _KINDS.get(str(rope.get("rope_type", rope.get("type", "default"))))
    if kind is None or any(isinstance(value, dict) for value in rope.values()):
        raise _unsupported(path, rope, f"the rotary positions that are built are {', '.join(_KINDS)}, for all layers")
    share = rope.get("partial_rotary_factor", raw.get("partial_rotary_factor"))
    if share not in (None, 1.0) or rope.get("truncate", True) is not True:
        raise _unsupported(path, rope, "all of a head is turned, and yarn's ramp begins and ends at whole pairs")
    theta = _number(path, rope if "rope_theta" in rope else raw, "rope_theta", 10000.0)
    fields: dict[str, Any] = {}
    for name, key in _KEYS[kind].items():
        default = None if name in _REQUIRED else getattr(RopeScalingConfig(), name)
        if name == "original_seq_len":  # where it stands beside the others, transformers takes it from there
            place = rope if raw.get(key) is None else raw
            fields[name] = int(_number(path, place, key, max_seq_len))
        elif name == "attention_factor":
            fields[name] = _attention_factor(path, rope)
        else:
            fields[name] = _number(path, rope, key, default)
    if fields.get("factor", 1.0) < 1:
        raise UserError(f"{path}: factor {fields['factor']:g}", "texts become longer: at least 1", "restore the file")
    return theta, RopeScalingConfig(kind=kind, **fields)


def _attention_factor(path: Path, rope: dict[str, Any]) -> float | None:
    """Given as it is, or as the ratio of two that DeepSeek's models bring: see transformers' modeling_rope_utils."""
    if rope.get("attention_factor") is not None:
        return _number(path, rope, "attention_factor", None)
    if not (rope.get("mscale") and rope.get("mscale_all_dim")):
        return None
    logarithm = 0.1 * math.log(max(1.0, _number(path, rope, "factor", None)))
    over, under = (_number(path, rope, key, None) for key in ("mscale", "mscale_all_dim"))
    return (over * logarithm + 1.0) / (under * logarithm + 1.0)


def write_rope(config: DecoderConfig) -> dict[str, Any]:
    """The keys of both versions."""
    scaling = config.rope_scaling
    values = {key: getattr(scaling, name) for name, key in _KEYS[scaling.kind].items()}
    values = {key: value for key, value in values.items() if value is not None}
    kind = {"rope_type": next(name for name, kind in _KINDS.items() if kind is scaling.kind)}
    return {
        "rope_theta": config.rope_theta,
        "rope_scaling": {**kind, **values} if values else None,
        "rope_parameters": {"rope_theta": config.rope_theta, **kind, **values},
    }


def _number(path: Path, settings: dict[str, Any], key: str, default: float | None) -> float:
    """A number above zero; `default` where the key is absent or null, unless that is None too."""
    value = settings.get(key)
    value = default if value is None else value
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        given = f"{key} {json.dumps(value)}" if value is not None else f"no {key}"
        raise UserError(f"{path}: {given}", f"{key} must be a number above zero", "restore the file")
    return float(value)


def _unsupported(path: Path, rope: dict[str, Any], rule: str) -> UserError:
    return UserError(f"{path}: rope scaling {json.dumps(rope)}", rule, "name a model that does not need it")
