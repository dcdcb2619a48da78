"""Text token by token: whole characters, stop strings across token borders, nothing shown that is taken back."""

import json
import random

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers

from bigtrain.data.schema import BytesConfig, CharsConfig
from bigtrain.generation.stream import TextStream
from bigtrain.tokenizer import Tokenizer, train

TEXT = "naïve 你好，世界 🙂🙂 e\u0301 привет"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(BytesConfig(), [])


def shown(stream: TextStream, tokens: list[int]) -> list[str]:
    """What is shown after each token, and after the last one."""
    pieces = []
    for token in tokens:
        stream.add(token)
        pieces.append(stream.new(last=False))
        if stream.stopped:
            return pieces
    stream.finish()
    return [*pieces, stream.new(last=True)]


def test_characters_are_shown_whole(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("ab " + TEXT)
    pieces = shown(TextStream(tokenizer, ids[:3]), ids[3:])
    assert "".join(pieces) == TEXT
    assert not any("\ufffd" in piece for piece in pieces)
    assert max(map(len, pieces)) == 1  # and at once


def falling_back() -> Tokenizer:
    """Letters and blanks, and bytes for all other characters: the shape of Llama 2's and Mistral's tokenizers."""
    entries = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁ab", "▁a", "▁▁"]
    model = models.BPE(
        {entry: id_ for id_, entry in enumerate(entries)},
        [("▁", "a"), ("▁", "▁")],
        unk_token="<unk>",
        byte_fallback=True,
        fuse_unk=True,
    )
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return Tokenizer(json.loads(backend.to_str()), {"eos_token": "</s>", "bos_token": "<s>"})


def test_a_prompt_whose_end_is_bytes_goes_on_in_whole_characters() -> None:
    tokenizer, draw = falling_back(), random.Random(0)
    pieces = ["你", "é", "🙂", " ", "a", "b", "  "]
    cases = [("你好", "你好"), ("🙂" * 40, "🙂")]
    cases += [("".join(draw.choices(pieces, k=4)), "".join(draw.choices(pieces, k=6))) for _ in range(300)]
    for prompt, text in cases:
        ids = tokenizer.encode(prompt)
        whole = tokenizer.encode(prompt + text)
        if whole[: len(ids)] == ids:
            stream = TextStream(tokenizer, ids)
            assert "".join(shown(stream, whole[len(ids) :])) == stream.text == text
            assert TextStream(tokenizer, ids).whole(whole[len(ids) :]) == text


def test_bytes_that_are_no_text_come_out_as_the_tokenizer_has_them(tokenizer: Tokenizer) -> None:
    draw = random.Random(2)
    for _ in range(50):
        tokens = [draw.randrange(256) for _ in range(draw.randint(1, 40))]
        assert "".join(shown(TextStream(tokenizer, [65]), tokens)) == tokenizer.decode(tokens)
        assert TextStream(tokenizer, [65]).whole(tokens) == tokenizer.decode(tokens)


def test_half_a_character_at_the_end_is_shown_at_the_end(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("a你")[:-1]
    pieces = shown(TextStream(tokenizer, []), tokens)
    assert pieces[:-1] == ["a", "", ""]
    assert pieces[-1] == tokenizer.decode(tokens)[1:] != ""


@pytest.mark.parametrize("stop", [["\n\n"], ["界"], ["xyz", "c\nd"], ["aab"], ["b", "ab"]])
def test_stop_strings(tokenizer: Tokenizer, stop: list[str]) -> None:
    """Against a search in the whole text; and what is shown is never longer than what stays."""
    draw = random.Random(3)
    stopped = 0
    for _ in range(200):
        text = "".join(draw.choice("aab\n世界cd") for _ in range(12))
        tokens = tokenizer.encode(text)
        stream = TextStream(tokenizer, tokenizer.encode("aa\n"), stop)
        pieces = shown(stream, tokens)
        # The first stop string to be complete ends the text; of two complete at once the one that begins first.
        ends = min((text.find(s) + len(s) for s in stop if s in text), default=None)
        begins = min((text.find(s) for s in stop if s in text and text.find(s) + len(s) == ends), default=len(text))
        assert stream.text == text[:begins] == "".join(pieces)
        assert stream.stopped == (ends is not None)
        stopped += stream.stopped
    assert stopped > 2


def test_a_tokenizer_of_characters() -> None:
    tokenizer = train(CharsConfig(), [TEXT])
    pieces = shown(TextStream(tokenizer, tokenizer.encode("n")), tokenizer.encode(TEXT))
    assert "".join(pieces) == TEXT
