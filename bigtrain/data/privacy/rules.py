"""What a kind of number looks like, what its digits must satisfy, and which words must or must not stand before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from bigtrain.data.privacy.context import Topic, among_chinese, topic
from bigtrain.data.privacy.schema import PiiKind

# Before a number: no letter and no longer number that it is the end of. After it: likewise.
LEFT = rb"(?<![A-Za-z0-9_])(?<![0-9][.:/-])"
_RIGHT = re.compile(rb"(?!(?!x[0-9])[A-Za-z0-9_]|[.:/-][0-9]| ?=)")  # 212-555-0123x45 has an extension
_NEAR = 24  # characters between a number and the word that it cannot do without


class Finding(NamedTuple):
    """A value in a text: from the character `start` up to `stop`."""

    kind: PiiKind
    start: int
    stop: int


class Words(Enum):
    """What the words before a number decide."""

    free = "nothing: shape and check digits suffice"
    clear = "they must not call it another thing"
    needed = "they must call it what it is"
    chinese = "they must call it what it is, or Chinese must stand around it"


@dataclass(frozen=True)
class Rule:
    """A kind of number.

    shape: on the text with one byte for each character (see `scan.shadow`). digits: how many it has at least. fit: how
    many characters of the match are the value, 0 for none.
    """

    kind: PiiKind
    shape: re.Pattern[bytes]
    digits: int
    fit: Callable[[str], int]
    words: Words = Words.clear
    topic: Topic = Topic.national

    def find(self, text: str, shadow: bytes, start: int, stop: int) -> Iterator[Finding]:
        """The values between two places."""
        for match in self.shape.finditer(shadow, start, stop):
            end = match.start() + self.fit(match.group().decode("latin-1"))
            if end > match.start() and _RIGHT.match(shadow, end) and self._called(text, match.start(), end):
                yield Finding(self.kind, match.start(), end)

    def _called(self, text: str, start: int, stop: int) -> bool:
        if self.words is Words.free:
            return True
        found, distance = topic(text, start)
        if found is self.topic and distance <= _NEAR:
            return True
        other = found in (Topic.other, Topic.version) or (
            found is Topic.identity and self.kind is not PiiKind.national_id
        )
        if self.words is Words.needed or other:
            return False
        return self.words is Words.clear or among_chinese(text, start, stop)


def shape(pattern: bytes) -> re.Pattern[bytes]:
    """The pattern where no longer word or number ends."""
    return re.compile(LEFT + b"(?:" + pattern + b")")


def compact(text: str) -> str:
    """Letters and digits alone, in capitals."""
    return "".join(filter(str.isalnum, text)).upper()


def whole(check: Callable[[str], bool]) -> Callable[[str], int]:
    """All of the match, where its letters and digits pass the check."""
    return lambda text: len(text) if check(compact(text)) else 0


def longest(check: Callable[[str], bool]) -> Callable[[str], int]:
    """The longest beginning of the match that ends with a group of letters and digits and passes the check."""

    def fit(text: str) -> int:
        for end in reversed(group_ends(text)):
            if check(text[:end]):
                return end
        return 0

    return fit


def group_ends(text: str) -> list[int]:
    """Where the groups of letters and digits end."""
    return [match.end() for match in re.finditer(r"[^\W_]+", text)]
