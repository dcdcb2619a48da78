"""The packaged sizes: every one builds, without memory, and has the parameters of the published checkpoint."""

from types import SimpleNamespace

import pytest
from composed import _packaged_configs_are_composed_once  # noqa: F401

from bigtrain import config
from bigtrain.config import folders
from bigtrain.models.base import Model, n_parameters
from bigtrain.models.families import on_meta, resolved

PUBLISHED = {  # vocabulary, parameters
    "gpt2-124m": (50257, 124_439_808),
    "gpt2-350m": (50257, 354_823_168),
    "gpt2-774m": (50257, 774_030_080),
    "gpt2-1.5b": (50257, 1_557_611_200),
    "llama-15m": (32000, 15_191_712),
    "llama-110m": (32000, 109_529_856),
    "tinyllama-1.1b": (32000, 1_100_048_384),
    "llama-1b": (128256, 1_235_814_400),
    "llama-3b": (128256, 3_212_749_824),
    "llama2-7b": (32000, 6_738_415_616),
    "llama-8b": (128256, 8_030_261_248),
    "mistral-7b": (32000, 7_241_732_096),
    "qwen2.5-0.5b": (151936, 494_032_768),
    "qwen2.5-1.5b": (151936, 1_543_714_304),
    "qwen2.5-7b": (152064, 7_615_616_512),
    "qwen3-0.6b": (151936, 596_049_920),
    "qwen3-1.7b": (151936, 1_720_574_976),
    "qwen3-8b": (151936, 8_190_735_360),
}
OPTIONS = list(folders.options([folders.packaged()], "model"))


def built(option: str, vocabulary: int, *lines: str) -> Model:
    shape = config.load("pretrain", [f"model={option}", *lines, "data=stdlib", "train.max_steps=1"]).config.model
    tokenizer = SimpleNamespace(vocab_size=vocabulary, pad_id=0)
    return on_meta(resolved(shape, tokenizer))  # type: ignore[arg-type]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_packaged_size_builds(option: str) -> None:
    model = built(option, 1000)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.config.vocab_size == 1024
    assert model.flops_per_token(model.config.max_seq_len) > 0


@pytest.mark.parametrize("option", PUBLISHED)
def test_sizes_are_the_published_ones(option: str) -> None:
    vocabulary, parameters = PUBLISHED[option]
    assert n_parameters(built(option, vocabulary, f"model.vocab_size={vocabulary}")) == parameters
