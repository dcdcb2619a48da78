"""A prepared set on disk: what is in it, and that damage is noticed."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from bigtrain.data.schema import BytesConfig, WordBoundaries, WordsConfig
from bigtrain.data.shard_writer import ShardWriter
from bigtrain.data.shards import PreparedSet, token_dtype
from bigtrain.data.split import TRAIN, VALIDATION
from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer, train

TEXTS = ["first", "zweiter Text: äöü", "", "第四", "fifth\n"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five documents in two parts, written in three batches."""
    path = tmp_path / "set"
    path.mkdir()
    writer = ShardWriter(path, train(BytesConfig(), []))
    writer.add(TRAIN, TEXTS[:2])
    writer.add(VALIDATION, TEXTS[2:3])
    writer.add(TRAIN, TEXTS[3:])
    writer.add(TRAIN, [])
    assert sum(part["tokens"] for part in writer.counts.values()) == sum(len(text.encode()) + 1 for text in TEXTS)
    writer.finish("f" * 64, settings={"tokenizer": {"name": "bytes"}})
    return path


def test_what_was_written_is_read(folder: Path) -> None:
    prepared = PreparedSet.open(folder)
    tokenizer = prepared.tokenizer()
    assert prepared.fingerprint == "f" * 64
    assert prepared.vocab_size == tokenizer.vocab_size == 257
    for part, texts in ((TRAIN, [*TEXTS[:2], *TEXTS[3:]]), (VALIDATION, TEXTS[2:3])):
        split = prepared.split(part)
        assert split.n_bytes == sum(len(text.encode()) for text in texts)
        assert split.tokens.dtype == np.uint16
        assert split.document_starts.dtype == np.int64
        ends = [*split.document_starts[1:], len(split)]
        for text, start, end in zip(texts, split.document_starts, ends, strict=True):
            *ids, eos = split.tokens[start:end].tolist()
            assert tokenizer.decode(ids) == text
            assert eos == tokenizer.eos_id
    prepared.verify()


def test_arrays_are_mapped_and_cannot_be_written(folder: Path) -> None:
    tokens = PreparedSet.open(folder).split(TRAIN).tokens
    assert isinstance(tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_an_empty_part_is_an_empty_array(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, train(BytesConfig(), []))
    writer.add(TRAIN, ["text"])
    writer.finish("f", settings={"tokenizer": {"name": "bytes"}})
    split = PreparedSet.open(tmp_path).split(VALIDATION)
    assert (len(split), len(split.document_starts), split.n_bytes) == (0, 0, 0)


def test_parts_put_together_are_the_whole(folder: Path, tmp_path: Path) -> None:
    tokenizer = train(BytesConfig(), [])
    (tmp_path / "joined").mkdir()
    whole = ShardWriter(tmp_path / "joined", tokenizer)
    for n, (train_texts, validation_texts) in enumerate([(TEXTS[:2], TEXTS[2:3]), (TEXTS[3:], []), ([], [])]):
        part = tmp_path / f"part{n}"
        part.mkdir()
        writer = ShardWriter(part, tokenizer)
        assert writer.add(TRAIN, train_texts) == [len(text.encode()) + 1 for text in train_texts]
        writer.add(VALIDATION, validation_texts)
        whole.append(part, writer.counts)
    whole.finish("f" * 64, settings={"tokenizer": {"name": "bytes"}})
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "joined" / path.name).read_bytes(), path.name


def test_which_tokens_continue_a_word_is_stored_where_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    assert PreparedSet.open(folder).split(TRAIN).continues_word is None
    other = tmp_path / "other"
    other.mkdir()
    writer = ShardWriter(other, train(BytesConfig(), []), WordBoundaries.plain)
    writer.add(TRAIN, ["a cat", "Ä"])
    writer.finish("f", settings={"tokenizer": {"name": "bytes"}, "word_boundaries": "plain"})
    prepared = PreparedSet.open(other)
    flags = prepared.split(TRAIN).continues_word
    assert flags is not None
    assert flags.tolist() == [0, 0, 0, 1, 1, 0, 0, 1, 0]  # a, blank, c, a, t, end, the two bytes of Ä, end
    assert prepared.split(VALIDATION).continues_word is not None
    prepared.verify()
    (other / "train.words.bin").write_bytes(b"\0" * 8)
    with pytest.raises(UserError, match=r"train\.words\.bin"):
        PreparedSet.open(other)


def test_which_tokens_are_learned_is_stored_where_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    assert PreparedSet.open(folder).split(TRAIN).learned is None
    other = tmp_path / "other"
    other.mkdir()
    writer = ShardWriter(other, train(BytesConfig(), []), loss_between=["A:", "Q"])
    texts = ["QaA:bÄ", "QaA:bQcA:dQ", "Qa"]
    writer.add(TRAIN, texts)
    writer.finish("f", settings={"tokenizer": {"name": "bytes"}, "loss_between": ["A:", "Q"]})
    prepared = PreparedSet.open(other)
    split = prepared.split(TRAIN)
    assert split.learned is not None
    # To the end and the end itself, where the second mark is missing; that mark too where it is there.
    wanted = ["00001111", "000011000111", "000"]
    assert "".join(map(str, split.learned.tolist())) == "".join(wanted)
    assert prepared.manifest["splits"][TRAIN]["learned"] == split.n_targets() == "".join(wanted).count("1")
    assert split.first(5).n_targets() == 1
    prepared.verify()
    (other / "train.loss.bin").write_bytes(b"\0" * 8)
    with pytest.raises(UserError, match=r"train\.loss\.bin"):
        PreparedSet.open(other)


@pytest.mark.parametrize(("size", "name"), [(257, "uint16"), (65536, "uint16"), (65537, "uint32"), (200_000, "uint32")])
def test_the_type_holds_every_id(size: int, name: str) -> None:
    assert token_dtype(size).name == name
    assert np.iinfo(token_dtype(size)).max >= size - 1


def test_a_vocabulary_beyond_sixteen_bits(tmp_path: Path) -> None:
    words = " ".join(f"w{n}" for n in range(70_000))
    tokenizer = train(WordsConfig(vocab_size=70_000), [words])
    writer = ShardWriter(tmp_path, tokenizer)
    writer.add(TRAIN, [words])
    writer.finish("f", settings={"tokenizer": {"name": "words"}})
    tokens = PreparedSet.open(tmp_path).split(TRAIN).tokens
    assert tokens.dtype == np.uint32
    assert tokens[-1] == tokenizer.eos_id == 69_999
    assert tokenizer.decode(tokens[60_000:60_003].tolist()) == tokenizer.decode(tokenizer.encode(words)[60_000:60_003])


def test_a_tokenizer_without_an_end_of_document_token_is_refused(tmp_path: Path) -> None:
    spec = {**train(BytesConfig(), []).spec, "added_tokens": []}
    with pytest.raises(UserError, match="eos_token"):
        ShardWriter(tmp_path, Tokenizer(spec))


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_no_prepared_set(folder: Path, tmp_path: Path) -> None:
    for path, words in {
        tmp_path / "absent": "no such folder",
        tmp_path: r"no manifest\.json",
        folder / "train.bin": "it is a file",
    }.items():
        with pytest.raises(UserError, match=words):
            PreparedSet.open(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "format 99"),
        ({"format": True}, "not the manifest"),
        ({"fingerprint": None}, "not the manifest"),
        ({"splits": {"train": {"documents": 1, "tokens": 1, "bytes": 1}}}, "not the manifest"),
        ({"tokenizer": {"hash": "", "vocab_size": "257", "eos_id": 256}}, "not the manifest"),
        ({"files": {"train.bin": 3}}, "not the manifest"),
        ({"files": {}}, "do not have the size"),
        ({"files": {"../secret": {"size": 1, "sha256": ""}}}, "secret is missing"),
        ({"dtype": "uint32"}, "uint32 tokens for a vocabulary of 257"),
        ({"tokenizer": {"hash": "", "vocab_size": 100, "eos_id": 99}}, "holds the token 256"),
        ({"tokenizer": {"hash": "", "vocab_size": 70_000, "eos_id": 256}}, "uint16 tokens for a vocabulary of 70000"),
    ],
)
def test_a_manifest_that_does_not_fit(folder: Path, changes: dict[str, object], words: str) -> None:
    (folder.parent / "secret").write_text("x")
    edit(folder, **changes)
    with pytest.raises(UserError, match=words):
        PreparedSet.open(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"null"])
def test_a_manifest_that_cannot_be_read(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match="manifest"):
        PreparedSet.open(folder)


def test_another_tokenizer_in_its_place_is_noticed(folder: Path) -> None:
    other = train(BytesConfig(), [])
    other.spec["normalizer"] = {"type": "NFC"}
    prepared = PreparedSet.open(folder)
    other.save(folder)
    with pytest.raises(UserError, match="not the one"):
        prepared.tokenizer()
    with pytest.raises(UserError, match=r"tokenizer\.json has"):
        PreparedSet.open(folder)


def test_random_damage_is_found(folder: Path) -> None:
    """Cut, grown, deleted: when it is opened. A changed byte: by `verify`."""
    rng = random.Random(0)
    names = sorted(path.name for path in folder.iterdir() if path.name != "manifest.json" and path.stat().st_size)
    prepared = PreparedSet.open(folder)
    for _ in range(60):
        path = folder / rng.choice(names)
        content = path.read_bytes()
        match rng.randrange(4):
            case 0:
                path.write_bytes(content[: rng.randrange(len(content))])
            case 1:
                path.write_bytes(content + b"x")
            case 2:
                path.unlink()
            case _:
                place = rng.randrange(len(content))
                path.write_bytes(
                    content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
                )
                with pytest.raises(UserError, match=path.name):
                    prepared.verify()
                path.write_bytes(content)
                continue
        with pytest.raises(UserError, match=path.name):
            PreparedSet.open(folder)
        path.write_bytes(content)
    prepared.verify()


def test_a_set_says_nothing_of_time_and_place(folder: Path, tmp_path: Path) -> None:
    manifest = (folder / "manifest.json").read_text()
    assert str(tmp_path) not in manifest
    assert set(json.loads(manifest)) == {
        *("format", "bigtrain", "fingerprint", "tokenizer", "dtype", "splits", "settings", "files"),
    }
