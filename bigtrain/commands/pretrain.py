"""`bigtrain pretrain`: tokens -> a language model, from random weights or continued from `init_from`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.commands import train
from bigtrain.commands.train import show
from bigtrain.config import Loaded
from bigtrain.errors import UserError
from bigtrain.schema import PretrainConfig

if TYPE_CHECKING:
    from bigtrain.commands.task import Task
    from bigtrain.parallel.placement import Placement

__all__ = ["run", "show"]


def run(loaded: Loaded, *, dry_run: bool = False) -> dict[str, Any]:
    """Train, and return the content of result.json (with `dry_run`: what training would take)."""
    return train.run(loaded, build, dry_run=dry_run)


def build(loaded: Loaded, placement: Placement) -> Task:
    """The model, the data in the model's tokens, and next-token prediction."""
    from bigtrain.commands.text import causal_task
    from bigtrain.data.pipeline import prepared
    from bigtrain.models.decoder import Decoder
    from bigtrain.models.huggingface import read_folder
    from bigtrain.training.checkpoint import resolve

    config: PretrainConfig = loaded.config
    if config.objective.name != "causal":
        raise UserError(
            f"objective={config.objective.name}", "pretrain learns objective=causal", "use bigtrain finetune"
        )
    if not config.init_from:
        data = placement.lead_first(lambda: prepared(config.data, config.tokenizer))
        model = config.model.on_meta(data.tokenizer().vocab_size)
        return causal_task(config, model, data, init_from=None)
    if named := sorted(key for key in loaded.touched if key.startswith("model.")):
        raise UserError(
            f"{named[0]} together with init_from={config.init_from}",
            "a model that starts from another has its shape",
            "leave model= and its keys out, or init_from=",
        )
    folder = resolve(Path(config.init_from))
    source, tokenizer = read_folder(folder)
    data = placement.lead_first(lambda: prepared(config.data, config.tokenizer, tokenizer))
    return causal_task(config, Decoder.on_meta(source.config), data, init_from=folder)
