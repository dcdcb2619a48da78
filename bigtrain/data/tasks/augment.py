"""Changed copies of training texts: a pure function of (seed, row, pass), so that a resumed run sees the same.

Words are what stands between white space; in scripts without spaces (Chinese, Japanese, Thai, ...) every character is
one, and so is a run of them that the table of synonyms holds. White space stays as it was, line breaks too.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import unicodedata
from collections.abc import Iterator, Sequence

from bigtrain.data.cleaning.characters import UNSPACED
from bigtrain.data.loader import derive
from bigtrain.data.reading.fields import unicode
from bigtrain.data.reading.files import split_name
from bigtrain.data.reading.formats import read_jsonl
from bigtrain.data.reading.lines import Part, lines
from bigtrain.data.tasks.schema import AugmentConfig
from bigtrain.errors import UserError

Word = tuple[str, str]  # the white space before it, and the word
Table = dict[str, tuple[str, ...]]

# Vowel signs, tone marks and variation selectors, which stay with the character before them.
_MARKED = (range(0x0E00, 0x1B00), range(0x302A, 0x3030), range(0x3099, 0x309B), range(0xFE00, 0xFE10))
_MARKS = "".join(chr(code) for code in itertools.chain(*_MARKED) if unicodedata.category(chr(code)).startswith("M"))
_WORD = re.compile(rf"(\s*)([{UNSPACED}][{_MARKS}]*|[^\s{UNSPACED}]+)")
_AFFIXES = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)
_UNSPACED = re.compile(f"[{UNSPACED}]")
_GOES_ON = 2 / 3  # of a masked span after each word: the mean is 3 words, as that of BART's


class Augmenter:
    """Applies what the config asks for, in this order: paraphrase, replace, insert, swap, delete, mask.

    A share of the words of a text is a whole number of them: rounded up or down at random, so that it holds on average.
    """

    def __init__(self, config: AugmentConfig, seed: int) -> None:
        """Reads the files. Raises UserError, naming file and line, where they are missing or not as they should be.

        With `mask` the config names a `mask_token`.
        """
        self.config, self.seed = config, seed
        self.synonyms = _read_table(config.synonyms, "word", "synonyms") if config.synonyms else {}
        self.paraphrases = _read_table(config.paraphrases, "text", "paraphrases") if config.paraphrases else {}
        self._longest = max((len(word) for word in self.synonyms if _UNSPACED.search(word)), default=1)

    @property
    def fingerprint(self) -> str:
        """Of the files' content: equal configs and fingerprints change a text in the same way."""
        content = repr((sorted(self.synonyms.items()), sorted(self.paraphrases.items())))
        return hashlib.sha256(content.encode()).hexdigest()

    def __call__(self, text: str, row: int, epoch: int) -> str:
        """The text of row number `row` as pass `epoch` sees it. Never without a word, unless it had none."""
        # Numbers of numpy would be written in another way than Python's own, and give another key.
        draw, config = _Draw(derive("augment", self.seed, int(row), int(epoch))), self.config
        if not draw.happens(config.probability):
            return text
        if (others := self.paraphrases.get(text.strip())) and draw.happens(config.paraphrase):
            text = draw.one(others)
        words = self._words(text)
        if not words:
            return text
        words = self._replace(words, draw)
        words = self._insert(words, draw)
        words = _swap(words, config.swap, draw)
        words = _delete(words, config.delete, draw)
        words = _mask(words, config.mask, config.mask_token or "", draw)
        return _joined(words) + text[len(text.rstrip()) :]

    def has_paraphrases(self, text: str) -> bool:
        """Whether the file of paraphrases has some for a text."""
        return text.strip() in self.paraphrases

    def has_synonyms(self, text: str) -> bool:
        """Whether the table of synonyms has some for a word of a text."""
        return any(self._synonyms(word) for _, word in self._words(text))

    def _words(self, text: str) -> list[Word]:
        words: list[Word] = _WORD.findall(text)
        if self._longest == 1:
            return words
        found, start = [], 0
        while start < len(words):
            end = self._end(words, start)
            found.append((words[start][0], "".join(word for _, word in words[start:end])))
            start = end
        return found

    def _end(self, words: list[Word], start: int) -> int:
        """Where the longest entry of the table ends that begins with word `start`; without one, the next word."""
        end, joined = start + 1, words[start][1]
        for place in range(start + 1, len(words)):
            gap, word = words[place]
            joined += word
            if gap or len(joined) > self._longest:
                break
            if joined in self.synonyms:
                end = place + 1
        return end

    def _synonyms(self, word: str) -> tuple[str, str, str, tuple[str, ...]] | None:
        """What stands before and after the word proper, this between them, and its synonyms."""
        match = _AFFIXES.fullmatch(word)
        assert match is not None
        before, core, after = match.groups()
        for parts in (("", word, ""), (before, core, after)):
            if others := self.synonyms.get(parts[1]) or self.synonyms.get(parts[1].lower()):
                return *parts, others
        return None

    def _replace(self, words: list[Word], draw: _Draw) -> list[Word]:
        if not self.config.replace:
            return words
        known = [(place, found) for place, (_, word) in enumerate(words) if (found := self._synonyms(word))]
        words = list(words)
        for number in draw.places(len(known), draw.count(len(words), self.config.replace)):
            place, (before, core, after, others) = known[number]
            other = draw.one(others)
            if core not in self.synonyms:  # it was found in small letters
                other = _capitals(other, core)
            words[place] = words[place][0], before + other + after
        return words

    def _insert(self, words: list[Word], draw: _Draw) -> list[Word]:
        known = [found[-1] for _, word in words if (found := self._synonyms(word))] if self.config.insert else []
        if not known:
            return words
        words = list(words)
        for _ in range(draw.count(len(words), self.config.insert)):
            place, word = draw.below(len(words) + 1), draw.one(known[draw.below(len(known))])
            words.insert(place, ("", word))
            if not place:  # the white space that the text begins with stays in front
                words[:2] = (words[1][0], word), ("", words[1][1])
        return words


class _Draw:
    """Random numbers from one key. Of Python's generator only `random()` is promised to stay as it is."""

    def __init__(self, key: int) -> None:
        self._random = random.Random(key).random

    def happens(self, probability: float) -> bool:
        return self._random() < probability

    def below(self, n: int) -> int:
        return int(self._random() * n)

    def one(self, values: Sequence[str]) -> str:
        return values[self.below(len(values))]

    def count(self, n: int, share: float) -> int:
        """share * n on average, n at most."""
        return min(n, int(share * n + self._random()))

    def places(self, n: int, k: int) -> list[int]:
        """k different numbers below n, or all if there are fewer, in a random order (Fisher and Yates)."""
        order = list(range(n))
        k = min(n, k)
        for place in range(k):
            other = place + self.below(n - place)
            order[place], order[other] = order[other], order[place]
        return order[:k]


def _swap(words: list[Word], share: float, draw: _Draw) -> list[Word]:
    """Pairs of words change places; the white space stays."""
    n_pairs = min(len(words) // 2, draw.count(len(words), share / 2))
    places, words = draw.places(len(words), 2 * n_pairs), list(words)
    for one, other in zip(places[::2], places[1::2], strict=True):
        (gap, word), (other_gap, other_word) = words[one], words[other]
        words[one], words[other] = (gap, other_word), (other_gap, word)
    return words


def _delete(words: list[Word], share: float, draw: _Draw) -> list[Word]:
    """One word stays at least."""
    return _without(words, set(draw.places(len(words), min(len(words) - 1, draw.count(len(words), share)))))


def _mask(words: list[Word], share: float, token: str, draw: _Draw) -> list[Word]:
    """Each span becomes one token. Spans do not touch each other."""
    n_masked = draw.count(len(words), share)
    n_kept = len(words) - n_masked
    spans: list[int] = []
    while n_masked:
        length = 1
        while length < n_masked and draw.happens(_GOES_ON):
            length += 1
        if len(spans) > n_kept:  # no place is left for one more
            spans[-1] += length
        else:
            spans.append(length)
        n_masked -= length
    dropped, shift, words = set[int](), 0, list(words)
    # Before which of the words that are kept, or behind the last of them.
    for place, length in zip(sorted(draw.places(n_kept + 1, len(spans))), spans, strict=True):
        start = place + shift
        words[start] = words[start][0], token
        dropped.update(range(start + 1, start + length))
        shift += length
    return _without(words, dropped)


def _without(words: list[Word], dropped: set[int]) -> list[Word]:
    """The others. A line break before a dropped word goes to the next one; the first one begins the text."""
    if not dropped:
        return words
    kept: list[Word] = []
    carried = ""
    for place, (gap, word) in enumerate(words):
        gap = max(gap, carried, key=lambda blanks: blanks.count("\n"))
        if place in dropped:
            carried = gap
        else:
            kept.append((gap if kept else words[0][0], word))
            carried = ""
    return kept


def _joined(words: list[Word]) -> str:
    """Where words of a script with spaces have come together, one is put between them."""
    parts, spaced = [], False
    for gap, word in words:
        before, spaced = spaced, not _UNSPACED.match(word)
        parts += [gap or (" " if before and spaced else ""), word]
    return "".join(parts)


def _capitals(word: str, like: str) -> str:
    """The word with the capitals of another."""
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


def _read_table(path: str, key: str, values: str) -> Table:
    """Words or texts, and what may stand for each. Raises UserError with file and line."""
    extension, compression = split_name(path)
    part = Part(path, compression, encoding="utf-8")
    if extension == ".jsonl":
        rows = _json_rows(part, key, values)
    elif extension in (".tsv", ".txt"):
        rows = _tab_rows(part, key, values)
    else:
        raise UserError(
            f"{path}: unknown format {extension!r}",
            f"a table of {values} is a file .tsv or .txt with tabs, or .jsonl",
            "rename or convert the file",
        )
    table: dict[str, dict[str, None]] = {}
    for line, name, others in rows:
        if not name or not others or not all(others):
            rule = f"a row holds a {key} and one of its {values} at least"
            raise UserError(f"{path}:{line}: a {key} or its {values} are empty", rule, "correct the row")
        for text in (name, *others):
            unicode(text, f"{path}:{line}: the row")
        if key == "word" and len(name.split()) > 1:
            rule = "words are looked up as they stand between white space"
            raise UserError(f"{path}:{line}: {name!r} is several words", rule, "remove the row")
        table.setdefault(name, {}).update(dict.fromkeys(others))
    if not table:
        raise UserError(f"{path}: no rows", f"a table of {values} holds at least one", "name a file that holds rows")
    return {name: tuple(others) for name, others in table.items()}


def _tab_rows(part: Part, key: str, values: str) -> Iterator[tuple[int, str, list[str]]]:
    for line, text, _, _ in lines(part):
        if isinstance(text, UserError):
            raise text
        if text.isspace():
            continue
        name, *others = (field.strip() for field in text.split("\t"))
        if not others:
            rule = f"a row is a {key}, and after tabs its {values}"
            raise UserError(f"{part.path}:{line}: no tab", rule, "correct the row")
        yield line, name, others


def _json_rows(part: Part, key: str, values: str) -> Iterator[tuple[int | None, str, list[str]]]:
    for line, row, _, _ in read_jsonl(part):
        if isinstance(row, UserError):
            raise row
        assert isinstance(row, dict)
        name, others = row.get(key), row.get(values)
        if not isinstance(name, str) or not isinstance(others, list) or not all(isinstance(o, str) for o in others):
            rule = f'a row is {{"{key}": "...", "{values}": ["...", ...]}}'
            raise UserError(f"{part.path}:{line}: no {key} with a list of {values}", rule, "correct the row")
        yield line, name.strip(), [other.strip() for other in others]
