"""The table of words, and ids by way of it."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from random_text import LONG_RUNS, random_texts

from bigtrain.data.tokenizer_schema import BPEConfig, UnigramConfig, WordPieceConfig
from bigtrain.tokenizer import Tokenizer, train, word_counts, word_encoder, word_table
from bigtrain.tokenizer.word_counts import count_gpt2_words
from bigtrain.tokenizer.word_table import WordTable


def test_numbers_are_those_of_a_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_table, "_SLOTS_BITS", 5)  # most words share a slot
    draw, table, known = random.Random(0), WordTable(), dict[bytes, int]()
    lengths = [1, 2, 7, 8, 9, 15, 16, 17, 40]
    for _ in range(20):
        words = [
            draw.choice([b"", b"the same"]) + bytes(draw.choice(b"ab\0\xff") for _ in range(draw.choice(lengths)))
            for _ in range(draw.randrange(1, 200))
        ]
        ends = np.cumsum([len(word) for word in words])
        starts = ends - [len(word) for word in words]
        wanted = [known.setdefault(word, len(known)) for word in words]
        assert table.numbers(b"".join(words), starts, ends).tolist() == wanted
    assert table.words == list(known)


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    texts = [*random_texts(200, seed=31), "The cat sat on the mat, and the dog didn't. " * 50]
    return {
        config.name: train(config, texts)
        for config in (BPEConfig(vocab_size=500), UnigramConfig(vocab_size=700), WordPieceConfig(vocab_size=500))
    }


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_ids_are_those_of_tokenizers(
    trained: dict[str, Tokenizer], kind: str, monkeypatch: pytest.MonkeyPatch, test_data: Path
) -> None:
    monkeypatch.setattr(word_encoder, "_MOST_WORDS", 3000)  # all is forgotten now and then
    monkeypatch.setattr(word_encoder, "_LONG", 30_000)
    novel = sorted(test_data.glob("eltec_novels/*.txt"))[0].read_text(encoding="utf-8")[:90_000]
    texts = [*random_texts(400, seed=32), *LONG_RUNS, novel, "\0", "a\0\0b", "", "<|endoftext|>"]
    tokenizer = trained[kind]
    assert tokenizer._by_words is not None
    for text, ids in zip(texts, tokenizer._by_words(texts), strict=True):
        assert ids.tolist() == tokenizer.encode(text), repr(text[:200])
        assert ids.dtype == np.uint32


def test_threads_take_turns(trained: dict[str, Tokenizer]) -> None:
    """As those of a Dask worker do, which share one tokenizer."""
    tokenizer = Tokenizer(trained["bpe"].spec, trained["bpe"].config)
    texts = [[f"{word} {number}{word}" for word in random_texts(60, seed=number)] for number in range(8)]
    tokenizer._by_words([""])  # it is made
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(tokenizer._by_words, texts))
    finally:
        sys.setswitchinterval(switch)
    for given, ids in zip(texts, found, strict=True):
        assert [one.tolist() for one in ids] == [tokenizer.encode(text) for text in given]


def test_it_is_taken_for_much_text_with_blanks(trained: dict[str, Tokenizer]) -> None:
    text = "The cat sat on the dog's mat. " * 20_000
    assert trained["wordpiece"]._by_words is None
    tokenizer = Tokenizer(trained["unigram"].spec, trained["unigram"].config)
    tokenizer.encode_documents(["Didn't it?"])
    assert "_by_words" not in vars(tokenizer) or not tokenizer._by_words.table.words
    ids = tokenizer.encode_documents([text, "Didn't it?"])
    assert b" dog" in tokenizer._by_words.table.words
    assert ids[0].tolist() == tokenizer.encode(text)
    assert ids[1].tolist() == tokenizer.encode("Didn't it?")


def test_too_many_words_are_counted_without_the_rarest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "_MOST_WORDS", 50)
    draw = random.Random(0)
    texts = [" ".join(["often", "common", *(f"{draw.randrange(10**6)}" for _ in range(40))]) for _ in range(200)]
    monkeypatch.setattr(word_counts, "batches", lambda texts: ([text] for text in texts))
    counted = count_gpt2_words(texts)
    found = dict(zip(counted.words, counted.counts.tolist(), strict=True))
    assert len(found) <= 50
    assert (found[b" common"], found[b"often"]) == (200, 200)
    assert counted.most_frequent(2).words == [b"often", b" common"]
    assert counted.most_frequent(2).counts.tolist() == [200, 200]
