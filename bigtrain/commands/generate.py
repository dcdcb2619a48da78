"""`bigtrain generate`: a checkpoint and a prompt -> text."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bigtrain.config import Loaded
from bigtrain.errors import UserError
from bigtrain.generation.generate import generate
from bigtrain.generation.sampling import Sampling
from bigtrain.models.huggingface import load_model, read_folder
from bigtrain.parallel.placement import Placement
from bigtrain.schema import GenerateConfig
from bigtrain.training.checkpoint import resolve


def run(loaded: Loaded) -> dict[str, Any]:
    """The prompt, what follows it, and how fast that came."""
    config: GenerateConfig = loaded.config
    if config.prompt is None:
        raise UserError(
            "no prompt", "generate continues a text", "give prompt=TEXT, -p TEXT, or -p - for standard input"
        )
    if config.device.compile:
        raise UserError(
            "device.compile=true", "text is written token by token, uncompiled", "leave it out: it serves training"
        )
    placement = Placement.start(config.device)
    folder = resolve(Path(config.checkpoint))
    source, tokenizer = read_folder(folder)
    if source.labels:
        raise UserError(
            f"checkpoint={config.checkpoint}",
            f"it is a classifier of {', '.join(source.labels)}, and gives labels, not text",
            "name a language model; `bigtrain evaluate` measures a classifier",
        )
    model = load_model(folder, device=placement.device)
    sampling = Sampling(config.temperature, config.top_k, config.top_p)
    began = time.perf_counter()
    with placement.autocast():  # around the whole text: weights are cast once, not at every token
        completion = generate(
            model,
            [tokenizer.encode(config.prompt)],
            tokenizer=tokenizer,
            max_new_tokens=config.max_new_tokens,
            sampling=sampling,
            seed=config.seed,
        )[0]
    seconds = time.perf_counter() - began
    return {
        "prompt": config.prompt,
        "completion": completion.text,
        "text": config.prompt + completion.text,
        "tokens": len(completion.tokens),
        "stopped_by": completion.stopped_by.value,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(len(completion.tokens) / seconds, 1),
        "checkpoint": str(folder),
        "device": str(placement.device),
    }


def show(result: dict[str, Any]) -> None:
    """Print the prompt and what follows it, nothing else."""
    print(result["text"])
