"""Rows of different lengths in one batch against each row alone, packed weights, and transformers."""

import copy
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import decoder

from bigtrain.data.schema import BytesConfig
from bigtrain.generation import beams
from bigtrain.generation.cache import KVCache
from bigtrain.generation.generate import Completion, Request, StoppedBy, Writing, generate, write
from bigtrain.generation.packing import narrowed, pack
from bigtrain.generation.sampling import Sampling
from bigtrain.generation.stream import TextStream
from bigtrain.models.base import Model
from bigtrain.models.families import on_meta
from bigtrain.models.huggingface import materialise_from, save_model
from bigtrain.models.schema import Architecture
from bigtrain.tokenizer import Tokenizer, train

GREEDY = Sampling(temperature=0)
SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {}),
    ("llama", {"n_kv_heads": 2}),
    ("qwen3", {"n_kv_heads": 1, "head_dim": 12, "tied": True}),
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(BytesConfig(), [])


def rows(n: int, longest: int, seed: int = 4) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(256) for _ in range(draw.randint(1, longest))] for _ in range(n)]


def texts(model: Model, requests: list[Request], tokenizer: Tokenizer, writing: Writing) -> dict[Any, Completion]:
    done = {(r.number, r.copy): completion for r, completion in write(model, requests, tokenizer, writing)}
    assert len(done) == len(requests)
    return done


@pytest.mark.parametrize("architecture", list(Architecture))
def test_tokens_of_rows_of_different_lengths_see_what_the_whole_row_sees(architecture: str) -> None:
    window = {"sliding_window": 5} if architecture == "mistral" else {}
    heads = {} if architecture == "gpt2" else {"n_kv_heads": 2}
    model, prompts = decoder(architecture, **window, **heads), rows(5, 12)
    cache = KVCache(2, capacity=20, n_rows=6)
    lengths = [len(prompt) for prompt in prompts]
    tokens = torch.tensor([[*prompt, *[0] * (max(lengths) - len(prompt))] for prompt in prompts])
    with torch.no_grad():
        cache.begin(lengths, range(5))
        model(tokens, cache=cache)
        cache.begin([lengths[0]], [0])  # a sixth row
        model(torch.tensor([prompts[0]]), cache=cache)
        whole = [*map(list, prompts), list(prompts[0])]
        cache.drop(2)
        whole[2] = whole.pop()
        for step in range(7):
            new = [(7 * row + step) % 256 for row in range(len(whole))]
            hidden = model(torch.tensor(new)[:, None], cache=cache)
            for row, token in enumerate(new):
                whole[row].append(token)
                torch.testing.assert_close(hidden[row, -1], model(torch.tensor([whole[row]]))[0, -1])
            if step == 3:
                cache.drop(0)
                whole[0] = whole.pop()
    assert cache.lengths == [len(row) for row in whole]


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(1.3, top_k=40), Sampling(0.9, repetition_penalty=1.4)])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_the_text_of_a_row_does_not_depend_on_its_batch(
    tokenizer: Tokenizer, sampling: Sampling, batch_size: int
) -> None:
    model, prompts = decoder("qwen3", n_kv_heads=2), rows(9, 40)
    requests = [Request(prompt, number, copy) for number, prompt in enumerate(prompts) for copy in range(2)]
    writing = Writing(12, sampling, seed=5, batch_size=batch_size, logprobs=True)
    together = texts(model, requests, tokenizer, writing)
    for request in random.Random(1).sample(requests, 6):
        key = request.number, request.copy
        alone = texts(model, [request], tokenizer, writing)[key]
        assert alone.tokens == together[key].tokens
        assert alone.stopped_by == together[key].stopped_by
        assert alone.logprobs == pytest.approx(together[key].logprobs, abs=1e-4)
    if sampling.temperature:
        assert any(together[n, 0].tokens != together[n, 1].tokens for n in range(9))


def test_logprobs_are_those_of_the_whole_forward_pass(tokenizer: Tokenizer) -> None:
    model, prompt = decoder("gpt2"), rows(1, 20)[0]
    writing = Writing(10, Sampling(1.5, top_k=5, repetition_penalty=2.0), logprobs=True)
    done = texts(model, [Request(prompt, 0)], tokenizer, writing)[0, 0]
    logits = model.logits(model(torch.tensor([[*prompt, *done.tokens]])))[0, :, :257].detach().log_softmax(-1)
    wanted = [float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(done.tokens)]
    assert done.logprobs == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(("architecture", "fields"), SHAPES)
def test_packed_weights_give_the_same_numbers(architecture: str, fields: dict[str, Any]) -> None:
    model = decoder(architecture, **fields)
    tokens = torch.tensor(rows(1, 30)) % 257
    with torch.no_grad():
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
            for one_row in (False, True):
                packed = pack(copy.deepcopy(model), dtype, one_row=one_row)
                for some in (tokens, tokens[:, :1]):
                    wanted = model.logits(model(some))
                    given = packed.logits(packed(some)).float()
                    assert (given - wanted).abs().max() <= tolerance * wanted.abs().max()


@pytest.mark.parametrize("tied", [False, True])
def test_matrices_are_loaded_in_the_type_of_their_products(tmp_path: Path, tokenizer: Tokenizer, tied: bool) -> None:
    model = decoder("qwen2", vocab_size=257, tied=tied)
    save_model(tmp_path, model, tokenizer)
    tokens = torch.tensor(rows(1, 30))
    small = narrowed(on_meta(model.config), torch.bfloat16)
    loaded = materialise_from(tmp_path, small, torch.device("cpu"), 0)
    wide = {name for name, parameter in loaded.named_parameters() if parameter.dtype == torch.float32}
    assert {name for name, parameter in model.named_parameters() if parameter.dim() == 1} | {"embedding.weight"} == wide
    with torch.no_grad():
        given, wanted = (pack(one, torch.bfloat16) for one in (loaded, model))
        assert torch.equal(given.logits(given(tokens)), wanted.logits(wanted(tokens)))


def test_ends_of_a_turn_end_a_text_too(tokenizer: Tokenizer) -> None:
    model, prompt = decoder(), rows(1, 20)[0]
    [plain] = generate(model, [prompt], tokenizer=tokenizer, max_new_tokens=12, sampling=GREEDY)
    end = plain.tokens[5]
    ended = texts(model, [Request(prompt, 0)], tokenizer, Writing(12, GREEDY, eos_ids=[end]))[0, 0]
    assert ended.tokens == plain.tokens[: plain.tokens.index(end)]
    assert ended.stopped_by is StoppedBy.eos


def agree(ours: list[int], theirs: list[int], model: Model, prompt: list[int], margin: float) -> bool:
    """Whether two texts are the same up to the first token whose two best logits are closer than `margin`."""
    for place, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a != b:
            row = torch.tensor([[*prompt, *ours[:place]]])
            best = model.logits(model(row))[0, -1].topk(2).values
            return float(best[0] - best[1]) < margin
    return len(ours) == len(theirs)


@pytest.mark.parametrize(("architecture", "fields"), SHAPES)
def test_greedy_is_that_of_transformers(
    tmp_path: Path, tokenizer: Tokenizer, architecture: str, fields: dict[str, Any]
) -> None:
    """64 tokens after 20 prompts of different lengths, in batches of 7; packed weights, fp32."""
    model, theirs = both(tmp_path, tokenizer, architecture, **fields)
    prompts = rows(20, 40)
    requests = [Request(prompt, number) for number, prompt in enumerate(prompts)]
    packed = pack(copy.deepcopy(model), torch.float32)
    greedy = texts(packed, requests, tokenizer, Writing(64, GREEDY, batch_size=7))
    for number, prompt in enumerate(prompts):
        given = torch.tensor([prompt])
        wanted = theirs.generate(given, max_new_tokens=64, do_sample=False)[0, len(prompt) :].tolist()
        wanted = wanted[:-1] if wanted[-1] == tokenizer.eos_id else wanted
        assert agree(greedy[number, 0].tokens, wanted, model, prompt, 1e-4)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("architecture", "fields"), [*SHAPES, ("mistral", {"sliding_window": 7}), ("qwen2", {})])
def test_beams_are_those_of_transformers(
    tmp_path: Path,
    tokenizer: Tokenizer,
    architecture: str,
    fields: dict[str, Any],
    every: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """64 tokens after 20 prompts; packed weights, fp32. Of two as likely up to rounding either is kept."""
    model, theirs = both(tmp_path, tokenizer, architecture, **fields)
    packed = pack(copy.deepcopy(model), torch.float32)
    margins: list[float] = []
    candidates = beams._candidates

    def watched(*given: Any) -> Any:
        found = candidates(*given)
        margins.extend(a.score - b.score for (_, a), (_, b) in itertools.pairwise(found[:4]))
        return found

    monkeypatch.setattr(beams, "_candidates", watched)
    prompts = rows(20, 40)[::every]
    same = 0
    for prompt in prompts:
        margins.clear()
        settings = {"max_new_tokens": 64, "num_beams": 3, "num_return_sequences": 2, "do_sample": False}
        best = theirs.generate(torch.tensor([prompt]), **settings, return_dict_in_generate=True, output_scores=True)
        ours = beams.search(packed, prompt, tokenizer, beams=3, n=2, max_new_tokens=64, logprobs=True)
        texts = [
            [token for token in row if token != tokenizer.eos_id] for row in best.sequences[:, len(prompt) :].tolist()
        ]
        if [completion.tokens for completion in ours] != texts:
            assert min(margins) < 1e-4
            continue
        same += 1
        for score, completion in zip(best.sequences_scores.tolist(), ours, strict=True):
            if completion.stopped_by is StoppedBy.max_new_tokens:
                assert sum(completion.logprobs or []) / 64 == pytest.approx(score, abs=1e-5)
    assert same >= 0.9 * len(prompts)


def test_penalised_beams_are_those_of_transformers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model, theirs = both(tmp_path, tokenizer, "llama")
    sampling, changed = Sampling(repetition_penalty=1.5), 0
    for prompt in rows(6, 12, seed=8):
        settings = {"max_new_tokens": 24, "num_beams": 3, "do_sample": False}
        [wanted] = theirs.generate(torch.tensor([prompt]), **settings, repetition_penalty=1.5).tolist()
        [ours] = beams.search(model, prompt, tokenizer, beams=3, n=1, max_new_tokens=24, sampling=sampling)
        [plain] = beams.search(model, prompt, tokenizer, beams=3, n=1, max_new_tokens=24)
        assert ours.tokens == [token for token in wanted[len(prompt) :] if token != tokenizer.eos_id]
        changed += ours.tokens != plain.tokens
    assert changed


def test_beams_end_before_a_stop_text(tokenizer: Tokenizer) -> None:
    model = decoder()
    for prompt in rows(4, 12, seed=8):
        plain = beams.search(model, prompt, tokenizer, beams=3, n=3, max_new_tokens=16)
        stop = plain[0].text[2:4]
        ended = beams.search(model, prompt, tokenizer, beams=3, n=3, max_new_tokens=16, stop=[stop])
        assert all(stop not in completion.text for completion in ended)
        stopped = [completion for completion in ended if completion.stopped_by is StoppedBy.stop]
        assert stopped
        for completion in stopped:
            whole = TextStream(tokenizer, prompt).whole(completion.tokens)
            assert whole.startswith(completion.text + stop)
    every = [chr(code) for code in range(256)]  # each token ends a text: nothing is left to continue
    assert len(beams.search(model, prompt, tokenizer, beams=3, n=3, max_new_tokens=16, stop=[*every, "\ufffd"])) == 3


def both(folder: Path, tokenizer: Tokenizer, architecture: str, **fields: Any) -> tuple[Model, Any]:
    """A model, and the same in transformers."""
    transformers = pytest.importorskip("transformers")
    model = decoder(architecture, max_seq_len=128, vocab_size=257, **fields)
    save_model(folder, model, tokenizer)
    return model, transformers.AutoModelForCausalLM.from_pretrained(folder)


def test_beams_that_end_are_those_of_transformers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """An end of text that is often among the likeliest tokens: finished beams compete with unfinished ones."""
    model, theirs = both(tmp_path, tokenizer, "llama")
    ended = 0
    with torch.no_grad():
        assert isinstance(model.head, torch.nn.Linear)
        for head in (model.head, theirs.lm_head):
            head.weight.mul_(6)
            head.weight[tokenizer.eos_id] *= 3
        for prompt in rows(12, 12, seed=8):
            wanted = theirs.generate(
                torch.tensor([prompt]), max_new_tokens=24, num_beams=4, num_return_sequences=4, do_sample=False
            )
            ours = beams.search(model, prompt, tokenizer, beams=4, n=4, max_new_tokens=24)
            for row, completion in zip(wanted, ours, strict=True):
                tokens = row[len(prompt) :].tolist()
                end = tokens.index(tokenizer.eos_id) if tokenizer.eos_id in tokens else len(tokens)
                assert completion.tokens == tokens[:end]
                ended += completion.stopped_by is StoppedBy.eos
    assert ended > 5
