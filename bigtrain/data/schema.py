"""Config of the data, the tokenizer and preparation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bigtrain.errors import UserError
from bigtrain.options import option

MOST_ENTRIES = 10_000_000  # of a vocabulary: the trainers set aside memory for all that are asked for


class Builtin(StrEnum):
    """Data that every machine has."""

    stdlib = "stdlib"


class SplitBy(StrEnum):
    """How the validation part is held out."""

    document = "document"
    tail = "tail"


def check_text_field(names: list[str]) -> None:
    """Raises UserError where no field is named."""
    if not names or "" in names:
        raise UserError(f"data.text_field={names}", "text stands in a field or column", "name it: data.text_field=NAME")


@dataclass
class DataConfig:
    """Where text comes from: exactly one of `files`, `path` and `builtin`."""

    files: list[str] = option(list, "raw input: files, globs or folders of txt, md or jsonl")
    path: str | None = option(None, "one prepared set, the output of `bigtrain prepare`")
    builtin: Builtin | None = option(None, "stdlib: the source of Python's standard library on this machine")
    text_field: list[str] = option(
        lambda: ["text"], "field of a jsonl row that holds the text: a dotted path, or several, joined by a blank line"
    )
    validation_fraction: float = option(0.05, "share of the text held out for validation", at_least=0, below=1)
    split_by: SplitBy = option(
        SplitBy.document,
        "document: whole documents, chosen by a hash of their content; tail: the last part of the text",
    )

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        check_text_field(self.text_field)
        named = [f"data.files={self.files}" if self.files else "", f"data.path={self.path}" if self.path else ""]
        named += [f"data={self.builtin}" if self.builtin else ""]
        named = [name for name in named if name]
        if len(named) != 1:
            raise UserError(
                " and ".join(named) or "no data",
                "exactly one source of text is named: there is no silent default",
                "give one of data.files=[GLOB,...], data.path=DIR and data=stdlib (data=own undoes a recipe's choice)",
            )


@dataclass
class RowsConfig:
    """Labelled rows for fine-tuning and their evaluation: csv or tsv with a header line, or jsonl."""

    train: str | None = option(None, "training rows: csv, tsv or jsonl")
    validation: str | None = option(None, "validation rows: csv, tsv or jsonl")
    text_field: list[str] = option(
        lambda: ["text"], "column or field with the text: a dotted path, or several, joined by a blank line"
    )
    pair_field: str | None = option(None, "column or field with a second text, joined by a blank line")
    label_field: str = option("label", "column or field with the label")


@dataclass
class AutoTokenizerConfig:
    """The prepared set's or the checkpoint's own tokenizer; byte-level BPE of 8,192 where one must be trained."""

    name: str = option("auto", "the kind")


@dataclass
class BPEConfig:
    """Byte-level byte-pair encoding with GPT-2's pre-tokenizer, trained on the training text."""

    name: str = option("bpe", "the kind")
    vocab_size: int = option(8192, "entries, special tokens included", at_least=257, at_most=MOST_ENTRIES)


@dataclass
class WordsConfig:
    """The most frequent words and punctuation marks, everything else `<|unk|>`."""

    name: str = option("words", "the kind")
    vocab_size: int = option(10000, "entries, special tokens included", at_least=3, at_most=MOST_ENTRIES)


@dataclass
class BytesConfig:
    """The 256 bytes: nothing to train."""

    name: str = option("bytes", "the kind")


@dataclass
class CharsConfig:
    """The characters of the training text, everything else `<|unk|>`."""

    name: str = option("chars", "the kind")


@dataclass
class FileTokenizerConfig:
    """A Hugging Face tokenizer.json, or a folder that holds one."""

    name: str = option("file", "the kind")
    path: str | None = option(None, "the tokenizer.json or its folder")

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if not self.path:
            raise UserError("tokenizer=file", "the file must be named", "give tokenizer.path=FILE_OR_FOLDER")


TrainableTokenizerConfig = BPEConfig | WordsConfig | BytesConfig | CharsConfig
TokenizerConfig = AutoTokenizerConfig | FileTokenizerConfig | TrainableTokenizerConfig
