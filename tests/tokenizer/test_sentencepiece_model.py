"""SentencePiece models of many settings: the ids are those of the library itself."""

import io
import random
import re
from pathlib import Path
from typing import Any

import pytest

from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer

sentencepiece = pytest.importorskip("sentencepiece")

IDENTITY = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
BYTES = {"byte_fallback": True, "character_coverage": 0.98}
SETTINGS = [
    {},
    BYTES,
    {**IDENTITY, **BYTES},
    {**IDENTITY, **BYTES, "add_dummy_prefix": False, "split_digits": True},
    {"user_defined_symbols": ["<sep>", "foo"], "pad_id": 3},
    {"normalization_rule_name": "nfkc_cf", "split_by_whitespace": False},
]
PIECES = [
    *("  ", "▁", "中文字", "<s>", "</s>", "<unk>", "<0x41>", "\t", "\n", "\r", "é", "e\u0301x", "ﬁ", "①", "한국", "กำ"),
    *(
        "हिन्",
        "<sep>",
        "foo",
        ".",
        ",",
        "!",
        "0",
        "12",
        "👩🏽‍👧",
        "\u3000",
        "\u200b",
        "abc",
        "The",
        "the",
        " ",
        "Ünïcode",
    ),
]


# `tokenizers` takes the first entry that matches the beginning of a cluster of less than six bytes for all of it.
LOST_MARK = re.compile("[A-ZĐÊÔƠƯ][\u0300-\u036f]")


def random_text(draw: random.Random) -> str:
    text = "".join(draw.choice(PIECES) for _ in range(draw.randrange(1, 25)))
    while "       " in text.replace("▁", " "):  # of pieces with the same score either may stand first
        text = text.replace(" ▁", "").replace("▁ ", "").replace("   ", " ").replace("▁▁▁", "▁")
    return text


@pytest.fixture(scope="module")
def lines(test_data: Path) -> list[str]:
    texts = [file.read_text(encoding="utf-8") for file in sorted(test_data.glob("udhr_languages/*.txt"))]
    return [line for text in texts for line in text.split("\n") if line.strip()]


def trained(lines: list[str], **settings: Any) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, num_threads=1, minloglevel=2, **settings
    )
    return model.getvalue()


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_ids(algorithm: str, settings: dict[str, Any], lines: list[str], tmp_path: Path) -> None:
    model = trained(lines[::3], model_type=algorithm, vocab_size=2500, **settings)
    (tmp_path / "tokenizer.model").write_bytes(model)
    tokenizer = Tokenizer.load(tmp_path)
    original = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert (tokenizer.vocab_size, tokenizer.eos_id) == (original.vocab_size(), original.eos_id())
    draw = random.Random(0)
    for text in [*(random_text(draw) for _ in range(600)), *lines[::11], "", " ", "▁"]:
        if LOST_MARK.search(text):
            continue
        ids = original.encode(text)
        assert tokenizer.encode(text) == ids, repr(text)
        if "unk" not in repr(original.id_to_piece(ids)):
            assert tokenizer.decode(ids).lstrip(" ") == original.decode(ids).lstrip(" ")


def test_transformers_opens_it_with_the_same_ids(lines: list[str], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    (tmp_path / "m.model").write_bytes(trained(lines[::3], model_type="bpe", vocab_size=2500, **IDENTITY, **BYTES))
    tokenizer = Tokenizer.load(tmp_path / "m.model")
    (tmp_path / "saved").mkdir()
    tokenizer.save(tmp_path / "saved")
    other = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    for line in lines[::11]:
        assert other(line)["input_ids"] == tokenizer.encode(line)
    assert (other.bos_token, other.eos_token, other.unk_token) == ("<s>", "</s>", "<unk>")


@pytest.mark.parametrize(
    "settings", [{"model_type": "word"}, {"model_type": "char"}, {"treat_whitespace_as_suffix": True}]
)
def test_other_models_are_a_clear_error(settings: dict[str, Any], lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "m.model"
    path.write_bytes(trained(lines[:200], vocab_size=800, hard_vocab_limit=False, **settings))
    with pytest.raises(UserError, match="a SentencePiece model of"):
        Tokenizer.load(path)


def test_a_model_cut_short_is_a_clear_error(lines: list[str], tmp_path: Path) -> None:
    model = trained(lines[:200], vocab_size=800, hard_vocab_limit=False)
    path = tmp_path / "m.model"
    for size in (20, len(model) // 2):
        path.write_bytes(model[:size])
        with pytest.raises(UserError, match=r"m\.model"):
            Tokenizer.load(path)
