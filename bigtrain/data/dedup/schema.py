"""Config of deduplication."""

from __future__ import annotations

from dataclasses import dataclass

from bigtrain.options import option


@dataclass
class DedupConfig:
    """What counts as a duplicate. Of equal or similar documents the first in the order of the input is kept.

    Two documents whose sets of shingles have the Jaccard similarity s share a band with probability
    1 - (1 - s^rows)^bands: with 14 bands of 8 rows 0.92 at 0.80, 0.56 at 0.70, 0.05 at 0.50 and 0.00004 at 0.20. These
    numbers, and word 5-grams, are FineWeb's (Penedo et al. 2024, "The FineWeb Datasets", section 3.4).
    """

    documents: bool = option(False, "drop a document whose text, white space aside, an earlier one has")
    paragraphs: bool = option(False, "cut out a paragraph (a long line) that stands in an earlier kept place")
    paragraph_min_chars: int = option(100, "characters below which a paragraph is never cut out", at_least=1)
    near: bool = option(False, "drop a document that is nearly the same as an earlier one, by MinHash")
    ngram: int = option(5, "words of a shingle (characters, in scripts without spaces)", at_least=1, at_most=100)
    bands: int = option(14, "bands; documents that agree in one are taken as near duplicates", at_least=1, at_most=1000)
    rows: int = option(8, "minima of a band; more rows ask for more similarity", at_least=1, at_most=100)
