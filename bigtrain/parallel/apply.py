"""What is done to a model before the loop, which then sees nothing of it."""

from __future__ import annotations

import torch._dynamo

from bigtrain.models.base import Model
from bigtrain.parallel import compiler


def apply(model: Model, *, compile: bool) -> None:
    """Compile the blocks, one by one: they share their code, so the first compilation serves all.

    Data parallelism changes nothing in the module: see `reduction.py`. Sharding comes in here.
    """
    if compile:
        compiler.make_ready()
        # A graph for each length of rows, with and without gradients; torch's default of 8 would then go on uncompiled.
        torch._dynamo.config.recompile_limit = 64
        for block in model.blocks:
            block.compile(dynamic=False)
