import math

import pytest

from bigtrain.training.schedules import CosineConfig, LinearConfig, WSDConfig

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
