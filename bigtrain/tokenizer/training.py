"""A tokenizer learned from texts: the same texts, the same tokenizer, whatever the number of threads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from bigtrain.data.tokenizer_schema import (
    BPEConfig,
    BytesConfig,
    CharsConfig,
    TrainableTokenizerConfig,
    UnigramConfig,
    WordPieceConfig,
    WordsConfig,
)
from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.tokenizer import bpe, unigram
from bigtrain.tokenizer.base import EOS, UNKNOWN, Tokenizer
from bigtrain.tokenizer.chat import chat_template
from bigtrain.tokenizer.fast_encode import BYTE_OF, CHARACTER, GPT2_SPLIT, METASPACE
from bigtrain.tokenizer.files import (
    BERT_INPUTS,
    BERT_TOKENS,
    ROBERTA_TOKENS,
    Spec,
    byte_level_bpe,
    roberta_ends,
    roberta_special,
    special,
    with_tokens,
    word_pieces,
)
from bigtrain.tokenizer.sentencepiece_model import BLANK
from bigtrain.tokenizer.word_counts import Ints, count_bert_words, count_gpt2_words, frequent

# A word or a mark, with the blank before it, or another blank; Chinese characters stand alone, having no blanks
# between words. The pieces of a text, put together, are the text.
_WORD = r"\p{Han}| ?[\w&&[^\p{Han}]]+| ?[^\w\s]|\s"
_COVERAGE = 0.9995  # of the text is made of characters that are learned: SentencePiece's character_coverage
_ALPHABET = 0.5  # of the vocabulary at most: room for longer pieces
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_CONTINUING = "##"
_UNIGRAM_WORDS = 1 << 18  # are learned from: their lattice takes some 500 MB


def train(config: TrainableTokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of the kind that `config` names, learned from `texts`.

    Raises UserError where the vocabulary has no room beside the special tokens, and for a chat template that is none.
    """
    template = chat_template(config.chat_template) if config.chat_template else None
    masked = isinstance(config, BPEConfig) and config.encoder
    roles = BERT_TOKENS if isinstance(config, WordPieceConfig) else ROBERTA_TOKENS if masked else {"eos_token": EOS}
    own = dict.fromkeys(roles.values())
    tokens = list(dict.fromkeys([*own, *config.special_tokens, *(template.special_tokens if template else ())]))
    wanted = getattr(config, "vocab_size", None)
    room = 0 if wanted is None else _room(config, wanted, len(tokens))
    known: dict[str, Any] = {"eos_token": EOS, "pad_token": EOS, "unk_token": UNKNOWN}
    match config:
        case BPEConfig() if masked:
            spec, known = _roberta(_bpe(texts, room)), dict(roles)
        case BPEConfig() | BytesConfig():
            spec = _bpe(texts, room) if isinstance(config, BPEConfig) else _bytes()
            del known["unk_token"]
        case WordPieceConfig():
            spec = _word_pieces(texts, room, config.lowercase)
            known = {**BERT_TOKENS, "eos_token": BERT_TOKENS["sep_token"], **BERT_INPUTS}
        case UnigramConfig():
            spec = _unigram(texts, room)
        case WordsConfig():
            spec = _words(texts, room - 1)
        case CharsConfig():
            spec = _one_token_each(sorted(set[str]().union(*map(set, texts))), CHARACTER)
    if template:
        known["chat_template"] = template.text
    tokenizer = Tokenizer(with_tokens(spec, special(*tokens)), known)
    if wanted and tokenizer.vocab_size < wanted:
        log.warning("the training text is enough for %d entries of a vocabulary, not %d", tokenizer.vocab_size, wanted)
    return tokenizer


def _room(config: TrainableTokenizerConfig, size: int, n_special: int) -> int:
    """Entries beside the special tokens. Raises UserError where there are too few."""
    fixed = {BPEConfig: 256, UnigramConfig: 1 + 256, WordsConfig: 1}.get(type(config), 0)
    if size < fixed + n_special + (0 if isinstance(config, BPEConfig) else 1):
        raise UserError(
            f"tokenizer.vocab_size={size} with {n_special} special tokens",
            f"{fixed + n_special} entries are taken before anything is learned",
            "choose a larger vocabulary or fewer special tokens",
        )
    return size - n_special


def _bpe(texts: Iterable[str], size: int) -> Spec:
    """Sennrich et al. 2016 (arXiv 1508.07909) over bytes, within the words of GPT-2's pre-tokenizer."""
    names = sorted(BYTE_OF)
    number = np.zeros(256, np.int64)
    number[[BYTE_OF[name] for name in names]] = np.arange(256)
    symbols, weights = count_gpt2_words(texts).in_bytes()
    symbols = np.where(symbols >= 0, number[symbols], -1)
    merges = bpe.learn(names, symbols, weights, size - 256)
    return byte_level_bpe(
        {name: id_ for id_, name in enumerate(names)}, [[names[left], names[right]] for left, right in merges]
    )


def _roberta(spec: Spec) -> Spec:
    """With RoBERTa's special tokens before all others: its positions begin behind the padding token."""
    first = list(dict.fromkeys(ROBERTA_TOKENS[f"{role}_token"] for role in ("bos", "pad", "eos", "unk", "mask")))
    vocab = {token: id_ for id_, token in enumerate([*first, *spec["model"]["vocab"]])}
    spec = {**spec, "model": {**spec["model"], "vocab": vocab}, "post_processor": roberta_ends(vocab)}
    return with_tokens(spec, roberta_special(ROBERTA_TOKENS))


def _bytes() -> Spec:
    spec = byte_level_bpe(dict(BYTE_OF), [])
    spec["pre_tokenizer"]["use_regex"] = False
    return spec


def _word_pieces(texts: Iterable[str], size: int, lowercase: bool) -> Spec:
    """The pieces that byte-pair encoding makes, without the merges: text is cut into the longest that are known."""
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    symbols, weights = count_bert_words(texts, normalizer.normalize_str).in_characters()
    first = np.append(True, symbols[:-1] < 0)
    letters = np.where(symbols < 0, -1, 2 * symbols + ~first)  # a letter inside a word is another one
    symbols, alphabet = _in_alphabet(letters, weights, int(_ALPHABET * size), drop_words=True)
    names = [_CONTINUING * (letter % 2) + chr(letter // 2) for letter in alphabet.tolist()]
    bpe.learn(names, symbols, weights, size - len(names), continuing=_CONTINUING)
    entries = [*BERT_TOKENS.values(), *names]
    return word_pieces({name: id_ for id_, name in enumerate(entries)}, lowercase=lowercase)


def _unigram(texts: Iterable[str], size: int) -> Spec:
    """Kudo 2018 (arXiv 1804.10959) within the words of GPT-2's pre-tokenizer; other characters become bytes."""
    symbols, weights = count_gpt2_words(texts).most_frequent(_UNIGRAM_WORDS).in_characters()
    symbols[symbols == ord(" ")] = ord(BLANK)
    room = size - 1 - len(_BYTES)
    symbols, alphabet = _in_alphabet(symbols, weights, int(_ALPHABET * room))
    pieces, scores = unigram.learn(symbols, weights, len(alphabet), room)
    learned = [
        ["".join(map(chr, alphabet[piece])), round(score, 6)]
        for piece, score in zip(pieces, scores.tolist(), strict=True)
    ]
    lowest = min((score for _, score in learned), default=0.0)
    replace = {"type": "Replace", "pattern": {"String": BLANK}, "content": " "}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [GPT2_SPLIT, METASPACE]},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [replace, {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "Unigram",
            "unk_id": 0,
            "vocab": [[UNKNOWN, lowest], *([byte, lowest] for byte in _BYTES), *learned],
            "byte_fallback": True,
        },
    }


def _in_alphabet(symbols: Ints, weights: Ints, most: int, *, drop_words: bool = False) -> tuple[Ints, Ints]:
    """The most frequent symbols, ascending, and the words in numbers of these; -1 where there is another.

    drop_words: whole words that have another go.
    """
    alphabet = frequent(symbols, weights, _COVERAGE, max(1, most))
    numbers = np.minimum(np.searchsorted(alphabet, symbols), max(0, len(alphabet) - 1))
    known = alphabet[numbers] == symbols if len(alphabet) else np.zeros(len(symbols), np.bool_)
    if drop_words:
        word = np.cumsum(symbols < 0)
        lost = np.zeros(len(symbols) + 2, np.bool_)
        lost[word[~known & (symbols >= 0)]] = True
        known &= ~lost[word]
    return np.where(known, numbers, -1), alphabet


def _words(texts: Iterable[str], n: int) -> Spec:
    """The n most frequent words; of equally frequent ones the first in alphabetical order."""
    backend = tokenizers.Tokenizer(models.WordLevel({UNKNOWN: 0}, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(_WORD), "isolated")
    backend.train_from_iterator(iter(texts), trainers.WordLevelTrainer(vocab_size=n, show_progress=False))
    vocab = backend.get_vocab()
    return _one_token_each(sorted(vocab, key=lambda word: vocab[word]), _WORD)


def _one_token_each(tokens: list[str], pattern: str) -> Spec:
    """A vocabulary of whole matches of `pattern`, with an entry for everything else."""
    vocab = {token: id_ for id_, token in enumerate([*tokens, UNKNOWN])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    backend.decoder = decoders.Fuse()
    spec: Spec = json.loads(backend.to_str())
    return spec
