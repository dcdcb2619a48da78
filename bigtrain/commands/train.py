"""What `pretrain` and `finetune` share: the composition root of a training run.

config -> run folder (locked before torch is imported) -> device -> task (data, model, objective) -> the loop
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain import config as configs
from bigtrain.errors import BigtrainError, DiskFull, Diverged, Stopped, UserError
from bigtrain.log import log, to_file
from bigtrain.parallel.schema import Reduction
from bigtrain.runs import RunFolder, check_identity, identity
from bigtrain.training.schema import ResumeMode

if TYPE_CHECKING:
    from bigtrain.data.loader import Rows
    from bigtrain.evaluation.evaluator import Batches
    from bigtrain.models.base import Model
    from bigtrain.objectives.base import Objective
    from bigtrain.parallel.placement import Placement
    from bigtrain.tokenizer import Tokenizer
    from bigtrain.training.loop import Loop
    from bigtrain.training.plan import State

# The names of result.json for the metrics of a validation set.
_RESULT_NAMES = {"accuracy": "accuracy", "macro_f1": "macro_f1"}


@dataclass
class Task:
    """What a verb brings to the training it shares with the other."""

    model: Model  # on the meta device
    init_from: Path | None  # a model folder whose weights it starts from; None: random ones
    objective: Objective
    rows: Rows
    validation: Callable[[int], Batches]  # rows of a batch -> the validation data
    tokenizer: Tokenizer
    labels: list[str]
    fingerprint: str  # of the data
    seq_len: int
    batch_rows: int


Build = Callable[[configs.Loaded, "Placement"], Task]


@dataclass
class Record:
    """Keeps status.json: however the run ends, it says so."""

    folder: RunFolder
    verb: str
    step: int = 0
    began: bool = False  # a command that is refused before it begins leaves the folder's status as it was

    def write(self, state: str, **extra: Any) -> None:
        """Write the state of the run."""
        self.folder.status(state, step=self.step, verb=self.verb, **extra)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Write how the block ended, if not well."""
        try:
            yield
        except BaseException as error:
            if self.began or self.folder.saved_status() is None:
                state = {Stopped: "preempted", Diverged: "diverged"}.get(type(error), "failed")
                code = error.exit_code if isinstance(error, BigtrainError) else 1
                with contextlib.suppress(OSError, DiskFull):  # the first error is the one to report
                    self.write(state, exit_code=code, error=(str(error) or repr(error)).splitlines()[0])
            raise


def run(loaded: configs.Loaded, build: Build, *, dry_run: bool) -> dict[str, Any]:
    """Train, and return the content of result.json."""
    if dry_run:
        from bigtrain.commands.dry_run import describe

        return describe(loaded, build)
    with contextlib.ExitStack() as stack:
        record = None
        if int(os.environ.get("RANK", 0)) == 0:
            wanted = loaded.plain["run"]  # not `loaded.config`: what is missing there, the run folder may know
            path = Path(wanted["dir"]) if wanted["dir"] else None
            folder = stack.enter_context(RunFolder.open(path, verb=loaded.verb, name=wanted["name"]))
            loaded = _continued(folder, loaded)
            record = Record(folder, loaded.verb)
            stack.enter_context(record.kept())
        from bigtrain.parallel.placement import Placement

        placement = Placement.join(loaded.config.device.kind)
        loaded, path = placement.from_lead((loaded, record.folder.path if record else None))
        assert path is not None
        if record is None:
            to_file(path / "logs" / f"rank-{placement.rank}.log")
        placement = placement.configured(loaded.config.device, loaded.config.parallel)
        return _train(loaded, build(loaded, placement), placement, path, record)


def show(result: dict[str, Any]) -> None:
    """Print the result for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for key, value in result.items():
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)


def _continued(folder: RunFolder, loaded: configs.Loaded) -> configs.Loaded:
    """The config to run with: the folder's own plus this command's overrides, where there is a run to continue."""
    mode, saved = ResumeMode(loaded.plain["resume"]["mode"]), folder.saved_config()
    used = folder.checkpoints.is_dir() and any(folder.checkpoints.glob("step-*"))
    if mode is ResumeMode.must and not used:
        raise UserError(
            f"resume=must in {folder.path}", "there is no checkpoint to continue from", "begin with resume=auto"
        )
    if mode is ResumeMode.never and (used or saved):
        raise UserError(
            f"resume=never in {folder.path}", "the folder holds a run", "choose a new run.dir, or resume=auto"
        )
    verb = (folder.saved_status() or {}).get("verb", loaded.verb)
    if verb != loaded.verb:
        raise UserError(
            f"run.dir={folder.path}", f"the folder holds a run of `bigtrain {verb}`", "choose another run.dir"
        )
    if used and saved is None:
        raise UserError(
            f"run.dir={folder.path}",
            "it holds checkpoints, but no config.yaml to continue them with",
            "restore that file",
        )
    return configs.continued(saved, loaded) if used and saved else loaded


def _train(
    loaded: configs.Loaded, task: Task, placement: Placement, path: Path, record: Record | None
) -> dict[str, Any]:
    from bigtrain.data.loader import Loader
    from bigtrain.models.base import materialise, n_parameters
    from bigtrain.models.huggingface import load_weights, save_model
    from bigtrain.parallel.apply import apply
    from bigtrain.parallel.hardware import peak_flops
    from bigtrain.storage import JsonLines
    from bigtrain.training import checkpoint as checkpoints
    from bigtrain.training.loop import Loop
    from bigtrain.training.plan import Plan, State
    from bigtrain.training.progress import Progress

    config, place = loaded.config, path / "checkpoints"
    _check_metric(config.train.metric, task.objective.metric_names)
    part_rows = rows_of_a_part(task, config, placement)
    now = identity(
        _settled(loaded.plain, placement), data_fingerprint=task.fingerprint, tokenizer_hash=task.tokenizer.hash
    )
    start = placement.from_lead(checkpoints.newest(place) if placement.leads else None)
    state = State(**start.counters()) if start else State()
    if start:
        state.allowed = sorted({*state.allowed, *check_identity(start.manifest["identity"], now, config.resume.allow)})
    loader = Loader(task.rows, task.batch_rows, config.seed)
    plan = Plan(config.train, loader, config.schedule, state)
    if placement.from_lead(record is not None and _is_complete(record.folder, state, plan)):
        return _already_complete(path)

    model = materialise(task.model, placement.device, config.seed)
    if source := start.model if start else task.init_from:
        load_weights(source, model)
    optimizer = config.optimizer.build(model)
    if start:
        optimizer.load(start.optimizer())
    state.micro_batch_rows = placement.from_lead(_micro_batch(part_rows, model, task, config, state, placement))
    apply(model, compile=config.device.compile)

    metrics, samples = JsonLines(path / "metrics.jsonl"), JsonLines(path / "samples.jsonl")
    if record:
        checkpoints.require_space(place, n_parameters(model), config.train.keep_last)
        record.folder.write_config(configs.to_yaml(loaded), loaded.overrides)
        record.folder.write_environment()
        metrics.truncate(state.metrics_bytes)
        samples.truncate(state.samples_bytes)
        record.step, record.began = state.step, True
        record.write("running")
        log.info("run folder: %s", path)
        log.info("to continue it: bigtrain %s run.dir=%s", loaded.verb, shlex.quote(str(path)))
        log.info("%s", _summary(model, task, state, plan, placement))

    def save(better: bool) -> None:
        assert record is not None
        if not (place / checkpoints.folder_name(state.step)).exists():
            checkpoints.save(
                place,
                state.step,
                write_model=lambda folder: save_model(folder, model, task.tokenizer, task.labels),
                optimizer=optimizer.tensors(),
                counters=asdict(state),
                identity=now,
            )
        checkpoints.point(place, "latest", state.step)
        if better:
            checkpoints.point(place, "best", state.step)
        checkpoints.prune(place, config.train.keep_last)
        record.step = state.step
        record.write("running")

    loop = Loop(
        model=model,
        objective=task.objective,
        optimizer=optimizer,
        schedule=config.schedule,
        loader=loader,
        evaluation=task.validation(state.micro_batch_rows),
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
        flops_per_token=model.flops_per_token(task.seq_len),
        peak_flops=peak_flops(placement.device),
    )
    return _finish(loop, loaded, path, record)


def _finish(loop: Loop, loaded: configs.Loaded, path: Path, record: Record | None) -> dict[str, Any]:
    """Run the loop; however it ends, write the report, and at the end of the run the result."""
    from bigtrain.models.base import n_parameters

    result: dict[str, Any] = {}
    try:
        with loop.progress:
            state = loop.run()
        result = _result(state, n_parameters(loop.model), path)
    finally:
        if record:
            record.step = loop.state.step
            if result:
                record.folder.result(result)
            _report(path, loaded, result)
    if record:
        record.write("done", exit_code=0)
    return result


def rows_of_a_part(task: Task, config: Any, placement: Placement) -> int:
    """Rows that one process (`exact`: one shard) computes of each global batch. Raises UserError when it is no number."""
    exact = config.parallel.reduction is Reduction.exact
    parts = config.parallel.shards if exact else placement.world_size
    named = f"parallel.shards={parts}" if exact else f"{parts} processes"
    if exact and parts % placement.world_size:
        raise UserError(
            f"{placement.world_size} processes with {named}", "the processes must divide the shards", "change one"
        )
    if task.batch_rows % parts:
        raise UserError(
            f"a global batch of {task.batch_rows} rows with {named}",
            "the batch is shared out in equal parts",
            f"choose a batch of {-(-task.batch_rows // parts) * parts} rows ({-(-task.batch_rows // parts) * parts * task.seq_len} tokens)",
        )
    rows, micro = task.batch_rows // parts, config.train.micro_batch_rows
    if micro and rows % micro:
        raise UserError(
            f"train.micro_batch_rows={micro} with {rows} rows on a process",
            "micro-batches must divide the rows of a process",
            f"choose a divisor of {rows}",
        )
    return rows


def _check_metric(metric: str, known: tuple[str, ...]) -> None:
    if metric not in known:
        raise UserError(
            f"train.metric={metric}",
            "the metric must be one that the evaluation gives",
            f"choose among {', '.join(known)}",
        )


def _micro_batch(part_rows: int, model: Model, task: Task, config: Any, state: State, placement: Placement) -> int:
    """Rows computed at once: given, or the recorded choice, or chosen now from the free memory."""
    from bigtrain.parallel.memory import choose_micro_batch

    if config.train.micro_batch_rows:
        return int(config.train.micro_batch_rows)
    if state.micro_batch_rows and part_rows % state.micro_batch_rows == 0:
        return state.micro_batch_rows
    return choose_micro_batch(model, part_rows, task.seq_len, placement, compiled=config.device.compile)


def _settled(plain: dict[str, Any], placement: Placement) -> dict[str, Any]:
    """The config with `auto` and null replaced where they stand for one value: the identity compares values."""
    threads = plain["parallel"]["threads"] or 1
    return {
        **plain,
        "device": {**plain["device"], "kind": placement.device.type},
        "parallel": {**plain["parallel"], "threads": threads},
    }


def _is_complete(folder: RunFolder, state: State, plan: Any) -> bool:
    """Whether this very run has ended here before, by the same limits."""
    status = folder.saved_status() or {}
    if status.get("state") != "done" or status.get("step") != state.step or not (folder.path / "result.json").is_file():
        return False
    return state.step >= plan.total() or (
        state.stopped_by in ("patience", "max_minutes") and state.total_steps == plan.total()
    )


def _already_complete(path: Path) -> dict[str, Any]:
    log.info("already complete: %s", path)
    result: dict[str, Any] = json.loads((path / "result.json").read_text(encoding="utf-8"))
    return result


def _summary(model: Model, task: Task, state: State, plan: Any, placement: Placement) -> str:
    from bigtrain.models.base import n_parameters

    begin = f"continuing at step {state.step}: " if state.step else ""
    processes = f" x {placement.world_size}" if placement.world_size > 1 else ""
    return (
        f"{begin}{n_parameters(model):,} parameters on {placement.device}{processes}, "
        f"{task.batch_rows} x {task.seq_len} tokens a step in micro-batches of {state.micro_batch_rows} rows, {plan.describe()}"
    )


def _samples(model: Model, task: Task, config: Any, placement: Placement) -> list[dict[str, str]]:
    """Continuations of the prompts, to be read: the same seed at every evaluation."""
    if task.labels or not config.train.sample_prompts:
        return []
    from bigtrain.generation.generate import generate

    prompts = [task.tokenizer.encode(prompt) for prompt in config.train.sample_prompts]
    model.eval()
    with placement.autocast():
        completions = generate(
            model, prompts, max_new_tokens=config.train.sample_tokens, seed=config.seed, tokenizer=task.tokenizer
        )
    model.train()
    pairs = zip(config.train.sample_prompts, completions, strict=True)
    return [{"prompt": prompt, "text": completion.text} for prompt, completion in pairs]


def _result(state: State, parameters: int, path: Path) -> dict[str, Any]:
    from bigtrain.training import checkpoint as checkpoints

    def named(metrics: dict[str, float], prefix: str) -> dict[str, float]:
        return {prefix + _RESULT_NAMES.get(name, f"val_{name}"): value for name, value in metrics.items()}

    best = checkpoints.pointed(path / "checkpoints", "best")
    latest = checkpoints.pointed(path / "checkpoints", "latest")
    return {
        **named(state.last_metrics, ""),
        **named(state.best_metrics, "best_"),
        "step": state.step,
        "tokens": state.tokens,
        "parameters": parameters,
        "seconds": round(state.seconds, 2),
        "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1),
        "stopped_by": state.stopped_by,
        "run": str(path),
        "checkpoint": str(latest / "model") if latest else None,
        "best_checkpoint": str(best / "model") if best else None,
    }


def _report(path: Path, loaded: configs.Loaded, result: dict[str, Any]) -> None:
    from bigtrain.evaluation.report import write_report
    from bigtrain.storage import JsonLines

    write_report(
        path / "report.html",
        title=loaded.config.run.name or path.name,
        config_yaml=configs.to_yaml(loaded),
        environment=json.loads((path / "environment.json").read_text(encoding="utf-8")),
        metrics=JsonLines(path / "metrics.jsonl").read(),
        samples=JsonLines(path / "samples.jsonl").read(),
        result=result,
    )
