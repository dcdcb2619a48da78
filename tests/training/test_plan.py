import time
from types import SimpleNamespace

import pytest

from bigtrain.errors import UserError
from bigtrain.training.plan import UNPLANNED, Plan, Rounds, State
from bigtrain.training.schedules import CosineConfig, WSDConfig
from bigtrain.training.schema import TrainConfig

LOADER = SimpleNamespace(
    batch_rows=8, rows=SimpleNamespace(tokens_per_row=64), steps=lambda epochs: round(100 * epochs)
)


def plan(state=None, schedule=None, **limits):
    return Plan(TrainConfig(batch_rows=8, **limits), LOADER, schedule or WSDConfig(warmup_steps=20), state or State())


def test_the_first_limit_ends_the_run():
    assert (plan(max_steps=50, max_epochs=2).total(), plan(max_steps=50, max_epochs=2).name()) == (50, "max_steps")
    assert (plan(max_steps=500, max_epochs=2).total(), plan(max_steps=500, max_epochs=2).name()) == (200, "max_epochs")
    assert plan(max_tokens=512 * 30).total() == 30


def test_a_warmup_longer_than_the_run_is_told(caplog):
    with caplog.at_level("WARNING", logger="bigtrain"):
        plan(max_steps=20)
        assert not caplog.text
        plan(max_steps=19)
    assert "schedule.warmup_steps=20 and a run of 19 steps" in caplog.text


def test_minutes_become_steps_from_the_median_rate():
    state = State(step=15)
    made = plan(state, max_minutes=10)
    assert made.total() == UNPLANNED
    assert made.measuring()
    clock = 0.0
    for step in range(1, 16):
        clock += 30.0 if step < 5 else 50.0 if step == 9 else 0.5  # compiling, and a hiccup
        done = made.measure(clock, spent=clock, eval_seconds=2.0, save_seconds=1.0)
        assert done == (step == 15)
    every = TrainConfig(batch_rows=8)
    expected = (0.9 * (600 - clock) - 3.0) / (0.5 + 2.0 / every.eval_every_steps + 1.0 / every.save_every_steps)
    assert made.total() == 15 + int(expected)
    assert made.name() == "max_minutes"


def test_a_plan_is_kept_on_resume_and_made_anew_for_other_minutes():
    state = State(
        step=100, planned_steps=900, planned_minutes=10.0, seconds_per_step=0.5, seconds=60.0, total_steps=900
    )
    assert plan(state, max_minutes=10).total() == 900
    assert plan(state, max_minutes=20).total() == 100 + int((0.9 * (1200 - 60)) / 0.5)


def test_minutes_need_a_warmup_long_enough_to_measure_in():
    with pytest.raises(UserError, match="warmup_steps"):
        plan(schedule=WSDConfig(warmup_steps=10), max_minutes=1)


def test_a_longer_run_is_allowed_until_the_rate_begins_to_fall():
    wsd = WSDConfig(warmup_steps=10, cooldown_fraction=0.2)
    assert plan(State(step=80, total_steps=100), wsd, max_steps=200).total() == 200
    with pytest.raises(UserError, match="cool down at step 80"):
        plan(State(step=81, total_steps=100), wsd, max_steps=200)
    with pytest.raises(UserError, match="cool down"):
        plan(State(step=50, total_steps=100), CosineConfig(warmup_steps=10), max_steps=200)


def test_the_same_length_is_always_allowed():
    assert plan(State(step=99, total_steps=100), CosineConfig(warmup_steps=10), max_steps=100).total() == 100


def test_an_evaluation_is_expected_to_take_what_its_later_rounds_take(monkeypatch):
    """The first one compiles: planned with it, a run of some minutes would end far too early."""
    clock = iter([140.0, 146.0])  # after the first round, which took 40 seconds, and after three others
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    rounds = Rounds(lambda: False)
    assert [rounds() for _ in range(3)] == [False] * 3
    assert rounds.seconds(100.0, 1) == 8.0
    clock = iter([107.0])
    assert Rounds(lambda: True).seconds(100.0, 1) == 7.0  # one round: all there is to go by
