"""Config of trackers. No torch at import: the command line reads it first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bigtrain.options import option

if TYPE_CHECKING:
    from bigtrain.training.trackers import TrackedRun, Tracker


@dataclass
class NoTrackConfig:
    """The run folder alone tells of the run."""

    name: str = option("none", "the tracker")

    def build(self, run: TrackedRun) -> Tracker | None:
        """None."""
        return None


@dataclass
class TensorboardConfig:
    """Event files for TensorBoard, in the run folder: `tensorboard --logdir RUN`."""

    name: str = option("tensorboard", "the tracker")

    def build(self, run: TrackedRun) -> Tracker:
        """Raises UserError without the extra `tensorboard`."""
        from bigtrain.training.trackers import Tensorboard

        return Tensorboard(run)


class WandbMode(StrEnum):
    """Where Weights & Biases keeps a run."""

    offline = "offline"
    online = "online"


@dataclass
class WandbConfig:
    """Weights & Biases. The key is taken from the environment, as its own tools do."""

    name: str = option("wandb", "the tracker")
    project: str = option("bigtrain", "the project that the run belongs to")
    mode: WandbMode = option(
        WandbMode.offline, "offline: files in the run folder, which `wandb sync` sends later; online: sent at once"
    )

    def build(self, run: TrackedRun) -> Tracker:
        """Raises UserError without the extra `wandb`, and where the service refuses the run."""
        from bigtrain.training.trackers import Wandb

        return Wandb(run, self.project, str(self.mode))


@dataclass
class MlflowConfig:
    """MLflow."""

    name: str = option("mlflow", "the tracker")
    experiment: str = option("bigtrain", "the experiment that the run belongs to")
    uri: str | None = option(
        None, "the tracking server, as http://HOST:PORT, or a database; null: mlflow/ in the run folder"
    )

    def build(self, run: TrackedRun) -> Tracker:
        """Raises UserError without the extra `mlflow`, and where the server refuses the run."""
        from bigtrain.training.trackers import Mlflow

        return Mlflow(run, self.experiment, self.uri)
