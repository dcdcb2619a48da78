"""The findings of a text: a pre-check that costs almost nothing on prose, and rules only where it points.

All rules look at the text's shadow, which has one byte for each character, at the same place: patterns on bytes are
faster, and one place serves both.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Collection, Iterator

from bigtrain.data.privacy import addresses, secrets
from bigtrain.data.privacy.numbers import CARDS, IBANS, NATIONAL_IDS
from bigtrain.data.privacy.phones import PHONES
from bigtrain.data.privacy.rules import Finding
from bigtrain.data.privacy.schema import PiiKind

_RULES = (*IBANS, *CARDS, *NATIONAL_IDS, *PHONES)
_ORDER = {kind: place for place, kind in enumerate(PiiKind)}

# Blanks, dashes and full-width forms in the place of ASCII characters.
_VARIANTS = [(chr(ord(plain) - 0x21 + 0xFF01), plain) for plain in "0123456789+-()./:=@_"]
_VARIANTS += [(character, "-") for character in "\u2010\u2011\u2012\u2013\u2014\u2212"]
_VARIANTS += [(character, " ") for character in "\u2002\u2003\u2007\u2009\u200a\u202f\u3000"]
_BLANK_AND_HYPHEN = bytes.maketrans(b"\xa0\xad", b" -")

# Nothing but keys, and addresses in words, is found in text without one of these.
_HINT = re.compile(rb"[0-9@]")

# Digits, with capitals and the marks between the groups of numbers; every digit is a `0` there. Numbers of six digits
# or more are looked at, and those of four with three points between them. Dates and times are the most frequent.
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_NUMBER = re.compile(rb"0[0A-Z ().:/-]{5,}")
_TIME = re.compile(rb"(?:0000[-/.]00[-/.]00|00[-/.]00[-/.]0000)(?:[T ]+00:00(?::00(?:\.0{1,9})?)?)?[Z .:()/-]*$")
_AROUND_NUMBER = 8

# A run of sixteen characters that keys are made of; in such text every one of them is an `a`.
_KEY_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+/=-"
_RUNS = bytes(ord("a") if code in _KEY_CHARACTERS else ord(" ") for code in range(256))
_RUN = b"a" * 16
_RUN_END = re.compile(rb"\S{0,4096}")
_BEFORE_RUN = 40


def find(text: str, kinds: Collection[PiiKind]) -> list[Finding]:
    """The values of these kinds in a text, in order, none overlapping another."""
    dark = shadow(text)
    found = list(_keys(text, dark, kinds))
    if PiiKind.email in kinds:
        found += addresses.spelled_emails(text, dark)
    if _HINT.search(dark):
        found += _addresses_and_assignments(text, dark, kinds)
        found += _numbers(text, dark, kinds)
    found.sort(key=lambda finding: (_ORDER[finding.kind], finding.start, -finding.stop))
    kept: list[tuple[int, int, PiiKind]] = []
    for kind, start, stop in found:
        place = bisect.bisect(kept, (start, stop, kind))
        if (place == 0 or kept[place - 1][1] <= start) and (place == len(kept) or stop <= kept[place][0]):
            kept.insert(place, (start, stop, kind))
    return [Finding(kind, start, stop) for start, stop, kind in kept]


def shadow(text: str) -> bytes:
    """One byte for each character: Latin-1, with the variants of blanks, dashes and digits made plain; else `?`."""
    if text.isascii():
        return text.encode("ascii")
    try:
        dark = text.encode("latin-1")
    except UnicodeEncodeError:
        for variant, plain in _VARIANTS:
            if variant in text:
                text = text.replace(variant, plain)
        dark = text.encode("latin-1", "replace")
    return dark.translate(_BLANK_AND_HYPHEN)


def _keys(text: str, dark: bytes, kinds: Collection[PiiKind]) -> Iterator[Finding]:
    if PiiKind.private_key in kinds:
        yield from secrets.private_keys(text, dark)
    if PiiKind.api_key in kinds:
        for start, stop in _key_windows(dark):
            yield from secrets.keys(text, dark, start, stop)


def _addresses_and_assignments(text: str, dark: bytes, kinds: Collection[PiiKind]) -> Iterator[Finding]:
    if PiiKind.api_key in kinds:
        yield from secrets.assigned(text, dark)
    if PiiKind.url_credentials in kinds:
        yield from addresses.url_credentials(text, dark)
    if PiiKind.email in kinds:
        yield from addresses.emails(text, dark)
    if PiiKind.ip in kinds:
        yield from addresses.ipv6(text, dark)


def _numbers(text: str, dark: bytes, kinds: Collection[PiiKind]) -> Iterator[Finding]:
    rules = [rule for rule in _RULES if rule.kind in kinds]
    for match in _NUMBER.finditer(dark.translate(_ZEROS)):
        number = match.group()
        digits, points = number.count(b"0"), number.count(b".")
        start, stop = max(0, match.start() - _AROUND_NUMBER), match.end() + _AROUND_NUMBER
        if digits >= 6 and not _TIME.match(number):
            for rule in rules:
                if rule.digits <= digits:
                    yield from rule.find(text, dark, start, stop)
        if points >= 3 and PiiKind.ip in kinds:
            yield from addresses.ipv4(text, dark, start, stop)


def _key_windows(dark: bytes) -> Iterator[tuple[int, int]]:
    """Where long runs of letters, digits and the marks of base64 stand, up to the next white space."""
    runs = dark.translate(_RUNS)
    start = runs.find(_RUN)
    while start >= 0:
        end = _RUN_END.match(dark, start)
        assert end is not None  # it matches anything
        yield max(0, start - _BEFORE_RUN), end.end()
        start = runs.find(_RUN, end.end())
