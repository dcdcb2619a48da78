"""What a preparation would take, from the names and sizes of its input: a dry run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bigtrain.data.executor_schema import DaskConfig, ExecutorConfig
from bigtrain.data.pipeline.plan import Plan
from bigtrain.data.pipeline.run import local_slots
from bigtrain.data.pipeline.steps import Steps
from bigtrain.data.schema import BytesConfig, CharsConfig, DataConfig, TokenizerConfig
from bigtrain.data.shards import token_dtype
from bigtrain.tokenizer import Tokenizer

_BYTES_PER_TOKEN = 3.5  # on the low side for text in Latin letters
_BYTES_PER_DOCUMENT = 400  # hashes, bands and what else is known of each
_DOCUMENT_BYTES = 2000


def estimate(
    data: DataConfig, tokenizer_config: TokenizerConfig, output: Path, *, steps: Steps, executor: ExecutorConfig
) -> dict[str, Any]:
    """Files, bytes, parts, stages, workers, tokenizer, and an upper estimate of the disk needed. Nothing is written.

    Raises UserError where the input is not there.
    """
    plan = Plan.make(data, tokenizer_config, steps=steps, hashed=False)
    text = sum(part.n_bytes for part in plan.parts)
    if data.sample is not None:
        text = min(text, data.sample * 10 * _DOCUMENT_BYTES)
    chosen = plan.tokenizer
    vocab_size = chosen.vocab_size if isinstance(chosen, Tokenizer) else getattr(chosen, "vocab_size", 1 << 8)
    tokens = text / (1.0 if isinstance(chosen, BytesConfig | CharsConfig) else _BYTES_PER_TOKEN)
    the_set = tokens * token_dtype(vocab_size).itemsize
    work = text + the_set + (text / _DOCUMENT_BYTES * _BYTES_PER_DOCUMENT if steps.dedup else 0)
    final = output.expanduser().resolve()
    place = next(folder for folder in (final, *final.parents) if folder.exists())
    return {
        "dry_run": True,
        "output": str(output),
        "files": len(plan.sources),
        "bytes": plan.n_bytes,
        "formats": [f"{count} {name}" for name, count in plan.input()["formats"].items()],
        "parts": len(plan.parts),
        "stages": ["read", *steps.names, "split"],
        "workers": executor.address if isinstance(executor, DaskConfig) else local_slots(executor, plan),
        "tokenizer": plan.settings["tokenizer"]["name"],
        "vocab_size": vocab_size,
        "disk_bytes": int(the_set),
        "disk_bytes_while_working": int(the_set + work),
        "disk_bytes_free": shutil.disk_usage(place).free,
    }
