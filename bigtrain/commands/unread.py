"""Keys that change nothing beside the others of a command, whatever is learned or measured."""

from __future__ import annotations

from bigtrain.commands.tasks.base import refuse_unread
from bigtrain.config import Loaded
from bigtrain.models.schema import Architecture
from bigtrain.parallel.schema import Precision, Reduction


def refuse_unread_of_training(loaded: Loaded) -> None:
    """Raises UserError for keys that this command sets and the run would not read."""
    config, train = loaded.config, loaded.config.train
    refuse_unread_of_device(loaded)
    if config.parallel.reduction is Reduction.fast:
        rule = "the batch is cut into shards for the exact sum"
        refuse_unread(loaded, ["parallel.shards"], "parallel.reduction=fast", rule, "parallel.reduction=exact")
    if not {"search.trials"} & loaded.named:  # each trial of a search has search.trials=null
        rule = "nothing is searched: it is the seed of the values that trials try"
        refuse_unread(loaded, ["search.seed"], "no search.trials=", rule, "search.trials=N with -m, or seed=")
    if not train.sample_prompts:
        rule = "no sample is written"
        refuse_unread(loaded, ["train.sample_tokens"], "no train.sample_prompts=", rule, "train.sample_prompts=[TEXT]")
    if train.eval_every_steps is None:
        rule = "the one evaluation is at the end, when there is nothing left to stop"
        given = "train.eval_every_steps=null"
        refuse_unread(loaded, ["train.patience_evals"], given, rule, "train.eval_every_steps=STEPS")
    if getattr(config.model, "architecture", None) is Architecture.gpt2:
        refuse_unread(loaded, ["model.rope_theta"], "model.architecture=gpt2", "it learns its positions")


def refuse_unread_of_device(loaded: Loaded) -> None:
    """Raises UserError for arithmetic that nothing is computed in."""
    if loaded.config.device.precision is Precision.bf16:
        rule = "it is about products of fp32 matrices, and there are none"
        refuse_unread(loaded, ["device.fp32_matmul"], "device.precision=bf16", rule, "device.precision=fp32")
