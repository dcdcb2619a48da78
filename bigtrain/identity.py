"""What a run is: what may not change when it is continued, so that it ends as if it had never stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bigtrain.errors import UserError

_BATCH = ("train.batch_tokens", "train.batch_rows", "train.seq_len", "train.isolate_documents", "train.clip_norm")
_TRAINED = (
    *("train.freeze", "train.layer_lr_decay"),
    *(f"adapter.{key}" for key in ("name", "rank", "alpha", "rank_stabilised", "dropout", "targets")),
)
_PARTS = ("model", "objective", "optimizer", "schedule", "seed", "init_from", "device", "parallel.reduction")
_MEASURED = (  # of an objective, but not what is learned
    "objective.eval_answers",
    "objective.max_new_tokens",
    "objective.max_answer_tokens",
)
_IDENTITY_OF_FAST = ("parallel.processes",)
_IDENTITY_OF_EXACT = ("parallel.shards", "parallel.threads")


def identity(plain: dict[str, Any], *, data_fingerprint: str | dict[str, Any], tokenizer_hash: str) -> dict[str, Any]:
    """What may not change when a run is continued: a flat dict of dotted keys, equal after a round trip through JSON.

    `plain` is the config as plain values, with nulls and autos already resolved where they mean the same.
    `parallel.shards` and `parallel.threads` decide about bits only where the reduction is `exact`, and
    `parallel.processes`, how many there are, where it is `fast`.
    """
    flat = _flatten(plain)
    by_sum = _IDENTITY_OF_EXACT if flat.get("parallel.reduction") == "exact" else _IDENTITY_OF_FAST
    fixed = _PARTS + _BATCH + _TRAINED + by_sum
    kept = {key: value for key, value in sorted(flat.items()) if _is_below(key, fixed) and key not in _MEASURED}
    for key in _TRAINED:  # absent where everything is trained alike, as in runs that began before there was a choice
        if kept.get(key) in (None, [], "none"):
            kept.pop(key, None)
    if not kept.get("objective.new_head"):
        kept.pop("objective.new_head", None)
    if kept.get("model.rope_scaling.kind", "") is None:  # nothing changes in the model that it starts from
        kept = {key: value for key, value in kept.items() if not key.startswith("model.rope_scaling.")}
    return {**_flatten({"data": data_fingerprint}), "tokenizer": tokenizer_hash, **kept}


def check_identity(saved: dict[str, Any], now: dict[str, Any], allow: list[str]) -> list[str]:
    """Compare a checkpoint's identity with this command's; returns the keys that differ and are allowed to.

    `allow` holds keys or their parents (`optimizer` stands for `optimizer.lr` too). Raises UserError naming the others.
    """
    if unknown := [name for name in allow if not any(_is_below(key, [name]) for key in (*saved, *now))]:
        raise UserError(
            f"resume.allow=[{','.join(unknown)}]",
            f"it names what the run's identity is made of: {', '.join(sorted(now))}",
            "name one of these, or leave it out",
        )
    # Runs of earlier versions have saved keys of _MEASURED as well.
    differing = [key for key in sorted({*saved, *now} - {*_MEASURED}) if saved.get(key) != now.get(key)]
    refused = [key for key in differing if not _is_below(key, allow)]
    if refused:
        changes = "; ".join(f"{key}: {_shown(saved.get(key))} -> {_shown(now.get(key))}" for key in refused)
        raise UserError(
            changes,
            "a run is continued with the identity it began with, so that it ends as if it had never stopped",
            f"give the old values, or another run.dir, or accept the change with resume.allow=[{','.join(refused)}]",
        )
    return differing


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            flat |= _flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.loads(json.dumps(item, default=str))
    return flat


def _is_below(key: str, parents: Iterable[str]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
