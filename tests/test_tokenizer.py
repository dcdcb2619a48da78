"""Every kind of tokenizer: ids by the fast way and by the slow one, text back from ids, special tokens, files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from random_text import ALPHABETS, LONG_RUNS, random_texts
from tokenizers import models, normalizers, pre_tokenizers

from bigtrain.data.tokenizer_schema import (
    BPEConfig,
    BytesConfig,
    CharsConfig,
    UnigramConfig,
    WordPieceConfig,
    WordsConfig,
)
from bigtrain.errors import UserError
from bigtrain.tokenizer import EOS, Tokenizer, train

NOVELS = "eltec_novels/ENG*.txt"


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    """One of each kind, learned from random text in which every alphabet occurs."""
    texts = [*random_texts(300, seed=1), "The cat sat on the mat, and the dog didn't. " * 50, *ALPHABETS]
    configs = (
        *(BPEConfig(vocab_size=700), WordPieceConfig(vocab_size=900), UnigramConfig(vocab_size=900)),
        *(WordsConfig(vocab_size=3000), BytesConfig(), CharsConfig()),
    )
    return {config.name: train(config, texts) for config in configs}


@pytest.fixture(scope="module")
def gpt2(test_data: Path) -> Tokenizer:
    """GPT-2's own 50,257 entries."""
    return Tokenizer.load(test_data / "gpt2_vocab")


def assert_same_ids(tokenizer: Tokenizer, texts: list[str]) -> None:
    for text, ids in zip(texts, tokenizer.encode_documents(texts), strict=True):
        assert ids.tolist() == tokenizer.encode(text), repr(text[:200])
        assert ids.dtype == np.uint32


KINDS = ["bpe", "wordpiece", "unigram", "words", "bytes", "chars"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_fast_way_gives_the_same_ids(trained: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = trained[kind]
    assert (tokenizer._fast is not None) == (kind in ("bpe", "bytes", "chars"))
    assert_same_ids(tokenizer, random_texts(1500, seed=2))
    assert_same_ids(tokenizer, LONG_RUNS)


def test_the_fast_way_gives_the_same_ids_with_the_vocabulary_of_gpt2(gpt2: Tokenizer, test_data: Path) -> None:
    assert gpt2._fast is not None
    assert_same_ids(gpt2, random_texts(1500, seed=3) + LONG_RUNS)
    files = [
        sorted(test_data.glob(NOVELS))[0],
        *test_data.glob("udhr_languages/*.txt"),
        test_data / "c4_demo/c4_demo.jsonl",
    ]
    assert_same_ids(gpt2, [file.read_text(encoding="utf-8")[:100_000] for file in files])


def test_a_run_of_blanks_that_tiktoken_gives_up_on(gpt2: Tokenizer) -> None:
    assert_same_ids(gpt2, [" " * 700_000 + "x"])


@pytest.mark.parametrize("kind", ["bpe", "unigram", "bytes"])
def test_decoding_inverts_encoding(trained: dict[str, Tokenizer], kind: str) -> None:
    for text in random_texts(1500, seed=4):
        if kind == "unigram" and "▁" in text:
            continue  # stands for a blank
        ids = trained[kind].encode(text)
        assert trained[kind].decode(ids) == text


@pytest.mark.parametrize("kind", ["words", "chars"])
def test_decoding_inverts_encoding_as_far_as_the_vocabulary_goes(trained: dict[str, Tokenizer], kind: str) -> None:
    tokenizer, known = trained[kind], 0
    unknown = tokenizer.backend.token_to_id("<|unk|>")
    for text in random_texts(1500, seed=1):
        ids = tokenizer.encode(text)
        if unknown not in ids:
            known += 1
            assert tokenizer.decode(ids) == text
    assert known > 100
    assert "<|unk|>" in tokenizer.decode(tokenizer.encode("\U000f0000"))


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_are_not_found_in_text(trained: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = trained[kind]
    text = "a<|endoftext|>b <|endoftext|> <|unk|>"
    for ids in (tokenizer.encode(text), tokenizer.encode_documents([text])[0].tolist()):
        assert tokenizer.eos_id not in ids
    if kind == "wordpiece":
        vocab = tokenizer.backend.get_vocab()
        assert [vocab[name] for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
        assert (tokenizer.pad_id, tokenizer.eos_id) == (0, 3)
    else:
        assert tokenizer.vocab_size == tokenizer.eos_id + 1
        assert tokenizer.pad_id == tokenizer.eos_id


def test_a_model_that_holds_a_special_token_as_a_piece_does_not_find_it_either() -> None:
    """Unigram would: its vocabulary is searched for the best pieces, special or not."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((character, -3.0) for character in "</s>ab ▁")]
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.add_special_tokens(["</s>", "<unk>", "▁"])
    tokenizer = Tokenizer(json.loads(backend.to_str()))
    assert tokenizer.eos_id == 1
    for text in ("a</s>b", "</s>", "</s></s>", "a ▁", "▁"):
        ids = tokenizer.encode(text)
        assert tokenizer.eos_id not in ids
        assert tokenizer.encode_documents([text])[0].tolist() == ids
    assert tokenizer.encode("aéb") == [tokenizer.encode("a")[0], 0, tokenizer.encode("b")[0]]


def test_no_special_tokens_are_added_and_nothing_is_cut(trained: dict[str, Tokenizer]) -> None:
    spec = json.loads(trained["bpe"].backend.to_str())
    spec["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    spec["padding"] = {
        "strategy": {"Fixed": 8},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    eos = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    spec["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, eos],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [699], "tokens": ["<|endoftext|>"]}},
    }
    text = "a text of more than three tokens"
    assert Tokenizer(spec).encode(text) == trained["bpe"].encode(text)
    assert Tokenizer(spec).encode_documents([text, "a"])[1].tolist() == trained["bpe"].encode("a")


def test_token_bytes_add_up(trained: dict[str, Tokenizer], gpt2: Tokenizer) -> None:
    for tokenizer in (trained["bpe"], trained["bytes"], gpt2):
        n_bytes = tokenizer.token_bytes()
        assert n_bytes is not None
        assert n_bytes.shape == (tokenizer.vocab_size,)
        assert n_bytes[tokenizer.eos_id] == 0
        for text in random_texts(200, seed=5):
            assert n_bytes[tokenizer.encode(text)].sum() == len(text.encode())
    assert trained["words"].token_bytes() is None
    assert trained["chars"].token_bytes() is None


def test_token_bytes_of_a_tokenizer_that_changes_the_text(trained: dict[str, Tokenizer]) -> None:
    spec = json.loads(trained["bpe"].backend.to_str())
    assert Tokenizer({**spec, "normalizer": {"type": "NFC"}}).token_bytes() is None
    prefix = {**spec["pre_tokenizer"], "add_prefix_space": True}
    assert Tokenizer({**spec, "pre_tokenizer": prefix}).token_bytes() is None
    eating = {**spec["added_tokens"][0], "content": "<x>", "id": 700, "special": False, "rstrip": True}
    assert Tokenizer({**spec, "added_tokens": [*spec["added_tokens"], eating]}).token_bytes() is None


def test_training_is_deterministic() -> None:
    code = """
from bigtrain.data.tokenizer_schema import *; from bigtrain.tokenizer import train; import random
rng = random.Random(0)
texts = ["".join(rng.choice("abcdef  中文\\n") for _ in range(2000)) for _ in range(50)]
kinds = (BPEConfig, WordPieceConfig, UnigramConfig, WordsConfig)
print([train(config, texts).hash for config in (*(kind(vocab_size=600) for kind in kinds), CharsConfig())])
"""
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"RAYON_NUM_THREADS": n, "PYTHONHASHSEED": n},
            capture_output=True,
            check=True,
        ).stdout
        for n in ("1", "2", "3")
    }
    assert len(runs) == 1


def test_vocabularies_have_the_size_that_was_asked_for(trained: dict[str, Tokenizer]) -> None:
    assert [trained[kind].vocab_size for kind in ("bpe", "wordpiece", "unigram")] == [700, 900, 900]
    assert trained["bytes"].vocab_size == 257
    assert trained["bytes"].encode("aé") == list("aé".encode())
    assert train(WordsConfig(vocab_size=4), ["b b b b a a c"]).backend.get_vocab() == {
        " b": 0,
        " a": 1,
        "<|unk|>": 2,
        "<|endoftext|>": 3,
    }
    assert train(CharsConfig(), ["ba", "c\n"]).backend.get_vocab() == {
        "\n": 0,
        "a": 1,
        "b": 2,
        "c": 3,
        "<|unk|>": 4,
        "<|endoftext|>": 5,
    }


def test_a_text_too_small_for_its_vocabulary_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "bigtrain"):
        tokenizer = train(BPEConfig(vocab_size=5000), ["abab abab"])
    assert 257 < tokenizer.vocab_size < 300
    assert f"{tokenizer.vocab_size} entries" in caplog.text


def test_words_split_chinese_by_character() -> None:
    tokenizer = train(WordsConfig(), ["人人生而自由，don't stop. 生x而\n"])
    pieces = [tokenizer.decode([id_]) for id_ in tokenizer.encode("人生，而自由 stop.\n")]
    assert pieces == ["人", "生", "，", "而", "自", "由", " stop", ".", "\n"]


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(trained: dict[str, Tokenizer], kind: str, tmp_path: Path) -> None:
    tokenizer = trained[kind]
    tokenizer.save(tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        again = Tokenizer.load(path)
        assert (again.hash, again.eos_id, again.pad_id) == (tokenizer.hash, tokenizer.eos_id, tokenizer.pad_id)
    (tmp_path / "again").mkdir()
    again.save(tmp_path / "again")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_hash_is_of_the_content_not_of_the_layout(trained: dict[str, Tokenizer], tmp_path: Path) -> None:
    spec = trained["bpe"].spec
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(dict(reversed(spec.items())), indent=7))
    assert Tokenizer.load(path).hash == trained["bpe"].hash
    path.write_text(json.dumps({**spec, "normalizer": {"type": "NFC"}}))
    assert Tokenizer.load(path).hash != trained["bpe"].hash


@pytest.mark.parametrize(
    ("kind", "model_type"), [*((kind, None) for kind in KINDS), ("bpe", "gpt2"), ("bpe", "llama"), ("bpe", "qwen3")]
)
def test_transformers_opens_it_with_the_same_ids(
    trained: dict[str, Tokenizer], kind: str, model_type: str | None, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = trained[kind]
    tokenizer.save(tmp_path)
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    if tokenizer.eos_id is not None and kind != "wordpiece":  # the templates of chats and fill-mask need it so
        assert other(f"a{EOS}", add_special_tokens=False)["input_ids"] == [*tokenizer.encode("a"), tokenizer.eos_id]
    assert (other.eos_token_id, other.pad_token_id) == (tokenizer.eos_id, tokenizer.pad_id)
    assert len(other) == tokenizer.vocab_size
    for text in random_texts(60, seed=6):
        ids = tokenizer.encode(text)
        assert other(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] == ids
        assert other.decode(ids, skip_special_tokens=kind == "wordpiece") == tokenizer.decode(ids)


def test_transformers_puts_around_word_pieces_what_an_encoder_is_trained_with(
    trained: dict[str, Tokenizer], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = trained["wordpiece"]
    tokenizer.save(tmp_path)
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    cls, sep = (tokenizer.backend.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    first, second, *_ = filter(None, map(str.strip, random_texts(9, seed=7)))
    one, two = tokenizer.encode(first), tokenizer.encode(second)
    assert other(first)["input_ids"] == [cls, *one, sep]
    both = other(first, second)
    assert both["input_ids"] == [cls, *one, sep, *two, sep]
    assert both["token_type_ids"] == [0] * (len(one) + 2) + [1] * (len(two) + 1)
    for kind in set(KINDS) - {"wordpiece"}:
        assert trained[kind].spec["post_processor"] is None


def foreign(tmp_path: Path, vocab: list[str], **config: object) -> Path:
    """A folder with a tokenizer made elsewhere."""
    backend = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocab)}, unk_token=vocab[0]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.normalizer = normalizers.Lowercase()
    backend.save(str(tmp_path / "tokenizer.json"))
    for name, content in config.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_where_the_end_of_document_token_comes_from(tmp_path: Path) -> None:
    vocab = ["[unk]", "[SEP]", "</s>", "mine", "pad"]
    assert Tokenizer.load(foreign(tmp_path, vocab)).eos_id == 2
    assert Tokenizer.load(foreign(tmp_path, vocab[:2])).eos_id == 1
    assert Tokenizer.load(foreign(tmp_path, vocab[:1])).eos_id is None
    assert Tokenizer.load(foreign(tmp_path, vocab, special_tokens_map={"eos_token": "mine"})).eos_id == 3
    with_config = foreign(tmp_path, vocab, tokenizer_config={"eos_token": {"content": "[SEP]"}, "pad_token": "pad"})
    assert Tokenizer.load(with_config).eos_id == 1
    assert Tokenizer.load(with_config).pad_id == 4
    unknown = foreign(tmp_path, vocab, tokenizer_config={"eos_token": "absent"}, special_tokens_map={})
    assert Tokenizer.load(unknown).eos_id == 2


def test_the_chat_template_is_carried_along(tmp_path: Path) -> None:
    source = foreign(tmp_path, ["a", "</s>"], tokenizer_config={"chat_template": "old", "auto_map": {"x": "evil.X"}})
    (source / "chat_template.jinja").write_text("{{ messages }}")
    target = tmp_path / "saved"
    target.mkdir()
    Tokenizer.load(source).save(target)
    config = json.loads((target / "tokenizer_config.json").read_text())
    assert "chat_template" not in config
    assert (target / "chat_template.jinja").read_text() == "{{ messages }}"
    assert Tokenizer.load(target).config["chat_template"] == "{{ messages }}"
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not {"auto_map", "model_max_length"} & config.keys()


def test_lengths_are_the_models_and_sides_the_sources(tmp_path: Path) -> None:
    sides = {"padding_side": "left", "truncation_side": "left"}
    source = foreign(tmp_path, ["a", "</s>"], tokenizer_config={**sides, "model_max_length": 1e30})
    (target := tmp_path / "saved").mkdir()
    Tokenizer.load(source).save(target, longest=64)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(target)
    assert (theirs.padding_side, theirs.truncation_side, theirs.model_max_length) == ("left", "left", 64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["no such file"]),
        (b"", ["tokenizer.json", "JSON"]),
        (b"\xff\xfe", ["tokenizer.json"]),
        (b"[1]", ["JSON array"]),
        (b"{}", ["tokenizers library"]),
        (b'{"model": {"type": "Nonsense"}, "added_tokens": []}', ["tokenizers library"]),
    ],
)
def test_a_bad_file_is_a_clear_error(content: bytes | None, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Tokenizer.load(path)
    assert all(word in str(caught.value) for word in words)


def test_a_file_may_leave_out_what_is_empty(tmp_path: Path) -> None:
    vocab = {"a": 0, "</s>": 1, "?": 2}
    spec = {"version": "1.0", "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "?"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode_documents(["a", "b"])[1].tolist() == [2] == tokenizer.encode("b")
    assert tokenizer.eos_id == 1
    assert tokenizer.token_bytes() is None


def test_a_folder_without_a_tokenizer_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        Tokenizer.load(tmp_path)
