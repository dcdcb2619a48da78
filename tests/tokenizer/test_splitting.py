"""Words of whole arrays: the very ones of `tokenizers`."""

import random
from pathlib import Path

import numpy as np
import pytest
from random_text import LONG_RUNS, random_texts
from tokenizers import pre_tokenizers

from bigtrain.tokenizer import splitting
from bigtrain.tokenizer.splitting import END, batches, bert_words, code_points, gpt2_starts

CONTRACTIONS = [
    "it's", "'s", " 's", "\n's", "''s", "!'s", "s's's", "'S", "'l", "'ll", "'re've", "x'r", "x'", "'", "1't2'm", " 'd",
    "\t'd", "don't'", "'sx'llx", "\u3000't", "'\u017f", "'s\0", "",
]  # fmt: skip


def expected(text: str) -> list[int]:
    return [start for _, (start, _) in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)]


def test_words_are_those_of_tokenizers() -> None:
    for text in [*random_texts(1500, seed=21), *CONTRACTIONS, *LONG_RUNS]:
        assert gpt2_starts(code_points(text)).tolist() == expected(text), repr(text[:100])


def test_words_of_every_quote_and_blank_in_short_texts() -> None:
    draw = random.Random(0)
    for _ in range(4000):
        text = "".join(draw.choice("'sdlevrt \n\xa0a1!é") for _ in range(draw.randrange(1, 9)))
        assert gpt2_starts(code_points(text)).tolist() == expected(text), repr(text)


def test_texts_put_together_keep_their_words() -> None:
    texts = [*random_texts(300, seed=22), *CONTRACTIONS, "x ", " ", "'", END, "", "s"]
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    wanted, at = [], 0
    for text in texts:
        wanted += [at + start for start in expected(text)] + [at + len(text)]
        at += len(text) + 1
    assert gpt2_starts(code_points(END.join([*texts, ""])), ends).tolist() == wanted


def test_no_code_point_is_cut_otherwise() -> None:
    """In blocks of 64, the first of each; those that Python does not know among them."""
    points = [code for code in range(0, 0x110000, 64) if not 0xD800 <= code < 0xE000]
    text = "".join(f"a{chr(code)}1{chr(code)}!{chr(code)} " for code in points)
    assert gpt2_starts(code_points(text)).tolist() == expected(text)


def test_a_library_with_other_tables_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `tokenizers` took é for a mark."""
    real = splitting._n_words
    monkeypatch.setattr(splitting, "_n_words", lambda text: real(text.replace("é", "!")))
    table = splitting._gpt2_table.__wrapped__()
    monkeypatch.setattr(splitting, "_gpt2_table", lambda: table)
    assert gpt2_starts(code_points("aéb1cde")).tolist() == [0, 1, 2, 3, 4]


def test_words_of_bert(test_data: Path) -> None:
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    files = sorted(test_data.glob("udhr_languages/*.txt"))
    for text in [*(file.read_text(encoding="utf-8") for file in files), "a  b.. \t(c)x_y$1", "", " ", "."]:
        starts, ends = bert_words(code_points(text))
        wanted = [span for _, span in pre_tokenizer.pre_tokenize_str(text)]
        assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == wanted


def test_batches_hold_all_text_and_cut_no_word() -> None:
    texts = ["a b c " * 50, "", "word " * 300 + "\n\nend's", "x" * 2000, "y"]
    found = list(batches(texts, characters=100))
    assert "".join(piece for batch in found for piece in batch) == "".join(texts)
    cut = [piece for batch in batches([texts[2]], characters=100) for piece in batch]
    assert len(cut) > 10
    at, words = 0, set(expected(texts[2]))
    for piece in cut:
        assert at in words
        assert {at + start for start in expected(piece)} <= words
        at += len(piece)
