"""Config of cleaning. Every step is off until a preset (`configs/clean/`) or a key switches it on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bigtrain.errors import UserError
from bigtrain.options import option

TOP_NGRAMS = (2, 3, 4)  # words of the n-grams that `gopher.max_top_ngrams` bounds, in its order
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)  # and those of `gopher.max_duplicate_ngrams`


class Repair(StrEnum):
    """How much of ftfy (Speer 2019) is applied."""

    none = "none"
    encoding = "encoding"
    full = "full"


class WhiteSpace(StrEnum):
    """What is done to white space."""

    none = "none"
    ends = "ends"
    collapse = "collapse"


@dataclass
class UnicodeConfig:
    """Characters, before anything is judged."""

    repair: Repair = option(
        Repair.none,
        "encoding: undo mojibake, HTML entities, terminal escapes and Latin ligatures (ftfy); "
        "full: also straight quotes and standard widths, as ftfy does by itself (this alters Chinese punctuation)",
    )
    nfc: bool = option(False, "Unicode normalisation form C: one way to write each accented letter")
    controls: bool = option(False, "remove control characters, NUL among them; tabs and line breaks stay")
    invisible: bool = option(
        False, "remove zero-width characters, soft hyphens and direction overrides where no script needs them"
    )
    white_space: WhiteSpace = option(
        WhiteSpace.none,
        "ends: one kind of line break, nothing invisible at line ends; "
        "collapse: also single spaces, no indentation, one blank line at most",
    )


@dataclass
class LinesConfig:
    """Lines and paragraphs that are removed from a document that stays."""

    boilerplate: bool = option(
        False, "remove short lines about cookies, JavaScript, terms of use and privacy policies (C4's list, and more)"
    )
    max_repeats: int | None = option(
        None, "a line found more often than this in one document is kept once; null: any number", at_least=1
    )
    unique_paragraphs: bool = option(False, "keep long lines and paragraphs once in a document")
    page_headers: bool = option(
        False, "remove running heads and page numbers: short lines that come back once a page, numbers aside"
    )


@dataclass
class LanguageConfig:
    """Language identification with py3langid, on a sample of each document."""

    identify: bool = option(False, "name the language of every document: the lists below and the stop words need it")
    keep: list[str] = option(list, "languages (ISO 639-1, such as en) that stay; an empty list: all")
    drop: list[str] = option(list, "languages that are dropped")
    min_confidence: float | None = option(
        None,
        "drop documents whose language, once identified, is less sure than this; null: none",
        at_least=0,
        at_most=1,
    )


@dataclass
class C4Config:
    """Rules of C4 (Raffel et al. 2020)."""

    lorem_ipsum: bool = option(False, "drop documents with the placeholder text `lorem ipsum`")
    curly_brackets: bool = option(False, "drop documents with a curly bracket: most are program text")
    citations: bool = option(False, "remove `[1]`, `[edit]` and `[citation needed]`")
    line_ends: bool = option(False, "remove lines that do not end in a terminal punctuation mark")
    min_words_per_line: int | None = option(None, "remove lines with fewer words; null: none", at_least=1)
    max_word_length: int | None = option(None, "remove lines with a longer word, in characters; null: none", at_least=1)
    min_sentences: int | None = option(None, "drop documents with fewer sentences left; null: none", at_least=1)


@dataclass
class GopherConfig:
    """Rules of MassiveText (Rae et al. 2021, appendix A1.1); every share lies between 0 and 1, null: no rule."""

    min_words: int | None = option(None, "fewest words of a document", at_least=1)
    max_words: int | None = option(None, "most words of a document", at_least=1)
    min_mean_word_length: float | None = option(None, "smallest mean length of words, in characters", at_least=0)
    max_mean_word_length: float | None = option(None, "largest mean length of words, in characters", above=0)
    max_symbols: float | None = option(None, "most hash signs, and most ellipses, for each word", at_least=0)
    max_bullet_lines: float | None = option(None, "largest share of lines that begin with a bullet", at_least=0)
    max_ellipsis_lines: float | None = option(None, "largest share of lines that end with an ellipsis", at_least=0)
    min_alphabetic_words: float | None = option(None, "smallest share of words with a letter", at_least=0, at_most=1)
    min_stop_words: int | None = option(
        None, "fewest different stop words of the document's language, where its list is known", at_least=1
    )
    max_duplicate_lines: float | None = option(None, "largest share of lines that repeat an earlier one", at_least=0)
    max_duplicate_line_characters: float | None = option(None, "the same by characters", at_least=0)
    max_duplicate_paragraphs: float | None = option(
        None, "largest share of paragraphs that repeat an earlier one", at_least=0
    )
    max_duplicate_paragraph_characters: float | None = option(None, "the same by characters", at_least=0)
    max_top_ngrams: list[float] = option(
        list, "largest shares of characters in the most frequent 2-gram, 3-gram and 4-gram of words", at_least=0
    )
    max_duplicate_ngrams: list[float] = option(
        list, "largest shares of characters in 5-grams, 6-grams ... 10-grams that repeat an earlier one", at_least=0
    )


@dataclass
class FineWebConfig:
    """Rules of FineWeb (Penedo et al. 2024, section 3.6)."""

    min_line_ends: float | None = option(
        None, "smallest share of lines that end in a terminal punctuation mark; null: no rule", at_least=0, at_most=1
    )
    max_short_lines: float | None = option(
        None, "largest share of lines of 30 characters or less; null: no rule", at_least=0
    )
    max_duplicate_line_characters: float | None = option(
        None, "largest share of characters in lines that repeat an earlier one; null: no rule", at_least=0
    )


@dataclass
class ProgramsConfig:
    """Rules for program text (Codex: Chen et al. 2021; StarCoder: Li et al. 2023)."""

    max_line_length: int | None = option(None, "characters of the longest line; null: no rule", at_least=1)
    max_mean_line_length: float | None = option(None, "largest mean length of lines; null: no rule", above=0)
    min_alphanumeric: float | None = option(
        None, "smallest share of letters and digits among all characters; null: no rule", at_least=0, at_most=1
    )


@dataclass
class LengthConfig:
    """Bounds of what is left of a document."""

    min_characters: int | None = option(None, "fewest characters; 1: only empty documents are dropped", at_least=1)
    max_characters: int | None = option(None, "most characters; null: any number", at_least=1)


@dataclass
class WordListConfig:
    """Words and phrases that a document may not hold, or not often."""

    file: str | None = option(None, "the list: UTF-8 text, one word or phrase a line; capitals do not matter")
    max_count: int | None = option(None, "drop documents with more of them; 0: a single one is too many", at_least=0)
    max_share: float | None = option(None, "drop documents with a larger share of their words", at_least=0, at_most=1)


@dataclass
class CleanConfig:
    """Cleaning: one section for each kind of step, in the order in which they are applied."""

    unicode: UnicodeConfig = option(UnicodeConfig, "characters")
    language: LanguageConfig = option(LanguageConfig, "language identification")
    programs: ProgramsConfig = option(ProgramsConfig, "rules for program text")
    gopher: GopherConfig = option(GopherConfig, "Gopher's rules")
    fineweb: FineWebConfig = option(FineWebConfig, "FineWeb's rules")
    lines: LinesConfig = option(LinesConfig, "lines that are removed")
    c4: C4Config = option(C4Config, "C4's rules")
    words: WordListConfig = option(WordListConfig, "a list of unwanted words")
    length: LengthConfig = option(LengthConfig, "bounds")

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        language, words, gopher = self.language, self.words, self.gopher
        if (language.keep or language.drop) and not language.identify:
            raise UserError(
                "clean.language.keep= or clean.language.drop= without clean.language.identify=true",
                "languages can be told apart only where they are identified",
                "add clean.language.identify=true",
            )
        if both := sorted(set(language.keep) & set(language.drop)):
            raise UserError(
                f"{both[0]} in clean.language.keep and in clean.language.drop",
                "a language is kept or dropped",
                "take it out of one of the two",
            )
        if (words.file is None) != (words.max_count is None and words.max_share is None):
            raise UserError(
                f"clean.words.file={words.file} with max_count={words.max_count} and max_share={words.max_share}",
                "a word list and how much of it is allowed go together",
                "give clean.words.file=FILE and clean.words.max_count=N or clean.words.max_share=SHARE, or neither",
            )
        for low, high, least, most in (
            ("length.min_characters", "length.max_characters", self.length.min_characters, self.length.max_characters),
            ("gopher.min_words", "gopher.max_words", gopher.min_words, gopher.max_words),
            (
                *("gopher.min_mean_word_length", "gopher.max_mean_word_length"),
                *(gopher.min_mean_word_length, gopher.max_mean_word_length),
            ),
        ):
            if least is not None and most is not None and least > most:
                raise UserError(
                    f"clean.{low}={least} with clean.{high}={most}",
                    "no document would be left",
                    "raise the one or lower the other",
                )
        for key, sizes in (("max_top_ngrams", TOP_NGRAMS), ("max_duplicate_ngrams", DUPLICATE_NGRAMS)):
            if len(getattr(gopher, key)) > len(sizes):
                raise UserError(
                    f"clean.gopher.{key}={getattr(gopher, key)}",
                    f"at most {len(sizes)} shares, for the n-grams of {', '.join(map(str, sizes))} words",
                    "give one share for each, or fewer",
                )
