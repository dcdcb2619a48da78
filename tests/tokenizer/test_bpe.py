"""The merges: those of a plain counting loop, and those of the trainer of `tokenizers`."""

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from random_text import random_texts
from tokenizers import models, pre_tokenizers, trainers

from bigtrain.data.tokenizer_schema import BPEConfig
from bigtrain.tokenizer import Tokenizer, bpe, train
from bigtrain.tokenizer.word_counts import WordCounts


def by_counting(words: dict[str, int], n_merges: int, min_frequency: int) -> list[tuple[str, str]]:
    """Sennrich's loop as in the paper; ties go to the pair whose parts came to be first."""
    split = {word: list(word) for word in words}
    number = {character: n for n, character in enumerate(sorted(set("".join(words))))}
    merges: list[tuple[str, str]] = []
    while len(merges) < n_merges:
        counts: Counter[tuple[str, str]] = Counter()
        for word, parts in split.items():
            for pair in pairwise(parts):
                counts[pair] += words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], number[pair[0]], number[pair[1]]))
        if counts[best] < min_frequency:
            break
        merges.append(best)
        number["".join(best)] = len(number)
        for word, parts in split.items():
            joined, at = [], 0
            while at < len(parts):
                n = 2 if tuple(parts[at : at + 2]) == best else 1
                joined.append("".join(parts[at : at + n]))
                at += n
            split[word] = joined
    return merges


def learned(words: dict[str, int], n_merges: int, min_frequency: int) -> list[tuple[str, str]]:
    """The same by `bpe.learn`."""
    names = sorted(set("".join(words)))
    counted = WordCounts([word.encode() for word in words], np.array(list(words.values())))
    symbols, weights = counted.in_characters()
    alphabet = np.array([ord(name) for name in names])
    symbols = np.where(symbols < 0, -1, np.searchsorted(alphabet, symbols))
    merges = bpe.learn(names, symbols, weights, n_merges, min_frequency=min_frequency)
    return [(names[left], names[right]) for left, right in merges]


def test_merges_are_those_of_the_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(60):
        monkeypatch.setattr(bpe, "_FIRST_ROUND", 1 + seed % 7)  # several rounds even for so little text
        draw = random.Random(seed)
        letters = "ab" if seed % 3 else "abcdefgé中"
        words = {
            "".join(draw.choice(letters) for _ in range(draw.randrange(1, 12))): draw.randrange(1, 30)
            for _ in range(draw.randrange(1, 40))
        }
        n_merges, least = draw.choice([1, 5, 40, 300]), draw.choice([1, 2, 25])
        assert learned(words, n_merges, least) == by_counting(words, n_merges, least), seed


@pytest.mark.parametrize("letter_runs", ["aaaa aaa aaaaaaa aa a", "ababab abaab babab", "x"])
def test_runs_of_one_letter(letter_runs: str) -> None:
    words = dict(Counter(letter_runs.split()))
    assert learned(words, 20, 1) == by_counting(words, 20, 1)


def test_no_name_is_made_twice() -> None:
    """Or it would have two ids."""
    for seed in range(200):
        draw = random.Random(seed)
        words = {
            "".join(draw.choice("aab") for _ in range(draw.randrange(2, 14))): draw.randrange(1, 9) for _ in range(9)
        }
        merges = learned(words, 60, 1)
        unions = ["".join(pair) for pair in merges]
        assert len(set(unions)) == len(unions)


def of_tokenizers(texts: list[str], size: int) -> dict[str, object]:
    """What this package had before: the trainer of `tokenizers`."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend.get_vocab()


def without_special(tokenizer: Tokenizer) -> dict[str, int]:
    return {token: id_ for token, id_ in tokenizer.backend.get_vocab().items() if id_ != tokenizer.eos_id}


def test_the_vocabulary_is_that_of_tokenizers_on_real_text(test_data: Path) -> None:
    files = [*sorted(test_data.glob("udhr_languages/*.txt")), test_data / "wikitext2_valid/valid.txt"]
    texts = [file.read_text(encoding="utf-8") for file in files]
    assert without_special(train(BPEConfig(vocab_size=3001), texts)) == of_tokenizers(texts, 3000)


def test_the_vocabulary_is_that_of_tokenizers_on_random_text() -> None:
    for seed in range(4):
        texts = random_texts(150, seed=seed)
        assert without_special(train(BPEConfig(vocab_size=901), texts)) == of_tokenizers(texts, 900)
