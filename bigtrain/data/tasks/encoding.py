"""Texts and pairs of texts as rows of token ids, framed and cut as transformers' tokenizers do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.frame import Frame
from bigtrain.data.tasks.rows import JOINT
from bigtrain.errors import UserError
from bigtrain.tokenizer import Tokenizer

Ints = NDArray[np.int64]

# For tokenizers that do not say what stands between two texts, as for one text in frame.py.
_AROUND = ((("[CLS]",), ("[SEP]",), ("[SEP]",)), (("<s>",), ("</s>", "</s>"), ("</s>",)))


class PairFrame(NamedTuple):
    """What an encoder reads around two texts: [CLS] a [SEP] b [SEP] or <s> a </s></s> b </s>, and their segments."""

    before: Ints
    between: Ints
    after: Ints
    segments: tuple[Ints, Ints, Ints]  # of these tokens
    of_texts: tuple[int, int]  # the segments of the two texts

    @property
    def size(self) -> int:
        """Tokens that are no text."""
        return len(self.before) + len(self.between) + len(self.after)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> PairFrame | None:
        """What the tokenizer itself puts around two texts; else its tokens of these names, or None."""
        encoding = tokenizer.backend.encode("a", "a", add_special_tokens=True)
        sides = encoding.sequence_ids
        if None in sides and {0, 1} <= set(sides):
            ids, kinds = np.array(encoding.ids, np.int64), np.array(encoding.type_ids, np.int64)
            first = [place for place, side in enumerate(sides) if side == 0]
            second = [place for place, side in enumerate(sides) if side == 1]
            before, after = slice(first[0]), slice(second[-1] + 1, None)
            between = slice(first[-1] + 1, second[0])
            texts = int(kinds[first[0]]), int(kinds[second[0]])
            return cls(ids[before], ids[between], ids[after], (kinds[before], kinds[between], kinds[after]), texts)
        for names in _AROUND:
            parts = [[tokenizer.backend.token_to_id(name) for name in part] for part in names]
            if all(id_ is not None for part in parts for id_ in part):
                begin, middle, end = (np.array(part, np.int64) for part in parts)
                segments = np.zeros_like(begin), np.zeros_like(middle), np.ones_like(end)
                return cls(begin, middle, end, segments, (0, 1))
        return None

    def around(self, first: NDArray[np.uint32], second: NDArray[np.uint32]) -> tuple[Ints, Ints]:
        """Ids of both texts -> ids and segments of the row."""
        ids = np.concatenate([self.before, first, self.between, second, self.after]).astype(np.int64)
        before, between, after = self.segments
        one, other = (np.full(len(text), kind) for text, kind in zip((first, second), self.of_texts, strict=True))
        return ids, np.concatenate([before, one, between, other, after])


def longest_first(n_first: int, n_second: int, room: int) -> tuple[int, int]:
    """Tokens that are kept of two texts: the longer one loses its end until both fit, as transformers has it."""
    short, long = sorted((n_first, n_second))
    if short + long > room:
        long = short if short > room else max(short, room - short)
        if short + long > room:
            short, long = room // 2, room - room // 2
    return (short, long) if n_first <= n_second else (long, short)


class Encoded(NamedTuple):
    """A row. segments: (T,) where the model tells two kinds of text apart."""

    ids: Ints
    segments: Ints | None = None
    cut: bool = False  # whether it lost tokens


class RowEncoder:
    """Texts, or pairs of texts, as rows of `seq_len` tokens at most.

    frame: special tokens around a text. pair_frame: those around two; without it the two are one text
    with a blank line between them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        seq_len: int,
        frame: Frame | None = None,
        pair_frame: PairFrame | None = None,
        *,
        segments: bool = True,
    ) -> None:
        """segments: whether the model has more than one. Raises UserError where no text has room."""
        self.tokenizer, self.seq_len, self.segments = tokenizer, seq_len, segments
        self.frame, self.pair_frame = frame or Frame(), pair_frame
        if pair_frame and seq_len < pair_frame.size + 2:
            raise UserError(
                f"rows of {seq_len} tokens for two texts",
                f"a row holds {pair_frame.size} special tokens and both texts",
                f"choose {pair_frame.size + 2} tokens or more",
            )

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] = (), *, mask: str = "") -> list[Encoded]:
        """pairs: the second texts, or none.

        mask: a special token that is meant where a text has its name, which else is text like any other.
        """
        if not pairs or self.pair_frame is None:
            texts = [JOINT.join(both) for both in zip(texts, pairs, strict=True)] if pairs else texts
            return [self._one(ids) for ids in self._ids(texts, mask)]
        first, second = (self._ids(part, mask) for part in (texts, pairs))
        return [self._both(a, b) for a, b in zip(first, second, strict=True)]

    def _ids(self, texts: Sequence[str], mask: str) -> list[NDArray[np.uint32]]:
        mask_id = self.tokenizer.backend.token_to_id(mask) if mask else None
        if mask_id is None:
            return self.tokenizer.encode_documents(texts)
        between = np.array([mask_id], np.uint32)
        pieces = [text.split(mask) for text in texts]
        ids = iter(self.tokenizer.encode_documents([piece for part in pieces for piece in part]))
        return [np.concatenate([both for _ in part for both in (between, next(ids))][1:]) for part in pieces]

    def _one(self, ids: NDArray[np.uint32]) -> Encoded:
        room = self.seq_len - len(self.frame)
        row = self.frame.around(ids[:room].astype(np.int64))
        # A text without a token is read as one padding token, which is where the label is then predicted.
        return Encoded(row if len(row) else np.array([self.tokenizer.pad_id]), None, len(ids) > room)

    def _both(self, first: NDArray[np.uint32], second: NDArray[np.uint32]) -> Encoded:
        assert self.pair_frame is not None
        kept = longest_first(len(first), len(second), self.seq_len - self.pair_frame.size)
        ids, segments = self.pair_frame.around(first[: kept[0]], second[: kept[1]])
        return Encoded(ids, segments if self.segments else None, kept != (len(first), len(second)))
