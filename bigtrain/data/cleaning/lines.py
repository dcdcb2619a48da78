"""Lines that are removed from a document that stays: C4's line rules, notices, repeats and page headers."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from bigtrain.data.cleaning.characters import CLOSING, SENTENCE_ENDS
from bigtrain.data.cleaning.profile import Profile, Script
from bigtrain.data.cleaning.schema import C4Config, LinesConfig

NOTICES = (  # C4's phrases (Raffel et al. 2020) and the same in other languages, in small letters
    *("javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"),
    *("accept cookies", "accept all cookies", "all rights reserved", "terms of service", "terms and conditions"),
    *("datenschutzerklärung", "verwendet cookies", "verwenden cookies", "cookie-richtlinie", "alle rechte vorbehalten"),
    *("politique de confidentialité", "utilise des cookies", "utilisons des cookies", "tous droits réservés"),
    *("política de privacidad", "utiliza cookies", "uso de cookies", "utilizamos cookies", "derechos reservados"),
    *("política de privacidade", "direitos reservados", "informativa sulla privacy", "utilizza i cookie"),
    *("隐私政策", "使用条款", "版权所有", "プライバシーポリシー", "利用規約", "политика конфиденциальности"),
)
_NOTICE = re.compile("|".join(map(re.escape, NOTICES)))
_SIGNS_OF_NOTICES = (  # each notice holds one of these: few to look for in a text that has none
    *("cookie", "javascript", "rights reserved", "terms of", "terms and", "privacy", "privacid", "reservados"),
    *("datenschutz", "rechte vorbehalten", "confidentialité", "droits réservés"),
)
_FOREIGN_SIGNS = ("隐私", "使用条款", "版权", "プライバシー", "利用規約", "конфиденциальности")
LONGEST_NOTICE = 200  # characters: a paragraph about cookies is no notice
LONG_WORDS = 17  # words (100 characters) from which on a line or paragraph must not come twice

_HEADER_LENGTH = 80  # characters of a running head, its page number included
_PAGE = range(300, 8000)  # characters from one head to the next, which may be two pages away
_FEWEST_PAGES = 5
_REGULAR = 0.3  # pages are so much alike in length; speakers of a play and refrains come back irregularly
_PAGE_NUMBER = re.compile(r"^\W*\d{1,4}\b\W*|\W*\b\d{1,4}\W*$")

_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_END_OF_LINE = tuple(SENTENCE_ENDS.replace("…", "") + CLOSING.replace(")", "").replace("]", ""))
_SENTENCE = re.compile(rf"(?<![.!?…؟۔])[.!?…؟۔]+[{re.escape(CLOSING)}]*(?=\s|\Z)|[。！？｡।॥።။។៕]")
_BLANK_LINES = re.compile(r"\n{3,}")


def remove_lines(profile: Profile, lines: LinesConfig, c4: C4Config) -> tuple[str, dict[str, int]]:
    """The text that stays, and how many lines each rule removed."""
    text, edits = profile.text, {}
    if c4.citations and "[" in text:
        text, n_citations = _CITATION.subn("", text)
        if n_citations:
            edits["citations"] = n_citations
    raw = text.split("\n")
    stripped = [line.strip() for line in raw]
    removed: set[int] = set()
    for name, found in _rules(profile, stripped, lines, c4):
        new = set(found) - removed
        if new:
            edits[name] = len(new)
            removed |= new
    if removed:
        text = "\n".join(line for index, line in enumerate(raw) if index not in removed)
        text = _BLANK_LINES.sub("\n\n", text).strip("\n")
    return text, edits


def _rules(
    profile: Profile, lines: list[str], config: LinesConfig, c4: C4Config
) -> Iterable[tuple[str, Iterable[int]]]:
    spaced = profile.script is Script.spaced
    if config.boilerplate and _may_hold_notices(profile.lowered):
        yield "notices", _notices(lines)
    if config.page_headers:
        yield "page_headers", _page_headers(lines)
    unique = len(set(profile.lines)) == len(profile.lines)
    if config.unique_paragraphs and not unique:
        yield "repeated_paragraphs", _repeated_paragraphs(lines, 100 if spaced else profile.scaled(LONG_WORDS))
    if config.max_repeats is not None and not unique:
        yield "repeated_lines", _repeated_lines(lines, config.max_repeats)
    if c4.line_ends:
        yield "unfinished_lines", (index for index, line in enumerate(lines) if line and not _is_finished(line))
    if c4.max_word_length is not None and spaced:
        yield "lines_with_long_words", _long_words(lines, c4.max_word_length)
    if c4.min_words_per_line is not None:
        yield "short_lines", _short_lines(lines, c4.min_words_per_line, profile)


def n_sentences(text: str, enough: int) -> int:
    """Sentences by their end marks, at least one for each line that is not blank; counting stops at `enough`."""
    n = 0
    for line in text.split("\n"):
        if n >= enough:
            break
        if line and not line.isspace():
            n += max(1, sum(1 for _, _ in zip(range(enough), _SENTENCE.finditer(line), strict=False)))
    return min(n, enough)


def _may_hold_notices(lowered: str) -> bool:
    if any(sign in lowered for sign in _SIGNS_OF_NOTICES):
        return True
    return not lowered.isascii() and any(sign in lowered for sign in _FOREIGN_SIGNS)


def _notices(lines: list[str]) -> Iterable[int]:
    return (index for index, line in enumerate(lines) if len(line) <= LONGEST_NOTICE and _NOTICE.search(line.lower()))


def _is_finished(line: str) -> bool:
    """C4: the line ends in a terminal punctuation mark, an ellipsis aside."""
    return line.endswith(_END_OF_LINE) and not line.endswith("...")


def _long_words(lines: list[str], longest: int) -> Iterable[int]:
    return (index for index, line in enumerate(lines) if len(line) > longest and max(map(len, line.split())) > longest)


def _short_lines(lines: list[str], fewest: int, profile: Profile) -> Iterable[int]:
    if profile.script is Script.spaced:
        return (index for index, line in enumerate(lines) if line and len(line.split(None, fewest - 1)) < fewest)
    characters = profile.scaled(fewest)
    return (index for index, line in enumerate(lines) if 0 < len(line) < characters)


def _repeated_lines(lines: list[str], most: int) -> Iterable[int]:
    counts = Counter(lines)
    seen: set[str] = set()
    for index, line in enumerate(lines):
        if line and counts[line] > most:
            if line in seen:
                yield index
            seen.add(line)


def _repeated_paragraphs(lines: list[str], shortest: int) -> Iterable[int]:
    """Lines of `shortest` characters, and runs of lines between blank ones, that equal an earlier one."""
    seen: set[str] = set()
    start = 0
    for index in range(len(lines) + 1):
        if index < len(lines) and lines[index]:
            continue
        paragraph = "\n".join(lines[start:index])
        if len(paragraph) >= shortest:
            if paragraph in seen:
                yield from range(start, index)
            elif index - start > 1:
                for place in range(start, index):
                    line = lines[place]
                    if len(line) >= shortest:
                        if line in seen:
                            yield place
                        seen.add(line)
            seen.add(paragraph)
        start = index + 1


def _page_headers(lines: list[str]) -> Iterable[int]:
    """Short lines that are equal, page numbers aside, and come back at the distance of a page."""
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    offset = 0
    for index, line in enumerate(lines):
        if 0 < len(line) <= _HEADER_LENGTH:
            places[_PAGE_NUMBER.sub("", line)].append((index, offset))
        offset += len(line) + 1
    for found in places.values():
        if len(found) >= _FEWEST_PAGES and _is_regular([place for _, place in found]):
            yield from (index for index, _ in found)


def _is_regular(places: list[int]) -> bool:
    """Whether four of five gaps are about as long as the one in the middle, and that is as long as a page."""
    gaps = sorted(after - before for before, after in itertools.pairwise(places))
    middle = gaps[len(gaps) // 2]
    return middle in _PAGE and sum(abs(gap - middle) <= _REGULAR * middle for gap in gaps) >= 0.8 * len(gaps)
