"""Config of task data. No torch at import: the command line reads it first."""

from __future__ import annotations

from dataclasses import dataclass

from bigtrain.errors import UserError
from bigtrain.options import option


@dataclass
class AugmentConfig:
    """Changes of training texts, drawn anew for each row in every pass.

    Deletion, swap, insertion and replacement of words: Wei and Zou 2019, "EDA" (arXiv 1901.11196). Masked spans: the
    text infilling of Lewis et al. 2020, "BART" (arXiv 1910.13461).
    """

    probability: float = option(0.5, "share of the rows that are changed in a pass", above=0, at_most=1)
    delete: float = option(0.0, "share of the words of a text that are left out", at_least=0, at_most=1)
    swap: float = option(0.0, "share of the words that change places with another", at_least=0, at_most=1)
    insert: float = option(
        0.0, "new words, as a share of the old: synonyms of old ones, anywhere", at_least=0, at_most=1
    )
    replace: float = option(0.0, "share of the words replaced by a synonym", at_least=0, at_most=1)
    synonyms: str | None = option(
        None, 'table of synonyms: lines WORD<tab>SYNONYM..., or jsonl with {"word": "...", "synonyms": ["..."]}'
    )
    mask: float = option(0.0, "share of the words hidden, in spans of three words on average", at_least=0, at_most=1)
    mask_token: str | None = option(None, "what stands for a hidden span; null: the tokenizer's own mask token")
    paraphrase: float = option(
        0.0, "share of the changed rows that are replaced by a paraphrase, where there is one", at_least=0, at_most=1
    )
    paraphrases: str | None = option(
        None, 'paraphrases: lines TEXT<tab>PARAPHRASE..., or jsonl with {"text": "...", "paraphrases": ["..."]}'
    )

    @property
    def on(self) -> bool:
        """Whether any text is changed at all."""
        return any((self.delete, self.swap, self.insert, self.replace, self.mask, self.paraphrase))

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        self._check_pair("synonyms", ("replace", "insert"), "words are replaced by synonyms, and synonyms inserted")
        self._check_pair("paraphrases", ("paraphrase",), "texts are replaced by the paraphrases of a file")
        if self.mask_token is not None and not self.mask:
            path, keys = f"data.augment.mask_token={self.mask_token}", "data.augment.mask=0.1"
            raise UserError(f"{path} without a share of the words", "it hides words", f"give {keys}, or leave it out")
        if self.probability != AugmentConfig.probability and not self.on:
            raise UserError(
                f"data.augment.probability={self.probability} without any change",
                "it is the share of the rows that are changed",
                "give data.augment.delete=0.1 or another change, or leave it out",
            )

    def _check_pair(self, file: str, shares: tuple[str, ...], rule: str) -> None:
        given = [name for name in shares if getattr(self, name)]
        keys = ", or ".join(f"data.augment.{name}=0.1" for name in shares)
        if given and getattr(self, file) is None:
            name = f"data.augment.{given[0]}={getattr(self, given[0])}"
            raise UserError(f"{name} without data.augment.{file}=", rule, f"give data.augment.{file}=FILE")
        if not given and getattr(self, file) is not None:
            path = f"data.augment.{file}={getattr(self, file)}"
            raise UserError(f"{path}, of which nothing is used", rule, f"give {keys}, or leave the file out")
