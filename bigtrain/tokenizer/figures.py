"""What can be said about a tokenizer: how it treats languages, what it holds, how it does beside others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bigtrain.data.tokenizer_schema import TokenizerConfig, WordBoundaries
from bigtrain.tokenizer.base import Tokenizer
from bigtrain.tokenizer.choice import choose
from bigtrain.tokenizer.training import train
from bigtrain.tokenizer.words import count_words

_LONGEST = 20

TextsByLanguage = Mapping[str, Sequence[str]]


def figures(
    tokenizer: Tokenizer, texts: TextsByLanguage, boundaries: WordBoundaries = WordBoundaries.plain
) -> dict[str, Any]:
    """Figures of a tokenizer on texts by language.

    vocab_size; vocabulary_used: share of the entries that occur; bytes_per_token; unknown_rate: share of the tokens;
    fertility: tokens per word (Acs 2019, "Exploring BERT's vocabulary"; a word as `words.py` cuts it, a Chinese
    character being one unless boundaries=jieba), both over all and in `languages`, with bytes_per_token of each;
    longest_tokens: entries with most characters, as text. Where there are no tokens or no words, a figure is null.
    """
    seen = np.zeros(tokenizer.vocab_size, np.bool_)
    languages, totals = {}, np.zeros(4, np.int64)
    for language in sorted(texts):
        counts = np.zeros(4, np.int64)  # tokens, unknown ones, bytes, words
        for text, ids in zip(texts[language], tokenizer.encode_documents(texts[language]), strict=True):
            seen[ids] = True
            unknown = 0 if tokenizer.unknown_id is None else int((ids == tokenizer.unknown_id).sum())
            counts += (len(ids), unknown, len(text.encode("utf-8")), count_words(text, boundaries))
        totals += counts
        languages[language] = _rates(*counts.tolist())
    return {
        "vocab_size": tokenizer.vocab_size,
        "vocabulary_used": float(seen.mean()),
        **_rates(*totals.tolist()),
        "languages": languages,
        "longest_tokens": _longest(tokenizer),
    }


def compare(
    candidates: Mapping[str, Tokenizer | TokenizerConfig],
    training_texts: Sequence[str],
    texts: TextsByLanguage,
    boundaries: WordBoundaries = WordBoundaries.plain,
) -> list[dict[str, Any]]:
    """`name` and figures of each candidate on `texts`, in the order given; configs are trained on `training_texts`.

    Raises UserError.
    """
    found = []
    for name, candidate in candidates.items():
        chosen = candidate if isinstance(candidate, Tokenizer) else choose(candidate)
        tokenizer = chosen if isinstance(chosen, Tokenizer) else train(chosen, training_texts)
        found.append({"name": name, **figures(tokenizer, texts, boundaries)})
    return found


def _rates(tokens: int, unknown: int, n_bytes: int, words: int) -> dict[str, Any]:
    return {
        "tokens": tokens,
        "bytes_per_token": n_bytes / tokens if tokens else None,
        "fertility": tokens / words if words else None,
        "unknown_rate": unknown / tokens if tokens else None,
    }


def _longest(tokenizer: Tokenizer) -> list[str]:
    special = {token["id"] for token in tokenizer.spec["added_tokens"] if token["special"]}
    vocab = tokenizer.backend.get_vocab(with_added_tokens=False)
    ordinary = sorted((-len(token), id_) for token, id_ in vocab.items() if id_ not in special)
    return [tokenizer.backend.decode([id_]) for _, id_ in ordinary[:_LONGEST]]
