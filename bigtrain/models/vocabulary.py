"""An embedding for another tokenizer: rows move with their tokens, and new tokens begin at the mean of the old ones."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from bigtrain.errors import UserError
from bigtrain.log import log
from bigtrain.models.base import ModelConfig, generator_for
from bigtrain.models.encoder_schema import EncoderConfig
from bigtrain.models.schema import padded
from bigtrain.tokenizer import Tokenizer

NOISE = 0.02  # the deviation that an embedding is initialised with


def resized(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """The same shape with as many rows as a new model has for this tokenizer, and positions behind its padding token.

    Raises UserError where RoBERTa's positions cannot begin there.
    """
    if isinstance(config, EncoderConfig):
        config = dataclasses.replace(config, pad_id=None).resolved(tokenizer.vocab_size, tokenizer.pad_id)
    return dataclasses.replace(config, vocab_size=padded(tokenizer.vocab_size))


def repositioned(table: Tensor, n_rows: int) -> Tensor:
    """A table of positions (P, D) for another padding token: those behind it stay the last, (n_rows, D)."""
    return torch.cat([table[:1].expand(max(0, n_rows - len(table)), -1), table])[-n_rows:]


@dataclass(frozen=True)
class Moved:
    """Where the rows of a new embedding (V, D) come from."""

    n_before: int  # rows of the file
    sources: Tensor  # (V,) int64: the row of the file, or -1 for a new one
    known: Tensor  # rows of the file that stood for tokens

    @classmethod
    def between(cls, old: Tokenizer, n_before: int, new: Tokenizer, n_after: int) -> Moved:
        """A token that both tokenizers know, by its text in the vocabulary, keeps its row.

        Where the text of a token with a role (`Tokenizer.roles`: eos, mask and so on) is gone, the new token of that
        role has its row, unless it has one by its text. `old` may have more entries than there are rows: tokens that
        were added to a tokenizer after its model.
        Raises UserError where no token stays.
        """
        ids = {token: id_ for token, id_ in _vocabulary(old).items() if id_ < n_before}
        sources = torch.full((n_after,), -1, dtype=torch.int64)
        after = _vocabulary(new)
        for token, id_ in after.items():
            sources[id_] = ids.get(token, -1)
        kept = int((sources >= 0).sum())
        if not kept:
            raise UserError(
                f"a tokenizer that has none of the {len(ids)} tokens of the model",
                "model.resize_vocab=true keeps the rows of the tokens that stay, and none would",
                "name a tokenizer of the same kind, or begin without init_from",
            )
        for role in ("eos_token", *new.roles):
            here, there = new.roles.get(role, 0), old.roles.get(role, n_before)
            # A row has one heir: padding must not become as likely as the end.
            taken = old.backend.id_to_token(there) in after or there in sources
            if role in new.roles and sources[here] < 0 and there < n_before and not taken:
                sources[here] = there
                kept += 1
        log.info("vocabulary: %d rows before, %d now; %d keep their values", n_before, n_after, kept)
        return cls(n_before, sources, torch.tensor(sorted(ids.values())))

    def rows(self, before: Tensor, name: str, seed: int) -> Tensor:
        """The rows of a parameter (V, D) or (V,) from those of the file, in fp32.

        A new row is the mean of the rows that stood for tokens plus normal noise of deviation 0.02, drawn from the seed
        and the parameter's name: so no new token begins much likelier than an old one (Hewitt 2021, "Initializing New
        Word Embeddings for Pretrained Language Models").
        """
        before = before.float()
        noise = torch.empty(len(self.sources), *before.shape[1:]).normal_(
            0.0, NOISE, generator=generator_for(seed, name)
        )
        fresh = before[self.known].mean(0) + noise
        kept = (self.sources >= 0).view(-1, *(1 for _ in before.shape[1:]))
        return torch.where(kept, before[self.sources.clamp(min=0)], fresh)


def contains(tokenizer: Tokenizer, other: Tokenizer) -> bool:
    """Whether a tokenizer knows every token of another one, by the same id."""
    return _vocabulary(other).items() <= _vocabulary(tokenizer).items()


def _vocabulary(tokenizer: Tokenizer) -> dict[str, int]:
    vocabulary: dict[str, int] = tokenizer.backend.get_vocab(with_added_tokens=True)
    return vocabulary
