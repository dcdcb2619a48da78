"""Config of the search for evaluation sets in training text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bigtrain.data.schema import SourceConfig
from bigtrain.errors import UserError
from bigtrain.options import option


class OverlapAction(StrEnum):
    """What is done with a document that overlaps an evaluation set."""

    drop = "drop"
    report = "report"


@dataclass
class DecontaminateConfig:
    """Evaluation sets that the training text must not hold.

    What counts is the n-gram overlap of GPT-3 (Brown et al. 2020, appendix C). Words are compared without case, accents
    and punctuation; in scripts without spaces every character is a word.
    """

    files: list[str] = option(
        list, "evaluation sets: files, globs, folders or URLs in any format of data.files; empty: nothing is compared"
    )
    text_field: list[str] = option(
        lambda: ["text"], "field or column that holds their text: a dotted path, or several, joined by a blank line"
    )
    sources: dict[str, SourceConfig] = option(
        dict, "evaluation sets with fields of their own: decontaminate.sources.NAME.files= and .text_field="
    )
    action: OverlapAction = option(
        OverlapAction.drop, "a document that overlaps: drop it, or report it and keep it; both name the matching text"
    )
    ngram: int = option(13, "words in a row that make an overlap", at_least=4, at_most=50)

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if not self.text_field or "" in self.text_field:
            raise UserError(
                f"decontaminate.text_field={self.text_field}",
                "text stands in a field or column",
                "name it: decontaminate.text_field=NAME",
            )
        for name, source in self.sources.items():
            source.check_as(f"decontaminate.sources.{name}")
            if source.clean is not None:
                raise UserError(
                    f"decontaminate.sources.{name}.clean={source.clean}",
                    "evaluation sets are taken as they are",
                    f"leave decontaminate.sources.{name}.clean= out",
                )
