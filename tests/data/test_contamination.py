"""Evaluation sets in training text: against a search without hashes, and every way in which the sets are given."""

import gzip
import json
import logging
import random
import re
from pathlib import Path

import numpy as np
import pytest

from bigtrain.data.contamination import Index, Overlap, evaluation_sources
from bigtrain.data.contamination_schema import DecontaminateConfig, OverlapAction
from bigtrain.data.schema import SourceConfig
from bigtrain.errors import UserError

TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want"
POEM = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"


def index(folder: Path, *texts: str, **settings: object) -> Index:
    path = folder / "evaluation.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return Index.build(DecontaminateConfig(files=[str(path)], **settings))  # type: ignore[arg-type]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]", text.lower())


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    split = words(text)
    return {tuple(split[place : place + n]) for place in range(len(split) - n + 1)}


def overlaps(text: str, evaluation: list[str], n: int) -> bool:
    """The definition, word for word."""
    for each in evaluation:
        length = min(n, len(words(each)))
        looked_for = length == n or (length >= 8 and len(each) >= 32)
        if looked_for and grams(each, length) & grams(text, length):
            return True
    return False


def random_text(draw: random.Random, n_words: int) -> str:
    """Of few words, so that some overlaps come by chance; some Chinese, which has no spaces."""
    parts = []
    for _ in range(n_words):
        word = draw.choice(["a", "b", "cc", "dd", "eee", "月", "光"])
        parts.append(
            draw.choice([word, word.upper()]) + draw.choice([" ", ", ", "\n", ". "] if word.isascii() else ["", "，"])
        )
    return "".join(parts)


@pytest.mark.parametrize("n", [4, 9, 13])
def test_it_finds_what_a_plain_search_finds(n: int, tmp_path: Path) -> None:
    draw = random.Random(n)
    evaluation = [random_text(draw, draw.choice([5, 9, 12, 20, 60])) for _ in range(20)]
    found = index(tmp_path, *evaluation, ngram=n)
    texts = []
    for _ in range(300):
        text = random_text(draw, draw.choice([0, 3, 10, 30, 100]))
        if draw.random() < 0.5:
            start = draw.randrange(30)
            piece = draw.choice(evaluation)[start : start + draw.choice([20, 40, 80])]
            text = f"{text} {piece} {random_text(draw, 5)}"
        texts.append(text)
    result = found.find_all(texts)
    expected = [overlaps(text, evaluation, n) for text in texts]
    assert 20 < sum(expected) < 280
    assert [overlap is not None for overlap in result] == expected
    assert [found.find(text) for text in texts] == result
    for text, overlap in zip(texts, result, strict=True):
        if overlap:
            assert overlap.text in text
            assert overlap.line is not None
            assert " ".join(words(overlap.text)) in " ".join(words(evaluation[overlap.line - 1]))


def test_the_words_and_where_they_stand(tmp_path: Path) -> None:
    found = index(tmp_path, "other text", f"Begin. {TEXT} of a wife.")
    rest = TEXT[TEXT.index(",") :]
    overlap = found.find(f"I read: IT IS a truth -- universally acknowledged{rest} of money.")
    said = f"IT IS a truth -- universally acknowledged{rest} of"
    assert overlap == Overlap(str(tmp_path / "evaluation.jsonl"), 2, said)
    assert found.find(TEXT[:60]) is None


def test_characters_are_words_where_there_are_no_spaces(tmp_path: Path) -> None:
    found = index(tmp_path, POEM)
    overlap = found.find("他说：" + POEM[2:18] + "。")
    assert overlap is not None
    assert overlap.text == POEM[2:18].strip("，。")
    assert found.find("他说：" + POEM[3:15]) is None


def test_a_word_is_compared_as_a_whole(tmp_path: Path) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen"
    found = index(tmp_path, text)
    assert found.find(text) is not None
    assert found.find(text + "th") is None
    assert found.find("x" + text) is None
    assert found.find(text.replace(" ", "")) is None


def test_short_evaluation_texts_are_looked_for_as_a_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "bigtrain"):
        found = index(tmp_path, "Do you know what the capital of France is?", "Who knows?", "这是什么意思请你告诉我")
    assert "evaluation texts with fewer than 8 words or 32 characters are not looked for: 2" in caplog.text
    assert found.find("I asked: do you know what the capital of France is, and left.") is not None
    assert found.find("Do you know what the capital of France was?") is None
    assert found.find("Who knows? 这是什么意思请你告诉我") is None


def test_long_documents(tmp_path: Path) -> None:
    """Wherever an overlap stands in a text that is searched in pieces."""
    draw = random.Random(0)
    found = index(tmp_path, TEXT)
    for blank in " ", "":
        filler = blank.join(
            f"{draw.randrange(10**6)}" if blank else chr(draw.randrange(0x5000, 0x9000)) for _ in range(150_000)
        )
        assert found.find(filler) is None
        for place in range(0, len(filler), 29_989):
            start = filler.find(" ", place) if blank else place
            overlap = found.find(f"{filler[:start]} {TEXT} {filler[start:]}")
            assert overlap is not None
            assert overlap.text == TEXT


def test_long_evaluation_texts(tmp_path: Path) -> None:
    draw = random.Random(1)
    numbers = [str(draw.randrange(10**6)) for _ in range(60_000)]
    path = tmp_path / "book.txt"
    path.write_text(" ".join(numbers))
    found = Index.build(DecontaminateConfig(files=[str(path)]))
    for place in [*range(0, 59_000, 997), 60_000 - 13]:
        overlap = found.find("and " + ", ".join(numbers[place : place + 13]) + " so")
        assert overlap == Overlap(str(path), None, ", ".join(numbers[place : place + 13]))


def test_documents_of_a_batch_are_kept_apart(tmp_path: Path) -> None:
    found = index(tmp_path, TEXT)
    split = TEXT.split()
    assert found.find_all([" ".join(split[:10]), " ".join(split[10:])]) == [None, None]
    assert [overlap is not None for overlap in found.find_all(["", TEXT, "x", TEXT])] == [False, True, False, True]


def test_equal_hashes_are_not_enough(tmp_path: Path) -> None:
    """A hash that two n-grams share is no overlap: the texts are compared."""
    found = index(tmp_path, TEXT)
    arrays = {**found._arrays, "text": np.frombuffer(TEXT.replace("t", "x").encode(), np.uint8)}
    assert Index(found._meta, arrays).find(TEXT) is None


def test_saved_and_loaded(tmp_path: Path) -> None:
    found = index(tmp_path, TEXT, POEM, "x")
    found.save(tmp_path / "index")
    loaded = Index.load(tmp_path / "index")
    assert isinstance(loaded._hashes, np.memmap)
    for text in (TEXT, POEM, "nothing"):
        assert loaded.find(text) == found.find(text)
    again = index(tmp_path, TEXT, POEM, "x")
    again.save(tmp_path / "again")
    for file in sorted((tmp_path / "index").iterdir()):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_every_format(tmp_path: Path) -> None:
    """Each file holds other words; fields of their own for some."""
    sets = {name: TEXT.replace("man", name) for name in ("txt", "jsonl", "csv", "tsv", "json", "gz", "own")}
    (tmp_path / "a.txt").write_text(sets["txt"])
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": sets["jsonl"]}))
    (tmp_path / "a.csv").write_text(f'id,text\n1,"{sets["csv"]}"\n')
    (tmp_path / "a.tsv").write_text(f"id\ttext\n1\t{sets['tsv']}\n")
    (tmp_path / "a.json").write_text(json.dumps([{"text": sets["json"]}]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": sets["gz"]}).encode()))
    own = {"q": TEXT.partition(",")[0], "a": {"b": sets["own"].partition(",")[2]}}
    (tmp_path / "own.ndjson").write_text(json.dumps(own))
    config = DecontaminateConfig(
        files=[str(tmp_path / "a.*"), str(tmp_path / "b*")],
        sources={"own": SourceConfig(files=[str(tmp_path / "own.ndjson")], text_field=["q", "a.b"])},
    )
    config.check()
    assert len(evaluation_sources(config)) == 7
    found = Index.build(config)
    files = {}
    for name, text in sets.items():
        overlap = found.find(text)
        assert overlap is not None, name
        files[name] = Path(overlap.file).name
    plain = {name: f"a.{name}" for name in ("txt", "jsonl", "csv", "tsv", "json")}
    assert files == {**plain, "gz": "b.jsonl.gz", "own": "own.ndjson"}


@pytest.mark.parametrize(
    ("content", "settings", "expected"),
    [
        (b"", {}, "no text in"),
        (b'{"text": ""}', {}, "no text in"),
        (b'{"text": "much too short"}', {}, "no text of 8 words in"),
        (b'{"body": "x"}', {}, "decontaminate.text_field="),
        (b'{"text": "a"}\n{', {}, "a.jsonl:2"),
        (b"id;text\n1;a\n", {"name": "a.csv"}, "decontaminate.sources.NAME.delimiter=';'"),
        (b'{"text": "a"}', {"files": ["absent.txt"]}, "decontaminate.files=absent.txt"),
        (
            b'{"text": "a"}',
            {"files": [], "sources": {"x": SourceConfig(files=["absent.txt"])}},
            "decontaminate.sources.x.files",
        ),
    ],
)
def test_what_cannot_be_read_is_an_error(content: bytes, settings: dict, expected: str, tmp_path: Path) -> None:
    """It must not pass for a set that nothing overlaps."""
    path = tmp_path / settings.pop("name", "a.jsonl")
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(expected)):
        Index.build(DecontaminateConfig(**{"files": [str(path)], **settings}))


def test_the_config() -> None:
    assert DecontaminateConfig().action is OverlapAction.drop
    sources = [SourceConfig(), SourceConfig(files=["a.csv"], delimiter=";;")]
    for config in (DecontaminateConfig(text_field=[]), *(DecontaminateConfig(sources={"x": one}) for one in sources)):
        with pytest.raises(UserError, match="decontaminate"):
            config.check()


def test_real_sets(test_data: Path) -> None:
    """The questions of GSM8K's two parts are written by the same hands, but nearly all different."""
    config = DecontaminateConfig(files=[str(test_data / "gsm8k" / "dev.jsonl")], text_field=["question"])
    found = Index.build(config)

    def questions(name: str) -> list[str]:
        lines = (test_data / "gsm8k" / name).read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["question"] for line in lines]

    dev = found.find_all(questions("dev.jsonl"))
    train = found.find_all(questions("train.jsonl"))
    assert all(dev)
    assert 1 <= sum(overlap is not None for overlap in train) < 30
    novels = [path.read_text(encoding="utf-8") for path in sorted((test_data / "eltec_novels").glob("ENG*.txt"))]
    assert found.find_all(novels) == [None] * len(novels)
