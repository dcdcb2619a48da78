"""Config of the tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bigtrain.errors import UserError
from bigtrain.options import option

MOST_ENTRIES = 10_000_000  # of a vocabulary: more would not fit into memory beside a model


class WordBoundaries(StrEnum):
    """Whether it is stored which tokens continue a word, and what a word is."""

    none = "none"
    plain = "plain"
    jieba = "jieba"


@dataclass
class AutoTokenizerConfig:
    """The prepared set's or the checkpoint's own tokenizer; where one must be trained, byte-level BPE of 8,192.

    WordPiece of 8,192 for objective=masked.
    """

    name: str = option("auto", "the kind")


@dataclass
class _TokenizerConfig:
    """What can be chosen for every kind."""

    special_tokens: list[str] = option(list, "further special tokens, as [<|user|>,<|assistant|>]; never found in text")
    chat_template: str | None = option(
        None, "how a conversation becomes text: chatml, llama3, plain, or a file with a Jinja template"
    )
    word_boundaries: WordBoundaries = option(
        WordBoundaries.none,
        "which words are kept together where whole words are masked: none: it is not stored; plain: letters and digits "
        "between blanks and marks, Chinese characters one by one; jieba: Chinese words as well",
    )
    compare: list[str] = option(
        list, "other tokenizers that the report compares it with: options of this group, or paths"
    )

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if not all(token.strip() for token in self.special_tokens):
            raise UserError(
                f"tokenizer.special_tokens={self.special_tokens}",
                "a special token has a name",
                "take the empty one out",
            )


@dataclass
class BPEConfig(_TokenizerConfig):
    """Byte-level byte-pair encoding with GPT-2's pre-tokenizer, trained on the training text."""

    name: str = option("bpe", "the kind")
    vocab_size: int = option(8192, "entries, special tokens included", at_least=257, at_most=MOST_ENTRIES)
    encoder: bool = option(False, "RoBERTa's special tokens, <s> <pad> </s> <unk> <mask>: for objective=masked")


@dataclass
class WordPieceConfig(_TokenizerConfig):
    """Pieces of words as BERT has them, a word with a character not learned `[UNK]`, trained on the training text."""

    name: str = option("wordpiece", "the kind")
    vocab_size: int = option(8192, "entries, special tokens included", at_least=16, at_most=MOST_ENTRIES)
    lowercase: bool = option(False, "no capital letters and no accents: what was uncased BERT")


@dataclass
class UnigramConfig(_TokenizerConfig):
    """The likeliest pieces of words, bytes for characters not learned, trained on the training text."""

    name: str = option("unigram", "the kind")
    vocab_size: int = option(8192, "entries, special tokens included", at_least=300, at_most=MOST_ENTRIES)


@dataclass
class WordsConfig(_TokenizerConfig):
    """The most frequent words and punctuation marks, everything else `<|unk|>`."""

    name: str = option("words", "the kind")
    vocab_size: int = option(10000, "entries, special tokens included", at_least=3, at_most=MOST_ENTRIES)


@dataclass
class BytesConfig(_TokenizerConfig):
    """The 256 bytes: nothing to train."""

    name: str = option("bytes", "the kind")


@dataclass
class CharsConfig(_TokenizerConfig):
    """The characters of the training text, everything else `<|unk|>`."""

    name: str = option("chars", "the kind")


@dataclass
class FileTokenizerConfig(_TokenizerConfig):
    """A tokenizer that is there already: tokenizer.json, SentencePiece model, vocab.txt, vocab.json and merges.txt."""

    name: str = option("file", "the kind")
    path: str | None = option(None, "the file, or a folder with one: also a run, a checkpoint, a prepared set")

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        super().check()
        if not self.path:
            raise UserError("tokenizer=file", "the file must be named", "give tokenizer.path=FILE_OR_FOLDER")


TrainableTokenizerConfig = BPEConfig | WordPieceConfig | UnigramConfig | WordsConfig | BytesConfig | CharsConfig
TokenizerConfig = AutoTokenizerConfig | FileTokenizerConfig | TrainableTokenizerConfig
