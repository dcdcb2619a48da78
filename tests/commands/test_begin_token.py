"""A decoder whose tokenizer begins texts with bos, as Llama's does: it reads that token wherever transformers does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from begun import beginning_with
from harness import run_verb, text

from bigtrain.commands.tasks.labelled import row_encoder
from bigtrain.data.frame import Frame
from bigtrain.data.schema import BPEConfig
from bigtrain.data.shards import PreparedSet
from bigtrain.data.tasks.contexts import decoder_frame
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.huggingface import read_folder, save_model
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import Tokenizer, settings, train

BOS = "<|begin_of_text|>"
PROMPT = "the old cat"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama, and text."""
    home = tmp_path_factory.mktemp("home")
    tokenizer = beginning_with(train(BPEConfig(vocab_size=300, special_tokens=[BOS]), [text(500)]), BOS)
    shape = DecoderConfig(architecture=Architecture.llama, dim=32, n_layers=2, n_heads=2, max_seq_len=64)
    model = materialise(Decoder.on_meta(shape.resolved(tokenizer.vocab_size)), torch.device("cpu"), 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)), alpha=0.2)
    (home / "llama").mkdir()
    save_model(home / "llama", model, tokenizer)
    (home / "a.txt").write_text(text(400, seed=1))
    (home / "b.txt").write_text(text(15, seed=2))
    return home


@pytest.fixture(scope="module")
def theirs(home: Path) -> tuple[Any, Any]:
    """Tokenizer and model as transformers opens them."""
    transformers = pytest.importorskip("transformers")
    opened = transformers.AutoModelForCausalLM.from_pretrained(home / "llama", dtype=torch.float32)
    return transformers.AutoTokenizer.from_pretrained(home / "llama"), opened.eval()


def test_prompts_and_choices_follow_it(home: Path, theirs: tuple[Any, Any]) -> None:
    (tokenizer, model), size = theirs, len(theirs[0])  # rows beyond it stand for nothing
    given = [f"checkpoint={home / 'llama'}", f"prompt={PROMPT}", "device=cpu", "device.precision=fp32"]
    found = run_verb("generate", [*given, "temperature=0", "max_new_tokens=5", "logprobs=true"])
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    assert tokenizer.convert_ids_to_tokens(ids[0].tolist())[0] == BOS
    written = model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0)[0]
    assert found["token_ids"] == written[len(ids[0]) :].tolist()
    with torch.no_grad():
        wanted = model(written[None]).logits[0, :, :size].log_softmax(-1)
    places = torch.arange(len(ids[0]) - 1, len(written) - 1)
    assert found["logprobs"] == pytest.approx(wanted[places, written[places + 1]].tolist(), abs=1e-4)

    [choice] = run_verb("generate", [*given, "choices=[' sings']"])["choices"]
    whole = tokenizer(PROMPT + " sings", return_tensors="pt").input_ids
    with torch.no_grad():
        logprobs = model(whole).logits[0, :, :size].log_softmax(-1)
    places = torch.arange(len(ids[0]) - 1, whole.shape[1] - 1)
    assert choice["logprob"] == pytest.approx(float(logprobs[places, whole[0, places + 1]].sum()), abs=1e-4)


def test_rows_begin_with_it(home: Path, theirs: tuple[Any, Any]) -> None:
    source, own = read_folder(home / "llama")
    texts = [PROMPT, "", "runs " * 40]
    rows = row_encoder(source.config, own, "", 16, paired=False)(texts)
    assert [row.ids.tolist() for row in rows] == theirs[0](texts, truncation=True, max_length=16)["input_ids"]
    assert decoder_frame(own).before.tolist() == own.begin_ids == list(Frame.given(own).before)


def test_documents_begin_with_it(home: Path, theirs: tuple[Any, Any], tmp_path: Path) -> None:
    data = [f"data.files=[{home / 'a.txt'},{home / 'b.txt'}]", "data.validation_fraction=0"]
    words = ["tokenizer=file", f"tokenizer.path={home / 'llama'}", "tokenizer.word_boundaries=plain"]
    run_verb("prepare", [*data, *words, f"output={tmp_path / 'set'}"])
    prepared = PreparedSet.open(tmp_path / "set")
    prepared.verify()
    split, tokenizer = prepared.split("train"), prepared.tokenizer()
    documents = np.split(split.tokens.astype(np.int64), split.document_starts[1:])
    for document, name in zip(documents, ("a.txt", "b.txt"), strict=True):
        assert document.tolist() == [*theirs[0]((home / name).read_text())["input_ids"], tokenizer.eos_id]
    assert split.continues_word is not None
    assert len(split.continues_word) == len(split)
    assert not split.continues_word[split.document_starts].any()
    assert not split.continues_word[split.document_starts + 1].any()
    assert settings(tokenizer)["begin_ids"] == tokenizer.begin_ids

    given = [f"checkpoint={home / 'llama'}", f"data.files={home / 'b.txt'}", "device=cpu", "device.precision=fp32"]
    measured = run_verb("evaluate", given)
    ids = torch.tensor([documents[1].tolist()])
    with torch.no_grad():
        wanted = theirs[1](ids, labels=ids).loss
    assert measured["loss"] == pytest.approx(float(wanted), rel=1e-4)


def test_it_is_what_the_file_says(home: Path, tmp_path: Path) -> None:
    _, own = read_folder(home / "llama")
    plain = train(BPEConfig(vocab_size=300), [text(500)])
    assert (plain.begin_ids, "begin_ids" in settings(plain)) == ([], False)
    assert plain.encode_prompt(PROMPT) == plain.encode(PROMPT)
    assert own.encode_prompt(PROMPT) == [*own.begin_ids, *own.encode(PROMPT)]
    vocab = plain.spec["model"]["vocab"] | {"<s>": 300, "</s>": 301}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("\n".join(" ".join(merge) for merge in plain.spec["model"]["merges"]))
    for asked, found in ((True, [300]), (False, [])):
        named = {"bos_token": "<s>", "add_bos_token": asked}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
        assert Tokenizer.load(tmp_path).begin_ids == found
