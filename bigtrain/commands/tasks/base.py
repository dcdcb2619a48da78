"""What a task brings to training and to evaluation, and the arithmetic of its batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.config import Loaded
from bigtrain.data.schema import SOURCES, DataConfig
from bigtrain.errors import UserError
from bigtrain.identity import identity
from bigtrain.log import log
from bigtrain.parallel.schema import Reduction
from bigtrain.training.schedules import PlateauConfig, Schedule
from bigtrain.training.schema import TrainConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bigtrain.data.loader import Rows
    from bigtrain.evaluation.evaluator import Batches, Part
    from bigtrain.models.base import Model
    from bigtrain.models.huggingface import ModelFolder
    from bigtrain.objectives.base import Objective
    from bigtrain.parallel.placement import Placement
    from bigtrain.schema import EvaluateConfig
    from bigtrain.tokenizer import Tokenizer
    from bigtrain.training.plan import State

DEFAULT_BATCH_ROWS = 32
TOKENS_AT_ONCE = 8192  # of an evaluation, where its rows are not given: 1.6 GB of logits with a vocabulary of 50,000


@dataclass
class Task:
    """What a verb brings to the training it shares with the other."""

    model: Model  # on the meta device
    init_from: Path | None  # a model folder whose weights it starts from; None: random ones
    objective: Objective
    rows: Rows
    validation: Callable[[int], Sequence[Part]]  # rows of a batch -> the validation data
    tokenizer: Tokenizer
    fingerprint: str | dict[str, Any]  # of the data, or of its parts by name
    seq_len: int
    batch_rows: int
    lines: int = 1  # of `seq_len` tokens, that a row has
    new_head: bool = False  # the head of `init_from` gives way to a new one, though it is of the same kind
    # What is to be known before the first step, once the run folder is there; and whether the run has checkpoints.
    before: Callable[[Path, bool], None] | None = None
    examples: Callable[[], list[tuple[str, str]]] | None = None  # texts before and after, for --dry-run to show
    sections: Callable[[dict[str, NDArray[Any]]], list[str]] | None = None  # of the report, of the sums of validation
    tables: Callable[[dict[str, NDArray[Any]]], dict[str, Any]] | None = None  # of labels, of the same sums

    @property
    def row_tokens(self) -> int:
        """Tokens that a row takes, padding among them."""
        return self.lines * self.seq_len


@dataclass
class Measurement:
    """What `evaluate` computes, and how much of it there is: `{"tokens": n}` or `{"rows": n}`."""

    objective: Objective
    batches: Batches
    size: dict[str, int]
    # Of the sums: what was predicted for each row, and sections of the report.
    predictions: Callable[[dict[str, NDArray[Any]]], Iterator[dict[str, Any]]] | None = None
    sections: Callable[[dict[str, NDArray[Any]]], list[str]] | None = None
    tables: Callable[[dict[str, NDArray[Any]]], dict[str, Any]] | None = None  # `per_class` and such, by label
    labels: Sequence[str] = ()  # of `per_class`
    before: Callable[[], None] | None = None  # what is to be known before the first batch
    written: int = 0  # tokens that the model writes at most, each in a pass of its own


# The last argument is the model folder of the checkpoint that the run continues from: it stands in for `init_from`,
# which may be gone by then.
Build = Callable[[Loaded, "Placement", Path | None], Task]


def refuse_unread(loaded: Loaded, keys: Iterable[str], given: str, rule: str, instead: str = "") -> None:
    """Refuse keys that this command sets and nothing would read: an option that changes nothing misleads."""
    if named := [key for key in keys if key in loaded.named]:
        raise UserError(f"{named[0]}= with {given}", rule, f"give {instead}" if instead else f"leave {named[0]}= out")


def named_fields(loaded: Loaded, *kinds: type) -> list[str]:
    """The keys of `data` that this command sets and that are fields of these parts of its schema, but not of text's."""
    own = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    own -= {field.name for field in dataclasses.fields(DataConfig)}
    return sorted(key for key in loaded.named if key.startswith("data.") and key.split(".")[1] in own)


def refuse_raw_settings(loaded: Loaded) -> None:
    """Refuse what says how raw text is read where prepared sets are named: they were read when they were made."""
    data = loaded.config.data
    if data.path or data.sets:
        raw = {field.name for field in dataclasses.fields(DataConfig)} - set(SOURCES)
        given = "data.path=" if data.path else "data.sets"
        refuse_unread(loaded, sorted(f"data.{name}" for name in raw), given, "`bigtrain prepare` has read that text")


def row_length(train: TrainConfig, model: Model) -> int:
    """`train.seq_len`, or the longest the model is made for. Raises UserError when it is longer than that."""
    longest = model.config.max_seq_len
    if train.seq_len is not None and train.seq_len > longest:
        raise UserError(
            f"train.seq_len={train.seq_len} with model.max_seq_len={longest}",
            "a row cannot be longer than the model is made for",
            f"choose train.seq_len={longest} or less, or a larger model.max_seq_len where positions are not learned",
        )
    return train.seq_len or longest


def window_length(config: EvaluateConfig, source: ModelFolder) -> int:
    """`evals.seq_len`, or the longest the model is made for. Raises UserError when it is longer than that."""
    longest = source.config.max_seq_len
    if config.evals.seq_len is not None and config.evals.seq_len > longest:
        given = f"evals.seq_len={config.evals.seq_len} with a model of max_seq_len={longest}"
        raise UserError(given, "a window is as long as the model is made for at most", f"choose {longest} or less")
    return config.evals.seq_len or longest


def batch_rows(train: TrainConfig, seq_len: int) -> int:
    """Rows of the global batch. Raises UserError when `batch_tokens` is no whole number of rows."""
    if train.batch_tokens is None:
        return train.batch_rows or DEFAULT_BATCH_ROWS
    if train.batch_tokens % seq_len:
        raise UserError(
            f"train.batch_tokens={train.batch_tokens} with rows of {seq_len} tokens",
            "the batch must be divisible into whole rows",
            f"choose train.batch_tokens={max(1, round(train.batch_tokens / seq_len)) * seq_len}",
        )
    return train.batch_tokens // seq_len


def rows_of_a_part(task: Task, config: Any, placement: Placement) -> int:
    """Rows that one process (`exact`: one shard) computes of each global batch. Raises UserError if it is no number."""
    exact = config.parallel.reduction is Reduction.exact
    parts = config.parallel.shards if exact else placement.world_size
    named = f"parallel.shards={parts}" if exact else f"{parts} processes"
    if exact and parts % placement.world_size:
        raise UserError(
            f"{placement.world_size} processes with {named}", "the processes must divide the shards", "change one"
        )
    if task.batch_rows % parts:
        whole = -(-task.batch_rows // parts) * parts
        raise UserError(
            f"a global batch of {task.batch_rows} rows with {named}",
            "the batch is shared out in equal parts",
            f"choose a batch of {whole} rows ({whole * task.row_tokens} tokens)",
        )
    rows, micro = task.batch_rows // parts, config.train.micro_batch_rows
    if micro and rows % micro:
        raise UserError(
            f"train.micro_batch_rows={micro} with {rows} rows on a process",
            "micro-batches must divide the rows of a process",
            f"choose a divisor of {rows}",
        )
    return rows


def check_metric(metric: str, known: tuple[str, ...]) -> None:
    """Raises UserError for a `train.metric` that the objective does not give, or that says nothing of quality."""
    known = tuple(name for name in known if name != "threshold")  # found anew at each evaluation: neither good nor bad
    if metric not in known:
        raise UserError(
            f"train.metric={metric}",
            "the metric must be one that the evaluation gives and that says how good the model is",
            f"choose among {', '.join(known)}",
        )


_OF_VALIDATION = {
    "patience_evals": "a run stops early by a metric of its validation data",
    "metric": "a metric is measured on validation data",
    "eval_train_tokens": "training text is measured beside validation text",
}


def check_measured(train: TrainConfig, validation: Sequence[Part]) -> None:
    """Raises UserError for what waits for a metric, or asks for one, where nothing is measured."""
    usual = TrainConfig()
    for key, rule in {} if len(validation) else _OF_VALIDATION.items():
        value, off = getattr(train, key), getattr(usual, key)
        if value != off:
            raise UserError(
                f"train.{key}={value} without validation data",
                rule,
                "hold some out (data.validation_fraction=, data.validation=), "
                f"or give train.{key}={'null' if off is None else off}",
            )


def check_plateau(train: TrainConfig, schedule: Schedule, validation: Sequence[Part]) -> None:
    """Raises UserError for a rate that waits for evaluations which never come, or which end the run."""
    if not isinstance(schedule, PlateauConfig):
        return
    if not len(validation):
        raise UserError(
            "schedule=plateau without validation data",
            "the rate falls when train.metric, measured on validation data, stops getting better",
            "hold some out (data.validation_fraction=, data.validation=), or choose another schedule=",
        )
    if train.eval_every_steps is None:
        raise UserError(
            "schedule=plateau with train.eval_every_steps=null",
            "the rate falls when evaluations stop bringing a better train.metric",
            "give train.eval_every_steps=, or choose another schedule=",
        )
    if train.patience_evals is not None and train.patience_evals <= schedule.patience_evals:
        raise UserError(
            f"train.patience_evals={train.patience_evals} with schedule.patience_evals={schedule.patience_evals}",
            "the run would stop before its rate ever falls",
            f"give train.patience_evals={2 * schedule.patience_evals}, or more",
        )


def micro_batch(part_rows: int, model: Model, task: Task, config: Any, state: State, placement: Placement) -> int:
    """Rows computed at once: given, or the recorded choice, or chosen now from the free memory."""
    from bigtrain.parallel.memory import choose_micro_batch, choose_micro_batch_for_any

    before, given = state.micro_batch_rows, config.train.micro_batch_rows
    if given:
        if before not in (0, given):
            log.warning("micro-batches of %d rows before, %d now: the bits may differ", before, given)
        return int(given)
    if before and part_rows % before == 0:
        return before
    choose = choose_micro_batch_for_any if config.parallel.reduction is Reduction.exact else choose_micro_batch
    return choose(model, part_rows, task.row_tokens, placement, compiled=config.device.compile)


def identity_of(plain: dict[str, Any], task: Task, placement: Placement) -> dict[str, Any]:
    """What may not change when the run of this task is continued: see `identity`."""
    now = settled(plain, task, placement)
    return identity(now, data_fingerprint=task.fingerprint, tokenizer_hash=task.tokenizer.hash)


def settled(plain: dict[str, Any], task: Task, placement: Placement) -> dict[str, Any]:
    """The config with nulls and `auto` replaced by what they came to; `processes` where bits depend on it."""
    exact = plain["parallel"]["reduction"] == Reduction.exact
    rows = {"batch_tokens": None, "batch_rows": task.batch_rows, "seq_len": task.seq_len}
    return {
        **plain,
        "train": {**plain["train"], **rows},
        "device": {**plain["device"], "kind": placement.device.type},
        "parallel": {**plain["parallel"], "threads": plain["parallel"]["threads"] or 1}
        if exact
        else {**plain["parallel"], "processes": placement.world_size},
    }
