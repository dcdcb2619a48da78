import math
import random

import pytest
import torch
from harness import TINY, bits, metrics, newest, run_verb

from bigtrain.errors import Stopped, UserError
from bigtrain.schema import CHOICES
from bigtrain.training.schedules import ConstantConfig, CosineConfig, LinearConfig, PlateauConfig, WSDConfig

SCHEDULES = [
    CosineConfig(warmup_steps=10, final_ratio=0.1),
    LinearConfig(warmup_steps=10, final_ratio=0.0),
    WSDConfig(warmup_steps=10, cooldown_fraction=0.25, final_ratio=0.05),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_warms_up_linearly_and_ends_at_the_final_ratio(schedule):
    assert [schedule.scale(step, 100) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert schedule.scale(100, 100) == pytest.approx(schedule.final_ratio)
    falling = [schedule.scale(step, 100) for step in range(10, 101)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
@pytest.mark.parametrize("totals", [(60, 100), (100, 400), (37, 41)])
def test_length_matters_only_from_the_start_of_the_cooldown(schedule, totals):
    same_until = min(schedule.cooldown_start(total) for total in totals)
    for step in range(same_until):
        assert schedule.scale(step, totals[0]) == schedule.scale(step, totals[1])
    assert schedule.scale(same_until + 2, totals[0]) != schedule.scale(same_until + 2, totals[1])


def test_cosine_is_half_way_down_in_the_middle():
    assert CosineConfig(warmup_steps=0, final_ratio=0.0).scale(50, 100) == pytest.approx(0.5)
    assert CosineConfig(warmup_steps=0, final_ratio=0.0).scale(25, 100) == pytest.approx(
        0.5 * (1 + math.cos(math.pi / 4))
    )


def test_no_warmup_starts_at_the_peak():
    assert WSDConfig(warmup_steps=0).scale(0, 10) == 1.0


@pytest.mark.parametrize("schedule", [ConstantConfig(warmup_steps=4), PlateauConfig(warmup_steps=4)])
def test_constant_keeps_the_peak_whatever_the_length(schedule):
    assert [schedule.scale(step, 10) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert schedule.scale(1, 10) == schedule.scale(1, 99)
    assert schedule.scale(98, 99) == 1.0
    assert schedule.cooldown_start(70) == 70


@pytest.mark.parametrize("kind", CHOICES["schedule"].values(), ids=CHOICES["schedule"])
def test_only_a_plateau_reacts_to_evaluations(kind):
    ratios = {kind().reduced(0.5, evals) for evals in range(12)}
    assert ratios == ({0.5, 0.25} if kind is PlateauConfig else {0.5})


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_is_torchs_step_by_step(seed, mode):
    """torch reduces after more than `patience` bad evaluations, and counts anew after a better one or a reduction."""
    draw = random.Random(seed)
    ours = PlateauConfig(
        factor=draw.choice([0.1, 0.5, 0.9]), patience_evals=draw.randint(1, 4), min_ratio=draw.choice([0.0, 0.2])
    )
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        sgd, mode, ours.factor, ours.patience_evals - 1, threshold=0.0, min_lr=ours.min_ratio, eps=0.0
    )
    best, evals, ratio = None, 0, 1.0
    for _ in range(60):
        value = draw.randint(0, 30) / 10  # equal values come too: they are not better
        better = best is None or (value < best if mode == "min" else value > best)
        best, evals = (value, 0) if better else (best, evals + 1)
        ratio = ours.reduced(ratio, evals)
        theirs.step(value)
        assert ratio == sgd.param_groups[0]["lr"]


PLATEAU = [
    *TINY,
    "schedule=plateau",
    "schedule.patience_evals=1",
    "schedule.warmup_steps=0",
    "optimizer.lr=0.3",  # far too large: evaluations get worse
    "train.eval_every_steps=1",
    "train.save_every_steps=4",
    "train.max_steps=8",
    "train.eval_tokens=64",
]


def pretrain(prepared_set, run, *words):
    return run_verb("pretrain", [*PLATEAU, f"data.path={prepared_set}", f"run.dir={run}", *words])


def test_a_run_follows_its_plateau_and_continues_with_the_same_bits(prepared_set, tmp_path, monkeypatch):
    from bigtrain.training.checkpoint import verify
    from bigtrain.training.loop import Loop

    torch.set_num_threads(1)
    pretrain(prepared_set, tmp_path / "whole")
    lines = metrics(tmp_path / "whole")
    best, evals, ratio, expected = math.inf, 0, 1.0, [0.3]
    for loss in [line["loss"] for line in lines if line["split"] == "validation" and line["step"]]:
        best, evals = (loss, 0) if loss < best else (best, evals + 1)
        ratio = PlateauConfig(patience_evals=1).reduced(ratio, evals)
        expected.append(0.3 * ratio)
    assert [line["lr"] for line in lines if line["split"] == "train"] == pytest.approx(expected[:-1])
    assert expected[4] < 0.3  # it has fired before the checkpoint that the other run continues from

    original = Loop._step

    def stopped(self):
        if self.state.step == 5:
            raise Stopped("here")
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", stopped)
        with pytest.raises(Stopped):
            pretrain(prepared_set, tmp_path / "parts")
    counters = verify(newest(tmp_path / "parts")).counters()
    assert counters["rate_ratio"] == expected[counters["step"]] / 0.3 < 1
    pretrain(prepared_set, tmp_path / "parts")
    assert bits(tmp_path / "parts") == bits(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train.eval_every_steps=null"], "train.eval_every_steps="),
        (["train.patience_evals=2", "schedule.patience_evals=2"], "train.patience_evals=4"),
    ],
)
def test_a_plateau_that_could_never_fall_is_refused(prepared_set, tmp_path, words, named):
    with pytest.raises(UserError, match=named):
        pretrain(prepared_set, tmp_path / "run", *words)


def test_a_plateau_needs_validation_data(tmp_path):
    (tmp_path / "text.txt").write_text("a cat sings\n" * 200)
    words = [*PLATEAU, f"data.files={tmp_path / 'text.txt'}", "tokenizer=bytes", "data.validation_fraction=0"]
    with pytest.raises(UserError, match="schedule=plateau without validation data"):
        run_verb("pretrain", [*words, f"run.dir={tmp_path / 'run'}"])
