"""`bigtrain pretrain`: tokens -> a language model, from random weights or continued from `init_from`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.commands import train
from bigtrain.commands.tasks.base import refuse_raw_settings
from bigtrain.commands.train import show
from bigtrain.config import Loaded, continued
from bigtrain.data.schema import AutoTokenizerConfig, BPEConfig, TokenizerConfig, WordPieceConfig
from bigtrain.errors import UserError
from bigtrain.models.schema import InheritedConfig, StartedConfig
from bigtrain.schema import PretrainConfig

if TYPE_CHECKING:
    from bigtrain.commands.tasks.base import Task
    from bigtrain.parallel.placement import Placement

__all__ = ["run", "show"]

_MAY_CHANGE = [field.name for field in dataclasses.fields(StartedConfig)]


def run(loaded: Loaded, *, dry_run: bool = False) -> dict[str, Any]:
    """Train, and return the content of result.json (with `dry_run`: what training would take)."""
    return train.run(_inherited(loaded), build, dry_run=dry_run)


def build(loaded: Loaded, placement: Placement, begun: Path | None) -> Task:
    """The model, the data in the model's tokens, and what is learned from them."""
    from bigtrain.commands.tasks.masked import masked_task
    from bigtrain.commands.tasks.text import causal_task, continued_task, prepared_sets
    from bigtrain.models.families import on_meta, resolved
    from bigtrain.training.checkpoint import resolve

    config: PretrainConfig = loaded.config
    refuse_raw_settings(loaded)
    tasks = {"causal": causal_task, "masked": masked_task}
    if config.objective.name not in tasks:
        rule = f"pretrain learns objective={' or objective='.join(tasks)}"
        raise UserError(f"objective={config.objective.name}", rule, "use bigtrain finetune")
    task = tasks[config.objective.name]
    if not config.init_from:
        if isinstance(config.model, InheritedConfig):
            rule = "it is the model that a run starts from"
            raise UserError("model.name=inherited without init_from=", rule, "give init_from=, or another model=")
        if config.model.resize_vocab:
            raise UserError(
                "model.resize_vocab=true without init_from=",
                "it fits the vocabulary of another model to a tokenizer; a new model has its tokenizer's size",
                "leave it out, or name a model with init_from=",
            )
        tokenizer = tokenizer_config(config)
        data = placement.lead_first(lambda: prepared_sets(config.data, tokenizer))
        return task(config, on_meta(resolved(config.model, data.tokenizer())), data, init_from=None)
    start = config.model
    if not isinstance(start, StartedConfig):  # of a run that began when `model` still was a shape, which nothing read
        start = StartedConfig(resize_vocab=start.resize_vocab)
    folder = begun or resolve(Path(config.init_from), "init_from")
    return continued_task(config, start, config.tokenizer, placement, folder, task)


def _inherited(loaded: Loaded) -> Loaded:
    """With init_from `model` is what changes in that model. Raises UserError for keys that would change its tensors."""
    if not loaded.plain["init_from"]:
        return loaded
    named = sorted(key.split(".")[1] for key in loaded.touched if key.startswith("model."))
    if wrong := [name for name in named if name not in _MAY_CHANGE]:
        free = ", ".join(f"model.{name}" for name in _MAY_CHANGE)
        raise UserError(
            f"model.{wrong[0]} together with init_from={loaded.plain['init_from']}",
            f"a model that starts from another has its tensors: what may change is {free}",
            f"leave model.{wrong[0]} out, or init_from=",
        )
    return continued({**loaded.plain, "model": {"name": InheritedConfig.name}}, loaded)


def tokenizer_config(config: PretrainConfig) -> TokenizerConfig:
    """What `tokenizer=auto` and `bpe` come to: hidden tokens want a mask token, where a tokenizer must be trained."""
    asked: TokenizerConfig = config.tokenizer
    if config.objective.name != "masked" or config.data.path or config.data.sets:
        return asked
    if isinstance(asked, BPEConfig):
        return dataclasses.replace(asked, encoder=True)
    return WordPieceConfig() if isinstance(asked, AutoTokenizerConfig) else asked
