"""What stands around a row, and what goes on with a word."""

import json
from typing import Any

import numpy as np
import pytest
import tokenizers
from encoders import wordpiece
from tokenizers import models, pre_tokenizers, processors

from bigtrain.data.frame import Frame, WordMarks, mask_id, special_ids
from bigtrain.data.schema import BPEConfig, BytesConfig, CharsConfig, WordsConfig
from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer, train

TEXT = "The naïve cat's 12 houses, (unhappily) under 你好世界。 And once more: the houses of the naïve cats!\n" * 5


def ids(tokenizer: Tokenizer, *tokens: str) -> tuple[int, ...]:
    return tuple(tokenizer.backend.token_to_id(token) for token in tokens)


def test_the_frame_is_what_the_tokenizer_itself_puts_around_a_text() -> None:
    tokenizer = wordpiece()
    assert Frame.of(tokenizer) == Frame((2,), (3,))
    spec: dict[str, Any] = json.loads(json.dumps(tokenizer.spec))
    backend = tokenizers.Tokenizer.from_str(json.dumps(spec))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] [CLS] $A", pair="$A $B", special_tokens=[("[CLS]", 2)]
    )
    assert Frame.of(Tokenizer(json.loads(backend.to_str()))) == Frame((2, 2), ())
    spec["post_processor"] = None
    assert Frame.of(Tokenizer(spec)) == Frame((2,), (3,))  # by their names


@pytest.mark.parametrize(
    "config", [BPEConfig(vocab_size=300), BytesConfig(), CharsConfig(), WordsConfig(vocab_size=40)]
)
def test_tokenizers_of_decoders_have_no_frame_and_no_mask(config: Any) -> None:
    tokenizer = train(config, [TEXT])
    assert len(Frame.of(tokenizer)) == 0
    with pytest.raises(UserError, match="no mask token"):
        mask_id(tokenizer)


def test_around() -> None:
    frame = Frame((7, 8), (9,))
    assert frame.around(np.array([[1, 2], [3, 4]])).tolist() == [[7, 8, 1, 2, 9], [7, 8, 3, 4, 9]]
    assert frame.around(np.array([], np.uint32)).tolist() == [7, 8, 9]
    assert len(frame) == 3


def test_the_mask_token_is_named_or_known() -> None:
    assert mask_id(wordpiece()) == 4
    spec = wordpiece().spec
    assert mask_id(Tokenizer(spec)) == 4
    assert special_ids(wordpiece()).tolist() == [0, 1, 2, 3, 4]


def units(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of a text as the tokenizer's marks tell them."""
    marks, found = WordMarks.of(tokenizer), []
    for id_ in tokenizer.encode(text):
        if found and marks.inner[id_] and marks.open[found[-1][-1]]:
            found[-1].append(id_)
        else:
            found.append([id_])
    return [word for unit in found if (word := tokenizer.decode(unit).strip())]


def test_words_of_wordpiece() -> None:
    marks, vocab = WordMarks.of(wordpiece()), wordpiece().backend.get_vocab(with_added_tokens=True)
    assert all(marks.inner[id_] == token.startswith("##") for token, id_ in vocab.items())
    assert marks.open.all()


def test_words_of_byte_level_bpe() -> None:
    found = units(train(BPEConfig(vocab_size=330), [TEXT]), "The naïve cat, (unhappily) 12 你 他们。")
    assert found == ["The", "naïve", "cat", ",", "(", "unhappily", ")", "12", "你", "他", "们", "。"]


def test_words_of_unigram() -> None:
    pieces = ["<unk>", "▁the", "▁h", "ouse", "s", ",", "好"]
    backend = tokenizers.Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], 0, False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = Tokenizer(json.loads(backend.to_str()))
    marks = WordMarks.of(tokenizer)
    assert marks.inner.tolist() == [False, False, False, True, True, False, False]
    assert marks.open.tolist() == [False, True, True, True, True, False, False]


@pytest.mark.parametrize("config", [CharsConfig(), WordsConfig(vocab_size=40)])
def test_without_marks_every_token_is_a_word(config: Any) -> None:
    assert not WordMarks.of(train(config, [TEXT])).inner.any()
