"""Rotary positions against their definition; the scaled ones by what they are for."""

import dataclasses
import math
from typing import Any

import pytest
import torch

from bigtrain.errors import UserError
from bigtrain.models.rotary import attention_factor, frequencies, rotary_tables, rotate
from bigtrain.models.schema import DecoderConfig, RopeScalingConfig, Scaling

PLAIN = RopeScalingConfig()
LLAMA3 = RopeScalingConfig(kind=Scaling.llama3, factor=8.0, original_seq_len=512)
YARN = RopeScalingConfig(kind=Scaling.yarn, factor=4.0, original_seq_len=512)


def turns(frequency: torch.Tensor) -> torch.Tensor:
    """Turns over the original length."""
    return frequency * 512 / (2 * math.pi)


def test_rotation_depends_on_the_distance_only() -> None:
    cos, sin = rotary_tables(50, 8, 10000.0, PLAIN)
    q, k = torch.randn(2, 1, 1, 1, 8)

    def score(at: int, to: int) -> float:
        return float((rotate(q, cos[at], sin[at]) * rotate(k, cos[to], sin[to])).sum())

    assert score(3, 10) == pytest.approx(score(40, 47), abs=1e-5)
    assert score(3, 10) != pytest.approx(score(10, 3), abs=1e-3)
    torch.testing.assert_close(rotate(q, cos[0], sin[0]), q)
    assert cos[7, 1] == pytest.approx(math.cos(7 * 10000 ** (-2 / 8)), abs=1e-6)


def test_linear_scaling_is_slower_reading() -> None:
    slowed, plain = (rotary_tables(33, 8, 1e4, s) for s in (RopeScalingConfig(kind=Scaling.linear, factor=4.0), PLAIN))
    for table, before in zip(slowed, plain, strict=True):
        torch.testing.assert_close(table[::4], before[: len(table[::4])])


@pytest.mark.parametrize(("scaling", "often", "seldom"), [(LLAMA3, 4.0, 1.0), (YARN, 32.0, 1.0)])
def test_only_what_turns_seldom_is_slowed(scaling: RopeScalingConfig, often: float, seldom: float) -> None:
    before, after = frequencies(128, 1e4, PLAIN), frequencies(128, 1e4, scaling)
    rounded = 1.2  # yarn's ramp begins and ends at whole pairs
    fast, slow = turns(before) > often * rounded, turns(before) < seldom / rounded
    assert 5 < fast.sum() < 60
    assert 5 < slow.sum() < 60
    torch.testing.assert_close(after[fast], before[fast])
    torch.testing.assert_close(after[slow], before[slow] / scaling.factor)
    between = after[~fast & ~slow] / before[~fast & ~slow]
    assert ((between <= 1.0 + 1e-6) & (between >= 1 / scaling.factor - 1e-6)).all()
    assert (between.diff() <= 1e-6).all()


def test_yarn_sharpens_attention() -> None:
    assert attention_factor(YARN) == pytest.approx(0.1 * math.log(4) + 1)
    assert attention_factor(dataclasses.replace(YARN, attention_factor=1.5)) == 1.5
    assert attention_factor(LLAMA3) == attention_factor(PLAIN) == 1.0
    cos, sin = rotary_tables(5, 8, 1e4, YARN)
    torch.testing.assert_close(cos**2 + sin**2, torch.full((5, 4), attention_factor(YARN) ** 2))


def test_a_short_theta_or_an_even_ramp_divides_nothing_by_zero() -> None:
    for theta in (2.0, 1e8):
        for length in (1, 7, 10**6):
            assert frequencies(6, theta, dataclasses.replace(YARN, original_seq_len=length)).isfinite().all()


def test_the_original_length_follows_from_the_model() -> None:
    config = DecoderConfig(dim=8, n_layers=1, n_heads=1, max_seq_len=77, rope_scaling=RopeScalingConfig(Scaling.yarn))
    assert config.resolved(1).rope_scaling.original_seq_len == 77
    assert config.rope_scaling.original_seq_len is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"factor": 2.0}, "factor=2.0.*kind=none"),
        ({"kind": Scaling.linear, "beta_fast": 3.0}, "beta_fast=3.0.*kind=linear"),
        ({"kind": Scaling.yarn, "low_freq_factor": 0.5}, "low_freq_factor=0.5.*kind=yarn"),
        ({"kind": Scaling.llama3, "low_freq_factor": 4.0}, "ramp"),
    ],
)
def test_keys_that_change_nothing_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        RopeScalingConfig(**fields).check()
