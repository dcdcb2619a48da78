"""The run folder of a training command: what it continues, and how the run ended."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain import config as configs
from bigtrain import stops, storage
from bigtrain.errors import BigtrainError, DiskFull, Diverged, Stopped, UserError
from bigtrain.log import NOTE, log
from bigtrain.models.adapter_schema import LoraConfig
from bigtrain.runs import RunFolder, read_config, read_status
from bigtrain.training.schema import ResumeMode

if TYPE_CHECKING:
    from bigtrain.commands.tasks.base import Task
    from bigtrain.models.base import Model
    from bigtrain.training.optimizers import OptimizerSet
    from bigtrain.training.plan import Plan, State


SHOWN = "validation.html"  # in the best checkpoint: what the report shows of its evaluation
TABLES = "validation.json"  # and what result.json says of its labels
MERGED = "merged"  # in the run folder: a model that opens without its adapter
_ASKED_AFTER_SECONDS = 5  # asking transformers takes as many; a shorter run is not worth them


def take_folder(loaded: configs.Loaded) -> RunFolder:
    """The run folder, locked. A new one is not made for a config that cannot run."""
    wanted = loaded.plain["run"]
    path = Path(wanted["dir"]) if wanted["dir"] else None
    if path is None or not (path / "config.yaml").exists():
        require_all(loaded)  # a used folder may know what is missing
    return RunFolder.open(path, verb=loaded.verb, name=wanted["name"])


def require_all(loaded: configs.Loaded) -> None:
    """Raise UserError for what is missing, and say so where `run.dir` names a run that is not there."""
    folder = loaded.plain["run"]["dir"]
    try:
        loaded.config  # noqa: B018
    except UserError as error:
        missing = error.given.startswith("no ") or " without " in error.given
        if not (missing and folder) or (Path(folder) / "config.yaml").exists():
            raise
        given = f"{error.given}, and no run in run.dir={folder} to continue"
        raise UserError(given, error.rule, error.remedy) from None


@dataclass
class Record:
    """Keeps status.json: however the run ends, it says so."""

    folder: RunFolder
    verb: str
    step: int = 0
    began: bool = False  # a command that is refused before it begins leaves the folder as it was
    allowed: list[str] | None = None  # to change, and in no checkpoint yet: who continues need not allow it again

    def __post_init__(self) -> None:
        before = self.folder.saved_status() or {}
        self.step, self.allowed = before.get("step", 0), before.get("allowed")

    def write(self, state: str, **extra: Any) -> None:
        """Write the state of the run."""
        self.folder.status(state, step=self.step, verb=self.verb, allowed=self.allowed, **extra)

    def begin(self, loaded: configs.Loaded, step: int) -> None:
        """Write what runs and where, and that it does."""
        self.folder.write_config(configs.to_yaml(loaded), loaded.overrides, step)
        self.folder.write_environment()
        self.step, self.began, self.allowed = step, True, loaded.plain["resume"]["allow"] or None
        self.write("running")

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Write how the block ended, if not well."""
        try:
            yield
        except BaseException as raised:
            if not self.began and isinstance(stops.outcome(raised), UserError | DiskFull):
                self.folder.abandon()
            else:
                ended = ending(raised)
                if ended["exit_code"] == 1:
                    log.debug("traceback", exc_info=True)  # into log.txt
                    raised.add_note(f"{NOTE}{self.folder.path / 'log.txt'}")
                with contextlib.suppress(OSError, DiskFull):  # the first error is the one to report
                    self.write(**ended)
            raise


def ending(raised: BaseException) -> dict[str, Any]:
    """What status.json says of a run that ended with this: state, exit_code and error."""
    error = stops.outcome(raised)
    code = error.exit_code if isinstance(error, BigtrainError | Stopped) else 1
    state = {Stopped.exit_code: "preempted", Diverged.exit_code: "diverged"}.get(code, "failed")
    text = f"{type(error).__name__}: {error}" if code == 1 else str(error)
    return {"state": state, "exit_code": code, "error": text.splitlines()[0]}


@dataclass
class Saver:
    """Writes checkpoints of a run. Only the leading process calls it."""

    place: Path
    model: Model
    optimizer: OptimizerSet
    task: Task
    state: State
    config: Any  # PretrainConfig or FinetuneConfig
    identity: dict[str, Any]
    record: Record | None
    generation: dict[str, Any]  # what the model keeps of the settings of the one it started from
    asked: bool = False  # whether transformers reads the tokenizer alike

    def __call__(self) -> None:
        """A checkpoint of the state as it is, and the pointers to it."""
        from bigtrain.models.auto_tokenizer import check_installed
        from bigtrain.training import checkpoint as checkpoints

        assert self.record is not None
        saved = checkpoints.save(
            self.place,
            self.state.step,
            write_model=self._write_model,
            optimizer=self.optimizer.tensors(),
            counters=asdict(self.state),
            identity=self.identity,
        )
        self.point_and_prune()
        self.record.step, self.record.allowed = self.state.step, None
        self.record.write("running")
        if not self.asked and self.state.seconds >= _ASKED_AFTER_SECONDS:
            self.asked = True
            check_installed(saved / "model", self.model.config.architecture, self.task.tokenizer)

    def _write_model(self, folder: Path) -> None:
        from bigtrain.models.card import Training
        from bigtrain.models.huggingface import save_model

        config, state, task = self.config, self.state, self.task
        training = Training(
            objective=config.objective.name,
            step=state.step,
            tokens=state.tokens,
            fingerprint=task.fingerprint,
            metrics=state.last_metrics,
            measured_at=state.evaluated_step,
            base_model=config.init_from,
            license=config.run.license,
        )
        save_model(folder, self.model, task.tokenizer, training=training, generation=self.generation)
        self._write_shown(folder.parent)

    def _write_shown(self, checkpoint: Path) -> None:
        """What was said of the validation rows, where they have just found this checkpoint to be the best."""
        from bigtrain.objectives.remembered import Remembered

        task, state = self.task, self.state
        best = state.best_step == state.step == state.evaluated_step
        if best and task.sections and isinstance(task.objective, Remembered) and task.objective.sums:
            storage.write_text(checkpoint / SHOWN, "\n".join(task.sections(task.objective.sums)))
            if task.tables:
                storage.write_json(checkpoint / TABLES, task.tables(task.objective.sums))

    def write_merged(self) -> None:
        """The best checkpoint of the run, else the latest, with the adapter merged into its base's weights."""
        from safetensors import SafetensorError

        from bigtrain.models.huggingface import load_model, save_model
        from bigtrain.training import checkpoint as checkpoints

        final = self.place.parent / MERGED
        shutil.rmtree(final, ignore_errors=True)  # of an end that was none
        with storage.new_folder(final) as folder:
            try:
                merged = load_model(checkpoints.resolve(self.place.parent))
                save_model(folder, merged, self.task.tokenizer, generation=self.generation)
            except SafetensorError as error:
                checkpoints.raise_if_disk_full(error)

    def point_and_prune(self) -> None:
        """Let `latest` and `best` name what the state says, and delete what need not be kept."""
        from bigtrain.training import checkpoint as checkpoints

        state = self.state
        keep_last = self.config.train.keep_last
        checkpoints.point_and_prune(self.place, step=state.step, best_step=state.best_step, keep_last=keep_last)


def continued(folder: Path, loaded: configs.Loaded) -> configs.Loaded:
    """The config to run with: the folder's own plus this command's overrides, where there is a run to continue."""
    mode, saved = ResumeMode(loaded.plain["resume"]["mode"]), read_config(folder)
    used = any((folder / "checkpoints").glob("step-*"))
    if mode is ResumeMode.must and not used:
        raise UserError(f"resume=must in {folder}", "there is no checkpoint to continue from", "begin with resume=auto")
    if mode is ResumeMode.never and (used or saved):
        raise UserError(f"resume=never in {folder}", "the folder holds a run", "choose a new run.dir, or resume=auto")
    status = read_status(folder) or {}
    verb = status.get("verb", loaded.verb)
    if verb != loaded.verb:
        raise UserError(f"run.dir={folder}", f"the folder holds a run of `bigtrain {verb}`", "choose another run.dir")
    if used and saved is None:
        raise UserError(
            f"run.dir={folder}",
            "it holds checkpoints, but no config.yaml to continue them with",
            "restore that file",
        )
    if saved is None:
        return loaded
    # What one command allowed is not allowed for ever, but until a checkpoint has it.
    asked = loaded.plain["resume"]
    saved["resume"] = {**asked, "allow": sorted({*asked["allow"], *status.get("allowed", [])})}
    loaded = dataclasses.replace(loaded, plain={**loaded.plain, "resume": saved["resume"]})
    return configs.continued(saved, loaded, folder / "config.yaml")


def as_continued(loaded: configs.Loaded) -> configs.Loaded:
    """The same without taking the folder that `run.dir` names, to look at what would run."""
    folder = loaded.plain["run"]["dir"]
    return continued(Path(folder), loaded) if folder else loaded


def merges(config: Any) -> bool:
    """Whether the end of a run with this config writes `MERGED`."""
    adapter = getattr(config, "adapter", None)
    return isinstance(adapter, LoraConfig) and adapter.merge


def is_complete(folder: RunFolder, config: Any, state: State, plan: Plan) -> bool:
    """Whether this run has ended here before with all that it should write, and has reached one of its limits."""
    from bigtrain.training.plan import is_over

    status = folder.saved_status() or {}
    ended_here = status.get("state") == "done" and status.get("step") == state.step
    if merges(config) and not (folder.path / MERGED).is_dir():
        return False
    return ended_here and (folder.path / "result.json").is_file() and is_over(state, plan)
