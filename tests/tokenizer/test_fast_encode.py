"""When the fast way is taken, and that it is not taken where ids could differ."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from random_text import LONG_RUNS, random_texts
from tokenizers import decoders, models, pre_tokenizers

from bigtrain.data.schema import BPEConfig
from bigtrain.tokenizer import Tokenizer, fast_encode, train
from bigtrain.tokenizer.fast_encode import BYTE_OF, GPT2, LLAMA3, QWEN2, fast_encoder

TEXT = "It's 12345 o'clock, WE'LL see;  naïve cafe\u0301 中文\r\n\r\n  done...\n\n \t x\n" * 3


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    rng = random.Random(0)
    words = ["the", "then", "there", "naïve", "cafe\u0301", "12345", "中文", "o'clock", "\n\n", "  "]
    texts = [" ".join(rng.choice(words) for _ in range(500)) for _ in range(20)]
    return dict(train(BPEConfig(vocab_size=320), texts).spec)


def split_by(pattern: str, **changes: object) -> dict[str, Any]:
    """The pre-tokenizer of the Llama 3 and Qwen 2 files."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False, **changes}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [split, byte_level]}


def is_fast(spec: dict[str, Any]) -> bool:
    """Whether there is a fast way, after checking that it agrees."""
    tokenizer = Tokenizer(spec)
    fast = fast_encoder(tokenizer.spec, tokenizer.backend)
    if fast:
        assert fast(TEXT).tolist() == tokenizer.encode(TEXT)
    assert tokenizer.encode_documents([TEXT])[0].tolist() == tokenizer.encode(TEXT)
    return fast is not None


@pytest.mark.parametrize("pattern", [GPT2, LLAMA3, QWEN2])
@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}])
def test_known_forms(spec: dict[str, Any], pattern: str, normalizer: object) -> None:
    assert is_fast({**spec, "pre_tokenizer": split_by(pattern), "normalizer": normalizer})


def test_tokens_that_are_taken_whole(spec: dict[str, Any]) -> None:
    """`ignore_merges` (Llama 3): a word that is a token is taken as it is."""
    assert is_fast({**spec, "model": {**spec["model"], "ignore_merges": True}})


def test_merges_written_the_old_way(spec: dict[str, Any]) -> None:
    merges = [" ".join(pair) for pair in spec["model"]["merges"]]
    assert is_fast({**spec, "model": {**spec["model"], "merges": merges}})


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "NFKC"}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}},
        {"pre_tokenizer": split_by(r"\S+|\s+")},
        {"pre_tokenizer": split_by(GPT2, behavior="Removed", invert=True)},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}},
    ],
)
def test_other_forms(spec: dict[str, Any], changes: dict[str, Any]) -> None:
    assert not is_fast({**spec, **changes})


def with_added(spec: dict[str, Any], *contents: str, **changes: object) -> dict[str, Any]:
    """Tokens that are not special: they are found in text before anything else."""
    plain = {**spec["added_tokens"][0], "special": False, "normalized": False, **changes}
    added = [{**plain, "content": content, "id": 330 + number} for number, content in enumerate(contents)]
    return {**spec, "added_tokens": [*spec["added_tokens"], *added]}


@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}])
@pytest.mark.parametrize("normalized", [True, False])
def test_a_token_that_is_not_special_is_found_in_text(
    spec: dict[str, Any], normalizer: object, *, normalized: bool
) -> None:
    contents = ["o'c", "  ", "   ", "<think>", "there", "e", "<|endoftext|>>"]
    changed = with_added({**spec, "normalizer": normalizer}, *contents, normalized=normalized)
    assert is_fast(changed)
    tokenizer = Tokenizer(changed)
    assert tokenizer.backend.token_to_id("o'c") in tokenizer.encode(TEXT)
    for text in (
        *["", " ", "    ", "e\u0301", "cafe\u0301  there", "<think>\n\n</think>there'sthere", "e" * 9],
        *["<|endoftext|>", "a<|endoftext|>>b", "<<|endoftext|>", "the\U000323b0've e\u0301\U000323b0"],
        *random_texts(300, seed=34),
    ):
        assert tokenizer.encode_documents([text])[0].tolist() == tokenizer.encode(text), repr(text)


@pytest.mark.parametrize("changes", [{"lstrip": True}, {"rstrip": True}, {"single_word": True}])
def test_tokens_that_look_around_themselves_are_left_to_tokenizers(spec: dict[str, Any], changes: Any) -> None:
    assert not is_fast(with_added(spec, "naïve", **changes))


def test_a_token_that_normalising_may_change_is_left_to_tokenizers(spec: dict[str, Any]) -> None:
    assert not is_fast(with_added({**spec, "normalizer": {"type": "NFC"}}, "cafe\u0301"))
    assert is_fast(with_added(spec, "cafe\u0301"))


def test_a_real_tokenizer_with_runs_of_blanks(test_data: Path) -> None:
    tokenizer = Tokenizer.load(test_data / "neox_tokenizer" / "allenai_gpt-neox-olmo-dolma-v1_5.json")
    assert tokenizer._fast is not None
    page = next(test_data.glob("web_html/*.html")).read_text(encoding="utf-8", errors="replace")[:200_000]
    texts = [page, TEXT, "def f():\n        return {\n" + " " * 30 + "1}", *random_texts(200, seed=35), *LONG_RUNS]
    for text, ids in zip(texts, tokenizer.encode_documents(texts), strict=True):
        assert ids.tolist() == tokenizer.encode(text), repr(text[:200])


def changed_model(spec: dict[str, Any], vocab: dict[str, int], merges: list[list[str]], **more: Any) -> dict[str, Any]:
    eos = {**spec["added_tokens"][0], "id": max(vocab.values()) + 1}
    return {**spec, "model": {**spec["model"], "vocab": vocab, "merges": merges, **more}, "added_tokens": [eos]}


def test_ranks_that_would_not_be_merges(spec: dict[str, Any]) -> None:
    vocab, merges = spec["model"]["vocab"], spec["model"]["merges"]
    vocab = {token: id_ for token, id_ in vocab.items() if token != "<|endoftext|>"}
    assert is_fast(changed_model(spec, vocab, merges))
    assert not is_fast(changed_model(spec, vocab, list(reversed(merges)))), "ids do not ascend along the merges"
    assert not is_fast(changed_model(spec, vocab | {"zzz": 400}, merges)), "a token that no merge makes"
    assert not is_fast(changed_model(spec, vocab, merges[:-1])), "a token whose merge is missing"
    random_merges = changed_model(spec, vocab, merges, dropout=0.1)
    assert fast_encoder(random_merges, Tokenizer(random_merges).backend) is None
    missing = {token: id_ for token, id_ in vocab.items() if token != "Q"}
    assert not is_fast(changed_model(spec, missing, merges)), "a byte without a token"
    without = {token: id_ for token, id_ in vocab.items() if token != "ÿ"}
    assert is_fast(changed_model(spec, without, merges)), "a byte that UTF-8 has not"


def test_a_token_whose_own_bytes_are_merged_otherwise(spec: dict[str, Any]) -> None:
    """abc is made of ab + c, but in the text "abc" bc is merged first: tokenizers never makes abc, tiktoken would."""
    vocab = {token: id_ for id_, token in enumerate(BYTE_OF)} | {"bc": 256, "ab": 257, "abc": 258}
    changed = changed_model(spec, vocab, [["b", "c"], ["a", "b"], ["ab", "c"]])
    assert Tokenizer(changed).encode("abc") == [vocab["a"], vocab["bc"]]
    assert not is_fast(changed)


def test_a_pre_tokenizer_that_splits_otherwise_is_noticed(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the Unicode tables of the two libraries differed."""
    tokenizer = Tokenizer(spec)
    assert fast_encode._splits_alike(GPT2, tokenizer.backend)
    assert not fast_encode._splits_alike(GPT2.replace(r"\p{L}", r"[\p{L}--\x{1c89}]", 1), tokenizer.backend)
    assert not fast_encode._splits_alike(LLAMA3, tokenizer.backend)
    monkeypatch.setattr(fast_encode, "_splits_alike", lambda pattern, backend: False)
    assert not is_fast(spec)


def test_every_code_point_is_of_the_same_class_in_both_libraries(spec: dict[str, Any]) -> None:
    """A letter, a number, a blank or something else: one text with every code point between known neighbours.

    In blocks of 64 code points, which stand in one row of every table, the first of each is looked at.
    """
    points = [code for code in range(0, 0x110000, 64) if not 0xD800 <= code < 0xE000]
    backend = Tokenizer(spec).backend
    text = "".join(f"a{chr(code)}1{chr(code)}!" for code in points)
    words = [bytes(BYTE_OF[c] for c in word) for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
    whole = sorted({word for word in words if len(word) > 1})
    ranks = {bytes([byte]): byte for byte in range(256)} | {word: 256 + n for n, word in enumerate(whole)}
    encoding = fast_encode.tiktoken.Encoding("all", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})
    assert encoding.decode_tokens_bytes(encoding.encode_ordinary(text)) == words


@pytest.mark.parametrize("pattern", [GPT2, LLAMA3, QWEN2])
def test_every_character_is_encoded_as_tokenizers_does(spec: dict[str, Any], pattern: str) -> None:
    """The youngest ones too: gigatoken knows letters that the others do not know yet.

    One of each 16, which stand in one row of every table, in one text with the next ones of that row where it is young.
    """
    tokenizer = Tokenizer({**spec, "pre_tokenizer": split_by(pattern)})
    fast = fast_encoder(tokenizer.spec, tokenizer.backend)
    assert fast is not None
    known = fast_encode._known()
    for first in range(0, 0x36000, 1024):
        block = [code for code in range(first, first + 1024) if not 0xD800 <= code < 0xE000]
        codes = [code for code in block if code % 16 == 0 or not known[code]]
        texts = [f"a{c}'ve {c}b1{c} {c}{c}  x{c}\n{c} 'S" for c in map(chr, codes)]
        of_known = "".join(text for text, code in zip(texts, codes, strict=True) if known[code])
        for text in (of_known, *random.Random(first).sample(texts, min(8, len(texts))), "".join(texts)):
            assert fast(text).tolist() == tokenizer.encode(text), hex(first)


def test_the_youngest_characters_are_not_left_to_gigatoken(spec: dict[str, Any]) -> None:
    vocab = {token: id_ for id_, token in enumerate(BYTE_OF)} | {"ve": 256, "'ve": 257}
    tokenizer = Tokenizer(changed_model(spec, vocab, [["v", "e"], ["'", "ve"]]))
    text = "a\U000323b0've"  # a letter since Unicode 17.0; to the others a mark, with which the apostrophe goes
    fast, alone = fast_encoder(tokenizer.spec, tokenizer.backend), fast_encode._Remembering(tokenizer.spec)
    assert fast is not None
    assert fast(text).tolist() == tokenizer.encode(text)
    assert alone(text).tolist() != tokenizer.encode(text), "if these agree, the check of characters can go"


def test_random_texts_while_words_are_forgotten(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_encode, "_MUCH", 2000)
    tokenizer = Tokenizer(spec)
    texts = [*random_texts(400, seed=33), *LONG_RUNS, "", "\0", "<|endoftext|>"]
    for text, ids in zip(texts, tokenizer.encode_documents(texts), strict=True):
        assert ids.tolist() == tokenizer.encode(text), repr(text[:200])


def test_threads_share_what_is_remembered(spec: dict[str, Any]) -> None:
    """As those of a Dask worker do."""
    tokenizer = Tokenizer(spec)
    texts = [[f"{word} {number}{word}" for word in random_texts(60, seed=number)] for number in range(8)]
    tokenizer.encode_documents([""])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(tokenizer.encode_documents, texts))
    for given, ids in zip(texts, found, strict=True):
        assert [one.tolist() for one in ids] == [tokenizer.encode(text) for text in given]


def test_bytes_and_characters_by_table() -> None:
    backend = tokenizers.Tokenizer(models.WordLevel({"b": 0, "a": 1, "ab": 2, "?": 3}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    fast = fast_encoder(json.loads(backend.to_str()), backend)
    assert fast is not None
    assert fast("ab\n\U0010ffffa").tolist() == [1, 0, 3, 3, 1] == backend.encode("ab\n\U0010ffffa").ids
    assert fast("").tolist() == []
    assert fast("a").dtype == np.uint32
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex("a"), "isolated")
    assert fast_encoder(json.loads(backend.to_str()), backend) is None
