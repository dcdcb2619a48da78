"""Tokenizer files of every kind, told apart by content, with the ids of the library each comes from."""

import json
import shutil
from pathlib import Path

import pytest
import tokenizers
from random_text import random_texts
from tokenizers import decoders, models, pre_tokenizers

from bigtrain.data.tokenizer_schema import BPEConfig
from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer, train
from bigtrain.tokenizer.fast_encode import QWEN2
from bigtrain.tokenizer.files import special, with_tokens

TEXTS = [*random_texts(200, seed=41), "Hello, world! don't", "<|endoftext|>[CLS]", ""]


def real_texts(test_data: Path) -> list[str]:
    files = [*sorted(test_data.glob("udhr_languages/*.txt")), test_data / "thucnews_titles/dev.txt"]
    return [file.read_text(encoding="utf-8")[:20_000] for file in files]


@pytest.fixture(scope="module")
def gpt2_backend(test_data: Path) -> tokenizers.Tokenizer:
    folder = test_data / "gpt2_vocab"
    backend = tokenizers.Tokenizer(models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe")))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


@pytest.mark.parametrize("name", ["", "encoder.json", "vocab.bpe"])
def test_vocabulary_and_merges_of_gpt2(gpt2_backend: tokenizers.Tokenizer, test_data: Path, name: str) -> None:
    tokenizer = Tokenizer.load(test_data / "gpt2_vocab" / name)
    assert (tokenizer.vocab_size, tokenizer.eos_id) == (50257, 50256)
    for text in [*TEXTS, *(real_texts(test_data)[:3] if not name else [])]:
        ids = gpt2_backend.encode(text).ids
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == text


def test_transformers_opens_the_vocabulary_of_gpt2_with_the_same_ids(test_data: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = Tokenizer.load(test_data / "gpt2_vocab")
    tokenizer.save(tmp_path)
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert other.eos_token_id == tokenizer.eos_id
    for text in [text for text in TEXTS if "<|endoftext|>" not in text]:
        assert other(text)["input_ids"] == tokenizer.encode(text)


@pytest.fixture
def small(tmp_path: Path) -> tuple[Tokenizer, Path]:
    """Byte-level BPE, and a folder for its vocabulary and merges under the names that transformers writes."""
    tokenizer = train(BPEConfig(vocab_size=400), TEXTS)
    model = tokenizer.spec["model"]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"]))
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"] | {"</s>": 399, "<mask>": 400}))
    return tokenizer, tmp_path


def test_vocabulary_and_merges_of_roberta(small: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = small
    loaded = Tokenizer.load(folder)
    assert (loaded.eos_id, loaded.config["mask_token"], loaded.vocab_size) == (399, "<mask>", 401)
    for text in TEXTS:
        assert loaded.encode(text) == tokenizer.encode(text)
    assert not {399, 400} & set(loaded.encode("</s><mask>"))


def test_vocabulary_and_merges_of_qwen(small: tuple[Tokenizer, Path]) -> None:
    """Its own pattern, one digit at a time, and tokens that were added later."""
    _, folder = small
    added = {"401": {"content": "<|im_end|>", "special": True}, "402": {"content": "<tool>", "special": False}}
    settings = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "added_tokens_decoder": added}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = Tokenizer.load(folder)
    assert (loaded.eos_id, loaded.encode("<tool>")) == (401, [402])
    words = [word for word, _ in loaded.backend.pre_tokenizer.pre_tokenize_str("12 34")]
    assert words == ["1", "2", "Ġ", "3", "4"]
    assert loaded.spec["pre_tokenizer"]["pretokenizers"][0]["pattern"] == {"Regex": QWEN2}


@pytest.mark.parametrize("lowercase", [None, True, False])
def test_vocabulary_of_bert(test_data: Path, tmp_path: Path, lowercase: bool | None) -> None:
    transformers = pytest.importorskip("transformers")
    shutil.copyfile(test_data / "bert_chinese_vocab/vocab.txt", tmp_path / "vocab.txt")
    if lowercase is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase}))
    tokenizer = Tokenizer.load(tmp_path if lowercase is None else tmp_path / "vocab.txt")
    vocab = {line: id_ for id_, line in enumerate((tmp_path / "vocab.txt").read_text().rstrip("\n").split("\n"))}
    other = transformers.BertTokenizerFast(vocab=vocab, do_lower_case=lowercase is not False)
    assert tokenizer.vocab_size == len(vocab) == len(other)
    assert (tokenizer.pad_id, tokenizer.eos_id) == (other.pad_token_id, other.sep_token_id)
    for text in [text for text in TEXTS if "[" not in text] + real_texts(test_data):
        ids = tokenizer.encode(text)
        assert ids == other(text, add_special_tokens=False)["input_ids"]
    assert other.cls_token_id not in tokenizer.encode("[CLS] 你好 [SEP]")
    target = tmp_path / "saved"
    target.mkdir()
    tokenizer.save(target)
    again = transformers.AutoTokenizer.from_pretrained(target)
    assert again("你好, World")["input_ids"] == other("你好, World")["input_ids"]
    assert again("你好", "World")["token_type_ids"] == other("你好", "World")["token_type_ids"]
    assert (again.mask_token_id, again.cls_token_id) == (other.mask_token_id, other.cls_token_id)


def test_a_cased_vocabulary_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "my words.txt"
    path.write_text("[PAD]\r\n[UNK]\r\nHello\r\nhello\r\n##s\r\n")
    assert Tokenizer.load(path).encode("Hello hellos") == [2, 3, 4]
    path.write_text("[PAD]\n[UNK]\nhello\n##s\n")
    assert Tokenizer.load(path).encode("Hello hellos") == [2, 2, 3]


def test_a_real_tokenizer_json(test_data: Path) -> None:
    path = next((test_data / "neox_tokenizer").glob("*.json"))
    backend = tokenizers.Tokenizer.from_file(str(path))
    tokenizer = Tokenizer.load(path)
    for text in real_texts(test_data):
        assert tokenizer.encode(text) == backend.encode(text, add_special_tokens=False).ids
    grown = Tokenizer(with_tokens(tokenizer.spec, special("<|new|>")), tokenizer.config)
    assert grown.vocab_size == tokenizer.vocab_size + 1
    assert grown.backend.token_to_id("<|new|>") == tokenizer.vocab_size


def test_tokens_are_added_once() -> None:
    spec = {"model": {"vocab": {"a": 0, "<s>": 1}}, "added_tokens": []}
    twice = with_tokens(with_tokens(spec, special("<s>", "<x>")), special("<x>", "<y>"))
    assert [(token["content"], token["id"]) for token in twice["added_tokens"]] == [("<s>", 1), ("<x>", 2), ("<y>", 3)]
    assert spec["added_tokens"] == []
    pieces = {"model": {"vocab": [["a", 0.0], ["b", -1.0]]}}
    assert with_tokens(pieces, special("b", "c"))["added_tokens"][1]["id"] == 2


@pytest.mark.parametrize(
    ("files", "name", "words"),
    [
        ({"notes.txt": b"just some text\n"}, "notes.txt", ["no line [UNK]"]),
        ({"x.bin": b"\x80\x81\x82"}, "x.bin", ["neither UTF-8"]),
        ({"tokenizer.model": b"\x0a\x05\x0a\x03abc\xff\xff\xff"}, "", ["not a SentencePiece model"]),
        ({"vocab.json": b'{"a": 0}'}, "vocab.json", ["merges.txt or vocab.bpe"]),
        ({"vocab.json": b'{"a": 0}', "merges.txt": b"#version\na b\n"}, "", ["not every byte"]),
        ({"merges.txt": b"#version: 0.2\na b\n"}, "merges.txt", ["vocab.json or encoder.json"]),
        ({"readme.md": b"x"}, "", ["no tokenizer.json"]),
    ],
)
def test_other_files_are_a_clear_error(files: dict[str, bytes], name: str, words: list[str], tmp_path: Path) -> None:
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError) as caught:
        Tokenizer.load(tmp_path / name)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_merge_of_another_vocabulary_is_a_clear_error(small: tuple[Tokenizer, Path]) -> None:
    _, folder = small
    with (folder / "merges.txt").open("a") as merges:
        merges.write("zz qq\n")
    with pytest.raises(UserError, match="'zz qq'"):
        Tokenizer.load(folder)


def test_a_run_and_a_checkpoint_hold_that_of_their_model(small: tuple[Tokenizer, Path], tmp_path: Path) -> None:
    tokenizer, _ = small
    for step in (5, 10):
        (tmp_path / "run" / "checkpoints" / f"step-{step:08d}" / "model").mkdir(parents=True)
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000005"
    tokenizer.save(checkpoint / "model")
    for place in (tmp_path / "run", checkpoint, checkpoint / "model"):
        assert Tokenizer.load(place).hash == tokenizer.hash
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        Tokenizer.load(checkpoint.with_name("step-00000010"))
