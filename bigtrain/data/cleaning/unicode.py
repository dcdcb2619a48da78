"""Characters: repair, normalisation, control and invisible characters, white space.

A document is first asked which code points it holds besides printable ASCII. A step runs only where one of these
concerns it, so that clean text costs next to nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.cleaning.characters import blocks
from bigtrain.data.cleaning.mojibake import Repairer
from bigtrain.data.cleaning.schema import Repair, UnicodeConfig, WhiteSpace

Step = Callable[[str, frozenset[int]], tuple[str, int]]  # text and its odd code points -> text, how much was altered

# C0 and C1 controls and noncharacters; tab and the line breaks (LF, VT, FF, CR, NEL) are white space
_CONTROLS = "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff"
_CONTROL = re.compile(rf"\x1b\[[0-9;]*[A-Za-z]|[{_CONTROLS}]")

_SPACES = "\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"  # besides tab and space
_TAGS = "\U000e0000-\U000e007f"  # invisible copies of ASCII: meant for flags only
_WORD_BREAKS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese and Khmer write them as U+200B
_ALWAYS_ODD = "\u00ad\u180e\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffc"
_INVISIBLE = re.compile(
    rf"[{_ALWAYS_ODD}]"
    rf"|(?<![{_WORD_BREAKS}])\u200b"
    rf"|(?<![\U0001f3f4{_TAGS}])[{_TAGS}]+"
)
_JOINED = f"[^\x00-\x9f\u2028\u2029{_SPACES}]"  # joiners shape letters besides ASCII, and emoji
_JOINERS = re.compile(f"(?<!{_JOINED})[\u200c\u200d]+(?!{_JOINED})")
_MARKS_OF_DIRECTION = {0x200E, 0x200F, 0x61C}
_HAS_RIGHT_TO_LEFT = re.compile("[\u0590-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

_LINE_BREAKS = "\v\f\r\x85\u2028\u2029"
_LINE_BREAK = re.compile(f"\r\n|[{_LINE_BREAKS}]")
_RUN_OF_SPACES = re.compile(rf"[ \t{_SPACES}]{{2,}}|[\t{_SPACES}]")
_START_OF_LINE = re.compile(r"(?<=\n) ")
_BLANK_LINES = re.compile(r"\n{3,}")


def odd_characters(text: str) -> frozenset[int]:
    """The code points of a text that are not printable ASCII."""
    return frozenset[int]().union(*map(_odd, blocks(text)))


def _odd(codes: NDArray[Any]) -> list[int]:
    odd = codes[(codes < 0x20) | (codes > 0x7E)]
    found: list[int] = (odd if len(odd) < 1000 else np.unique(odd)).tolist()
    return found


def steps(config: UnicodeConfig) -> list[tuple[str, Step]]:
    """The steps that are switched on, with the names under which their edits are counted.

    Raises UserError where ftfy is wanted and not installed.
    """
    found: list[tuple[str, Step]] = []
    if config.repair is not Repair.none:
        found.append(("repaired_lines", _repair(Repairer(config.repair))))
    if config.controls:
        found.append(("control_characters", _remove(_CONTROL, _CONTROLS)))
    if config.invisible:
        found.append(("invisible_characters", _remove(_INVISIBLE, _ALWAYS_ODD + "\u200b" + _TAGS)))
        found.append(("invisible_characters", _remove_marks_of_direction))
        found.append(("invisible_characters", _remove(_JOINERS, "\u200c\u200d")))
    if config.nfc:
        found.append(("normalised", _normalise))
    if config.white_space is not WhiteSpace.none:
        found.append(("white_space", _line_ends))
    if config.white_space is WhiteSpace.collapse:
        found.append(("white_space", _collapse))
    return found


def _members(character_class: str) -> frozenset[int]:
    """The code points of the inside of a regular expression's `[...]`."""
    ranges = re.findall(r"(.)-(.)|(.)", character_class, re.DOTALL)
    return frozenset(
        code for first, last, one in ranges for code in range(ord(first or one), ord(last or first or one) + 1)
    )


def _repair(repairer: Repairer) -> Step:
    def step(text: str, odd: frozenset[int]) -> tuple[str, int]:
        return repairer(text) if repairer.touches(text, odd) else (text, 0)

    return step


def _normalise(text: str, odd: frozenset[int]) -> tuple[str, int]:
    if unicodedata.is_normalized("NFC", text):
        return text, 0
    return unicodedata.normalize("NFC", text), 1


def _remove(pattern: re.Pattern[str], character_class: str) -> Step:
    triggers = _members(character_class)

    def step(text: str, odd: frozenset[int]) -> tuple[str, int]:
        if odd.isdisjoint(triggers):
            return text, 0
        removed = pattern.sub("", text)
        return removed, len(text) - len(removed)

    return step


def _remove_marks_of_direction(text: str, odd: frozenset[int]) -> tuple[str, int]:
    """U+200E, U+200F and U+061C go where nothing is written from right to left."""
    if odd.isdisjoint(_MARKS_OF_DIRECTION) or _HAS_RIGHT_TO_LEFT.search(text):
        return text, 0
    removed = text.translate(dict.fromkeys(_MARKS_OF_DIRECTION))
    return removed, len(text) - len(removed)


def _line_ends(text: str, odd: frozenset[int]) -> tuple[str, int]:
    """One kind of line break; no spaces before it."""
    before = len(text)
    if not odd.isdisjoint(_OTHER_BREAKS):
        text = _LINE_BREAK.sub("\n", text)
    if " \n" in text or text.endswith(" ") or not odd.isdisjoint(_OTHER_SPACES):
        text = "\n".join([line.rstrip(_ALL_SPACES) for line in text.split("\n")])
    return text, before - len(text)


def _collapse(text: str, odd: frozenset[int]) -> tuple[str, int]:
    """After `_line_ends`: single spaces, none at the start of a line, one blank line at most, none at either end."""
    before = len(text)
    if "  " in text or not odd.isdisjoint(_OTHER_SPACES):
        text = _RUN_OF_SPACES.sub(" ", text)
    if "\n " in text:
        text = _START_OF_LINE.sub("", text)
    if "\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n", text)
    text = text.strip(" \n")
    return text, before - len(text)


_OTHER_BREAKS = _members(_LINE_BREAKS)
_OTHER_SPACES = _members("\t" + _SPACES)
_ALL_SPACES = "".join(map(chr, sorted(_OTHER_SPACES))) + " "
