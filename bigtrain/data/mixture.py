"""Several prepared sets in one training run, each with its share of the rows.

The order is a pure function of (seed, position), as in `loader.py`: the rows at positions 0, 1, 2, ... follow a block
of slots that repeats, and a slot says which set its row comes from. How many rows of a set lie before a position, and
so which of its rows comes next and in which pass, is known without counting: resuming is the same call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from bigtrain.data.loader import Batch, Rows, Windows, derive, shuffled
from bigtrain.data.shards import PreparedSet, TokenSplit
from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer

BLOCK = 10_000  # slots at most


class WeightedPath(Protocol):
    """One set as the config names it."""

    path: str
    weight: float


def quotas(weights: Mapping[str, float]) -> dict[str, int]:
    """Slots of each set in a block, by name. Weights count in proportion to their sum.

    Proportions are exact where a block of at most BLOCK slots can hold them (1:2 is 1 and 2 slots of 3); else they are
    those of BLOCK slots, shared out by largest remainders. Raises UserError for a weight that is not above zero or too
    small for a slot.
    """
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise UserError(
                f"data.sets.{name}.weight={weight:g}", "a weight is above zero", "give a number, or leave the set out"
            )
    exact = {name: Fraction(str(weight)) for name, weight in sorted(weights.items())}
    shares = {name: weight / sum(exact.values()) for name, weight in exact.items()}
    block = min(BLOCK, math.lcm(*(share.denominator for share in shares.values())))
    slots = {name: math.floor(share * block) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: slots[name] - shares[name] * block)
    for name in by_remainder[: block - sum(slots.values())]:
        slots[name] += 1
    for name, quota in slots.items():
        if not quota:
            raise UserError(
                f"data.sets.{name}.weight={weights[name]:g} of {sum(weights.values()):g}",
                f"a set gives at least one row in {BLOCK:,}",
                "give it more weight, or leave it out",
            )
    return slots


def spread(slots: Sequence[int]) -> np.ndarray:
    """Which set each slot of a block belongs to (sum of `slots`,), set i having slots[i] of them, spread evenly.

    Before any slot each set has had its exact share but for less than one row: the chairman assignment of Tijdeman
    (1980, Discrete Mathematics 32), where among the sets that have fallen behind by 1 / (2n - 2) of a row the one that
    can wait the least comes next.
    """
    block, slack = sum(slots), 2 * len(slots) - 2
    order = np.zeros(block, np.int64)
    behind = [0] * len(slots)  # how far each set is behind its share, in rows times `block`
    for slot in range(block if slack else 0):
        behind = [lag + quota for lag, quota in zip(behind, slots, strict=True)]
        waits = [
            (((slack - 1) * block - slack * lag) // (slack * quota), number)
            for number, (lag, quota) in enumerate(zip(behind, slots, strict=True))
            if slack * lag >= block
        ]
        order[slot] = chosen = min(waits)[1]
        behind[chosen] -= block
    return order


class Mixture(Rows):
    """The rows of several sets, numbered one set after the other; `slots` says how many of a block each set has.

    Every set has its own passes and its own permutations. A pass over the mixture is as many rows as the sets have
    together. The order of a single set is that of its rows alone.
    """

    def __init__(self, rows: Mapping[str, Windows], slots: Mapping[str, int]) -> None:
        self.names, self.rows = list(rows), list(rows.values())
        self.quotas = np.array([slots[name] for name in self.names])
        self.slots = spread([int(quota) for quota in self.quotas])
        self.firsts = np.cumsum([0, *(len(one) for one in self.rows)])
        self.before = np.empty(len(self.slots), np.int64)  # rows of a slot's own set before it in the block
        for number, quota in enumerate(self.quotas):
            self.before[self.slots == number] = np.arange(quota)

    @property
    def tokens_per_row(self) -> float:
        """On average over a block."""
        each = [one.tokens_per_row for one in self.rows]
        return float(np.dot(each, self.quotas) / len(self.slots))

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def order(self, position: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Index and the pass of its own set of the samples at `position` (N,)."""
        block, slot = np.divmod(position, len(self.slots))
        number = self.slots[slot]
        count = block * self.quotas[number] + self.before[slot]
        index, epoch = np.empty_like(count), np.empty_like(count)
        for one in np.unique(number):
            here = number == one
            key = derive("set", seed, self.names[one]) if len(self.rows) > 1 else seed
            index[here], epoch[here] = shuffled(count[here], len(self.rows[one]), key)
        return index + self.firsts[number], epoch

    def epochs(self, position: int) -> dict[str, float]:
        """Passes over each set made before `position`."""
        block, slot = divmod(position, len(self.slots))
        counts = block * self.quotas + np.bincount(self.slots[:slot], minlength=len(self.rows))
        pairs = zip(self.names, self.rows, counts, strict=True)
        return {f"epochs_{name}": float(count) / len(rows) for name, rows, count in pairs}

    def batch(self, index: np.ndarray, epoch: np.ndarray) -> Batch:
        """The rows `index` (N,) in the passes `epoch` (N,) of their sets; see `Windows.batch`."""
        number = np.searchsorted(self.firsts, index, side="right") - 1
        batch: Batch = {}
        for one in np.unique(number):
            here = np.flatnonzero(number == one)
            for name, rows in self.rows[one].batch(index[here] - self.firsts[one], epoch[here]).items():
                batch.setdefault(name, rows.new_empty((len(index), *rows.shape[1:])))[here] = rows
        return batch


class PreparedSets:
    """What a run learns text from: one prepared set (its name is empty), or several with weights, by name."""

    def __init__(self, sets: Mapping[str, PreparedSet], slots: Mapping[str, int]) -> None:
        self.sets, self.slots = dict(sorted(sets.items())), dict(slots)

    @classmethod
    def alone(cls, prepared: PreparedSet) -> PreparedSets:
        """One set, as if there were no mixtures."""
        return cls({"": prepared}, {"": 1})

    @classmethod
    def mixed(cls, named: Mapping[str, WeightedPath], read: Callable[[str], PreparedSet]) -> PreparedSets:
        """The sets of `data.sets`, each opened by `read` from its path.

        Raises UserError for what `read` refuses, bad weights, and sets with different tokenizers.
        """
        slots = quotas({name: one.weight for name, one in named.items()})
        sets: dict[str, PreparedSet] = {}
        for name in slots:
            try:
                sets[name] = read(named[name].path)
            except UserError as error:
                given = f"data.sets.{name}.path={error.given.removeprefix('data.path=')}"
                raise UserError(given, error.rule, error.remedy) from error
        _check_tokenizers(sets)
        return cls(sets, slots)

    @property
    def fingerprint(self) -> str | dict[str, Any]:
        """What decides about the rows: a digest, or share and digest of every set."""
        if "" in self.sets:
            return self.sets[""].fingerprint
        block = sum(self.slots.values())
        each = {
            name: {"weight": str(Fraction(self.slots[name], block)), "fingerprint": one.fingerprint}
            for name, one in self.sets.items()
        }
        return {"sets": each}

    def tokenizer(self) -> Tokenizer:
        """That of every set."""
        return next(iter(self.sets.values())).tokenizer()

    def splits(self, part: str) -> list[TokenSplit]:
        """One part of every set."""
        return [one.split(part) for one in self.sets.values()]

    def rows(self, seq_len: int, *, seed: int, isolate_documents: bool, words: bool = False, before: int = 0) -> Rows:
        """Training rows of `seq_len` tokens, and as many as `before` that are not scored.

        words: they say which tokens go on with a word, where all sets store it.
        """
        rows, words = {}, words and all(one.has_words for one in self.sets.values())
        for name, one in self.sets.items():
            try:
                rows[name] = Windows(
                    one.split("train"),
                    seq_len,
                    seed=seed,
                    isolate_documents=isolate_documents,
                    words=words,
                    before=before,
                )
            except UserError as error:
                where = f" in data.sets.{name}" if name else ""
                raise UserError(error.given + where, error.rule, error.remedy) from error
        return rows[""] if "" in rows else Mixture(rows, self.slots)


def _check_tokenizers(sets: Mapping[str, PreparedSet]) -> None:
    (first, one), *others = sets.items()
    for name, other in others:
        if other.manifest["tokenizer"]["hash"] != one.manifest["tokenizer"]["hash"]:
            shown = [
                f"data.sets.{name}.path={each.path} ({each.vocab_size} tokens, "
                f"hash {each.manifest['tokenizer']['hash'][:12]})"
                for name, each in ((first, one), (name, other))
            ]
            raise UserError(
                " and ".join(shown),
                "the sets of a mixture have one tokenizer",
                "prepare one of them again with tokenizer=file tokenizer.path= the folder of the other",
            )
