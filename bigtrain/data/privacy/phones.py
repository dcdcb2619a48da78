"""Telephone numbers: international ones by their country, national ones by the groups they are written in.

A number without a country says little: bare digits, and groups that other numbers are written in as well, need a word
like `Tel.` before them; the groups that only telephone numbers are written in must not be called another thing.
"""

from __future__ import annotations

import re

from bigtrain.data.privacy.context import Topic
from bigtrain.data.privacy.rules import Rule, Words, compact, longest
from bigtrain.data.privacy.schema import PiiKind

# Country codes of ITU-T E.164 with the digits that a number has after them, at least and at most.
_DIGITS = {
    "1": (10, 10), "7": (10, 10), "20": (8, 10), "27": (9, 9), "30": (10, 10), "31": (9, 9), "32": (8, 9),
    "33": (9, 9), "34": (9, 9), "36": (8, 9), "39": (6, 11), "40": (9, 9), "41": (9, 9), "43": (7, 13), "44": (9, 10),
    "45": (8, 8), "46": (7, 9), "47": (8, 8), "48": (9, 9), "49": (7, 11), "51": (8, 9), "52": (10, 11), "53": (8, 8),
    "54": (10, 11), "55": (10, 11), "56": (9, 9), "57": (10, 10), "58": (10, 10), "60": (8, 10), "61": (9, 9),
    "62": (8, 12), "63": (9, 10), "64": (8, 10), "65": (8, 8), "66": (8, 9), "81": (9, 10), "82": (8, 10),
    "84": (9, 10), "86": (10, 11), "90": (10, 10), "91": (10, 10), "92": (9, 10), "93": (9, 9), "94": (9, 9),
    "95": (7, 10), "98": (10, 10),
}  # fmt: skip
_THREE = re.compile("2[1-689]|3[578]|42|50|59|6[7-9]|8[0578]|9[679]")  # how the codes of three digits begin
_THREE_DIGITS = (7, 10)

_DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"
_YEAR = r"(?:1[0-9]|20)[0-9]{2}"
_DATE = re.compile(
    rf"{_DAY}[-./ ]{_DAY}[-./ ](?:{_YEAR}|[0-9]{{2}})\b|{_YEAR}[-./ ]{_DAY}[-./ ]{_DAY}\b|{_YEAR}(?:[-/ ]+{_YEAR})+"
    rf"|{_DAY}[-./ ]{_YEAR}\b|{_YEAR}[-./]{_DAY}\b"
)


def _national_digits(digits: str) -> tuple[int, int, int] | None:
    """Length of the country's code, and how many digits may follow; None where there is no such country."""
    for length in (1, 2):
        if digits[:length] in _DIGITS:
            return length, *_DIGITS[digits[:length]]
    return (3, *_THREE_DIGITS) if _THREE.match(digits) else None


def _international(text: str) -> bool:
    digits = compact(text.replace("(0)", "")).removeprefix("00")
    found = _national_digits(digits)
    return found is not None and found[1] <= len(digits) - found[0] <= found[2]


def _zero_first(text: str) -> bool:
    """A number with the zero that asks for another area: an area of three digits or more, or a long second group."""
    groups = [len(group) for group in re.findall("[0-9]+", text)]
    area_ok = groups[0] >= 3 or (groups[0] == 2 and len(groups) > 1 and groups[1] >= 3)
    return 9 <= sum(groups) <= 12 and area_ok and groups not in ([4, 4, 4], [3, 2, 4])


def _called(text: str) -> bool:
    """What is called a telephone number and is no date, no year and no fraction."""
    groups = re.findall("[0-9]+", text)
    fraction = re.fullmatch(r"[0-9]{1,3}\.[0-9]{4,}", text)
    return 7 <= len("".join(groups)) <= 13 and not fraction and not _DATE.match(text)


_LEFT = rb"(?<![A-Za-z0-9_#$%=/\\+\xa3\xa5])(?<![0-9][.,:/-])(?<![0-9] [(])(?<![0-9] )"
_END = rb"(?:[ ]?(?:x|ext\.? ?)[0-9]{1,6})?(?![A-Za-z0-9_]|[ .,:/-]{0,2}[0-9])"


def _phone(pattern: bytes, digits: int, words: Words = Words.clear) -> Rule:
    """A rule for groups that are a telephone number as they are."""
    compiled = re.compile(_LEFT + b"(?:" + pattern + b")" + _END)
    return Rule(PiiKind.phone, compiled, digits, len, words, Topic.phone)


PHONES = (
    Rule(
        PiiKind.phone,
        re.compile(rb"(?<![A-Za-z0-9_+])\+ ?[1-9](?:[ ()./-]{0,3}[0-9]){5,18}"),
        7,
        longest(_international),
        Words.free,
    ),
    Rule(
        PiiKind.phone,
        re.compile(_LEFT + rb"00[ -]?[1-9](?:[ ()./-]{0,3}[0-9]){6,16}"),
        7,
        longest(_international),
        Words.clear,
        Topic.phone,
    ),
    # North America; the digits that no area begins with are those of most invented numbers.
    _phone(rb"(?:1[ .-])?(?:\([1-9][0-9]{2}\) ?[0-9]{3}[ .-]|[1-9][0-9]{2}([.-])[0-9]{3}\1)[0-9]{4}", 10),
    _phone(rb"0[1-9]([ .-])[0-9]{2}(?:\1[0-9]{2}){3}", 10),  # France
    _phone(rb"[6789][0-9]{2}(?: [0-9]{2}){3}|9[0-9] [0-9]{3}(?: [0-9]{2}){2}", 9),  # Spain
    _phone(rb"\([1-9][0-9]\) ?9?[0-9]{4}-[0-9]{4}", 10),  # Brazil
    _phone(rb"8[ -]?\([0-9]{3}\)[ -]?[0-9]{3}-[0-9]{2}-?[0-9]{2}", 11),  # Russia
    _phone(rb"1[3-9][0-9]([ -])[0-9]{4}\1[0-9]{4}|400([ -])[0-9]{3,4}\2[0-9]{3,4}", 10),  # China
    _phone(rb"1[3-9][0-9]{9}", 11, Words.chinese),
    _phone(rb"0[679][0-9]{8}|07[0-9]{9}|01[567][0-9]{8,9}", 10),  # mobile: France, Taiwan, the United Kingdom, Germany
    Rule(
        PiiKind.phone,
        re.compile(
            _LEFT + rb"(?:\(0[1-9][0-9]{0,4}\)[ .-]?|0[1-9][0-9]{0,4}(?: ?[/-] ?| ))[0-9]{2,8}(?:[ ./-][0-9]{1,8}){0,4}"
        ),
        7,
        longest(_zero_first),
        Words.clear,
        Topic.phone,
    ),
    Rule(
        PiiKind.phone,
        re.compile(rb"(?<![A-Za-z0-9_.,#$%/\\+])\(?[0-9](?:[ ()./-]{0,3}[0-9]){6,14}"),
        7,
        longest(_called),
        Words.needed,
        Topic.phone,
    ),
)
