"""Generated text against the whole forward pass, and what ends it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bigtrain.data.schema import BytesConfig
from bigtrain.errors import UserError
from bigtrain.generation.generate import StoppedBy, generate
from bigtrain.generation.sampling import Sampling
from bigtrain.models.base import materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.output import LANGUAGE, Output
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.tokenizer import Tokenizer, train

GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(BytesConfig(), [])  # 257 ids; the embeddings below have 320 rows


def decoder(architecture: str = "llama", output: Output = LANGUAGE, **fields: Any) -> Decoder:
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 48, **fields}
    model = Decoder.on_meta(DecoderConfig(architecture=Architecture(architecture), **sizes).resolved(257), output)
    materialise(model, torch.device("cpu"), 11)
    with torch.no_grad():
        for matrix in model.hidden_matrices():
            matrix.mul_(8)
    return model


@pytest.mark.parametrize("architecture", list(Architecture))
def test_greedy_with_a_cache_is_greedy_without(architecture: str, tokenizer: Tokenizer) -> None:
    model = decoder(architecture)
    prompt = tokenizer.encode("Once upon a time")
    [completion] = generate(model, [prompt], tokenizer=tokenizer, max_new_tokens=24, sampling=GREEDY)
    row = list(prompt)
    while len(row) < len(prompt) + 24:
        logits = model.logits(model(torch.tensor([row])))[0, -1, :257]
        row.append(int(logits.argmax()))
    assert completion.tokens == row[len(prompt) :]
    assert completion.stopped_by is StoppedBy.max_new_tokens
    assert completion.text == tokenizer.decode(completion.tokens)
    assert len(set(completion.tokens)) > 4


def test_greedy_is_that_of_transformers(tmp_path: Any, tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    from bigtrain.models.huggingface import save_model

    model = decoder("qwen3", vocab_size=257, n_kv_heads=2)
    save_model(tmp_path, model, tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    prompt = tokenizer.encode("It is a truth")
    [completion] = generate(model, [prompt], tokenizer=tokenizer, max_new_tokens=30, sampling=GREEDY)
    expected = theirs.generate(torch.tensor([prompt]), max_new_tokens=30, do_sample=False)
    assert completion.tokens == expected[0, len(prompt) :].tolist()


def test_a_row_depends_on_the_seed_and_its_number_alone(tokenizer: Tokenizer) -> None:
    model = decoder()

    def texts(prompts: list[str], seed: int) -> list[list[int]]:
        rows = [tokenizer.encode(prompt) for prompt in prompts]
        return [c.tokens for c in generate(model, rows, tokenizer=tokenizer, max_new_tokens=20, seed=seed)]

    first = texts(["one", "one", "three"], 0)
    assert first[0] != first[1]
    assert texts(["one", "two and more"], 0)[0] == first[0]
    assert texts(["other", "one", "three"], 0)[1:] == first[1:]
    assert texts(["one"], 1)[0] != first[0]
    torch.manual_seed(99)
    assert texts(["one"], 0)[0] == first[0]


def biased(model: Decoder, token: int) -> Decoder:
    """Almost always draws `token`: its logit is the sum of the hidden state, which every token's embedding raises."""
    with torch.no_grad():
        assert model.head is not None
        model.head.weight.zero_()
        model.head.weight[token] = 1.0
        model.embedding.weight.fill_(1.0)
        for matrix in model.hidden_matrices():
            matrix.zero_()
    return model


def test_ids_beyond_the_tokenizer_are_never_drawn(tokenizer: Tokenizer) -> None:
    model = biased(decoder(), token=300)
    assert int(model.logits(model(torch.tensor([[1]]))).argmax()) == 300
    for sampling in (GREEDY, Sampling(1.0), Sampling(5.0, top_k=400)):
        [completion] = generate(model, [[1]], tokenizer=tokenizer, max_new_tokens=40, sampling=sampling)
        assert max(completion.tokens, default=0) < 257


def test_the_end_of_a_document_ends_a_completion(tokenizer: Tokenizer) -> None:
    assert tokenizer.eos_id is not None
    model = biased(decoder(), tokenizer.eos_id)
    [completion] = generate(model, [[1, 2]], tokenizer=tokenizer, max_new_tokens=40, sampling=GREEDY)
    assert (completion.tokens, completion.text, completion.stopped_by) == ([], "", StoppedBy.eos)


@pytest.mark.parametrize("n_prompt", [1, 30, 47, 48])
def test_a_full_row_ends_a_completion(tokenizer: Tokenizer, n_prompt: int) -> None:
    model = biased(decoder(), token=65)
    prompt = [3] * n_prompt
    [completion] = generate(model, [prompt], tokenizer=tokenizer, max_new_tokens=100, sampling=GREEDY)
    assert completion.text == "A" * (49 - n_prompt)  # the last one drawn is not read
    assert completion.stopped_by is StoppedBy.max_seq_len
    [exact] = generate(model, [prompt], tokenizer=tokenizer, max_new_tokens=49 - n_prompt, sampling=GREEDY)
    assert exact.tokens == completion.tokens
    assert exact.stopped_by is StoppedBy.max_new_tokens


def test_compiled_blocks_are_not_compiled_for_generation(tokenizer: Tokenizer) -> None:
    model, prompt = decoder(), tokenizer.encode("abc")
    expected = generate(model, [prompt], tokenizer=tokenizer, max_new_tokens=12)

    def never(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        raise AssertionError("compiled")

    for block in model.blocks:
        block.compile(backend=never, dynamic=False)
    assert generate(model, [prompt], tokenizer=tokenizer, max_new_tokens=12) == expected


@pytest.mark.parametrize(
    ("prompt", "output", "words"),
    [
        ([], LANGUAGE, "empty prompt"),
        ([1] * 49, LANGUAGE, r"49 tokens with model\.max_seq_len=48"),
        ([1], Output.numbered(3), "classifier"),
    ],
)
def test_what_cannot_be_continued_is_refused(
    tokenizer: Tokenizer, prompt: list[int], output: Output, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        generate(decoder(output=output), [prompt], tokenizer=tokenizer, max_new_tokens=3)


def test_bf16_under_autocast_gives_text(tokenizer: Tokenizer) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        [completion] = generate(decoder("qwen3"), [[1, 2, 3]], tokenizer=tokenizer, max_new_tokens=9)
    assert len(completion.tokens) == 9 or completion.stopped_by is StoppedBy.eos
