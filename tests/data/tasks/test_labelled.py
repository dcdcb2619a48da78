"""Labelled rows: pairs as transformers encodes them, what is held out, leaks, augmentation on the way."""

import json
import logging
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from encoders import wordpiece
from harness import WORDS, text

from bigtrain.data.frame import Frame
from bigtrain.data.loader import Loader
from bigtrain.data.tasks.augmented import AugmentedTexts
from bigtrain.data.tasks.encoding import PairFrame, RowEncoder, longest_first
from bigtrain.data.tasks.held_out import held_out
from bigtrain.data.tasks.labelled import LabelledRows
from bigtrain.data.tasks.leaks import find_leaks
from bigtrain.data.tasks.schema import AugmentConfig
from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer


def test_pairs_are_those_of_transformers(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    own = wordpiece()
    own.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    draw = random.Random(0)
    firsts = ["".join(draw.choices("abc de", k=draw.randrange(1, 40))) for _ in range(60)]
    seconds = ["".join(draw.choices("abc de", k=draw.randrange(1, 40))) for _ in range(60)]
    for longest in (8, 13, 24, 64):
        encoder = RowEncoder(own, longest, Frame.of(own), PairFrame.of(own))
        expected = theirs(firsts, seconds, truncation="longest_first", max_length=longest, return_token_type_ids=True)
        for row, ids, kinds in zip(
            encoder(firsts, seconds), expected["input_ids"], expected["token_type_ids"], strict=True
        ):
            assert row.ids.tolist() == ids
            assert row.segments is not None
            assert row.segments.tolist() == kinds
    with pytest.raises(UserError, match="5 tokens or more"):
        RowEncoder(own, 4, Frame.of(own), PairFrame.of(own))


def test_the_longer_text_is_cut_first() -> None:
    assert longest_first(3, 20, 10) == (3, 7)
    assert longest_first(20, 3, 10) == (7, 3)
    assert longest_first(20, 30, 9) == (4, 5)
    assert longest_first(4, 5, 10) == (4, 5)


def test_without_a_frame_two_texts_are_one() -> None:
    own = wordpiece()
    row = RowEncoder(own, 64)(["a b"], ["c"])[0]
    assert row.ids.tolist() == own.encode("a b\n\nc")
    assert row.segments is None


def test_the_same_share_of_each_label_is_held_out() -> None:
    texts = [text(12, seed) for seed in range(1000)]
    labels = [("rare",) if seed % 50 == 0 else ("middle",) if seed % 3 else ("common",) for seed in range(1000)]
    held = held_out(texts, labels, 0.1)
    for label, n in Counter(labels).items():
        assert held[[one == label for one in labels]].sum() == round(n / 10)
    assert held_out(texts[::-1], labels[::-1], 0.1).tolist() == held[::-1].tolist()
    assert (held_out(texts[:900], labels[:900], 0.1) != held[:900]).sum() <= 20  # rows that are added move few others
    assert not held_out(texts, labels, 0.0).any()


def test_rows_with_several_labels_are_held_out_by_their_rarest() -> None:
    texts = [text(12, seed) for seed in range(400)]
    labels = [
        ("all", *(["rare"] if seed % 20 == 0 else []), *(["some"] if seed % 4 == 0 else [])) for seed in range(400)
    ]
    labels[7] = ()
    held = held_out(texts, labels, 0.1)
    assert [sum(name in row for row, one in zip(labels, held, strict=True) if one) for name in ("rare", "some")] == [
        2,
        10,
    ]
    assert held.sum() == 40


def test_no_label_is_without_training_rows_and_equal_texts_stay_together() -> None:
    texts = ["one text"] * 6 + [text(9, seed) for seed in range(40)]
    held = held_out(texts, [("a",)] * 6 + [(f"label {seed}",) for seed in range(40)], 0.9)
    assert not held.any()  # each label has one text
    for fraction, n in ((0.001, 1), (0.1, 4), (0.999, 40)):
        held = held_out(texts, [("b",)] * 46, fraction)
        assert held[6:].sum() + held[0] == n  # of 41 texts
        assert len(set(held[:6].tolist())) == 1
    labels = ["a"] * 3 + ["b"] * 3 + ["b"] * 40
    assert len(set(held_out(texts, [(label,) for label in labels], 0.5)[:6].tolist())) == 1


def test_leaks_are_found_word_for_word_and_nearly() -> None:
    training = [text(40, seed) for seed in range(50)]
    nearly = training[7].split(" ")
    nearly[-1] = "otherwise"
    validation = [text(40, 1000), training[3].replace(" ", "  "), " ".join(nearly), text(40, 1001)]
    leaks = find_leaks(training, validation)
    assert leaks == ([(1, 3)], [(2, 7)])
    assert leaks
    assert not find_leaks(training, [text(40, 1002)])


def test_leaks_of_short_texts_are_found_and_others_are_none() -> None:
    draw = random.Random(2)
    english = [" ".join(draw.choices(WORDS, k=draw.randrange(8, 25))) for _ in range(300)]
    chinese = ["".join(draw.choices([chr(0x4E00 + code) for code in range(600)], k=20)) for _ in range(300)]
    training = [text for both in zip(english, chinese, strict=True) for text in both]
    planted = []
    for number, said in enumerate(training[:200]):
        parts = list(said) if number % 2 else said.split()
        place = draw.randrange(len(parts))
        change = [slice(place, place), slice(place, place + 1)][number // 2 % 2]  # inserted, or changed
        parts[change] = ["天" if number % 2 else "otherwise"]
        planted.append(("" if number % 2 else " ").join(parts))
    assert len({row for row, first in find_leaks(training, planted).near if row == first}) > 190
    others = [" ".join(draw.choices(WORDS, k=draw.randrange(5, 25))) for _ in range(300)]
    assert len(find_leaks(training, [*others, *(text[:5] for text in chinese)]).near) == 0


def test_texts_are_augmented_by_seed_row_and_pass_and_in_training_alone() -> None:
    own = wordpiece()
    texts = [f"{'abcdefgh'[row]} b c d e f" for row in range(8)]
    encoder = RowEncoder(own, 16, Frame.of(own))
    config = AugmentConfig(probability=1.0, mask=0.4)
    drawn = AugmentedTexts(config, 3, encoder, texts)
    rows = LabelledRows(encoder(texts), np.arange(8), own.pad_id, batch_rows=4, drawn=drawn, longest=16)
    index = np.array([5, 2, 7])
    first, again = (rows.batch(index, np.array([0, 0, 1])) for _ in range(2))
    assert first["tokens"].equal(again["tokens"])
    alone = rows.batch(index[2:], np.array([1]))
    assert alone["tokens"][0, : alone["lengths"][0]].tolist() == first["tokens"][2, : first["lengths"][2]].tolist()
    assert (first["tokens"] == own.backend.token_to_id("[MASK]")).any()
    plain = rows.batch(index)
    assert plain["tokens"].tolist() == [encoder([texts[row]])[0].ids.tolist() for row in index]


@pytest.mark.parametrize("keys", [{"delete": 0.3}, {"mask": 0.4}, {"delete": 0.5, "probability": 0.5}])
def test_augmented_rows_are_in_batches_of_like_length_and_their_padding_is_measured(keys: dict[str, float]) -> None:
    own = wordpiece()
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcdef", k=round(draw.lognormvariate(3, 0.5)))) for _ in range(1500)]
    encoder = RowEncoder(own, 128, Frame.of(own))
    drawn = AugmentedTexts(AugmentConfig(**{"probability": 1.0, **keys}), 3, encoder, texts)  # type: ignore[arg-type]
    rows = LabelledRows(encoder(texts), np.zeros(1500), own.pad_id, batch_rows=16, drawn=drawn, longest=128)
    loader = Loader(rows, 16, seed=5)
    for first in (0, 200):  # of two passes
        batches = [loader.batch(step, 0, 16) for step in range(first, first + 1500 // 16)]
        held = sum(int(batch["lengths"].sum()) for batch in batches)
        padding = 1 - held / sum(batch["tokens"].numel() for batch in batches)
        assert padding < 0.05
        assert padding == pytest.approx(rows.padding(5, 16), abs=0.01)
    for step in (93, 94, 240):  # one batch lies in two passes; the rows are the same whichever came before
        fresh = LabelledRows(encoder(texts), np.zeros(1500), own.pad_id, batch_rows=16, drawn=drawn, longest=128)
        assert Loader(fresh, 16, seed=5).batch(step, 0, 16)["tokens"].equal(loader.batch(step, 0, 16)["tokens"])


def test_examples_are_the_first_changed_rows_with_their_second_texts() -> None:
    texts, others = ([text(12, seed) for seed in range(start, start + 60)] for start in (0, 60))
    config, encoder = AugmentConfig(probability=0.5, swap=0.5), RowEncoder(wordpiece(), 64)
    drawn = AugmentedTexts(config, 1, encoder, texts, others)
    pairs = drawn.examples()
    assert len(pairs) == 10
    assert all(before != after for before, after in pairs)
    wholes = ["\n\n".join(both) for both in zip(texts, others, strict=True)]
    assert [wholes.index(before) for before, _ in pairs] == sorted(wholes.index(before) for before, _ in pairs)
    halves = [[one != other for one, other in zip(*(t.split("\n\n") for t in pair), strict=True)] for pair in pairs]
    assert {tuple(half) for half in halves} >= {(True, False), (False, True)}
    assert AugmentedTexts(config, 1, encoder, ["same"] * 9).examples() == []


def test_a_hidden_span_is_the_tokenizers_own_mask_token() -> None:
    config = AugmentConfig(probability=1.0, mask=1.0)
    spec = wordpiece().spec
    renamed = json.loads(json.dumps(spec).replace("[MASK]", "<mask>"))
    for own, name in ((wordpiece(), "[MASK]"), (Tokenizer(renamed, {"mask_token": "<mask>"}), "<mask>")):
        [row] = AugmentedTexts(config, 1, RowEncoder(own, 8), ["a b c"])(0)
        assert row.ids.tolist() == [own.backend.token_to_id(name)]
    without = Tokenizer(json.loads(json.dumps(spec).replace("[MASK]", "[HIDE]")), {})
    with pytest.raises(UserError, match=r"data.augment.mask_token="):
        AugmentedTexts(config, 1, RowEncoder(without, 8), ["a b c"])
    config = AugmentConfig(probability=1.0, mask=1.0, mask_token="b")
    assert AugmentedTexts(config, 1, RowEncoder(without, 8), ["a a"])(0)[0].ids.tolist() == without.encode("b")


@pytest.mark.parametrize("name", ["synonyms", "paraphrases"])
def test_files_that_no_row_has_to_do_with_are_refused(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("a\tb\n")
    config = AugmentConfig(replace=0.5, paraphrase=0.5, **{name: str(path)})
    encoder = RowEncoder(wordpiece(), 8)
    with caplog.at_level(logging.INFO, "bigtrain"):
        AugmentedTexts(config, 1, encoder, ["c", "c", " a", "d"], ["a", "c", "b", "d"])
    assert f"2 of 4 rows have {name}" in caplog.text
    with pytest.raises(UserError, match="none for any of the 2 training rows"):
        AugmentedTexts(config, 1, encoder, ["c", "d"])
