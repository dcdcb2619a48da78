"""An embedding for another tokenizer: which rows stay, what new ones are, and that nothing else moves."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bigtrain.data.schema import BPEConfig, BytesConfig, CharsConfig
from bigtrain.errors import UserError
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import load_model, load_weights, materialise_from, read_config, save_model
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.models.vocabulary import NOISE, Moved, resized
from bigtrain.tokenizer import EOS, Tokenizer, train

CPU = torch.device("cpu")
BYTES = train(BytesConfig(), [])
BPE = train(BPEConfig(vocab_size=280), ["the cat sat on the mat and the dog on the log " * 9])


def with_more(tokenizer: Tokenizer, *tokens: str) -> Tokenizer:
    """The same with tokens added at the end, as users do."""
    start = tokenizer.vocab_size
    added = [
        {**tokenizer.spec["added_tokens"][0], "id": start + number, "content": token}
        for number, token in enumerate(tokens)
    ]
    return Tokenizer({**tokenizer.spec, "added_tokens": [*tokenizer.spec["added_tokens"], *added]}, tokenizer.config)


def saved(folder: Path, tokenizer: Tokenizer, output: Output = LANGUAGE, **fields: Any) -> Decoder:
    """A model of random weights, in a folder."""
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 12, "tied": False, **fields}
    model = Decoder.on_meta(DecoderConfig(**sizes).resolved(tokenizer.vocab_size), output)
    materialise(model, CPU, 2)
    with torch.no_grad():  # rows that are no tokens' are far off, as they are after training
        for table in (model.embedding.weight, model.output_weight):
            table[tokenizer.vocab_size :] = -7
    save_model(folder, model, tokenizer)
    return model


def moved(folder: Path, tokenizer: Tokenizer, seed: int = 3, output: Output = LANGUAGE) -> Decoder:
    model = Decoder.on_meta(resized(read_config(folder).config, tokenizer), output)
    return materialise_from(folder, model, CPU, seed, tokenizer=tokenizer)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_rows_move_with_their_tokens(tmp_path: Path, architecture: str, tied: bool) -> None:
    before = saved(tmp_path, BYTES, architecture=Architecture(architecture), tied=tied)
    after = moved(tmp_path, BPE)
    assert after.config.vocab_size == 320
    old, new = (tokenizer.backend.get_vocab(with_added_tokens=True) for tokenizer in (BYTES, BPE))
    kept = {token: id_ for token, id_ in new.items() if token in old}
    assert len(kept) == 257
    assert new[EOS] != old[EOS]
    for table, previous in (
        (after.embedding.weight, before.embedding.weight),
        (after.output_weight, before.output_weight),
    ):
        for token, id_ in kept.items():
            assert torch.equal(table[id_], previous[old[token]])
        fresh = table[[id_ for id_ in range(320) if id_ not in kept.values()]]
        noise = fresh - previous[:257].mean(0)
        assert noise.std().item() == pytest.approx(NOISE, rel=0.1)
        assert noise.mean().abs() < 0.002
    others = dict(before.named_parameters())
    for name, parameter in after.named_parameters():
        if name not in ("embedding.weight", "head.weight"):
            assert torch.equal(parameter, others[name]), name
    assert not tied or after.head is None


def renamed(tokenizer: Tokenizer, name: str) -> Tokenizer:
    """The same with another text for the token that ends a document."""
    added = [{**token, "content": name} for token in tokenizer.spec["added_tokens"]]
    vocab = tokenizer.spec["model"]["vocab"]
    vocab = {name if token == EOS else token: id_ for token, id_ in vocab.items()}
    spec = {**tokenizer.spec, "added_tokens": added, "model": {**tokenizer.spec["model"], "vocab": vocab}}
    return Tokenizer(spec, {"eos_token": name, "pad_token": name})


def test_special_tokens_keep_the_row_of_their_role(tmp_path: Path) -> None:
    old = renamed(BYTES, "<|end_of_text|>")
    before, end = saved(tmp_path, old), old.eos_id
    table = before.embedding.weight
    after = moved(tmp_path, BPE)  # it ends documents with another text
    assert torch.equal(after.embedding.weight[BPE.eos_id], table[end])
    padded = with_more(BPE, "<pad>")
    padded = Tokenizer(padded.spec, {**padded.config, "pad_token": "<pad>"})
    after = moved(tmp_path, padded)  # one row has one heir
    assert torch.equal(after.embedding.weight[padded.eos_id], table[end])
    assert not torch.equal(after.embedding.weight[padded.pad_id], table[end])
    grown = with_more(old, "<|im_end|>")
    ending = Tokenizer(grown.spec, {**grown.config, "eos_token": "<|im_end|>"})
    after = moved(tmp_path, ending)  # the old one is still there, and keeps its row for itself
    assert torch.equal(after.embedding.weight[end], table[end])
    assert not torch.equal(after.embedding.weight[ending.eos_id], table[end])


def test_a_vocabulary_shrinks(tmp_path: Path) -> None:
    before = saved(tmp_path, BPE)
    after = moved(tmp_path, BYTES)
    assert (before.config.vocab_size, after.config.vocab_size) == (320, 320)
    old, new = (tokenizer.backend.get_vocab(with_added_tokens=True) for tokenizer in (BPE, BYTES))
    for token, id_ in new.items():
        assert torch.equal(after.embedding.weight[id_], before.embedding.weight[old[token]])


def test_tokens_added_after_the_model(tmp_path: Path) -> None:
    before, more = saved(tmp_path, BYTES, vocab_size=257), with_more(BYTES, "<|user|>", "<|bot|>")
    more.save(tmp_path)
    after = moved(tmp_path, more)
    assert after.config.vocab_size == 320
    assert torch.equal(after.embedding.weight[:257], before.embedding.weight)
    assert not torch.equal(after.embedding.weight[257], after.embedding.weight[258])


def test_new_rows_depend_on_the_seed_alone(tmp_path: Path) -> None:
    saved(tmp_path, BYTES)
    one, same, other = (moved(tmp_path, BPE, seed) for seed in (3, 3, 4))
    assert torch.equal(one.embedding.weight, same.embedding.weight)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


def test_the_same_tokenizer_moves_nothing(tmp_path: Path) -> None:
    """A run that goes on from its own checkpoint, with the key that its first command had."""
    before = saved(tmp_path, BPE)
    after = moved(tmp_path, BPE)
    for parameter, previous in zip(after.parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, previous)


def test_a_classifier_takes_the_embedding_only(tmp_path: Path) -> None:
    before = saved(tmp_path, BYTES)
    after = moved(tmp_path, BPE, output=Output.numbered(3))
    assert after.output_weight.shape == (3, 16)
    old, new = (tokenizer.backend.token_to_id("a") for tokenizer in (BYTES, BPE))
    assert torch.equal(after.embedding.weight[new], before.embedding.weight[old])
    saved(tmp_path, BYTES, output=Output.numbered(2))
    assert moved(tmp_path, BPE, output=Output.numbered(2)).output_weight.shape == (2, 16)


def test_what_is_saved_has_the_new_size(tmp_path: Path) -> None:
    saved(tmp_path, BYTES, max_seq_len=9)
    after = moved(tmp_path, BPE)
    (tmp_path / "after").mkdir()
    save_model(tmp_path / "after", after, BPE)
    config = read_config(tmp_path / "after")
    assert (config.config.vocab_size, config.config.max_seq_len, config.eos_ids) == (320, 9, [BPE.eos_id])
    assert torch.equal(load_model(tmp_path / "after").embedding.weight, after.embedding.weight)


def test_other_tensors_must_fit_as_ever(tmp_path: Path) -> None:
    saved(tmp_path, BYTES)
    wider = Decoder.on_meta(DecoderConfig(dim=32, n_layers=1, n_heads=2, max_seq_len=12).resolved(300))
    materialise(wider, CPU, 0)
    with pytest.raises(UserError, match=r"embed_tokens\.weight is \[320, 16\], the config wants \[320, 32\]"):
        load_weights(tmp_path, wider, Moved.between(BYTES, 320, BPE, 320))


def test_a_tokenizer_with_nothing_in_common_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, train(CharsConfig(), ["αβγ"]))
    other = Tokenizer({"model": {"type": "WordLevel", "vocab": {"x": 0, "y": 1}, "unk_token": "x"}})
    with pytest.raises(UserError, match=r"none of the 5 tokens(?s:.)*model\.resize_vocab"):
        moved(tmp_path, other)
