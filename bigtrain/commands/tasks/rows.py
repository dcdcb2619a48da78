"""What all tasks on rows of files share, whatever is learned from the rows."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bigtrain.commands.tasks.base import TOKENS_AT_ONCE, refuse_unread
from bigtrain.config import Loaded
from bigtrain.data.tasks.forms_schema import TrainFormsConfig
from bigtrain.data.tasks.held_out import held_out
from bigtrain.errors import UserError
from bigtrain.log import log

if TYPE_CHECKING:
    from bigtrain.models.huggingface import ModelFolder
    from bigtrain.schema import EvaluateConfig, FinetuneConfig

T = TypeVar("T")

_TEXT = ("data.files", "data.path", "data.builtin")
_OF_TEXT = ("data.test_fraction", "data.split_by", "data.group_field", "data.sample", "data.format", "data.encoding")
_UNREAD_IN_EVALUATION = ("data.path", "data.builtin", "data.split", "data.split_by", "evals.stride")


def check_rows(loaded: Loaded) -> None:
    """Raises UserError where a fine-tuning task on rows names text, or no rows."""
    config: FinetuneConfig = loaded.config
    given, rule = f"objective={config.objective.name}", "it reads the rows of a file"
    raw = [*_TEXT, *sorted(key for key in loaded.named if key.startswith(("data.sets.", "data.sources.")))]
    refuse_unread(loaded, raw, given, rule, "data.train= and data.validation=")
    refuse_unread(loaded, ["train.isolate_documents", *_OF_TEXT], given, rule)
    if config.objective.name != "sft":
        of_answers = [f"data.{field.name}" for field in dataclasses.fields(TrainFormsConfig)]
        refuse_unread(loaded, of_answers, given, "conversations are read with objective=sft")
    if not config.data.train:
        raise UserError(f"{given} without data.train=", "it learns from the rows of a file", "give data.train=FILE")


def validation_file(loaded: Loaded) -> str | None:
    """The file of validation rows, if they have one. Raises UserError where a share of the others is named, too."""
    path: str | None = loaded.config.data.validation
    if path:
        rule = "the validation rows have a file of their own"
        refuse_unread(loaded, ["data.validation_fraction"], "data.validation=", rule)
    return path


def apart(rows: Sequence[T], texts: Sequence[str], fraction: float, kind: str, by: str) -> tuple[list[T], list[T]]:
    """Training and validation rows: of `rows` a share is held out by the hash of their texts, equal ones together.

    kind, by: what the log calls the rows and the texts.
    """
    held = held_out(texts, [0] * len(texts), fraction)
    if held.any():
        said = "no data.validation=: %d of %d %s are held out, by a hash of their %s"
        log.info(said, held.sum(), len(rows), kind, by)
    kept, checked = ([rows[row] for row in part.nonzero()[0].tolist()] for part in (~held, held))
    return kept, checked


def measured_files(loaded: Loaded, source: ModelFolder) -> list[Path]:
    """The files that a checkpoint for rows is measured on. Raises UserError for keys that say something else."""
    config: EvaluateConfig = loaded.config
    kind = f"checkpoint= of {source.output}"
    refuse_unread(loaded, _UNREAD_IN_EVALUATION, kind, "it is measured on the rows of data.files=[FILE,...]")
    return [Path(path) for given in config.data.files for path in sorted(glob.glob(given)) or [given]]  # noqa: PTH207


def rows_at_once(config: EvaluateConfig, longest: int) -> int:
    """Rows of a batch of an evaluation, of which the longest has so many tokens."""
    return config.evals.batch_rows or max(1, TOKENS_AT_ONCE // longest)


def fingerprint(*contents: Any) -> str:
    """Of rows as they were read: what a run must find again when it continues."""
    return hashlib.sha256(repr(contents).encode()).hexdigest()
