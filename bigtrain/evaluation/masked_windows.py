"""A stream of tokens cut into windows with hidden tokens, the same ones in every evaluation."""

from __future__ import annotations

import numpy as np
import torch

from bigtrain.data.frame import Frame
from bigtrain.data.loader import IGNORED, Batch, derive
from bigtrain.data.masked_rows import as_batch, flagged, framed
from bigtrain.data.masking import Masker
from bigtrain.data.sentence_pairs import FOLLOWS, STRAYS
from bigtrain.errors import UserError


class MaskedWindows:
    """Batches that ask for a share of the stream's tokens once, and then for some of them one at a time.

    Windows of `seq_len` tokens, special tokens included, follow each other; the last begins earlier where the stream
    is not long enough, and is only asked for what is new in it. All batches of a kind have one shape: the rows are
    spread evenly, and rows that are not needed ask for nothing.

    A batch of the first kind has tokens (B, T), positions and targets (B, P). One of the second kind, for
    pseudo-perplexity, has a row for each of the first `alone` tokens of the stream, in which that token and no other is
    hidden: tokens (B, T), positions and alone (B, 1). document_starts: as in `windows.Windows`.

    pairs: windows of two texts, cut in their middle. Every other window goes on with the second half of another one of
    these. Batches of the first kind then have segments (B, T) and strays (B,) too, see `data.sentence_pairs`.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        seq_len: int,
        batch_rows: int,
        frame: Frame,
        masker: Masker,
        *,
        alone: int = 0,
        document_starts: np.ndarray | None = None,
        pairs: bool = False,
    ) -> None:
        n_special = frame.size(2 if pairs else 1)
        if not len(tokens) or seq_len <= n_special:
            raise UserError(
                f"{len(tokens)} tokens in windows of {seq_len}, {n_special} of which are special",
                "a window holds text",
                "give longer windows" if len(tokens) else "give more text",
            )
        self.tokens, self.frame, self.masker, self.document_starts = tokens, frame, masker, document_starts
        self.pairs, self.length = pairs, min(seq_len - n_special, len(tokens))
        self.n_windows = -(-len(tokens) // self.length)
        self.n_masked = -(-self.n_windows // batch_rows)
        self.rows = -(-self.n_windows // self.n_masked)
        self.ends = np.arange(self.n_masked * self.rows)  # which window gives the second text of each
        strays = self.ends[1 : self.n_windows : 2] if pairs else self.ends[:0]
        strays[:] = np.roll(strays, -(len(strays) // 2))  # far away, as other rows of training are
        self.alone = np.flatnonzero(masker.is_text[np.asarray(tokens[:alone])])
        self.n_alone = -(-len(self.alone) // batch_rows)
        self.alone_rows = -(-len(self.alone) // max(1, self.n_alone))

    def __len__(self) -> int:
        return self.n_masked + self.n_alone

    def __getitem__(self, number: int) -> Batch:
        """See the class; documents (B, T) where they are isolated."""
        return self._masked(number) if number < self.n_masked else self._one_at_a_time(number - self.n_masked)

    def _masked(self, number: int) -> Batch:
        window = np.arange(number * self.rows, (number + 1) * self.rows)
        places, first_new = self._places(window)
        asked = places >= first_new[:, None]  # nowhere in a row that is not needed
        pair: Batch = {}
        if self.pairs:
            cut, other = self.length // 2, self.ends[window]
            ends, first_new = self._places(other)
            places[:, cut:], asked[:, cut:] = ends[:, cut:], (ends >= first_new[:, None])[:, cut:]
            strays = np.where(window < self.n_windows, np.where(other == window, FOLLOWS, STRAYS), IGNORED)
            pair = {"cut": torch.full((len(window),), cut), "strays": torch.from_numpy(strays)}
        batch = self._rows(places, pair)
        keys = np.array([derive("evaluation mask", int(w)) for w in window], np.uint64)
        asked = flagged(asked, self.frame, False, pair.get("cut"))
        return batch | as_batch(self.masker(batch["tokens"].numpy(), keys, asked))

    def _one_at_a_time(self, number: int) -> Batch:
        here = self.alone[number * self.alone_rows : (number + 1) * self.alone_rows]
        needed = np.arange(self.alone_rows) < len(here)
        here = np.pad(here, (0, self.alone_rows - len(here)))
        places, _ = self._places(here // self.length)
        batch = self._rows(places)
        positions = torch.from_numpy((here - places[:, 0] + len(self.frame.before))[:, None])
        hidden = batch["tokens"].gather(1, positions)
        batch["tokens"].scatter_(1, positions, self.masker.mask_id)
        alone = torch.where(torch.from_numpy(needed)[:, None], hidden, IGNORED)
        return batch | {"positions": positions, "alone": alone}

    def _places(self, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places of windows in the stream (N, T), and their first ones that no earlier window holds (N,)."""
        first_new = window * self.length
        starts = np.minimum(first_new, len(self.tokens) - self.length)
        return starts[:, None] + np.arange(self.length), first_new

    def _rows(self, places: np.ndarray, pair: Batch | None = None) -> Batch:
        batch = {"tokens": torch.from_numpy(np.asarray(self.tokens[places]).astype(np.int64))}
        if self.document_starts is not None:
            number = np.searchsorted(self.document_starts, places, side="right")
            batch["documents"] = torch.from_numpy(number.astype(np.int32))
        return framed(batch | (pair or {}), self.frame)
