"""All steps of cleaning, in their order, as a function of one document."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from bigtrain.data.cleaning import lines, quality, unicode
from bigtrain.data.cleaning.language import UNSURE, LanguageRule
from bigtrain.data.cleaning.profile import Profile, Script
from bigtrain.data.cleaning.schema import C4Config, CleanConfig, LinesConfig, Repair
from bigtrain.data.cleaning.scores import Broken, broken
from bigtrain.data.cleaning.word_list import WordListRule, read_entries
from bigtrain.environment import version

_CONVERSIONS = re.compile(r"-\{[^{}\n]*\}-")  # between the forms of Chinese, in the markup of Wikipedia


@dataclass(frozen=True)
class Cleaned:
    """What became of a document."""

    text: str  # where it was dropped: as far as it was cleaned by then
    broken: Broken | None = None  # the rule for which it is dropped, such as "quality:gopher_stop_words"
    language: str | None = None  # ISO 639 code; None: not identified
    scores: dict[str, float] = field(default_factory=dict)  # what the rules measured before one of them was broken
    edits: dict[str, int] = field(default_factory=dict)  # what was repaired or removed, by the name of the step

    @property
    def dropped(self) -> str | None:
        """The name of the rule that it broke."""
        return self.broken and self.broken.rule


class Cleaner:
    """Cleans documents. Made once in each worker; holds nothing that one document leaves for the next.

    The quality rules judge the text before lines are taken out of it, since the papers chose their thresholds for such
    text. Sentences, unwanted words and length are counted in what stays.
    """

    def __init__(self, config: CleanConfig) -> None:
        """Raises UserError where a package, the word list or a language is not there."""
        self._config = config
        self._steps = unicode.steps(config.unicode)
        self._language = LanguageRule(config.language) if config.language.identify else None
        self._words = WordListRule(config.words) if config.words.file is not None else None
        self._removes_lines = config.lines != LinesConfig() or config.c4 != C4Config()

    def __call__(self, text: str) -> Cleaned:
        """The cleaned document, or why it is dropped: a function of text and config alone."""
        text, edits = self._clean_characters(text)
        scores: dict[str, float] = {}
        language: str | None = None
        reason = self._empty_or_short(text)
        if reason is None and self._language is not None:
            language, scores["language_confidence"], rule = self._language(text)
            if rule == UNSURE:
                reason = Broken(rule, scores["language_confidence"], self._config.language.min_confidence)
            elif rule:
                reason = Broken(rule)
        if reason is None:
            profile = Profile(text)
            reason = self._judge(profile, language, scores)
            if reason is None and self._removes_lines:
                text, removed = lines.remove_lines(profile, self._config.lines, self._config.c4)
                edits |= removed
                profile = profile if text == profile.text else Profile(text)
            reason = reason or self._judge_rest(profile, scores)
        return Cleaned(text, reason, language, scores, edits)

    def _clean_characters(self, text: str) -> tuple[str, dict[str, int]]:
        edits: Counter[str] = Counter()
        if not self._steps:
            return text, {}
        odd = unicode.odd_characters(text)
        for name, step in self._steps:
            before = text
            text, n_edits = step(text, odd)
            if n_edits:
                edits[name] += n_edits
            if text is not before:
                odd = unicode.odd_characters(text)
        return text, dict(edits)

    def _empty_or_short(self, text: str) -> Broken | None:
        least = self._config.length.min_characters
        if least is None:
            return None
        if not text or text.isspace():
            return Broken("length:empty")
        return broken("length:short", len(text), least=least)

    def _judge(self, profile: Profile, language: str | None, scores: dict[str, float]) -> Broken | None:
        config = self._config
        found = (
            quality.programs(profile, config.programs, scores)
            or quality.gopher_quality(profile, language, config.gopher, scores)
            or quality.gopher_repetition(profile, config.gopher, scores)
            or quality.fineweb(profile, config.fineweb, scores)
        )
        return found and found._replace(rule=f"quality:{found.rule}")

    def _judge_rest(self, profile: Profile, scores: dict[str, float]) -> Broken | None:
        c4, length = self._config.c4, self._config.length
        if reason := self._empty_or_short(profile.text):
            return reason
        if too_long := broken("length:long", len(profile.text), most=length.max_characters):
            return too_long
        if c4.lorem_ipsum and "lorem ipsum" in profile.lowered:
            return Broken("quality:c4_lorem_ipsum")
        if c4.curly_brackets and "{" in _CONVERSIONS.sub("", profile.text):
            return Broken("quality:c4_curly_bracket")
        wanted = c4.min_sentences if profile.script is not Script.southeast else None  # it marks no ends of sentences
        if wanted is not None and (n := lines.n_sentences(profile.text, wanted)) < wanted:
            return Broken("quality:c4_sentences", n, wanted)
        return self._words(profile, scores) if self._words is not None else None


def provenance(config: CleanConfig) -> dict[str, str]:
    """What the outcome depends on besides the config: versions of packages and the content of the word list.

    For the manifest, and for the key of a work folder. Raises UserError where the word list cannot be read.
    """
    found = {"unicode": unicodedata.unidata_version}
    if config.unicode.repair is not Repair.none:
        found["ftfy"] = version("ftfy") or ""
    if config.language.identify:
        found["py3langid"] = version("py3langid") or ""
    if config.words.file is not None:
        entries = "\n".join(read_entries(config.words.file))
        found["words"] = hashlib.sha256(entries.encode()).hexdigest()
    return found
