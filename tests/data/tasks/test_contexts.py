"""Rows of questions with their contexts: answers in tokens of every tokenizer, windows as transformers cuts them."""

import random
from pathlib import Path

import numpy as np
import pytest
from encoders import wordpiece
from harness import text
from random_text import random_texts

from bigtrain.data.schema import BPEConfig, BytesConfig, CharsConfig, UnigramConfig, WordPieceConfig, WordsConfig
from bigtrain.data.tasks.contexts import ContextRows, decoder_frame, encoder_frame
from bigtrain.data.tasks.questions import Answer, Question, read_questions
from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer, train

KINDS = (BPEConfig, WordPieceConfig, UnigramConfig, WordsConfig, BytesConfig, CharsConfig)


def asked(context: str, *answers: tuple[int, int], question: str = "who?", id_: str = "q") -> Question:
    return Question(id_, question, context, tuple(Answer(context[a:b], a) for a, b in answers), f"a.json, {id_!r}")


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    texts = [*random_texts(100, seed=5), text(200), "naïve 南京市 नमस्ते 👩🏽‍👧"]
    sizes: dict[type, dict[str, int]] = {BPEConfig: {"vocab_size": 330}, UnigramConfig: {"vocab_size": 500}}
    return {kind.name: train(kind(**sizes.get(kind, {})), texts) for kind in KINDS}


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_the_tokens_of_an_answer_are_those_that_share_a_character_with_it(kind: str, trained: dict) -> None:
    draw, tokenizer = random.Random(kind), trained[kind]
    contexts = [*random_texts(60, seed=9), *(f" {text(20, seed)} 南京市长江大桥 naïve 👩🏽‍👧" for seed in range(20))]
    contexts = [context for context in contexts if tokenizer.encode(context)]
    for context in contexts:
        ids = tokenizer.encode(context)
        begin = draw.randrange(len(context))
        end = draw.randrange(begin, len(context)) + 1
        if not context[begin:end].strip():
            continue
        try:
            rows = ContextRows(
                [asked(context, (begin, end))], tokenizer, 4000, decoder_frame(tokenizer), overlap=0, null_last=True
            )
        except UserError as error:
            assert "leaves nothing" in error.given  # noqa: PT017  # control characters, in some tokenizers
            continue
        batch = rows.batch(np.array([0]))
        tokens, (first, last) = batch["tokens"][0].tolist(), batch["span"][0].tolist()
        start, stop = batch["context"][0].tolist()
        assert tokens[start:stop] == ids
        assert tokens == [*tokenizer.encode("who?"), *tokenizer.encode("\n"), *ids, tokenizer.eos_id]
        assert start <= first <= last < stop
        found = rows.text(0, first, last)
        assert context[begin:end].strip() in found or kind == "wordpiece"  # it leaves out odd characters
        if kind in ("chars", "bytes"):
            assert found == context[begin:end].strip()
        offsets = tokenizer.backend.encode(context, add_special_tokens=False).offsets
        sharing = [start + i for i, (a, b) in enumerate(offsets) if a < end and b > begin]
        assert [first, last] == [sharing[0], sharing[-1]]


def test_a_text_with_the_name_of_a_special_token_is_text() -> None:
    tokenizer = train(UnigramConfig(vocab_size=320), [text(300) + "<|endoftext|>" * 50])
    spec = tokenizer.spec
    spec["model"]["vocab"][0][1] = 0.0  # as likely as can be
    tokenizer = Tokenizer(spec, tokenizer.config)
    context = "a cat <|endoftext|> sings"
    rows = ContextRows([asked(context, (2, 5), (20, 25))], tokenizer, 99, decoder_frame(tokenizer), overlap=0)
    batch = rows.batch(np.array([0]))
    start, stop = batch["context"][0].tolist()
    assert batch["tokens"][0, start:stop].tolist() == tokenizer.encode(context)
    assert tokenizer.eos_id not in tokenizer.encode(context)
    assert rows.text(0, *batch["span"][0].tolist()) == "cat"
    assert rows.text(0, start, stop - 1) == context


@pytest.mark.parametrize("overlap", [0, 3, 8, 1000])
def test_windows_cover_the_context_and_share_tokens(overlap: int, trained: dict) -> None:
    tokenizer, context = trained["chars"], text(30)
    rows = ContextRows([asked(context, (90, 99))], tokenizer, 40, decoder_frame(tokenizer), overlap=overlap)
    batch = rows.batch(np.arange(len(rows)))
    room = 40 - len("who?\n") - 1
    shared = min(overlap, room // 2)
    where = [rows.text(row, first, stop - 1) for row, (first, stop) in enumerate(batch["context"].tolist())]
    step = room - shared
    assert len(rows) == 1 + -(-(len(context) - room) // step)
    for row, found in enumerate(where):
        assert found == context[row * step : row * step + room].strip()
    inside = [row for row in range(len(rows)) if row * step <= 90 and row * step + room >= 99]
    for row in range(len(rows)):
        first, last = batch["span"][row].tolist()
        if row in inside:
            assert rows.text(row, first, last) == context[90:99].strip()
        else:
            assert (first, last) == (0, 0)
    assert rows.out_of_reach(9) == (not inside)
    assert rows.out_of_reach(8) == 1


def test_rows_are_transformers_own(tmp_path: Path, test_data: Path) -> None:
    """Tokens, segments and places as its run_qa example makes them."""
    transformers = pytest.importorskip("transformers")
    questions = read_questions([test_data / "squad" / "dev.json"])[:60]
    tokenizer = train(WordPieceConfig(vocab_size=1500), [question.context for question in questions])
    cls, sep = (tokenizer.backend.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    around = {"type": "BertProcessing", "cls": ["[CLS]", cls], "sep": ["[SEP]", sep]}
    tokenizer = Tokenizer({**tokenizer.spec, "post_processor": around}, tokenizer.config)
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    rows = ContextRows(questions, tokenizer, 128, encoder_frame(tokenizer), overlap=40)
    batch = rows.batch(np.arange(len(rows)))
    expected = theirs(
        [question.question for question in questions],
        [question.context for question in questions],
        truncation="only_second",
        max_length=128,
        stride=40,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    assert expected["overflow_to_sample_mapping"] == rows.question_of.tolist()
    assert len(rows) > 2 * len(questions)
    found = 0
    for row, ids in enumerate(expected["input_ids"]):
        length = int(batch["lengths"][row])
        assert batch["tokens"][row, :length].tolist() == ids
        assert batch["segments"][row, :length].tolist() == expected["token_type_ids"][row]
        offsets, sides = expected["offset_mapping"][row], expected.sequence_ids(row)
        answer = questions[rows.question_of[row]].answers[0]
        first, last = sides.index(1), len(ids) - 1 - sides[::-1].index(1)
        assert batch["context"][row].tolist() == [first, last + 1]
        if offsets[first][0] <= answer.start and offsets[last][1] >= answer.end:
            while first < len(offsets) and offsets[first][0] <= answer.start:
                first += 1
            while offsets[last][1] >= answer.end:
                last -= 1
            assert batch["span"][row].tolist() == [first - 1, last + 1]
            found += 1
        else:
            assert batch["span"][row].tolist() == [0, 0]
    assert found >= len(questions)


def test_little_is_padding_and_a_batch_is_a_function_of_its_rows(test_data: Path) -> None:
    questions = read_questions([test_data / "squad" / "train.json"])
    tokenizer = train(WordPieceConfig(vocab_size=2000), [question.context for question in questions[:200]])
    rows = ContextRows(questions, tokenizer, 256, encoder_frame(tokenizer), overlap=64, batch_rows=16)
    assert rows.padding(seed=7, rows_at_once=16) < 0.05
    alone, together = rows.batch(np.array([5])), rows.batch(np.array([900, 5]))
    length = int(alone["lengths"][0])
    for name, values in alone.items():
        other = together[name][1]
        assert (other[:length] if name in ("tokens", "segments") else other).tolist() == values[0].tolist(), name


@pytest.mark.parametrize(
    ("context", "answers", "question", "problem"),
    [
        ("a cat", [(2, 5)], "who " * 20, "a question of 60 tokens"),
        ("\u200b\u200b", [], "who", "a context of which"),
        ("a \u200b cat", [(2, 3)], "who", "the tokenizer leaves nothing"),
    ],
)
def test_what_fits_no_row_is_named(context: str, answers: list, question: str, problem: str) -> None:
    tokenizer = wordpiece()
    with pytest.raises(UserError, match=problem) as caught:
        ContextRows([asked(context, *answers, question=question)], tokenizer, 40, encoder_frame(tokenizer), overlap=0)
    assert "a.json, 'q'" in caught.value.given


def test_models_without_the_tokens_are_refused() -> None:
    chars = train(CharsConfig(), ["abc"])
    with pytest.raises(UserError, match="nothing before a text"):
        encoder_frame(chars)
    spec = wordpiece().spec
    spec["added_tokens"] = [token for token in spec["added_tokens"] if token["content"] in ("[PAD]", "[UNK]")]
    vocab = spec["model"]["vocab"]
    vocab["x"] = vocab.pop("[SEP]")
    spec["post_processor"] = None
    with pytest.raises(UserError, match="no token that ends a document"):
        decoder_frame(Tokenizer(spec))
