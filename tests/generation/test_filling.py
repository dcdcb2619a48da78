"""Fillings of a mask against the pipeline of transformers."""

import json
from pathlib import Path

import pytest
import tokenizers
import torch
from encoders import encoder, wordpiece
from tokenizers import AddedToken, models, pre_tokenizers, processors

from bigtrain.errors import UserError
from bigtrain.generation.filling import Filling, fill, prompt_encoder
from bigtrain.models.huggingface import save_model
from bigtrain.tokenizer import Tokenizer

TEXTS = ["the [MASK] sat.", "a[MASK] b [MASK][MASK] c", "[MASK]", "x [SEP] y, [MASK]"]


def roberta_like() -> Tokenizer:
    """Bytes between <s> and </s>, with a mask that takes the blank before it."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: id_ for id_, token in enumerate([*special, *alphabet, "<mask>"])}
    backend = tokenizers.Tokenizer(models.BPE(vocab, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens([*special, AddedToken("<mask>", lstrip=True, special=True)])
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return Tokenizer(json.loads(backend.to_str()), {**names, "mask_token": "<mask>"})


@pytest.mark.parametrize(("kind", "batch_size"), [("bert", 1), ("bert", 3), ("roberta", 3)])
def test_fillings_are_those_of_transformers(kind: str, batch_size: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = wordpiece() if kind == "bert" else roberta_like()
    model = encoder(kind, vocab_size=tokenizer.vocab_size, **({} if kind == "bert" else {"pad_id": 1}))
    save_model(tmp_path, model, tokenizer)
    theirs = transformers.pipeline("fill-mask", str(tmp_path), top_k=4)
    texts = TEXTS if kind == "bert" else [text.replace("[MASK]", "<mask>").replace("[SEP]", "</s>") for text in TEXTS]
    encode = prompt_encoder(tokenizer, 20)
    ids = [encode(text) for text in texts]
    assert ids == [theirs.tokenizer(text)["input_ids"] for text in texts]
    ours = dict(fill(model, ids, tokenizer, k=4, batch_size=batch_size))
    for number, text in enumerate(texts):
        found = theirs(text)
        masks = found if isinstance(found[0], list) else [found]
        assert len(ours[number]) == len(masks) == text.count("MASK") + text.count("<mask>")
        for own, wanted in zip(ours[number], masks, strict=True):
            assert [(one.token, one.token_id) for one in own] == [(one["token_str"], one["token"]) for one in wanted]
            assert [one.probability for one in own] == pytest.approx([one["score"] for one in wanted], rel=1e-5)


def test_rows_that_pad_the_embedding_are_no_tokens() -> None:
    tokenizer = wordpiece()
    model = encoder("bert", vocab_size=128)
    assert model.head is not None
    with torch.no_grad():
        model.head.bias[tokenizer.vocab_size :] = 99.0
    [(_, [mask])] = fill(model, [prompt_encoder(tokenizer, 20)("a [MASK]")], tokenizer, k=1000, batch_size=4)
    assert sorted(one.token_id for one in mask) == list(range(tokenizer.vocab_size))
    assert sum(one.probability for one in mask) == pytest.approx(1)
    assert isinstance(mask[0], Filling)


@pytest.mark.parametrize(
    ("text", "words"),
    [("the cat", r"without \[MASK\]"), ("", r"without \[MASK\]"), ("a " * 40 + "[MASK]", "43 tokens .*max_seq_len=20")],
)
def test_prompts_that_cannot_be_filled(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        prompt_encoder(wordpiece(), 20)(text)
