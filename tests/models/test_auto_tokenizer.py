"""Whether AutoTokenizer gives our ids: what is said of it is what the installed transformers does."""

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from begun import beginning_with
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from bigtrain.data.schema import BPEConfig, BytesConfig, CharsConfig, WordPieceConfig, WordsConfig
from bigtrain.models import auto_tokenizer
from bigtrain.models.auto_tokenizer import PROBE, check_installed, pitfall, warn_of_pitfall
from bigtrain.models.huggingface_config import config_json
from bigtrain.models.output import LANGUAGE
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.storage import write_json
from bigtrain.tokenizer import EOS, Tokenizer, train

TEXT = PROBE * 3 + "def f(x): return {'a': 1}"


def like_qwen() -> Tokenizer:
    """Byte-level BPE with Qwen's normalizer and words, as in the tokenizer.json of its models."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(tokenizers.Regex(auto_tokenizer._QWEN2), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    backend.add_special_tokens([EOS])
    return Tokenizer(json.loads(backend.to_str()), {"eos_token": EOS, "pad_token": EOS})


TOKENIZERS = {
    "bpe": train(BPEConfig(vocab_size=300), [TEXT]),
    "bytes": train(BytesConfig(), []),
    "chars": train(CharsConfig(), [TEXT]),
    "words": train(WordsConfig(vocab_size=20), [TEXT]),
    "like qwen": like_qwen(),
}


def folder_of(path: Path, architecture: str, tokenizer: Tokenizer) -> Path:
    """All of a model folder but the weights."""
    config = DecoderConfig(architecture=Architecture(architecture), dim=8, n_layers=1, n_heads=2)
    write_json(path / "config.json", config_json(config.resolved(tokenizer.vocab_size), tokenizer, LANGUAGE))
    tokenizer.save(path)
    return path


@pytest.mark.parametrize("architecture", list(Architecture))
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_pitfall_is_known_exactly(tmp_path: Path, architecture: str, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = TOKENIZERS[kind]
    folder = folder_of(tmp_path, architecture, tokenizer)

    def ids(opener: Any, text: str) -> list[int]:
        return list(opener.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"])

    same = ids(transformers.AutoTokenizer, PROBE) == tokenizer.encode(PROBE)
    assert same == (pitfall(architecture, tokenizer) is None)
    assert same == (architecture != "qwen2" or kind == "like qwen")
    texts = ("", " leading", "trailing ") if kind != "like qwen" else ("", " leading")
    for text in (PROBE, *texts):
        if same:
            assert ids(transformers.AutoTokenizer, text) == tokenizer.encode(text)
        assert ids(transformers.PreTrainedTokenizerFast, text) == tokenizer.encode(text)
    opened = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    assert opened.eos_token_id == tokenizer.eos_id


def test_the_installed_version_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model").mkdir()
    folder = folder_of(tmp_path / "model", "qwen2", TOKENIZERS["bpe"])
    monkeypatch.setattr(auto_tokenizer, "pitfall", lambda *_: None)  # as if it were not known
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="bigtrain"):
            check_installed(folder, "qwen2", TOKENIZERS["bpe"])
        assert "other ids than this model is trained with: for text it builds Qwen2Tokenizer" in caplog.text
        [kept] = (tmp_path / "cache" / "auto_tokenizer").iterdir()
        assert json.loads(kept.read_text())["class"] == "Qwen2Tokenizer"
        monkeypatch.setattr(subprocess, "run", None)  # not called again


@pytest.mark.parametrize(
    ("architecture", "answer", "known", "found"),
    [
        ("llama", "same", "", ""),
        ("llama", "text", "", "for text it builds Odd"),
        ("llama", "special", "", "for text with special tokens in it it builds Odd"),
        ("llama", "chat", "", "for what the chat template writes it builds Odd"),
        ("llama", None, "", ""),
        ("qwen2", "same", "Qwen2Tokenizer", ""),
        ("qwen2", "text", "Qwen2Tokenizer", ""),  # said already
        ("qwen2", None, "Qwen2Tokenizer", ""),
    ],
)
def test_what_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    architecture: str,
    answer: str | None,
    known: str,
    found: str,
) -> None:
    tokenizer = TOKENIZERS["bytes"]
    tokenizer = Tokenizer(tokenizer.spec, {**tokenizer.config, "chat_template": "{{ eos_token }}"})
    good = [tokenizer.encode(PROBE), [ord("a"), ord(" "), 256, ord(" "), ord("b")]]
    answers = {
        "same": {"ids": good, "chat": [EOS, [256]]},
        "text": {"ids": [[1], good[1]], "chat": [EOS, [256]]},
        "special": {"ids": [good[0], tokenizer.encode(f"a {EOS} b")], "chat": [EOS, [256]]},
        "chat": {"ids": good, "chat": [EOS, tokenizer.encode(EOS)]},
    }
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path))
    monkeypatch.setattr(auto_tokenizer, "_ask", lambda *_: answer and {"class": "Odd", **answers[answer]})
    monkeypatch.setattr(auto_tokenizer.importlib.metadata, "version", lambda _: "99")
    with caplog.at_level(logging.WARNING, logger="bigtrain"):
        warn_of_pitfall(architecture, tokenizer)
    assert known in caplog.text
    assert bool(known) == bool(caplog.text)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="bigtrain"):
        check_installed(tmp_path, architecture, tokenizer)
    assert found in caplog.text
    assert bool(found) == bool(caplog.text)


def test_a_version_that_fails_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_tokenizer, "_ASK", "raise SystemExit('broken')")
    assert auto_tokenizer._ask(tmp_path, []) is None
    monkeypatch.setattr(auto_tokenizer, "_ASK", "print('no JSON')")
    assert auto_tokenizer._ask(tmp_path, []) is None
    (tmp_path / "cache").write_text("in the way of a folder")
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(auto_tokenizer, "_ASK", 'print(\'{"class": "X", "ids": [[], []], "chat": ["", []]}\')')
    check_installed(tmp_path, "llama", TOKENIZERS["bytes"])


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "with bos"])
def test_defaults_special_tokens_and_templates_are_compared(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("BIGTRAIN_CACHE", str(tmp_path / "cache"))
    config = WordPieceConfig(vocab_size=60) if kind == "wordpiece" else BPEConfig(vocab_size=300)
    config.chat_template = "chatml"
    tokenizer = train(config, [TEXT])
    if kind == "with bos":
        tokenizer = beginning_with(tokenizer, EOS)
    (tmp_path / "model").mkdir()
    folder = folder_of(tmp_path / "model", "llama", tokenizer)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="bigtrain"):
        check_installed(folder, "llama", tokenizer)
    assert not caplog.text
    [kept] = (tmp_path / "cache" / "auto_tokenizer").iterdir()
    answer = json.loads(kept.read_text())
    assert answer["chat"][0].startswith("<|im_start|>user")
    assert answer["ids"][0] == auto_tokenizer._framed(tokenizer, PROBE)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", {**settings, "split_special_tokens": True})
    kept.unlink()
    with caplog.at_level(logging.WARNING, logger="bigtrain"):
        check_installed(folder, "llama", tokenizer)
    assert "for text with special tokens in it it builds" in caplog.text
