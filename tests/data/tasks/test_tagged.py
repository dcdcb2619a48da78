"""Words as tokens: against transformers and against running text; rows that lose no word."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoders import wordpiece
from harness import WORDS

from bigtrain.data.frame import Frame
from bigtrain.data.loader import IGNORED
from bigtrain.data.schema import BPEConfig, BytesConfig, CharsConfig, UnigramConfig, WordPieceConfig, WordsConfig
from bigtrain.data.tasks.sentences import Sentence
from bigtrain.data.tasks.tagged import TaggedRows, WordTokens, encode_words, spelled
from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer, train

ODD = [
    "Zürich",
    "naïve",
    "can't",
    "U.S.",
    "3,141.5",
    "北京",
    "東京タワー",
    "x" * 30,
    "...",
    "€",
    "\u200b",
    "[SEP]",
    "—",
]
TAGS = ("O", "B-X", "I-X")


def sentence(seed: int, n: int | None = None, words: list[str] | None = None) -> Sentence:
    draw = random.Random(seed)
    found = draw.choices(words or [*WORDS, *ODD], k=n or draw.randrange(1, 15))
    return Sentence("a.txt", tuple(range(1, len(found) + 1)), tuple(found), tuple(draw.choices(TAGS, k=len(found))))


def transformers_of(tokenizer: Tokenizer, folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(folder)
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


def test_wordpiece_as_transformers(tmp_path: Path) -> None:
    texts = [" ".join([*WORDS, *ODD[:-4]]).lower()] * 3
    tokenizer = train(WordPieceConfig(vocab_size=120), texts)
    _compare_with_transformers(tokenizer, transformers_of(tokenizer, tmp_path))


def test_byte_level_bpe_that_adds_the_blank_itself_as_transformers(tmp_path: Path, test_data: Path) -> None:
    own = Tokenizer.load(test_data / "gpt2_vocab")
    tokenizer = Tokenizer({**own.spec, "pre_tokenizer": {**own.spec["pre_tokenizer"], "add_prefix_space": True}})
    _compare_with_transformers(tokenizer, transformers_of(tokenizer, tmp_path))


def _compare_with_transformers(tokenizer: Tokenizer, theirs: Any) -> None:
    words = [*WORDS, *ODD]
    words.remove("[SEP]")  # a special token to them, a word like any other here
    sentences = [sentence(seed, words=words) for seed in range(60)]
    rows = TaggedRows(sentences, tokenizer, TAGS, 500, Frame())
    n_left_out = 0
    for number, given in enumerate(sentences):
        found = theirs(list(given.words), is_split_into_words=True, add_special_tokens=False)
        batch = rows.batch(np.array([number]))
        word_ids = found.word_ids()
        without = set(range(len(given.words))) - set(word_ids)  # they leave nothing of these: here it is [UNK]
        n_left_out += len(without)
        if without:
            continue
        assert batch["tokens"][0].tolist() == found["input_ids"]
        before = [None, *word_ids]
        firsts = [place for place, word in enumerate(word_ids) if word is not None and word != before[place]]
        expected = [IGNORED] * len(word_ids)
        for word, place in enumerate(firsts):
            expected[place] = TAGS.index(given.tags[word])
        assert batch["labels"][0].tolist() == expected
    assert n_left_out < 30


@pytest.mark.parametrize(
    "config",
    [BPEConfig(vocab_size=300), UnigramConfig(vocab_size=300), BytesConfig(), CharsConfig(), WordsConfig()],
    ids=lambda config: type(config).__name__,
)
def test_words_have_the_tokens_of_running_text(config: object) -> None:
    draw = random.Random(1)
    words = [word for word in [*WORDS, *ODD] if word not in ("北京", "東京タワー", "[SEP]")]
    texts = [" ".join(draw.choices(words, k=12)) for _ in range(100)]
    tokenizer = train(config, texts)  # type: ignore[arg-type]
    sentences = [sentence(seed, words=words) for seed in range(30)]
    for given, found in zip(sentences, encode_words(sentences, tokenizer), strict=True):
        assert np.concatenate([word.ids for word in found]).tolist() == tokenizer.encode(given.text)
        for tokens, word in zip(found, given.words, strict=True):
            if tokens.ids[tokens.first] != tokenizer.unknown_id:
                piece = tokenizer.decode([int(tokens.ids[tokens.first])])
                assert piece.strip() or word == "\u200b"  # never the blank alone


def test_scripts_without_spaces_have_none() -> None:
    assert spelled(["我", "在", "Google", "工作", "。"]) == ["我", "在", "Google", "工作", "。"]
    assert spelled(["He", "said", ":", "你好", "，", "Peter", "!"]) == [
        "He",
        " said",
        " :",
        "你好",
        "，",
        "Peter",
        " !",
    ]
    assert spelled(["ฉัน", "รัก", "서울", "한국"]) == ["ฉัน", "รัก", "서울", " 한국"]


def test_a_word_without_tokens_is_unknown_or_an_error() -> None:
    given = Sentence("a.txt", (4, 5), ("the", "\u200b"), ("O", "O"))
    assert next(encode_words([given], wordpiece()))[1] == WordTokens(np.array([1], np.uint32), 0)
    tokenizer = train(BPEConfig(vocab_size=260), ["the cat"])
    spec = {**tokenizer.spec, "normalizer": {"type": "Replace", "pattern": {"String": "\u200b"}, "content": ""}}
    with pytest.raises(UserError, match=r"a\.txt:5: of the word '\\u200b'"):
        next(encode_words([Sentence("a.txt", (5, 6), ("\u200b", "the"), ("O", "O"))], Tokenizer(spec)))


def test_a_long_sentence_goes_on_in_the_next_row() -> None:
    tokenizer = wordpiece()  # a token for each letter
    frame = Frame.of(tokenizer)
    sentences = [sentence(seed, n=draw) for seed, draw in enumerate([1, 30, 2, 40, 3])]
    sentences.append(Sentence("a.txt", (1, 2, 3), ("a", "y" * 50, "b"), ("O", "B-X", "I-X")))
    rows = TaggedRows(sentences, tokenizer, TAGS, 20, frame)
    assert rows.n_cut == 3
    assert rows.lengths.max() == 20
    assert len(rows) > 20
    batch = rows.batch(np.arange(len(rows)))
    assert (batch["words"] >= 0).sum() == sum(len(one.words) for one in sentences) == (batch["labels"] >= 0).sum()
    table = np.where(batch["words"] < 0, -1, np.take_along_axis(batch["labels"].numpy(), batch["words"].numpy(), 1))
    found = rows.of_words(table.astype(np.float64))
    assert np.array_equal(found, rows.tags)
    assert [tuple(tags) for tags in rows.by_sentence(found)] == [one.tags for one in sentences]
    for row in range(len(rows)):
        tokens = batch["tokens"][row, : int(rows.lengths[row])].tolist()
        assert (tokens[0], tokens[-1]) == (2, 3)  # [CLS] and [SEP] around each
    long = TaggedRows(sentences[-1:], tokenizer, TAGS, 20, frame)
    assert long.lengths.tolist() == [3, 20, 3]


def test_a_tag_that_is_not_among_the_labels_is_an_error_with_its_line() -> None:
    given = Sentence("a.txt", (7, 8), ("the", "cat"), ("O", "B-Y"))
    with pytest.raises(UserError) as error:
        TaggedRows([given], wordpiece(), TAGS, 20, Frame())
    assert error.value.given == "a.txt:8, word 'cat': label 'B-Y' (is 'B-X' meant?)"
