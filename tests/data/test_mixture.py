"""Mixtures of prepared sets: exact proportions, every row once per pass, and nothing to remember between steps."""

import itertools
import json
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import TINY, bits, metrics, run_verb, text

from bigtrain.data.loader import Loader, Windows
from bigtrain.data.mixture import BLOCK, Mixture, PreparedSets, quotas, spread
from bigtrain.data.shards import PreparedSet, TokenSplit
from bigtrain.errors import Stopped, UserError
from bigtrain.training.loop import Loop


@dataclass
class Weighted:
    path: str
    weight: float = 1.0


def windows(n_tokens, seq_len=4, first=0, isolate=False):
    tokens = np.arange(first, first + n_tokens, dtype=np.uint32)
    starts = np.arange(0, n_tokens, 7)
    return Windows(TokenSplit(tokens, starts, n_tokens), seq_len, seed=3, isolate_documents=isolate)


def mixture(weights, sizes, **look):
    """Set i holds the tokens from a million times i."""
    numbered = enumerate(zip(weights, sizes, strict=True))
    return Mixture({name: windows(size, first=10**6 * i, **look) for i, (name, size) in numbered}, quotas(weights))


def drawn(draw):
    n_sets = draw.randint(1, 7)
    weights = [draw.choice([draw.random() + 0.01, draw.random() ** 4 + 0.01, 1, 0.1, 3]) for _ in range(n_sets)]
    return {f"s{i}": weight for i, weight in enumerate(weights)}, [draw.randint(9, 400) for _ in weights]


def test_proportions_are_exact_after_a_block_and_within_one_row_everywhere():
    draw = random.Random(0)
    for _ in range(12):
        weights, _ = drawn(draw)
        slots = list(quotas(weights).values())
        order = spread(slots)
        counts = np.cumsum(order[:, None] == np.arange(len(slots)), axis=0)
        assert counts[-1].tolist() == slots
        due = np.arange(1, len(order) + 1)[:, None] * np.array(slots) / len(order)
        assert np.abs(counts - due).max() < 1


def test_slots_follow_the_weights():
    assert quotas({"b": 2, "a": 1}) == {"a": 1, "b": 2}  # exact, in a block of three
    assert quotas({"a": 0.1, "b": 0.2, "c": 0.7}) == {"a": 1, "b": 2, "c": 7}
    assert quotas({"a": 70, "b": 30}) == quotas({"a": 0.7, "b": 0.3}) == {"a": 7, "b": 3}
    draw = random.Random(1)
    for _ in range(200):
        weights, _ = drawn(draw)
        slots = quotas(weights)
        assert sum(slots.values()) <= BLOCK
        for name, weight in weights.items():
            assert abs(slots[name] / sum(slots.values()) - weight / sum(weights.values())) <= 1 / BLOCK


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), 1e-6])
def test_weights_that_mean_nothing_are_refused(weight):
    with pytest.raises(UserError, match=r"data\.sets\.web\.weight"):
        quotas({"books": 1.0, "web": weight})


def test_every_row_of_a_set_comes_once_in_each_of_its_passes():
    draw = random.Random(2)
    for _ in range(8):
        weights, sizes = drawn(draw)
        mixed = mixture(weights, sizes)
        index, epoch = mixed.order(np.arange(2 * len(mixed) + 50), seed=5)
        for first, last in itertools.pairwise(mixed.firsts):
            here = (index >= first) & (index < last)
            assert (np.diff(epoch[here]) >= 0).all()
            for pass_ in range(int(here.sum()) // (last - first)):
                assert sorted(index[here][epoch[here] == pass_]) == list(range(first, last))


def test_rows_come_from_the_sets_they_are_counted_for():
    mixed = mixture({"a": 3, "b": 2, "c": 1}, [50, 80, 300])
    loader = Loader(mixed, 12, seed=1)
    for step in range(30):
        from_set = loader.batch(step, 0, 12)["tokens"][:, 0] // 10**6
        assert torch.bincount(from_set, minlength=3).tolist() == [6, 4, 2]
        passes = {"epochs_a": 6 * step, "epochs_b": 4 * step, "epochs_c": 2 * step}
        expected = {name: round(n / len(rows), 4) for (name, n), rows in zip(passes.items(), mixed.rows, strict=True)}
        assert loader.epochs(step) == expected


def test_every_way_to_share_a_batch_out_gives_the_same_batch():
    draw = random.Random(3)
    for _ in range(15):
        weights, sizes = drawn(draw)
        loader = Loader(mixture(weights, sizes, isolate=True), draw.randint(1, 40), seed=draw.randint(0, 9))
        rows, step = loader.batch_rows, draw.randint(0, 10**6)
        whole = loader.batch(step, 0, rows)
        assert set(whole) == {"tokens", "targets", "documents", "keys"}
        cuts = sorted({0, rows, *(draw.randint(0, rows) for _ in range(3))})
        parts = [loader.batch(step, a, b) for a, b in itertools.pairwise(cuts)]
        for name, tensor in whole.items():
            assert tensor.equal(torch.cat([part[name] for part in parts])), name


def test_one_set_is_the_plain_loader_bit_for_bit():
    plain = Loader(windows(500, isolate=True), 8, seed=4)
    mixed = Loader(mixture({"a": 0.3}, [500], isolate=True), 8, seed=4)
    assert len(plain.rows) == len(mixed.rows)
    assert plain.steps(1.5) == mixed.steps(1.5)
    for step in (0, 1, 17, 1000):
        one, other = plain.batch(step, 0, 8), mixed.batch(step, 0, 8)
        assert all(one[name].equal(other[name]) for name in {*one, *other})


def test_sets_of_one_size_have_orders_of_their_own():
    mixed = mixture({"a": 1, "b": 1}, [400, 400])
    index, _ = mixed.order(np.arange(100), seed=0)
    first, second = (index[mixed.slots[np.arange(100) % 2] == number] - mixed.firsts[number] for number in (0, 1))
    assert (first == second).mean() < 0.2


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Three prepared sets: two of bytes, one with another tokenizer."""
    folder, made = tmp_path_factory.mktemp("sets"), {}
    for seed, (name, tokenizer) in enumerate([("web", "bytes"), ("books", "bytes"), ("odd", "chars")]):
        rows = folder / f"{name}.jsonl"
        texts = [text(60, 100 * seed + number) for number in range(30 + 20 * seed)]
        rows.write_text("".join(json.dumps({"text": one}) + "\n" for one in texts))
        made[name] = folder / name
        run_verb(
            "prepare",
            [f"data.files={rows}", f"tokenizer={tokenizer}", f"output={made[name]}", "data.validation_fraction=0.2"],
        )
    return made


def read(path):
    return PreparedSet.open(Path(path))


def test_sets_with_different_tokenizers_are_refused_and_both_named(sets):
    named = {name: Weighted(str(path)) for name, path in sets.items()}
    with pytest.raises(UserError, match=r"data\.sets\.books\.path=.* and data\.sets\.odd\.path="):
        PreparedSets.mixed(named, read)


def test_a_set_that_cannot_be_read_is_named(sets, tmp_path):
    named = {"web": Weighted(str(sets["web"])), "gone": Weighted(str(tmp_path / "gone"))}
    with pytest.raises(UserError, match=r"data\.sets\.gone\.path="):
        PreparedSets.mixed(named, read)
    with pytest.raises(UserError, match=r"tokens of training data in data\.sets\.web\n"):
        PreparedSets.mixed({"web": named["web"]}, read).rows(10**6, seed=0, isolate_documents=False)


def words(sets, run, *more, web=3, books=1):
    named = [f"data.sets.web.path={sets['web']}", f"data.sets.books.path={sets['books']}"]
    weights = [f"data.sets.web.weight={web}", f"data.sets.books.weight={books}"]
    lengths = ["train.max_steps=6", "train.save_every_steps=3", "train.eval_every_steps=3"]
    return [*TINY, *lengths, *named, *weights, f"run.dir={run}", *more]


@pytest.fixture(scope="module")
def mixed_run(sets, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "mixed"
    return run, run_verb("pretrain", words(sets, run))


def test_a_run_counts_passes_and_measures_each_set(sets, mixed_run):
    run, result = mixed_run
    rows = {name: (len(PreparedSet.open(sets[name]).split("train")) - 32) // 32 for name in ("web", "books")}
    assert result["epochs_web"] == round(6 * 8 * 3 / 4 / rows["web"], 4)
    assert result["epochs_books"] == round(6 * 8 / 4 / rows["books"], 4)
    lines = metrics(run)
    assert [line["epochs_web"] for line in lines if line["split"] == "train"][-1] == result["epochs_web"]
    last = {line["split"]: line for line in lines if line["step"] == 6}
    assert set(last) == {"train", "validation", "val_web", "val_books"}
    web, books, both = (last[split]["loss"] for split in ("val_web", "val_books", "validation"))
    assert web != books
    assert both == pytest.approx(0.75 * web + 0.25 * books, rel=1e-6)  # as the rows are mixed, not as sets are large
    assert (result["val_loss"], result["val_web_loss"], result["val_books_loss"]) == (both, web, books)


def test_a_run_goes_on_with_the_same_bits(sets, mixed_run, tmp_path, monkeypatch):
    run, original = tmp_path / "run", Loop._gradient

    def stopped(self, *arguments):
        if self.state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_gradient", stopped)
        with pytest.raises(Stopped):
            run_verb("pretrain", words(sets, run))
    run_verb("pretrain", [f"run.dir={run}"])
    assert bits(run) == bits(mixed_run[0])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            "data.sets.web.path={web} data.sets.web.weight=1",
            r'data\.sets\.books\.weight: "1/4" -> "1/2"; data\.sets\.web\.weight',
        ),
        ("data.sets.more.path={books}", r"data\.sets\.more\.fingerprint: null"),
        ("data.sets.books.path={web}", r"data\.sets\.books\.fingerprint"),
    ],
)
def test_another_mixture_is_refused_and_named(sets, mixed_run, change, named):
    run, _ = mixed_run
    with pytest.raises(UserError, match=named):
        run_verb("pretrain", [f"run.dir={run}", *change.format(**sets).split()])


def test_a_dry_run_says_how_often_each_set_is_read(sets, tmp_path):
    from bigtrain.commands import pretrain
    from bigtrain.config import load

    needs = pretrain.run(load("pretrain", words(sets, tmp_path / "run")), dry_run=True)
    assert needs["epochs_web"] > needs["epochs_books"] > 0


def test_one_set_is_trained_on_as_if_it_were_named_alone(sets, tmp_path):
    one = ["train.max_steps=2", "train.eval_every_steps=2"]
    run_verb("pretrain", [*TINY, *one, f"data.sets.a.path={sets['web']}", f"run.dir={tmp_path / 'mixed'}"])
    run_verb("pretrain", [*TINY, *one, f"data.path={sets['web']}", f"run.dir={tmp_path / 'plain'}"])
    mixed, plain = ([(line["split"], line["loss"]) for line in metrics(tmp_path / name)] for name in ("mixed", "plain"))
    assert [line for line in mixed if line[0] != "val_a"] == plain
