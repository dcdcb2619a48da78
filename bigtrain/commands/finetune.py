"""`bigtrain finetune`: a checkpoint and task data -> a model for new text or for a task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.commands import train
from bigtrain.commands.tasks.base import named_fields, refuse_raw_settings, refuse_unread
from bigtrain.commands.train import show
from bigtrain.config import Loaded
from bigtrain.errors import UserError
from bigtrain.models.adapter_schema import LoraConfig
from bigtrain.schema import FinetuneConfig

if TYPE_CHECKING:
    from bigtrain.commands.tasks.base import Task
    from bigtrain.parallel.placement import Placement

__all__ = ["run", "show"]


def run(loaded: Loaded, *, dry_run: bool = False) -> dict[str, Any]:
    """Train, and return the content of result.json (with `dry_run`: what training would take)."""
    return train.run(loaded, build, dry_run=dry_run)


def build(loaded: Loaded, placement: Placement, begun: Path | None) -> Task:
    """What the objective asks for."""
    from bigtrain.training.checkpoint import resolve

    config: FinetuneConfig = loaded.config
    folder = begun or resolve(Path(config.init_from), "init_from")
    task = _tasks()[config.objective.name](loaded, placement, folder)
    if isinstance(config.adapter, LoraConfig):
        _adapt(task, config, config.adapter, folder)
    return task


def _adapt(task: Task, config: FinetuneConfig, adapter: LoraConfig, folder: Path) -> None:
    """Freeze the model behind an adapter: a new one, or that of the folder it starts from or continues."""
    from bigtrain.models.adapter_files import trained_whole
    from bigtrain.models.adapter_folder import digest, is_adapter, read_adapter
    from bigtrain.models.adapters import Adapter, adapt

    start = config.model
    if start.rope_scaling.kind or any((start.max_seq_len, start.rope_theta, start.sliding_window is not None)):
        raise UserError(
            f"adapter={config.adapter.name} with other positions than its base",
            "an adapter goes on a base as its config.json describes it",
            "leave all of model. but dropout out, or train the whole model with adapter=none",
        )
    base = read_adapter(folder).base if is_adapter(folder) else folder
    whole = trained_whole(base, task.model, moved=config.model.resize_vocab, folder=folder)
    adapt(task.model, Adapter(adapter, base, digest(base), whole))


def continued_text(loaded: Loaded, placement: Placement, folder: Path) -> Task:
    """The checkpoint's model on new text."""
    from bigtrain.commands.tasks.masked import masked_task
    from bigtrain.commands.tasks.text import causal_task, continued_task
    from bigtrain.data.schema import AutoTokenizerConfig, DataConfig, RowsConfig
    from bigtrain.data.tasks.forms_schema import TrainFormsConfig

    config: FinetuneConfig = loaded.config
    DataConfig.check(config.data)
    refuse_raw_settings(loaded)
    given = f"objective={config.objective.name}"
    refuse_unread(loaded, ["data.train", "data.validation"], given, f"{given} reads text", "data.files= or data.path=")
    refuse_unread(loaded, named_fields(loaded, RowsConfig, TrainFormsConfig), given, f"{given} reads text, not rows")
    task = {"causal": causal_task, "masked": masked_task}[config.objective.name]
    return continued_task(config, config.model, AutoTokenizerConfig(), placement, folder, task)


def _tasks() -> dict[str, Callable[[Loaded, Placement, Path], Task]]:
    """What to build, by the name of the objective."""
    from bigtrain.commands.tasks.classify import classify_task
    from bigtrain.commands.tasks.preference import preference_task
    from bigtrain.commands.tasks.regress import regress_task
    from bigtrain.commands.tasks.sft import sft_task
    from bigtrain.commands.tasks.span import span_task
    from bigtrain.commands.tasks.tag import tag_task

    return {
        "causal": continued_text,
        "masked": continued_text,
        "classify": classify_task,
        "regress": regress_task,
        "tag": tag_task,
        "span": span_task,
        "sft": sft_task,
        "preference": preference_task,
    }
