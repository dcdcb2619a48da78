"""Chat templates: named, of a file, rendered by transformers; and special tokens of the user's."""

from pathlib import Path

import pytest

from bigtrain.data.tokenizer_schema import (
    BPEConfig,
    BytesConfig,
    CharsConfig,
    FileTokenizerConfig,
    TrainableTokenizerConfig,
    UnigramConfig,
    WordPieceConfig,
    WordsConfig,
)
from bigtrain.errors import UserError
from bigtrain.tokenizer import EOS, Tokenizer, choose, settings, train
from bigtrain.tokenizer.chat import chat_template, with_template

TEXTS = ["The cat sat on the mat. " * 50]
MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello "}]
RENDERED = {
    "chatml": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello <|im_end|>\n<|im_start|>assistant\n",
    "llama3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "plain": "User: Hi\n\nAssistant: Hello<|endoftext|>\n\nAssistant:",
}


@pytest.mark.parametrize("name", list(RENDERED))
def test_named_templates_are_rendered_by_transformers(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = train(BPEConfig(vocab_size=300, chat_template=name), TEXTS)
    tokenizer.save(tmp_path)
    assert (tmp_path / "chat_template.jinja").read_text() == chat_template(name).text
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = other.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert text == RENDERED[name]
    ids = other.apply_chat_template(MESSAGES, add_generation_prompt=True)["input_ids"]
    special = [tokenizer.backend.token_to_id(token) for token in (*chat_template(name).special_tokens, EOS)]
    assert None not in special
    assert [id_ for id_ in ids if id_ in special] == [
        other.convert_tokens_to_ids(token) for token in __import__("re").findall(r"<\|\w+\|>", text)
    ]
    assert other("The cat")["input_ids"] == tokenizer.encode("The cat")


def test_a_template_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my chat.jinja"
    path.write_text("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}")
    tokenizer = train(BytesConfig(chat_template=str(path)), [])
    assert tokenizer.config["chat_template"] == path.read_text()
    path.write_text("{% for m in messages %}\n{{ m.content }")
    with pytest.raises(UserError, match=r"my chat\.jinja, line 2"):
        train(BytesConfig(chat_template=str(path)), [])
    with pytest.raises(UserError, match="chatml, llama3, plain"):
        train(BytesConfig(chat_template="chatlm"), [])


@pytest.mark.parametrize(
    "config",
    [
        BPEConfig(vocab_size=300),
        WordPieceConfig(vocab_size=60),
        UnigramConfig(vocab_size=300),
        WordsConfig(vocab_size=12),
        BytesConfig(),
        CharsConfig(),
    ],
)
def test_special_tokens_of_the_users(config: TrainableTokenizerConfig, tmp_path: Path) -> None:
    config.special_tokens = ["<|user|>", "<|bot|>", "<|user|>"]
    tokenizer = train(config, [*TEXTS, "<|user|>"])
    ids = [tokenizer.backend.token_to_id(token) for token in ("<|user|>", "<|bot|>")]
    assert ids == [tokenizer.vocab_size - 2, tokenizer.vocab_size - 1]
    assert tokenizer.vocab_size <= getattr(config, "vocab_size", 1000)
    assert not set(ids) & set(tokenizer.encode("a <|user|> b"))
    assert "user" not in tokenizer.decode(ids)
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).hash == tokenizer.hash
    transformers = pytest.importorskip("transformers")
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert other.convert_tokens_to_ids(["<|user|>", "<|bot|>"]) == ids
    text = "The <|user|> cat"
    assert ids[0] in other(text, add_special_tokens=False)["input_ids"]
    found = other(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert found == tokenizer.encode(text)


def test_no_room_is_a_clear_error() -> None:
    for config in (BPEConfig(vocab_size=258), UnigramConfig(vocab_size=300), WordsConfig(vocab_size=4)):
        config.special_tokens = [f"<{n}>" for n in range(60)]
        with pytest.raises(UserError, match="61 special tokens"):
            train(config, TEXTS)


def test_a_file_with_further_tokens_and_a_template(tmp_path: Path) -> None:
    train(BPEConfig(vocab_size=300), TEXTS).save(tmp_path)
    plain = choose(FileTokenizerConfig(path=str(tmp_path)))
    assert isinstance(plain, Tokenizer)
    grown = choose(FileTokenizerConfig(path=str(tmp_path), special_tokens=["<x>"], chat_template="chatml"))
    assert isinstance(grown, Tokenizer)
    assert grown.vocab_size == plain.vocab_size + 3
    assert grown.encode("The cat <x>") == plain.encode("The cat <x>")
    assert "<|im_start|>" in grown.config["chat_template"]
    assert settings(plain) == {"name": "file", "hash": plain.hash, "eos_id": plain.eos_id}
    assert settings(grown)["chat_template"] == chat_template("chatml").text


def test_settings_are_what_was_chosen() -> None:
    config = BPEConfig(vocab_size=300, compare=["bytes"])
    assert settings(config) == {"name": "bpe", "vocab_size": 300}
    config = WordPieceConfig(vocab_size=300, lowercase=True, special_tokens=["<x>"], chat_template="plain")
    assert settings(config) == {
        "name": "wordpiece",
        "vocab_size": 300,
        "lowercase": True,
        "special_tokens": ["<x>"],
        "chat_template": chat_template("plain").text,
    }


@pytest.mark.parametrize("name", ["chatml", "llama3"])
def test_tokens_of_a_template_are_added_only_where_they_may_be(name: str) -> None:
    before = train(BPEConfig(vocab_size=300), TEXTS)
    with pytest.raises(UserError, match=r"model\.resize_vocab=true"):
        with_template(before, name, grow=False)
    after = with_template(before, name, grow=True)
    assert after.vocab_size == before.vocab_size + len(chat_template(name).special_tokens)
    assert after.config["chat_template"] == chat_template(name).text
    assert with_template(after, "auto", grow=False) is after
    assert with_template(after, name, grow=False).hash == after.hash


def test_without_a_template_of_its_own_a_tokenizer_takes_the_plain_one() -> None:
    before = train(BytesConfig(), [])
    after = with_template(before, "auto", grow=False)
    assert (after.config["chat_template"], after.hash) == (chat_template("plain").text, before.hash)
    with pytest.raises(UserError, match=r"(?s)objective\.template=chatlm.*chatml, llama3, plain"):
        with_template(before, "chatlm", grow=True)
