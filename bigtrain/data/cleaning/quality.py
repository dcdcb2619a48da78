"""Rules that keep or drop a whole document: Gopher, FineWeb, Codex.

Each returns the first rule that a document breaks, or None, and writes what it measured into `scores`.
Rules come in the order of their cost. Those that speak of words hold for scripts without spaces as well, see
`profile.Script`; those that make no sense there, such as the length of words, are left out.
"""

from __future__ import annotations

from bigtrain.data.cleaning import stop_words
from bigtrain.data.cleaning.characters import CLOSING, SENTENCE_ENDS
from bigtrain.data.cleaning.profile import Profile, Script
from bigtrain.data.cleaning.repetition import duplicate_ngrams, duplicate_shares, longest_ngram, top_ngram
from bigtrain.data.cleaning.schema import (
    DUPLICATE_NGRAMS,
    TOP_NGRAMS,
    FineWebConfig,
    GopherConfig,
    ProgramsConfig,
)
from bigtrain.data.cleaning.scores import Broken, broken

Scores = dict[str, float]

BULLETS = frozenset("•●‣▪◦■◆·・*-")
FEWEST_LINES = 2  # a share of a single line says nothing
LINE_ENDS = frozenset(SENTENCE_ENDS + CLOSING)
# Names and titles come again in any text, and take more characters of Chinese than other words. With n-grams half as
# long again the rule drops 3 of 256 paragraphs of Chinese Wikipedia (CMRC 2018) that people chose to ask about, without
# 19 of them; of English ones (SQuAD) 2 of 240.
LONGER_REPEATS = 1.5
SHORT_LINE_WORDS = 5  # FineWeb's 30 characters, as English words


def gopher_quality(profile: Profile, language: str | None, config: GopherConfig, scores: Scores) -> Broken | None:
    """The quality rules of Rae et al. 2021, appendix A1.1."""
    if (config.min_words, config.max_words) != (None, None):
        scores["words"] = profile.n_words
        if found := broken("gopher_words", profile.n_words, least=config.min_words, most=config.max_words):
            return found
    if config.max_symbols is not None:
        text = profile.text
        ellipses = text.count("...") + text.count("…") - text.count("……")  # Chinese writes two for one
        scores["symbols_per_word"] = max(text.count("#"), ellipses) / max(1.0, profile.n_words)
        if found := broken("gopher_symbols", scores["symbols_per_word"], most=config.max_symbols):
            return found
    if (config.min_mean_word_length, config.max_mean_word_length) != (None, None) and profile.is_spelled:
        scores["mean_word_length"] = profile.n_written / max(1.0, profile.n_words)
        bounds = {"least": config.min_mean_word_length, "most": config.max_mean_word_length}
        if found := broken("gopher_word_length", scores["mean_word_length"], **bounds):
            return found
    n_lines = len(profile.lines)
    if config.max_bullet_lines is not None and n_lines >= FEWEST_LINES:
        scores["bullet_lines"] = sum(line[0] in BULLETS for line in profile.lines) / n_lines
        if found := broken("gopher_bullet_lines", scores["bullet_lines"], most=config.max_bullet_lines):
            return found
    if config.max_ellipsis_lines is not None and n_lines >= FEWEST_LINES:
        scores["ellipsis_lines"] = sum(line.endswith(("…", "...")) for line in profile.lines) / n_lines
        if found := broken("gopher_ellipsis_lines", scores["ellipsis_lines"], most=config.max_ellipsis_lines):
            return found
    if config.min_alphabetic_words is not None:
        scores["alphabetic_words"] = profile.alphabetic
        if found := broken("gopher_alphabetic_words", profile.alphabetic, least=config.min_alphabetic_words):
            return found
    if config.min_stop_words is not None:
        n_stop_words = stop_words.count(profile, language)
        if n_stop_words is not None:
            scores["stop_words"] = n_stop_words
            return broken("gopher_stop_words", n_stop_words, least=config.min_stop_words)
    return None


def gopher_repetition(profile: Profile, config: GopherConfig, scores: Scores) -> Broken | None:
    """The repetition rules of Rae et al. 2021, table A1."""
    for name, most, most_characters in (
        ("line", config.max_duplicate_lines, config.max_duplicate_line_characters),
        ("paragraph", config.max_duplicate_paragraphs, config.max_duplicate_paragraph_characters),
    ):
        if most is None and most_characters is None:
            continue
        share, of_characters = duplicate_shares(profile.lines if name == "line" else profile.paragraphs)
        scores[f"duplicate_{name}s"], scores[f"duplicate_{name}_characters"] = share, of_characters
        found = broken(f"gopher_duplicate_{name}s", share, most=most)
        found = found or broken(f"gopher_duplicate_{name}_characters", of_characters, most=most_characters)
        if found:
            return found
    return _top_ngrams(profile, config.max_top_ngrams, scores) or _duplicate_ngrams(
        profile, config.max_duplicate_ngrams, scores
    )


def _top_ngrams(profile: Profile, limits: list[float], scores: Scores) -> Broken | None:
    n_occurrences = None
    for n_words, limit in zip(TOP_NGRAMS, limits, strict=False):
        n = profile.scaled(n_words)
        # An n-gram occurs no oftener than the shorter ones inside it: most documents need no more than the first count.
        if n_occurrences is not None and longest_ngram(profile.tokens, n) * n_occurrences <= limit * profile.n_written:
            continue
        share, n_occurrences = top_ngram(profile.tokens, n)
        if n_words == TOP_NGRAMS[0]:
            scores["top_2grams"] = share
        if share > limit:
            return Broken(f"gopher_top_{n_words}grams", share, limit)
    return None


def _duplicate_ngrams(profile: Profile, limits: list[float], scores: Scores) -> Broken | None:
    for index, (n_words, limit) in enumerate(zip(DUPLICATE_NGRAMS, limits, strict=False)):
        longer = 1.0 if profile.script is Script.spaced else LONGER_REPEATS
        share = duplicate_ngrams(profile.tokens, profile.scaled(longer * n_words))
        if index == 0:
            scores["duplicate_5grams"] = share
        if share > limit:
            return Broken(f"gopher_duplicate_{n_words}grams", share, limit)
        if share <= min(limits[index:]):  # longer ones repeat less
            break
    return None


def fineweb(profile: Profile, config: FineWebConfig, scores: Scores) -> Broken | None:
    """The three rules that Penedo et al. 2024 added, section 3.6."""
    n_lines = len(profile.lines)
    if n_lines < FEWEST_LINES:
        return None
    if config.min_line_ends is not None and profile.script is not Script.southeast:  # it marks no ends of sentences
        scores["line_ends"] = sum(line[-1] in LINE_ENDS for line in profile.lines) / n_lines
        if found := broken("fineweb_line_ends", scores["line_ends"], least=config.min_line_ends):
            return found
    if config.max_short_lines is not None:
        short = 30 if profile.script is Script.spaced else profile.scaled(SHORT_LINE_WORDS)
        scores["short_lines"] = sum(len(line) <= short for line in profile.lines) / n_lines
        if found := broken("fineweb_short_lines", scores["short_lines"], most=config.max_short_lines):
            return found
    if config.max_duplicate_line_characters is not None:
        if "duplicate_line_characters" not in scores:
            scores["duplicate_line_characters"] = duplicate_shares(profile.lines)[1]
        share = scores["duplicate_line_characters"]
        return broken("fineweb_duplicate_line_characters", share, most=config.max_duplicate_line_characters)
    return None


def programs(profile: Profile, config: ProgramsConfig, scores: Scores) -> Broken | None:
    """Lines of generated or packed program text: Codex (Chen et al. 2021); letters: StarCoder (Li et al. 2023)."""
    lengths = [len(line) for line in profile.text.split("\n")]
    if config.max_line_length is not None:
        scores["longest_line"] = max(lengths)
        if found := broken("codex_line_length", scores["longest_line"], most=config.max_line_length):
            return found
    if config.max_mean_line_length is not None:
        scores["mean_line_length"] = sum(lengths) / len(lengths)
        if found := broken("codex_mean_line_length", scores["mean_line_length"], most=config.max_mean_line_length):
            return found
    if config.min_alphanumeric is not None:
        scores["alphanumeric"] = profile.alphanumeric
        return broken("starcoder_alphanumeric", scores["alphanumeric"], least=config.min_alphanumeric)
    return None
