"""Answers that a model writes in an evaluation: those of `generate`, whoever writes which, and their metrics."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bigtrain.data.schema import BytesConfig
from bigtrain.data.tasks.packed import PackedRows, Scored
from bigtrain.data.tasks.prompts import Prompt, PromptRows
from bigtrain.evaluation.evaluator import totals
from bigtrain.generation.answers import Answers
from bigtrain.generation.generate import StoppedBy, generate
from bigtrain.generation.sampling import Sampling
from bigtrain.models.base import Model, materialise
from bigtrain.models.decoder import Decoder
from bigtrain.models.schema import Architecture, DecoderConfig
from bigtrain.objectives.causal import Causal
from bigtrain.parallel.placement import Placement
from bigtrain.parallel.schema import Precision
from bigtrain.tokenizer import train

TOKENIZER = train(BytesConfig(), [])
ALONE = Placement(torch.device("cpu"), Precision.fp32)
PROMPTS = [f"{'so ' * n}say {word}" for n, word in enumerate(("one", "two", "three", "four", "five"))] + ["x" * 60]


class Half(Placement):
    """One of two processes, which never meets the other."""

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        return tensor


@pytest.fixture(scope="module")
def model() -> Model:
    shape = DecoderConfig(architecture=Architecture.llama, dim=32, n_layers=2, n_heads=4, max_seq_len=48)
    model = materialise(Decoder.on_meta(shape.resolved(257)), torch.device("cpu"), 11)
    with torch.no_grad():
        for matrix in model.hidden_matrices():
            matrix.mul_(8)
    return model


@pytest.fixture(scope="module")
def packed() -> PackedRows:
    draw = np.random.default_rng(0)
    rows = [Scored(draw.integers(0, 256, n).astype(np.uint32), np.ones(n, np.bool_)) for n in (9, 20, 33, 14)]
    return PackedRows(rows, 32, pad_id=0, seed=0)


def answers(*wanted: str, most: int = 12, eos_ids: tuple[int, ...] = ()) -> Answers:
    prompts = [
        Prompt(TOKENIZER.encode(text), text, wanted[number % len(wanted)] if wanted else "a", f"f:{number}")
        for number, text in enumerate(PROMPTS)
    ]
    return Answers(PromptRows(prompts, TOKENIZER.pad_id), TOKENIZER, max_new_tokens=most, eos_ids=eos_ids)


@pytest.mark.parametrize("at_once", [1, 2, 32])
def test_the_answers_are_those_that_generate_writes(model: Model, packed: PackedRows, at_once: int) -> None:
    objective = answers(eos_ids=(101, 32))
    sums = totals(model, objective, objective.batches(packed.batches(2), at_once), ALONE)
    assert sums is not None
    assert sums["answers"].shape == (6, 12)
    texts = objective.texts(sums)
    greedy, ended = Sampling(temperature=0), 0
    for row, text in enumerate(PROMPTS[:5]):
        [plain] = generate(model, [TOKENIZER.encode(text)], tokenizer=TOKENIZER, max_new_tokens=12, sampling=greedy)
        ends = [place for place, id_ in enumerate(plain.tokens) if id_ in (101, 32)]
        tokens = plain.tokens[: ends[0]] if ends else plain.tokens
        finished = bool(ends) or plain.stopped_by is StoppedBy.eos
        found = sums["answers"][row]
        assert found[found >= 0].tolist() == tokens
        assert bool(sums["finished"][row]) == finished
        assert texts[row] == TOKENIZER.decode(tokens).strip()
        ended += finished
    assert 0 < ended < 5
    assert (texts[5], sums["finished"][5]) == ("", 0)  # 60 tokens, of which the model reads 48
    assert objective.metrics(sums)["unfinished"] == pytest.approx(1 - ended / 6)


def test_the_loss_is_that_without_answers(model: Model, packed: PackedRows) -> None:
    objective = answers()
    sums = totals(model, objective, objective.batches(packed.batches(2)), ALONE)
    plain = totals(model, Causal(), packed.batches(2), ALONE)
    assert sums is not None
    assert plain is not None
    found, expected = objective.metrics(sums), Causal().metrics(plain)
    assert {name: found[name] for name in expected} == expected
    assert objective.metric_names == tuple(found)
    assert objective.higher_is_better == {"token_accuracy", "exact_match", "bleu", "chrf", "rouge_l"}


def test_processes_share_the_answers(model: Model, packed: PackedRows) -> None:
    objective = answers()
    batches = objective.batches(packed.batches(2), 2)
    alone = totals(model, objective, batches, ALONE)
    halves = [
        totals(model, objective, batches, Half(torch.device("cpu"), Precision.fp32, rank, 2)) for rank in range(2)
    ]
    assert alone is not None
    for name in ("answers", "finished", "weight", "correct"):
        first, second = (half[name] for half in halves if half is not None)
        assert np.array_equal(first + second, alone[name])
        if name == "answers":
            assert first.any()
            assert second.any()


def test_metrics_of_what_was_written() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    wanted = ["the cat sat on the mat", "a dog", "it is a small house", "nobody came", "five", "x"]
    written = [" the cat sat on a mat\n", "a dog", "it was a house", "nobody", "", "y"]
    objective = answers(*wanted, most=32)
    table = np.full((6, 32), -1.0)
    for row, text in zip(table, written, strict=True):
        ids = TOKENIZER.encode(text)
        row[: len(ids)] = ids
    sums = {"loss": np.array(1.0), "weight": np.array(1.0), "correct": np.array(1.0)}
    found = objective.metrics({**sums, "answers": table, "finished": np.array([1, 1, 1, 1, 0, 1])})
    stripped = [text.strip() for text in written]
    assert found["exact_match"] == pytest.approx(1 / 6)
    assert found["bleu"] == sacrebleu.corpus_bleu(stripped, [wanted]).score
    assert found["chrf"] == sacrebleu.corpus_chrf(stripped, [wanted]).score
    # Words in common, in order: 5 of 6 and 6; both; it, a, house of 4 and 5; nobody of 1 and 2; none; none.
    assert found["rouge_l"] == pytest.approx((10 / 12 + 1 + 6 / 9 + 2 / 3) / 6)
    assert found["unfinished"] == pytest.approx(1 / 6)


def test_chinese_is_compared_by_character() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    objective = answers("猫坐在一个垫子上。")
    assert objective.language == "zh"
    text = "猫坐在垫子上。"
    table = np.full((6, 30), -1.0)
    table[:, : len(text.encode())] = list(text.encode())
    sums = {"loss": np.array(1.0), "weight": np.array(1.0), "correct": np.array(1.0)}
    found = objective.metrics({**sums, "answers": table, "finished": np.ones(6)})
    expected = sacrebleu.BLEU(tokenize="zh").corpus_score([text] * 6, [["猫坐在一个垫子上。"] * 6]).score
    assert found["bleu"] == expected
    assert found["rouge_l"] == pytest.approx(2 * 6 / (6 + 8))
    assert answers("a cat", "猫").language == "en"


def test_bytes_that_are_half_a_character() -> None:
    objective = answers()
    table = np.full((6, 4), -1.0)
    table[:, :2] = list("猫".encode()[:2])
    assert objective.texts({"answers": table})[0] == "\ufffd"
