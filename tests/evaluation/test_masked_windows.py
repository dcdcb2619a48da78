"""Evaluation with hidden tokens, against sums computed window by window and token by token."""

import math

import numpy as np
import pytest
import torch
from encoders import encoder, wordpiece
from measured import evaluate

from bigtrain.data.frame import Frame
from bigtrain.data.loader import IGNORED
from bigtrain.data.masking import Masker
from bigtrain.data.sentence_pairs import FOLLOWS
from bigtrain.errors import UserError
from bigtrain.evaluation.masked_windows import MaskedWindows
from bigtrain.models.output import Output
from bigtrain.objectives.masked import Masked
from bigtrain.parallel.placement import Placement
from bigtrain.parallel.schema import DeviceConfig, DeviceKind, Precision

FRAME, TOKENIZER = Frame((2,), (3,)), wordpiece()
STREAM = np.random.default_rng(0).integers(4, 60, 200).astype(np.uint16)
STREAM[STREAM == 4] = 3  # separators between documents, no mask tokens


def windows(n: int = 200, seq_len: int = 20, rows: int = 4, **options) -> MaskedWindows:
    return MaskedWindows(STREAM[:n], seq_len, rows, FRAME, Masker(TOKENIZER), **options)


@pytest.mark.parametrize(("n", "rows"), [(200, 4), (187, 3), (18, 8), (11, 8), (1, 1)])
def test_every_window_is_asked_for_its_share_once(n: int, rows: int) -> None:
    found = windows(n, rows=rows)
    assert len({found[number]["tokens"].shape for number in range(len(found))}) == 1
    asked: list[int] = []
    for number in range(len(found)):
        batch = found[number]
        for row in range(len(batch["tokens"])):
            there = batch["targets"][row] != IGNORED
            window = number * len(batch["tokens"]) + row
            start = min(window * found.length, n - found.length)
            places = batch["positions"][row][there].numpy() - 1 + start
            assert batch["targets"][row][there].tolist() == STREAM[places].tolist()
            asked += places.tolist()
    text = int((STREAM[:n] != 3).sum())
    assert len(asked) == len(set(asked)) == pytest.approx(0.15 * text, abs=len(asked) * 0.1 + 1)


def test_the_mask_is_the_same_in_every_evaluation_whatever_the_batch() -> None:
    def rows(found: MaskedWindows) -> torch.Tensor:
        return torch.cat([found[number]["tokens"] for number in range(len(found))])[: found.n_windows]

    assert rows(windows()).equal(rows(windows()))
    assert rows(windows(rows=12)).equal(rows(windows(rows=1)))


def test_documents_are_isolated_where_asked() -> None:
    batch = windows(rows=12, document_starts=np.array([0, 40, 41]))[0]
    assert batch["documents"].shape == batch["tokens"].shape
    assert batch["documents"].unique().tolist() == [1, 2, 3]
    assert (batch["documents"].diff(dim=1) >= 0).all()
    assert "documents" not in windows()[0]


@pytest.mark.parametrize(("n", "rows"), [(200, 4), (187, 3), (90, 16), (36, 2)])
def test_pairs_exchange_their_second_texts(n: int, rows: int) -> None:
    found = windows(n, rows=rows, pairs=True)
    cut, seen, strays = found.length // 2, [], []
    n_odd = found.n_windows // 2
    for number in range(found.n_masked):
        batch = found[number]
        whole = torch.where(batch["segments"] == 0, 0, 1).sum(1)
        assert (whole == found.length - cut + 1).all()
        for row in range(len(batch["tokens"])):
            window = number * len(batch["tokens"]) + row
            there = batch["targets"][row] != IGNORED
            if window >= found.n_windows:
                assert not there.any()
                assert batch["strays"][row] == IGNORED
                continue
            strays.append(int(batch["strays"][row]))
            other = window if strays[-1] == FOLLOWS else 2 * ((window // 2 + n_odd // 2) % n_odd) + 1
            for place, target in zip(batch["positions"][row][there], batch["targets"][row][there], strict=True):
                second = int(place) > cut + 1
                start = min((other if second else window) * found.length, n - found.length)
                seen.append(start + int(place) - (2 if second else 1))
                assert STREAM[seen[-1]] == target
    assert strays == [window % 2 if n_odd > 1 else FOLLOWS for window in range(found.n_windows)]
    assert len(seen) == len(set(seen)) == pytest.approx(0.15 * (STREAM[:n] != 3).sum(), rel=0.2)


def test_metrics_of_pairs_are_those_of_the_windows() -> None:
    model, found = encoder("bert", Output(next_sentence=True)), windows(rows=5, pairs=True, alone=20)
    placement = Placement.start(DeviceConfig(kind=DeviceKind.cpu, precision=Precision.fp32))
    objective = Masked(alone=True, next_sentence=True)
    metrics = evaluate(model, objective, found, placement)
    assert metrics is not None
    nats, right = [], []
    for window in range(found.n_windows):
        batch = windows(rows=1, pairs=True)[window]
        said = model.next_sentence(model(batch["tokens"], segments=batch["segments"])[:, 0])[0].log_softmax(-1)
        nats.append(-float(said[batch["strays"][0]].detach()))
        right.append(int(said.argmax()) == int(batch["strays"][0]))
    assert metrics["next_sentence_loss"] == pytest.approx(np.mean(nats), rel=1e-5)
    assert metrics["next_sentence_accuracy"] == pytest.approx(np.mean(right))
    assert metrics["loss"] == pytest.approx(metrics["masked_loss"] + metrics["next_sentence_loss"])
    assert metrics.keys() == {*objective.metric_names}


def test_metrics_are_means_over_hidden_tokens() -> None:
    model, found = encoder("bert"), windows(rows=5)
    metrics = evaluate(
        model, Masked(), found, Placement.start(DeviceConfig(kind=DeviceKind.cpu, precision=Precision.fp32))
    )
    nats, right = [], []
    for window in range(found.n_windows):
        batch = windows(rows=1)[window]
        scores = model.logits(model(batch["tokens"]))[0].log_softmax(-1)
        for place, target in zip(batch["positions"][0], batch["targets"][0], strict=True):
            if target != IGNORED:
                nats.append(-float(scores[place, target].detach()))
                right.append(int(scores[place].argmax()) == int(target))
    assert metrics is not None
    assert metrics["loss"] == pytest.approx(np.mean(nats), rel=1e-5)
    assert metrics["masked_accuracy"] == pytest.approx(np.mean(right))
    assert metrics.keys() == {"loss", "masked_accuracy"} == {*Masked().metric_names}


def test_pseudo_perplexity_hides_one_token_at_a_time() -> None:
    model, found = encoder("roberta"), windows(rows=7, alone=50)
    metrics = evaluate(
        model, Masked(alone=True), found, Placement.start(DeviceConfig(kind=DeviceKind.cpu, precision=Precision.fp32))
    )
    nats = []
    for place in range(50):
        if STREAM[place] == 3:
            continue
        start = place // 18 * 18
        row = np.array([2, *STREAM[start : start + 18], 3])
        row[place - start + 1] = 4
        logits = model.logits(model(torch.tensor(row.astype(np.int64))[None]))[0, place - start + 1]
        nats.append(-float(logits.log_softmax(-1)[int(STREAM[place])].detach()))
    assert metrics is not None
    assert metrics["pseudo_perplexity"] == pytest.approx(math.exp(np.mean(nats)), rel=1e-5)
    assert metrics.keys() == {*Masked(alone=True).metric_names}
    without = evaluate(
        model, Masked(), windows(rows=7), Placement.start(DeviceConfig(kind=DeviceKind.cpu, precision=Precision.fp32))
    )
    assert without is not None
    assert metrics["loss"] == pytest.approx(without["loss"], rel=1e-6)


@pytest.mark.parametrize(("n", "seq_len"), [(0, 20), (30, 2)])
def test_windows_without_text_are_refused(n: int, seq_len: int) -> None:
    with pytest.raises(UserError, match="a window holds text"):
        windows(n, seq_len)
