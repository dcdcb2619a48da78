"""Which tokens continue a word, for every kind of tokenizer."""

import builtins
import random
from pathlib import Path
from typing import Any

import pytest
from random_text import random_texts

from bigtrain.data.tokenizer_schema import (
    BPEConfig,
    BytesConfig,
    CharsConfig,
    UnigramConfig,
    WordBoundaries,
    WordPieceConfig,
    WordsConfig,
)
from bigtrain.errors import UserError
from bigtrain.tokenizer import Ids, Tokenizer, train, words
from bigtrain.tokenizer.words import Flags, continues, count_words, word_starts

SENTENCE = "The naïve tokenizers' 3rd (unbelievable) re-run, नमस्ते 南京市长江大桥 👩🏽‍👧!"


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    texts = [*random_texts(100, seed=51), SENTENCE, "小明硕士毕业", "to ken iz er un believ able"]
    sizes: dict[type, dict[str, int]] = {BPEConfig: {"vocab_size": 330}, UnigramConfig: {"vocab_size": 500}}
    kinds = (BPEConfig, WordPieceConfig, UnigramConfig, WordsConfig, BytesConfig, CharsConfig)
    return {kind.name: train(kind(**sizes.get(kind, {})), texts) for kind in kinds}


def encoded(tokenizer: Tokenizer, text: str, boundaries: WordBoundaries = WordBoundaries.plain) -> tuple[Ids, Flags]:
    """Ids of a text, and whether each continues a word."""
    [ids] = tokenizer.encode_documents([text])
    return ids, continues(text, *tokenizer.characters(text, ids), boundaries)


def groups(tokenizer: Tokenizer, text: str, boundaries: WordBoundaries) -> list[str]:
    """The text of each word, from the tokens that belong together."""
    ids, flags = encoded(tokenizer, text, boundaries)
    assert ids.tolist() == tokenizer.encode(text)
    found: list[list[int]] = []
    for id_, goes_on in zip(ids.tolist(), flags.tolist(), strict=True):
        if goes_on:
            found[-1].append(id_)
        else:
            found.append([id_])
    texts = [tokenizer.decode(word).strip(" ") for word in found]
    return [text for text in texts if text]  # a blank may be a token by itself, which begins no word


WORDS = [
    *("The", "naïve", "tokenizers", "'", "3rd", "(", "unbelievable", ")", "re", "-", "run", ",", "नमस्ते"),
    *("南", "京", "市", "长", "江", "大", "桥"),
]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_words_are_kept_together(trained: dict[str, Tokenizer], kind: str) -> None:
    text = SENTENCE.partition(" 👩")[0]
    assert groups(trained[kind], text, WordBoundaries.plain) == WORDS


def test_bytes_of_a_word_and_of_a_character_are_kept_together(trained: dict[str, Tokenizer]) -> None:
    assert groups(trained["bytes"], "naïve 南京!", WordBoundaries.plain) == ["naïve", "南", "京", "!"]
    assert groups(trained["chars"], "ab 南京!", WordBoundaries.plain) == ["ab", "南", "京", "!"]


def test_word_pieces_continue_where_their_mark_says_so(trained: dict[str, Tokenizer]) -> None:
    tokenizer = trained["wordpiece"]
    for text in [SENTENCE.partition(" 👩")[0], *random_texts(300, seed=52)]:
        ids, flags = encoded(tokenizer, text)
        marks = [tokenizer.backend.id_to_token(id_).startswith("##") for id_ in ids.tolist()]
        if all(character.isalnum() or character in " .,!?" for character in text):
            assert flags.tolist() == marks, repr(text)
    assert any(marks)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "words", "bytes", "chars"])
def test_every_token_has_a_flag_and_the_first_begins(trained: dict[str, Tokenizer], kind: str) -> None:
    texts = ["", " ", "</s>", *random_texts(300, seed=53)]
    for text in texts:
        ids, flags = encoded(trained[kind], text)
        assert ids.tolist() == trained[kind].encode(text)
        assert len(ids) == len(flags)
        if len(ids) and text[:1].isalpha():
            assert not flags[0]


def test_a_token_that_begins_inside_a_character_continues() -> None:
    """Bytes of 中 (E4 B8 AD) and 为 (E4 B8 BA): the token of E4 B8 is shared, AD stands alone."""
    tokenizer = train(BPEConfig(vocab_size=258), ["中为"] * 50)
    _, flags = encoded(tokenizer, "中为")
    assert flags.tolist() == [False, True, False, True]


def test_starts_and_counts() -> None:
    assert word_starts("a b", WordBoundaries.plain).tolist() == [True, False, True]
    assert count_words("Don't stop, 3.5 中文 -- !", WordBoundaries.plain) == 7
    assert count_words("", WordBoundaries.plain) == 0
    assert count_words("e\u0301te\u0301 क्‍ष", WordBoundaries.plain) == 2
    draw = random.Random(0)
    for text in random_texts(200, seed=54):
        cut = draw.randrange(len(text) + 1)
        assert len(word_starts(text[:cut], WordBoundaries.plain)) == cut


def test_chinese_words_of_jieba(trained: dict[str, Tokenizer]) -> None:
    pytest.importorskip("jieba")
    found = groups(trained["chars"], "南京市长江大桥 abc!小明硕士毕业", WordBoundaries.jieba)
    assert found == ["南京市", "长江大桥", "abc", "!", "小明", "硕士", "毕业"]
    assert count_words("南京市长江大桥", WordBoundaries.jieba) == 2


def test_real_chinese_text_has_the_boundaries_that_jieba_gives(test_data: Path) -> None:
    jieba = pytest.importorskip("jieba")
    lines = (test_data / "thucnews_titles/dev.txt").read_text(encoding="utf-8").splitlines()[:200]
    own = words._jieba()
    for line in lines:
        title = line.split("\t")[0]
        starts = word_starts(title, WordBoundaries.jieba)
        for run in words._HAN_RUN.finditer(title):
            at = run.start()
            for word in own(run.group()):
                assert starts[at : at + len(word)].tolist() == [True] + [False] * (len(word) - 1)
                at += len(word)
    assert jieba is not None


def test_without_jieba_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name == "jieba":
            raise ImportError(name)
        return real(name, *args, **more)

    words._jieba.cache_clear()
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"bigtrain\[chinese\]"):
        word_starts("南京", WordBoundaries.jieba)
