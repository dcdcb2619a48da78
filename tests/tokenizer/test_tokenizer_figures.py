"""Figures of tokenizers, counted by hand."""

import pytest

from bigtrain.data.tokenizer_schema import BPEConfig, BytesConfig, CharsConfig, WordBoundaries, WordsConfig
from bigtrain.tokenizer import compare, figures, train


def test_figures_by_hand() -> None:
    tokenizer = train(CharsConfig(), ["ab cd"])  # a b c d, a blank, the unknown one, the end
    found = figures(tokenizer, {"en": ["ab cd", "abx"], "zh": ["中文 a"], "none": []})
    assert found["vocab_size"] == 7
    assert found["vocabulary_used"] == pytest.approx(6 / 7)
    assert found["languages"]["en"] == {"tokens": 8, "bytes_per_token": 1.0, "fertility": 8 / 3, "unknown_rate": 1 / 8}
    assert found["languages"]["zh"] == {"tokens": 4, "bytes_per_token": 2.0, "fertility": 4 / 3, "unknown_rate": 0.5}
    assert found["languages"]["none"] == dict.fromkeys(("bytes_per_token", "fertility", "unknown_rate")) | {"tokens": 0}
    assert (found["tokens"], found["bytes_per_token"], found["fertility"]) == (12, 16 / 12, 2.0)
    assert found["unknown_rate"] == pytest.approx(3 / 12)


def test_longest_tokens_are_text() -> None:
    tokenizer = train(BPEConfig(vocab_size=300), ["naïve façade " * 40])
    longest = figures(tokenizer, {"fr": ["naïve"]})["longest_tokens"]
    assert longest[:2] == [" façade", " naïve"]
    assert len(longest) == 20
    assert "<|endoftext|>" not in longest


def test_words_of_jieba_in_the_fertility() -> None:
    pytest.importorskip("jieba")
    tokenizer = train(CharsConfig(), ["南京市长江大桥"])
    texts = {"zh": ["南京市长江大桥"]}
    assert figures(tokenizer, texts)["fertility"] == 1
    assert figures(tokenizer, texts, WordBoundaries.jieba)["fertility"] == 7 / 2


def test_candidates_are_trained_and_compared() -> None:
    texts = ["the cat sat on the mat, but no dog did so there " * 30]
    loaded = train(BytesConfig(), [])
    rows = compare(
        {"small": BPEConfig(vocab_size=270), "large": BPEConfig(vocab_size=280), "loaded": loaded, "w": WordsConfig()},
        texts,
        {"en": ["the cat and the mat"]},
    )
    assert [row["name"] for row in rows] == ["small", "large", "loaded", "w"]
    assert [row["vocab_size"] for row in rows][:3] == [270, 280, 257]
    assert rows[1]["bytes_per_token"] > rows[0]["bytes_per_token"] > rows[2]["bytes_per_token"] == 1
    assert rows[3]["unknown_rate"] == pytest.approx(1 / 5)
    assert rows[0] == compare({"small": BPEConfig(vocab_size=270)}, texts, {"en": ["the cat and the mat"]})[0]
