"""Sentences with a tag for each word: columns of text, as CoNLL's shared tasks have them, or rows with lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigtrain.data.reading.fields import unicode, value_at
from bigtrain.data.reading.files import readable, split_name
from bigtrain.data.reading.lines import Part, lines
from bigtrain.data.tasks.rows import NUMBER, records
from bigtrain.errors import UserError, kind_of
from bigtrain.log import log

_OF_ROWS = (".jsonl", ".json", ".parquet")  # any other file has columns
_UNIVERSAL = ".conllu"
_SHOWN = 20  # labels, in the log
_WORDS, _TAGS = ("words", "tokens"), ("tags", "ner_tags")
_COLUMNS = "a line holds a word and its tag, in columns with blanks or a tab between them"
_BLANKS = re.compile(" +")  # others may be words: an ideographic space stands in many Chinese files


@dataclass(frozen=True)
class Sentence:
    """Words and their tags; `lines` are those of the file that the words stand in."""

    path: str
    lines: tuple[int, ...]
    words: tuple[str, ...]
    tags: tuple[str, ...]

    def where(self, word: int = 0) -> str:
        """File and line of a word."""
        return f"{self.path}:{self.lines[word]}"

    @property
    def text(self) -> str:
        """The words with blanks between them."""
        return " ".join(self.words)


def read_sentences(
    path: Path,
    words_field: str | None = None,
    tags_field: str | None = None,
    labels: Sequence[str] = (),
    *,
    warn: bool = False,
) -> list[Sentence]:
    """Every sentence of a file.

    Rows of jsonl, json or parquet files hold a list of words and a list of tags: the fields that are named, else
    `words` or `tokens`, and `tags` or `ner_tags`. Tags that are numbers count `labels` from 0. warn: say which
    number is taken for which, as the labels are a model's own, and were not given for these rows.

    Any other file holds a word a line, and a blank line after each sentence. The fields are numbers of columns, counted
    from 1; else the word is in the first column, the tag in the last. Lines that begin with -DOCSTART- are left out. In
    a .conllu file the word is in column 2, the tag in column 4, comments, ranges and empty nodes are left out.

    Raises UserError with file and line: a missing field or column, lists of different lengths, what is no list, word or
    tag, no words, words that are all numbers, no sentences.
    """
    extension, _ = split_name(str(path))
    if extension in _OF_ROWS:
        found = list(_from_rows(path, words_field, tags_field, labels, warn=warn))
    else:
        found = list(_from_columns(path, words_field, tags_field, universal=extension == _UNIVERSAL))
    if not found:
        raise UserError(f"{path}: no sentences", "a tagger learns from one at least", "name a file that holds some")
    words = [word for sentence in found for word in sentence.words]
    if len(words) > 1 and all(NUMBER.fullmatch(word) for word in words):
        raise UserError(
            f"{path}: all {len(words)} words are numbers, the first ({found[0].where()}) is {words[0]}",
            "words are written in letters",
            "name the column or field that holds them: data.words_field=",
        )
    return found


def _from_rows(
    path: Path, words_field: str | None, tags_field: str | None, labels: Sequence[str], *, warn: bool
) -> Iterator[Sentence]:
    for line, row in records(path, ()):
        where = f"{path}:{line}"
        words_name, words = _list(row, words_field, _WORDS, where, "data.words_field")
        tags_name, tags = _list(row, tags_field, _TAGS, where, "data.tags_field")
        if len(words) != len(tags):
            raise UserError(
                f"{where}: {len(words)} words in {words_name!r}, {len(tags)} tags in {tags_name!r}",
                "every word has a tag",
                "correct or remove the row",
            )
        if not words:
            raise UserError(
                f"{where}: {words_name!r} is an empty list", "a sentence has a word", "correct or remove the row"
            )
        if warn and labels and any(map(_is_number, tags)):
            order = ", ".join(f"{number} for {label}" for number, label in enumerate(labels[:_SHOWN]))
            order += ", ..." if labels[_SHOWN:] else ""
            log.warning("%s: tags are numbers, taken as the model counts its own: %s", where, order)
            warn = False
        named = tuple(_tag(tag, labels, word, where, tags_name) for tag, word in zip(tags, words, strict=True))
        checked = tuple(_text(word, f"word {number}", where) for number, word in enumerate(words, 1))
        yield Sentence(str(path), (line,) * len(words), checked, named)


def _list(
    row: dict[str, Any], given: str | None, usual: Sequence[str], where: str, key: str
) -> tuple[str, Sequence[Any]]:
    """The name of a field and its list; without a name that of the usual ones."""
    name = given or next((name for name in usual if name in row), usual[0])
    value = value_at(row, name, where, key)
    if not isinstance(value, list):
        rule = "words and tags are lists, with a tag for each word"
        raise UserError(f"{where}: field {name!r} is {kind_of(value)}", rule, f"correct the row, or set {key}=")
    return name, value


def _is_number(tag: Any) -> bool:
    return isinstance(tag, int) and not isinstance(tag, bool)


def _tag(value: Any, labels: Sequence[str], word: Any, where: str, name: str) -> str:
    if not _is_number(value):
        return _text(value, f"the tag of {word!r}", where)
    number = int(value)
    if 0 <= number < len(labels):
        return labels[number]
    said = f"the number {value} in {name!r}"
    if labels:
        raise UserError(
            f"{where}: {said}, the tag of {word!r}", f"the {len(labels)} tags are counted from 0", "correct the row"
        )
    raise UserError(
        f"{where}: {said}, the tag of {word!r}",
        "tags are names",
        "write the names, or say in training which tag 0, 1, 2 ... is: objective.labels=[O,B-PER,...]",
    )


def _text(value: Any, what: str, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {what} is {kind_of(value)}", "words and tags are strings", "correct the row")
    if not value.strip(" \t\r\n"):
        raise _empty(what, where)
    return unicode(value, f"{where}: {what}")


def _empty(what: str, where: str) -> UserError:
    return UserError(f"{where}: {what} is empty", "words and tags are not empty", "correct or remove it")


def _from_columns(
    path: Path, words_field: str | None, tags_field: str | None, *, universal: bool
) -> Iterator[Sentence]:
    word_column = _number(words_field, "data.words_field", 2 if universal else 1)
    tag_column = _number(tags_field, "data.tags_field", 4 if universal else 0)  # 0: the last
    held: list[tuple[int, str, str]] = []
    width = 0
    for line, columns in _lines(path, universal):
        if columns:
            where = f"{path}:{line}"
            if not width:
                width, tag_column = len(columns), tag_column or len(columns)
                _check_columns(columns, word_column, tag_column, where)
            if len(columns) != width:
                rule = f"every word has as many columns as the first one of the file, {width}"
                said = f"{where}: {len(columns)} column{'s' if len(columns) > 1 else ''}"
                raise UserError(said, rule, "correct the line")
            word, tag = columns[word_column - 1], columns[tag_column - 1]
            if not (word and tag):
                raise _empty(f"the tag of {word!r}" if word else "the word", where)
            held.append((line, word, tag))
        elif held:
            yield _sentence(path, held)
            held = []
    if held:
        yield _sentence(path, held)


def _sentence(path: Path, held: list[tuple[int, str, str]]) -> Sentence:
    numbers, words, tags = zip(*held, strict=True)
    return Sentence(str(path), numbers, words, tags)


def _number(given: str | None, key: str, usual: int) -> int:
    if given is None:
        return usual
    if given.isdecimal() and int(given):
        return int(given)
    rule = "columns have numbers, from 1; fields have names in .jsonl, .json and .parquet files"
    raise UserError(f"{key}={given}", rule, f"give {key}=2, or whichever it is")


def _check_columns(columns: Sequence[str], word_column: int, tag_column: int, where: str) -> None:
    if len(columns) < 2:
        raise UserError(f"{where}: one column", _COLUMNS, "name a file with words and tags")
    most, rule = max(word_column, tag_column), f"there are {len(columns)} columns: {' '.join(columns)}"
    if most > len(columns) or word_column == tag_column:
        said = f"no column {most}" if most > len(columns) else f"words and tags both in column {most}"
        raise UserError(f"{where}: {said}", rule, "set data.words_field= and data.tags_field= to two of them")


def _lines(path: Path, universal: bool) -> Iterator[tuple[int, list[str]]]:
    """Line and columns of each word; no columns where a sentence ends."""
    _, compression = split_name(str(path))
    with readable(path):
        for line, content, _, _ in lines(Part(str(path), compression, encoding="utf-8")):
            if isinstance(content, UserError):
                raise content
            text = content.rstrip("\r\n")
            columns = [column.strip(" ") for column in text.split("\t")]
            if len(columns) == 1:
                columns = _BLANKS.split(columns[0])
            if not any(columns) or columns[0].startswith("-DOCSTART-"):
                yield line, []
            elif not (universal and (columns[0].startswith("#") or "-" in columns[0] or "." in columns[0])):
                yield line, columns
