"""What `pretrain` and `finetune` share: the composition root of a training run.

config -> run folder (locked before torch is imported) -> device -> task (data, model, objective) -> the loop
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain import config as configs
from bigtrain.commands import results
from bigtrain.commands.record import Record, Saver, continued, ending, is_complete, merges, take_folder
from bigtrain.commands.shown import show
from bigtrain.commands.tasks.base import (
    Build,
    Task,
    check_measured,
    check_metric,
    check_plateau,
    identity_of,
    micro_batch,
    rows_of_a_part,
)
from bigtrain.commands.unread import refuse_unread_of_training
from bigtrain.errors import BigtrainError, DiskFull, LostProcess, Stopped, UserError
from bigtrain.identity import check_identity
from bigtrain.log import log, to_file

if TYPE_CHECKING:
    from bigtrain.models.base import Model
    from bigtrain.parallel.placement import Placement
    from bigtrain.training.checkpoint import Checkpoint
    from bigtrain.training.loop import Loop
    from bigtrain.training.optimizers import OptimizerSet
    from bigtrain.training.plan import Plan, State

__all__ = ["run", "show"]


def run(loaded: configs.Loaded, build: Build, *, dry_run: bool) -> dict[str, Any]:
    """Train, and return the content of result.json."""
    if (trials := loaded.plain["search"]["trials"]) is not None:
        raise UserError(f"search.trials={trials}", "a search makes many runs, this is one", "add -m, or leave it out")
    if dry_run:
        from bigtrain.commands.dry_run import describe

        return describe(loaded, build)
    with contextlib.ExitStack() as stack:
        record, refused = None, None
        if int(os.environ.get("RANK", 0)) == 0:
            try:
                folder = stack.enter_context(take_folder(loaded))
                record = Record(folder, loaded.verb)
                stack.enter_context(record.kept())
                loaded = continued(folder.path, loaded)
                refuse_unread_of_training(loaded)  # and for what neither the folder nor the command names
            except (BigtrainError, Stopped) as error:
                if "WORLD_SIZE" not in os.environ:
                    raise
                refused = error  # the others are waiting to be told
        from bigtrain.models.adapters import freeze
        from bigtrain.objectives.remembered import Remembered
        from bigtrain.parallel.memory import require_memory
        from bigtrain.parallel.placement import Placement, lost_peers_are_an_error
        from bigtrain.training.checkpoint import newest

        placement = Placement.join()
        begun = placement.from_lead(refused or (loaded, record.folder.path if record else None))
        if isinstance(begun, BaseException):
            raise begun
        loaded, path = begun
        assert path is not None
        if record is None:
            to_file(path / "logs" / f"rank-{placement.rank}.log")
        placement = placement.configured(loaded.config.device, loaded.config.parallel)
        with lost_peers_are_an_error(placement):
            start = placement.from_lead(newest(path / "checkpoints") if placement.leads else None)
            task = build(loaded, placement, start.model if start else None)
            if task.sections:
                task.objective = Remembered(task.objective)
            freeze(task.model, loaded.config.train.freeze)
            require_memory(task.model, placement)
            return _train(loaded, task, placement, path, record, start)


def _train(
    loaded: configs.Loaded,
    task: Task,
    placement: Placement,
    path: Path,
    record: Record | None,
    start: Checkpoint | None,
) -> dict[str, Any]:
    import torch

    from bigtrain.data.loader import Loader
    from bigtrain.models.adapter_folder import keep_base
    from bigtrain.models.auto_tokenizer import warn_of_pitfall
    from bigtrain.models.base import training_flops
    from bigtrain.models.huggingface_generation import inherited
    from bigtrain.parallel.apply import apply
    from bigtrain.parallel.hardware import peak_flops
    from bigtrain.parallel.memory import saved_bytes
    from bigtrain.parallel.watchdog import Watchdog
    from bigtrain.storage import JsonLines
    from bigtrain.training import checkpoint as checkpoints
    from bigtrain.training.loop import Loop
    from bigtrain.training.plan import Plan, State
    from bigtrain.training.progress import Progress
    from bigtrain.training.trackers import TrackedLines, TrackedRun

    config = loaded.config
    check_metric(config.train.metric, task.objective.metric_names)
    part_rows = rows_of_a_part(task, config, placement)
    now = identity_of(loaded.plain, task, placement)
    state = State(**start.counters()) if start else State()
    if start:
        state.allowed = sorted({*state.allowed, *check_identity(start.manifest["identity"], now, config.resume.allow)})
    loader = Loader(task.rows, task.batch_rows, config.seed)
    plan = Plan(config.train, loader, config.schedule, state)
    if placement.from_lead(record is not None and is_complete(record.folder, config, state, plan)):
        log.info("already complete: %s", path)
        return dict(json.loads((path / "result.json").read_text(encoding="utf-8")))

    if task.before:
        task.before(path, start is not None)
    source = start.model if start else task.init_from
    model = _with_weights(task, source, placement, config.seed, new_head=task.new_head and start is None)
    optimizer = _optimizer(model, config, start)
    state.micro_batch_rows = placement.from_lead(micro_batch(part_rows, model, task, config, state, placement))
    if start and state.threads != torch.get_num_threads():
        log.warning("%s threads before, %d now: the bits may differ", state.threads, torch.get_num_threads())
    state.threads = torch.get_num_threads()
    apply(model, compile=config.device.compile)

    evaluation = task.validation(state.micro_batch_rows)
    check_measured(config.train, evaluation)
    check_plateau(config.train, config.schedule, evaluation)
    metrics, samples = TrackedLines(path / "metrics.jsonl"), JsonLines(path / "samples.jsonl")
    kept = inherited(source, task.tokenizer) if source else {}
    save = Saver(path / "checkpoints", model, optimizer, task, state, config, now, record, kept)
    if record:
        checkpoints.require_space(path / "checkpoints", saved_bytes(model), config.train.keep_last)
        metrics.tracker = config.track.build(TrackedRun(path, config.run.name or path.name, loaded.plain, state.step))
        record.begin(loaded, state.step)
        if model.adapter:
            keep_base(path, model.adapter.base, anew=start is None)
        metrics.truncate(state.metrics_bytes)
        samples.truncate(state.samples_bytes)
        log.info("run folder: %s", path)
        log.info("to continue it: bigtrain %s run.dir=%s", loaded.verb, shlex.quote(str(path)))
        log.info("%s", _summary(model, task, state, plan, placement))
        warn_of_pitfall(model.config.architecture, task.tokenizer)
        if start:
            save.point_and_prune()  # a kill may have come between a checkpoint and its pointers

    def hangs(message: str) -> None:
        if record:
            record.write("failed", exit_code=LostProcess.exit_code, error=message)

    loop = Loop(
        model=model,
        objective=task.objective,
        optimizer=optimizer,
        schedule=config.schedule,
        loader=loader,
        evaluation=evaluation,
        config=config.train,
        parallel=config.parallel,
        placement=placement,
        plan=plan,
        state=state,
        save=save,
        sample=lambda: _samples(model, task, config, placement),
        metrics=metrics,
        samples=samples,
        progress=Progress(None if plan.measuring() else plan.total(), enabled=placement.leads),
        watch=Watchdog(config.parallel.hang_minutes, placement.rank, hangs),
        flops_per_token=training_flops(model, task.seq_len),
        peak_flops=peak_flops(placement.device, placement.precision),
    )
    with contextlib.closing(metrics):
        return _finish(loop, save, loaded, path, record)


def _with_weights(task: Task, source: Path | None, placement: Placement, seed: int, *, new_head: bool) -> Model:
    """The task's model with the weights of a model folder, or random ones. Raises UserError where one is not finite."""
    import torch

    from bigtrain.models.base import materialise
    from bigtrain.models.huggingface import materialise_from

    if source is None:
        return materialise(task.model, placement.device, seed)
    model = materialise_from(source, task.model, placement.device, seed, tokenizer=task.tokenizer, new_head=new_head)
    if not torch.isfinite(torch.nn.utils.get_total_norm(model.parameters(), torch.inf)):
        rule = "nothing is learned from there: a weight is infinite, or no number"
        raise UserError(f"{source}: weights that are not finite", rule, "restore them, or begin with another model")
    return model


def _optimizer(model: Model, config: Any, start: Checkpoint | None) -> OptimizerSet:
    """The config's optimizer, in the state of the checkpoint where that one is of its kind."""
    from bigtrain.training.optimizers import layer_ratios

    optimizer: OptimizerSet = config.optimizer.build(model)
    if config.train.layer_lr_decay:
        optimizer.set_ratios(layer_ratios(model, config.train.layer_lr_decay))
    if start and (before := start.manifest["identity"]["optimizer.name"]) != config.optimizer.name:
        log.warning("the optimizer was %s and is %s: it begins anew", before, config.optimizer.name)
    elif start:
        optimizer.load(start.optimizer())
    return optimizer


def _finish(loop: Loop, save: Saver, loaded: configs.Loaded, path: Path, record: Record | None) -> dict[str, Any]:
    """Run the loop; however it ends, write the report, and at the end of the run the result."""
    from bigtrain.models.base import n_parameters, n_trained
    from bigtrain.parallel.memory import out_of_memory_is_an_error

    result: dict[str, Any] = {}
    ended: dict[str, Any] = {"state": "done", "exit_code": 0}
    try:
        with loop.progress, out_of_memory_is_an_error(loop.state.micro_batch_rows):
            state = loop.run()
            if record and merges(loaded.config):
                save.write_merged()
        parameters = {"parameters": n_parameters(loop.model), "trained_parameters": n_trained(loop.model)}
        result = results.final(state, parameters, loop.loader.epochs(state.step), path)
    except BaseException as error:
        ended = ending(error)
        raise
    finally:
        if record:
            record.step = loop.state.step
            if result:
                record.folder.result(result)
            with contextlib.suppress(OSError, ValueError, DiskFull):  # a report must not hide how the run ended
                results.write(path, loaded, result, ended)
    if record:
        record.write(**ended)
    return result


def _summary(model: Model, task: Task, state: State, plan: Plan, placement: Placement) -> str:
    from bigtrain.models.base import n_parameters, n_trained

    trained = n_trained(model)
    some = f" ({trained:,} trained)" if trained < n_parameters(model) else ""
    begin = f"continuing at step {state.step}: " if state.step else ""
    processes = f" x {placement.world_size}" if placement.world_size > 1 else ""
    return (
        f"{begin}{n_parameters(model):,} parameters{some} on {placement.device}{processes}, "
        f"{task.batch_rows} x {task.row_tokens} tokens a step in micro-batches of {state.micro_batch_rows} rows, "
        f"{plan.describe()}"
    )


def _samples(model: Model, task: Task, config: Any, placement: Placement) -> list[dict[str, str]]:
    """Continuations of the prompts, to be read: the same seed at every evaluation."""
    if not (model.output.language and config.train.sample_prompts):
        return []
    from bigtrain.generation.generate import generate

    prompts = [task.tokenizer.encode_prompt(prompt) for prompt in config.train.sample_prompts]
    model.eval()
    with placement.autocast():
        completions = generate(
            model, prompts, max_new_tokens=config.train.sample_tokens, seed=config.seed, tokenizer=task.tokenizer
        )
    model.train()
    pairs = zip(config.train.sample_prompts, completions, strict=True)
    return [{"prompt": prompt, "text": completion.text} for prompt, completion in pairs]
