"""Each step of sampling against its definition and against transformers."""

import math

import pytest
import torch

from bigtrain.generation.sampling import (
    Sampling,
    choose,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    likeliest,
    penalised,
    probabilities,
)


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(5, 97, generator=torch.Generator().manual_seed(2)) * 3


@pytest.mark.parametrize("k", [1, 7, 97, 500])
def test_top_k_keeps_the_k_largest(logits: torch.Tensor, k: int) -> None:
    for row, kept in zip(logits, keep_top_k(logits, k), strict=True):
        best = sorted(range(97), key=lambda i: -row[i])[:k]
        assert sorted(kept.isfinite().nonzero().flatten().tolist()) == sorted(best)
        assert torch.equal(kept[best], row[best])


@pytest.mark.parametrize("p", [1e-9, 0.3, 0.9, 0.999])
def test_top_p_keeps_the_fewest_likeliest_that_reach_p(logits: torch.Tensor, p: float) -> None:
    for row, kept in zip(logits, keep_top_p(logits, p), strict=True):
        order = sorted(range(97), key=lambda i: -row[i])
        total, best = 0.0, []
        for token in order:
            if total >= p:
                break
            total += float(row.double().softmax(-1)[token])
            best.append(token)
        assert sorted(kept.isfinite().nonzero().flatten().tolist()) == sorted(best)
        assert torch.equal(kept[best], row[best])


def test_top_p_of_one_keeps_all(logits: torch.Tensor) -> None:
    assert torch.equal(keep_top_p(logits.clamp(-5, 5), 1.0), logits.clamp(-5, 5))


def test_equal_logits_leave_something_to_draw() -> None:
    flat = torch.zeros(1, 10)
    assert keep_top_k(flat, 3).isfinite().all()  # all are as large as the third
    assert keep_top_p(flat, 0.25).isfinite().sum() == 3


@pytest.mark.parametrize(
    "sampling",
    [Sampling(0.7), Sampling(1.3, top_k=9), Sampling(0.9, top_p=0.8), Sampling(2.0, top_k=20, top_p=0.5)],
)
def test_the_same_as_transformers(logits: torch.Tensor, sampling: Sampling) -> None:
    process = pytest.importorskip("transformers.generation.logits_process")
    steps = [process.TemperatureLogitsWarper(sampling.temperature)]
    steps += [process.TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    steps += [process.TopPLogitsWarper(sampling.top_p)] if sampling.top_p else []
    expected = logits
    for step in steps:
        expected = step(None, expected)
    torch.testing.assert_close(probabilities(logits, sampling), expected.softmax(-1))


def test_temperature_zero_is_certain_of_the_likeliest(logits: torch.Tensor) -> None:
    assert torch.equal(choose(logits, Sampling(0.0, top_k=5, top_p=0.5), []), logits.argmax(-1))
    assert likeliest(torch.tensor([[0.0, 2.0, 2.0]])).tolist() == [1]


def test_tokens_are_drawn_as_often_as_their_probability_says() -> None:
    wanted, n = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0]), 20000
    drawn = draw(wanted.expand(n, -1), [torch.Generator().manual_seed(4)] * n)
    counts = drawn.bincount(minlength=6).double()
    assert counts[wanted == 0].sum() == 0
    for count, p in zip(counts.tolist(), wanted.tolist(), strict=True):
        assert abs(count - n * p) < 5 * math.sqrt(n * p * (1 - p) + 1e-9)


def test_a_row_draws_from_its_own_generator(logits: torch.Tensor) -> None:
    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    p = logits.softmax(-1)
    together = draw(p, generators(1, 2, 3, 4, 5))
    assert torch.equal(draw(p[2:4], generators(3, 4)), together[2:4])


@pytest.mark.parametrize("p", [1e-6, 0.05, 0.5, 1.0])
def test_min_p_keeps_what_is_likely_beside_the_likeliest(logits: torch.Tensor, p: float) -> None:
    for row, kept in zip(logits, keep_min_p(logits, p), strict=True):
        likely = row.softmax(-1).tolist()
        best = [token for token in range(97) if likely[token] >= p * max(likely)]
        assert kept.isfinite().nonzero().flatten().tolist() == best
        assert torch.equal(kept[best], row[best])


def test_penalties_are_those_of_their_definition(logits: torch.Tensor) -> None:
    process = pytest.importorskip("transformers.generation.logits_process")
    prompts, written = [[1, 2, 2, 50]] * 5, [[], [2], [3, 3, 4], [96, 0], [7] * 9]
    both = Sampling(repetition_penalty=1.7, presence_penalty=0.6)
    given = penalised(logits, both, prompts, written)
    for row, before, prompt, tokens in zip(given, logits, prompts, written, strict=True):
        context = torch.tensor([[*prompt, *tokens]])
        wanted = process.RepetitionPenaltyLogitsProcessor(1.7)(context, before[None].clone())[0]
        for token in set(tokens):
            wanted[token] -= 0.6
        torch.testing.assert_close(row, wanted)
    assert penalised(logits, Sampling(), prompts, written) is logits
    # Prompts may hold ids of the embedding that no token has.
    assert torch.equal(penalised(logits, both, [[99]] * 5, [[]] * 5), logits)


def test_min_p_comes_after_the_others(logits: torch.Tensor) -> None:
    sampling = Sampling(0.7, top_k=30, top_p=0.9, min_p=0.2)
    expected = keep_min_p(keep_top_p(keep_top_k(logits / 0.7, 30), 0.9), 0.2).softmax(-1)
    torch.testing.assert_close(probabilities(logits, sampling), expected)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 1000])
def test_what_is_drawn_is_never_ruled_out(n: int) -> None:
    """Also where a uniform number lies at the very border of two blocks."""
    generator = torch.Generator().manual_seed(n)
    some = torch.rand(2000, n, generator=generator)
    possible = torch.where(torch.rand(2000, n, generator=generator) < 0.02, some, 0.0)
    possible[:, n // 2] += 1e-3
    drawn = draw(possible, [generator] * 2000)
    assert (possible.gather(1, drawn[:, None]) > 0).all()


def test_a_draw_is_where_the_number_falls_in_the_cumulative_sum() -> None:
    p = torch.randn(64, 700, generator=torch.Generator().manual_seed(1)).softmax(-1)
    drawn = draw(p, [torch.Generator().manual_seed(row) for row in range(64)])
    for row, token in enumerate(drawn.tolist()):
        uniform = float(torch.rand(1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(row)))
        cumulative = p[row].double().cumsum(0)
        below = float(cumulative[token - 1]) if token else 0.0
        assert below - 1e-12 <= uniform * float(cumulative[-1]) <= float(cumulative[token]) + 1e-12
