"""Trackers: the lines of metrics.jsonl, told to a program that draws the curves of many runs.

A run that continues continues there too. What a tracker is told is never read back: without one, or with one that has
lost everything, a run is the same.
"""

from __future__ import annotations

import logging
import math
import os
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.errors import UserError
from bigtrain.storage import JsonLines, write_text

Values = dict[str, float]


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run before its first line."""

    folder: Path
    name: str
    config: dict[str, Any]
    step: int  # it continues here; 0: it begins

    def known_as(self, tracker: str) -> Path:
        """A file in the run folder for the name by which a tracker knows the run."""
        return self.folder / f"{tracker}.id"


class Tracker(ABC):
    """Takes the numbers of a step."""

    @abstractmethod
    def log(self, values: Values, step: int) -> None:
        """Numbers by name, such as `train/loss`."""

    @abstractmethod
    def close(self) -> None:
        """Nothing more comes from this process."""


class TrackedLines(JsonLines):
    """metrics.jsonl, whose lines a tracker is told as well."""

    def __init__(self, path: Path, tracker: Tracker | None = None) -> None:
        super().__init__(path)
        self.tracker = tracker

    def append(self, value: dict[str, Any]) -> None:
        """Add one line, and tell the tracker its finite numbers."""
        super().append(value)
        if self.tracker is None:
            return
        split = value.get("split", "train")
        numbers = {
            f"{split}/{name}": float(number)
            for name, number in value.items()
            if name != "step" and isinstance(number, int | float) and math.isfinite(number)
        }
        self.tracker.log(numbers, value["step"])

    def close(self) -> None:
        """See `Tracker.close`."""
        if self.tracker is not None:
            self.tracker.close()


def _missing(name: str) -> UserError:
    return UserError(f"track={name}", f"it needs the package {name}", f"pip install 'bigtrain[{name}]'")


class Tensorboard(Tracker):
    """Event files in `RUN/tensorboard`. Steps that will run again are purged."""

    def __init__(self, run: TrackedRun) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("tensorboard") from error
        self.writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.step + 1 if run.step else None)

    def log(self, values: Values, step: int) -> None:
        """A scalar for each."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is held back."""
        self.writer.close()


class Wandb(Tracker):
    """A run of Weights & Biases, the same one when it continues; steps that it has seen are not told again."""

    def __init__(self, run: TrackedRun, project: str, mode: str) -> None:
        try:
            import wandb  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError as error:
            raise _missing("wandb") from error
        known = run.known_as("wandb")
        id_ = known.read_text(encoding="utf-8").strip() if known.is_file() and run.step else uuid.uuid4().hex[:12]
        write_text(known, id_ + "\n")
        os.environ.setdefault("WANDB_SILENT", "true")  # its messages are not for standard error, which is the run's log
        try:
            self.run = wandb.init(
                project=project, name=run.name, id=id_, resume="allow", mode=mode, dir=run.folder, config=run.config
            )
        except wandb.Error as error:
            raise UserError(
                f"track=wandb track.mode={mode}: {error}",
                "Weights & Biases takes the run",
                "log in (WANDB_API_KEY), or give track.mode=offline and send it with `wandb sync`",
            ) from error

    def log(self, values: Values, step: int) -> None:
        """One line of its history."""
        self.run.log(values, step=step)

    def close(self) -> None:
        """Send, or write, what is held back."""
        self.run.finish()


class Mlflow(Tracker):
    """A run of MLflow, the same one when it continues."""

    def __init__(self, run: TrackedRun, experiment: str, uri: str | None) -> None:
        try:
            from mlflow.exceptions import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
                MlflowException,
            )
            from mlflow.tracking import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
                MlflowClient,
            )
        except ImportError as error:
            raise _missing("mlflow") from error
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        known, own = run.known_as("mlflow"), run.folder.absolute() / "mlflow"
        own.mkdir(exist_ok=True)
        try:
            self.client = MlflowClient(tracking_uri=uri or f"sqlite:///{own}/mlflow.db")
            if known.is_file() and run.step:
                self.id = known.read_text(encoding="utf-8").strip()
                self.client.update_run(self.id, status="RUNNING")
            else:
                found = self.client.get_experiment_by_name(experiment)
                of = found.experiment_id if found else self._experiment(experiment, None if uri else own)
                self.id = self.client.create_run(of, run_name=run.name).info.run_id
                self.client.log_dict(self.id, run.config, "config.yaml")
        except MlflowException as error:
            raise UserError(
                f"track=mlflow track.uri={uri}: {error}", "MLflow takes the run", "correct track.uri, or leave it out"
            ) from error
        write_text(known, self.id + "\n")

    def _experiment(self, name: str, own: Path | None) -> Any:
        """own: where its files lie; None: where the server says."""
        return self.client.create_experiment(name, artifact_location=own and own.as_uri())

    def log(self, values: Values, step: int) -> None:
        """A metric for each."""
        for name, value in values.items():
            self.client.log_metric(self.id, name, value, step=step)

    def close(self) -> None:
        """Say that it is over."""
        self.client.set_terminated(self.id)
