"""What is done to a model before the loop, which then sees nothing of it."""

from __future__ import annotations

import torch._dynamo

from bigtrain.models.base import Model
from bigtrain.parallel import compiler


def apply(model: Model, *, compile: bool) -> None:
    """Compile the blocks, one by one: they share their code, so the first compilation serves all.

    Batches of labelled rows have many lengths and share one graph. All of running text, and of answers in windows, has
    one length: a graph for that is faster.
    Data parallelism changes nothing in the module: see `reduction.py`. Sharding comes in here.
    """
    if compile:
        compiler.make_ready()
        # With and without gradients, masks, dropout; torch's default of 8 graphs would then go on uncompiled.
        torch._dynamo.config.recompile_limit = 64
        for block in model.blocks:
            block.compile(dynamic=not model.output.language)
