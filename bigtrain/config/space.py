"""What a search looks through, in Hydra's grammar of sweeps, and what optuna proposes to try next.

A proposal is a pure function of the space, the seed and the trials before it. So nothing of optuna's has to be stored,
and a search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bigtrain.config import overrides
from bigtrain.config.fields import without_none
from bigtrain.config.overrides import Override
from bigtrain.config.sweep import Swept, is_hydras, plain_choices
from bigtrain.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Values = dict[str, str]  # key -> value as it would be typed

_FORMS = "VALUE,VALUE,... or choice(...), range(START,STOP), interval(LOW,HIGH) and tag(log,interval(LOW,HIGH))"
_DIGITS = 4  # of a number from an interval, so that people can read and type it
_ATTEMPTS = 10  # at a combination that was not tried yet


@dataclass(frozen=True)
class Listed:
    """A key with values of which none is between two others."""

    typed: Override
    values: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.values)

    def checked(self) -> Iterator[str]:
        """Values that stand for all of them when the config is checked."""
        yield from self.values

    def distribution(self) -> BaseDistribution:
        """The same for optuna."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def text(self, value: Any) -> str:
        """What to type for a value of optuna's."""
        return str(value)

    def value(self, text: str) -> Any:
        """The inverse of `text`."""
        return text


@dataclass(frozen=True)
class Between:
    """A key whose values are the numbers from `low` to `high`, both of them included."""

    typed: Override
    low: float
    high: float
    log: bool = False  # as many trials between 1 and 10 as between 10 and 100
    step: int | None = None  # whole numbers, so far apart; None: any number

    @property
    def size(self) -> int | None:
        """Number of values; None where there is no end of them."""
        return None if self.step is None else int(self.high - self.low) // self.step + 1

    def checked(self) -> Iterator[str]:
        """Values that stand for all of them when the config is checked."""
        yield from (self.text(self.low), self.text(self.high))

    @property
    def values(self) -> Iterator[str]:
        """All of them, where they have an end."""
        assert self.step is not None
        return map(str, range(int(self.low), int(self.high) + 1, self.step))

    def distribution(self) -> BaseDistribution:
        """The same for optuna."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.step is None:
            return FloatDistribution(self.low, self.high, log=self.log)
        return IntDistribution(int(self.low), int(self.high), log=self.log, step=self.step)

    def text(self, value: Any) -> str:
        """What to type for a value of optuna's."""
        if self.step is not None:
            return str(int(value))
        return str(min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high))

    def value(self, text: str) -> Any:
        """The inverse of `text`."""
        return float(text) if self.step is None else int(text)


Dimension = Listed | Between


def dimension(one: Swept) -> Dimension | None:
    """The values of a setting of a sweep; None where it has one. Raises UserError."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob, IntervalSweep, RangeSweep
    from hydra.errors import HydraException

    typed = one.typed
    if one.hint is None:
        options = [] if is_hydras(typed.key) else plain_choices(typed.text)
        return Listed(typed, tuple(dict.fromkeys(options))) if len(options) > 1 else None
    try:
        parsed = OverridesParser.create().parse_override(one.hydra)
    except HydraException as error:
        raise UserError(str(typed), str(error).splitlines()[0], f"give {_FORMS}") from error
    if not parsed.is_sweep_override():
        return None
    sweep: Any = parsed.value()
    if tags := sorted(getattr(sweep, "tags", set()) - ({"log"} if isinstance(sweep, IntervalSweep) else set())):
        raise UserError(str(typed), f"the tag {tags[0]} says nothing here: tag(log,interval(LOW,HIGH))", "leave it out")
    kind = without_none(one.hint)[0]
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None  # which is for sweeps that Hydra makes up itself
        assert sweep.end is not None
        return _interval(typed, kind, sweep.start, sweep.end, log="log" in sweep.tags)
    if not isinstance(sweep, Glob):
        sweep.shuffle = False  # the order of the values means nothing here
        line = f"{parsed.key_or_group}="
        texts = tuple(
            dict.fromkeys(
                overrides.from_hydra(line + text).partition("=")[2] for text in parsed.sweep_string_iterator()
            )
        )
        if isinstance(sweep, RangeSweep) and kind is int and len(texts) > 1:
            low, high = sorted((int(texts[0]), int(texts[-1])))
            return Between(typed, low, high, step=abs(int(texts[1]) - int(texts[0])))
        if texts:
            return Listed(typed, texts)
    raise UserError(str(typed), "no value is in it", f"give {_FORMS}")


def _interval(typed: Override, kind: Any, low: float, high: float, *, log: bool) -> Between:
    if kind not in (int, float):
        raise UserError(str(typed), f"an interval is one of numbers, and {typed.key} is none", f"list values: {_FORMS}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(str(typed), "an interval goes from a number to a larger one", "give interval(LOW,HIGH)")
    if kind is int and not (float(low).is_integer() and float(high).is_integer()):
        raise UserError(str(typed), f"{typed.key} is a whole number", "give whole numbers as its ends")
    if log and low <= 0:
        raise UserError(str(typed), "a logarithm is one of numbers above 0", "begin above 0, or leave tag(log,...) out")
    return Between(typed, low, high, log, step=1 if kind is int else None)


def combinations(space: Sequence[Dimension]) -> int | None:
    """How many there are; None where there is no end of them."""
    sizes = [one.size for one in space]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def corners(space: Sequence[Dimension]) -> Iterator[Values]:
    """The first value of every key, and then, one key at a time, the others that stand for all of them."""
    first = {one.typed.key: next(one.checked()) for one in space}
    yield first
    for one in space:
        for text in itertools.islice(one.checked(), 1, None):
            yield first | {one.typed.key: text}


def check_optuna() -> None:
    """Raises UserError where it is missing."""
    try:
        import optuna
    except ImportError as error:
        raise UserError("search.trials", "it needs the package optuna", "pip install 'bigtrain[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def propose(
    space: Sequence[Dimension], trials: Sequence[tuple[Values, float | None]], seed: int, *, higher_is_better: bool
) -> Values:
    """What to try after `trials`, whose value is None where they failed: by the tree-structured Parzen estimator.

    (Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization".) The first ten are drawn at random. What was
    tried already is not proposed again while there is anything else.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    distributions = {one.typed.key: one.distribution() for one in space}
    tried = [values for values, _ in trials]
    values: Values = {}
    for attempt in range(_ATTEMPTS):
        sampler = optuna.samplers.TPESampler(seed=_derived(seed, len(trials), attempt))
        study = optuna.create_study(sampler=sampler, direction="maximize" if higher_is_better else "minimize")
        for settings, value in trials:
            params = {one.typed.key: one.value(settings[one.typed.key]) for one in space}
            state = TrialState.FAIL if value is None else TrialState.COMPLETE
            study.add_trial(create_trial(params=params, distributions=distributions, value=value, state=state))
        asked = study.ask(distributions).params
        values = {one.typed.key: one.text(asked[one.typed.key]) for one in space}
        if values not in tried:
            return values
    keys = [one.typed.key for one in space]
    if combinations(space) is not None:
        every = (dict(zip(keys, texts, strict=True)) for texts in itertools.product(*(one.values for one in space)))
        return next((one for one in every if one not in tried), values)
    return values


def _derived(*numbers: int) -> int:
    """A seed for numpy's generator of its own for each of `numbers`."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:4], "big")
