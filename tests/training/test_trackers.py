"""What trackers are told is what metrics.jsonl holds, also across a stop."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from harness import run_verb

from bigtrain.errors import UserError
from bigtrain.storage import JsonLines
from bigtrain.training.track_schema import MlflowConfig, TensorboardConfig, WandbConfig
from bigtrain.training.trackers import TrackedLines, TrackedRun, Tracker

SMALL = ["model=tiny", "model.dim=32", "model.n_heads=2", "model.n_layers=1", "model.max_seq_len=32", "device=cpu"]
STEPS = ["train.batch_rows=4", "train.log_every_steps=1", "train.eval_every_steps=2", "train.save_every_steps=2"]


class Told(Tracker):
    def __init__(self) -> None:
        self.values: list[tuple[int, dict[str, float]]] = []

    def log(self, values: dict[str, float], step: int) -> None:
        self.values.append((step, values))

    def close(self) -> None:
        pass


def test_numbers_are_told_by_split_and_what_is_none_is_not(tmp_path: Path) -> None:
    told = Told()
    lines = TrackedLines(tmp_path / "metrics.jsonl", told)
    lines.append({"step": 3, "split": "train", "loss": 1.5, "mfu": None, "tokens": 12})
    lines.append({"step": 3, "split": "validation", "loss": 2.0})
    assert told.values == [(3, {"train/loss": 1.5, "train/tokens": 12.0}), (3, {"validation/loss": 2.0})]
    assert len(lines.read()) == 2


def written(run: Path) -> dict[tuple[str, int], float]:
    """Every finite number of metrics.jsonl by name and step."""
    return {
        (f"{line['split']}/{name}", line["step"]): float(value)
        for line in JsonLines(run / "metrics.jsonl").read()
        for name, value in line.items()
        if name != "step" and isinstance(value, int | float) and math.isfinite(value)
    }


def trained(prepared_set: Path, run: Path, track: str) -> None:
    """Four steps, then another two in a second command."""
    words = [*SMALL, *STEPS, "schedule=constant", f"data.path={prepared_set}", f"run.dir={run}", f"track={track}"]
    for steps in (4, 6):
        run_verb("pretrain", [*words, f"train.max_steps={steps}"])


def test_tensorboard_has_every_number_once(prepared_set: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="track=tensorboard needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained(prepared_set, tmp_path / "run", "tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    found = {(tag, event.step): event.value for tag in events.Tags()["scalars"] for event in events.Scalars(tag)}
    wanted = written(tmp_path / "run")
    assert sum(len(events.Scalars(tag)) for tag in events.Tags()["scalars"]) == len(found)
    assert found.keys() == wanted.keys()
    assert all(found[key] == pytest.approx(wanted[key], rel=1e-6) for key in wanted)


@pytest.mark.filterwarnings("ignore")  # its own
def test_mlflow_has_every_number_and_one_run(prepared_set: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="track=mlflow needs the extra mlflow")
    from mlflow.tracking import MlflowClient

    run = tmp_path / "run"
    trained(prepared_set, run, "mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{run}/mlflow/mlflow.db")
    [experiment] = [one for one in client.search_experiments() if one.name == "bigtrain"]
    [one] = client.search_runs([experiment.experiment_id])
    assert one.info.status == "FINISHED"
    wanted = written(run)
    for name in {name for name, _ in wanted}:
        history = {(name, point.step): point.value for point in client.get_metric_history(one.info.run_id, name)}
        assert history == pytest.approx({key: value for key, value in wanted.items() if key[0] == name})


@pytest.mark.filterwarnings("ignore")  # its own
def test_wandb_keeps_one_run_offline(prepared_set: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="track=wandb needs the extra wandb")
    run = tmp_path / "run"
    trained(prepared_set, run, "wandb")
    id_ = (run / "wandb.id").read_text().strip()
    folders = sorted(path.name for path in (run / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert all(name.endswith(id_) for name in folders)
    assert all([*(run / "wandb" / name).glob("*.wandb")] for name in folders)


@pytest.mark.parametrize("config", [TensorboardConfig(), WandbConfig(), MlflowConfig()])
def test_a_missing_package_is_named(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch.utils.tensorboard", "wandb", "mlflow.tracking", "mlflow.exceptions", "mlflow"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(UserError) as error:
        config.build(TrackedRun(tmp_path, "run", json.loads("{}"), 0))
    assert f"bigtrain[{config.name}]" in error.value.remedy
