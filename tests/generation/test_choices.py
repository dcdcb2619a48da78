"""The log-probability of given texts against a sum over the whole forward pass."""

import pytest
import torch
from tiny_models import decoder

from bigtrain.data.schema import BPEConfig, BytesConfig
from bigtrain.errors import UserError
from bigtrain.generation.choices import following, score
from bigtrain.tokenizer import train

CHOICES = [" yes", " no", " perhaps, who knows", "!"]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
def test_choices_are_scored_as_the_whole_text_is(architecture: str, batch_size: int) -> None:
    tokenizer, model = train(BytesConfig(), []), decoder(architecture)
    prompt = tokenizer.encode("Is it so?")
    given = [(text, following(tokenizer, "Is it so?", prompt, text)) for text in CHOICES]
    for choice, text in zip(score(model, prompt, given, vocab_size=257, batch_size=batch_size), CHOICES, strict=True):
        ids = tokenizer.encode("Is it so?" + text)
        with torch.no_grad():
            logprobs = model.logits(model(torch.tensor([ids])))[0, :, :257].log_softmax(-1)
        wanted = sum(float(logprobs[place - 1, ids[place]]) for place in range(len(prompt), len(ids)))
        assert choice.text == text
        assert choice.tokens == len(ids) - len(prompt)
        assert choice.logprob == pytest.approx(wanted, abs=1e-4)
        assert choice.logprob_per_token == pytest.approx(wanted / choice.tokens, abs=1e-4)


def test_ids_of_a_choice_are_those_it_has_in_the_text() -> None:
    tokenizer = train(BPEConfig(vocab_size=300), ["the cat there "] * 50)
    the, t = tokenizer.encode("the"), tokenizer.encode("t")
    assert following(tokenizer, "the", the, " cat") == tokenizer.encode("the cat")[len(the) :]
    assert the[: len(t)] != t  # a token lies across the border
    assert following(tokenizer, "t", t, "he") == tokenizer.encode("he")


def test_what_cannot_be_scored() -> None:
    model = decoder()
    with pytest.raises(UserError, match="prompt of 40 tokens and a choice of 10"):
        score(model, [1] * 40, [("x", [1] * 10)], vocab_size=257, batch_size=2)
    assert len(score(model, [1] * 40, [("x", [1] * 9)], vocab_size=257, batch_size=2)) == 1
    with pytest.raises(UserError, match="no tokens"):
        score(model, [1], [("", [])], vocab_size=257, batch_size=2)
