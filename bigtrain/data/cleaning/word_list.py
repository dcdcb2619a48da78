"""A list of words and phrases, given by the user, that a document may not hold, or not often."""

from __future__ import annotations

import re
from pathlib import Path

from bigtrain.data.cleaning.characters import UNSPACED
from bigtrain.data.cleaning.profile import Profile
from bigtrain.data.cleaning.schema import WordListConfig
from bigtrain.data.cleaning.scores import Broken, broken
from bigtrain.errors import UserError

_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(f"[{UNSPACED}]")


class WordListRule:
    """Counts the entries of the list in a document. Capitals do not matter.

    An entry is found as a whole word or phrase; one in a script without spaces, as C4 did it (Raffel et al. 2020),
    anywhere.
    """

    def __init__(self, config: WordListConfig) -> None:
        """Raises UserError where the list cannot be read or is empty."""
        assert config.file is not None
        self._config = config
        entries = read_entries(config.file)
        self._words = frozenset(entry for entry in entries if _WORD.fullmatch(entry) and not _UNSPACED.search(entry))
        self._phrases = {
            entry: re.compile(re.escape(entry) if _UNSPACED.search(entry) else rf"(?<!\w){re.escape(entry)}(?!\w)")
            for entry in entries
            if entry not in self._words
        }

    def __call__(self, profile: Profile, scores: dict[str, float]) -> Broken | None:
        """Why the document is dropped, or None."""
        text = profile.text.casefold()
        n_found = sum(map(self._words.__contains__, _WORD.findall(text))) if self._words else 0
        n_found += sum(len(pattern.findall(text)) for entry, pattern in self._phrases.items() if entry in text)
        share = n_found / max(1.0, profile.n_words)
        scores["listed_words"] = share
        config = self._config
        too_many = broken("words:count", n_found, most=config.max_count)
        return too_many or broken("words:share", share, most=config.max_share)


def read_entries(file: str) -> list[str]:
    """The entries of a list, in small letters and in order. Raises UserError."""
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else f"not UTF-8 ({error.reason})"
        raise UserError(
            f"clean.words.file={file}: {problem}",
            "a word list is a text file in UTF-8, one word or phrase a line",
            "check the path and the file",
        ) from None
    entries = list(dict.fromkeys(" ".join(line.casefold().split()) for line in lines if line.strip()))
    if not entries:
        raise UserError(f"clean.words.file={file}: empty", "a word list has at least one entry", "name another file")
    return entries
