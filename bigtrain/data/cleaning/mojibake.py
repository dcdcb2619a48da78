"""Mojibake and other damage from decoding, repaired by ftfy (Speer 2019), which runs only on lines that it may alter.

ftfy takes a quarter of a second for a megabyte; nearly every line of real text passes through it unchanged. A line is
handed to it where it holds a character, an HTML entity or a neighbourhood of characters without which none of its steps
does anything, so that the result is what `ftfy.fix_text` gives for the whole text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Set
from typing import NamedTuple

from bigtrain.data.cleaning.schema import Repair
from bigtrain.errors import UserError

_AROUND = 6  # characters on either side that ftfy's longest pattern of mojibake can reach
_ORDINARY = ("common", "lower_common", "upper_common", "start_punctuation", "end_punctuation", "kaomoji")
_ALONE = "\x80-\x9fÂÃŒœ×"  # a character of mojibake without a second one beside it
_AFTER_COMMON = "ЂÙ‚"  # beside ordinary ones only
_AROUND_PUNCTUATION = "ВГРСΒΓΞΟ"  # UTF-8's first bytes of Cyrillic and Greek, around a mark of punctuation


class _Clues(NamedTuple):
    """What ftfy reacts to, from its own tables."""

    badness: re.Pattern[str]  # its test for mojibake
    suspects: frozenset[int]  # each of the test's patterns has at least one of these characters
    pairs: tuple[re.Pattern[str], ...]  # where they stand beside another one, or are a sign of it by themselves
    others: frozenset[int]  # characters that its other steps replace
    other: re.Pattern[str]


class Repairer:
    """`repair(text)` undoes what wrong decoding did to it. Raises UserError where ftfy is not installed."""

    def __init__(self, repair: Repair) -> None:
        try:
            import ftfy
            from ftfy.chardata import HTML_ENTITY_RE
        except ImportError:
            raise UserError(
                f"clean.unicode.repair={repair}",
                "repairing Unicode needs the package ftfy",
                "pip install 'bigtrain[data]', or set clean.unicode.repair=none",
            ) from None
        own = repair is Repair.full
        self._config = ftfy.TextFixerConfig(
            uncurl_quotes=own,
            fix_character_width=own,
            fix_line_breaks=own,
            remove_control_chars=own,
            normalization=None,
            explain=False,
        )
        self._fix = ftfy.fix_text
        self._clues = _clues(own)
        self._entity = HTML_ENTITY_RE

    def touches(self, text: str, odd: Set[int]) -> bool:
        """Whether ftfy might alter a text with these code points below space or above `~`."""
        if not odd.isdisjoint(self._clues.others) or ("&" in text and self._entity.search(text)):
            return True
        return not odd.isdisjoint(self._clues.suspects) and any(pair.search(text) for pair in self._clues.pairs)

    def __call__(self, text: str) -> tuple[str, int]:
        """The repaired text, and how many lines were altered."""
        html: str | bool = "auto"  # entities stay what they are from the first `<` on: then it is HTML
        lines = text.split("\n")
        altered = 0
        for index, line in enumerate(lines):
            if "<" in line:
                html = False
            end = "\n" if index < len(lines) - 1 else ""
            if not self._suspicious(line + end, html is not False):
                continue
            fixed = self._fix(line + end, self._config._replace(unescape_html=html))
            altered += fixed != line + end
            lines[index] = fixed.removesuffix("\n") if end else fixed
        return "\n".join(lines) if altered else text, altered

    def _suspicious(self, line: str, html: bool) -> bool:
        if html and "&" in line and self._entity.search(line):
            return True
        if line.isascii():
            return self._clues.other.search(line) is not None
        if self._clues.other.search(line):
            return True
        return any(
            self._clues.badness.search(line, max(0, found.start() - _AROUND), found.end() + _AROUND)
            for pair in self._clues.pairs
            for found in pair.finditer(line)
        )


@functools.cache
def _clues(own: bool) -> _Clues:
    from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES
    from ftfy.chardata import CONTROL_CHARS, LIGATURES, WIDTH_MAP

    categories = MOJIBAKE_CATEGORIES
    suspects = "".join(text for name, text in categories.items() if name not in _ORDINARY) + _AFTER_COMMON + _ALONE
    every = "".join(categories.values())
    punctuation = categories["start_punctuation"] + categories["end_punctuation"] + "°"
    pairs = (
        re.compile(rf"[{suspects}](?:(?<=[{_ALONE}])|(?=[{every}])|(?<=[{every}][\s\S]))"),
        re.compile(f"[{_AROUND_PUNCTUATION}](?=[{punctuation}][{_AROUND_PUNCTUATION}])"),
    )
    suspect = re.compile(f"[{suspects}{_AROUND_PUNCTUATION}]")
    others = {0x1B, *LIGATURES, *range(0xD800, 0xE000)}
    if own:
        others |= {*WIDTH_MAP, *CONTROL_CHARS, *map(ord, "\r\u2028\u2029\x85")}
        others |= {0x2BC, *range(0x2018, 0x2020)}  # quotes
    return _Clues(
        BADNESS_RE,
        frozenset(map(ord, suspect.findall("".join(map(chr, range(0x10000)))))),
        pairs,
        frozenset(others),
        re.compile("[" + "".join(map(re.escape, map(chr, sorted(others)))) + "]"),
    )
