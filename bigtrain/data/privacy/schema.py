"""Config of the stage that looks for personal data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bigtrain.errors import UserError
from bigtrain.options import option


class PiiAction(StrEnum):
    """What is done with personal data and secrets."""

    none = "none"
    report = "report"
    mask = "mask"
    drop = "drop"


class PiiKind(StrEnum):
    """Personal data and secrets that can be told by their form. Where two overlap, the first one here wins."""

    private_key = "private_key"
    url_credentials = "url_credentials"
    api_key = "api_key"
    email = "email"
    iban = "iban"
    card = "card"
    national_id = "national_id"
    ip = "ip"
    phone = "phone"


@dataclass
class PiiConfig:
    """Personal data and secrets in the text."""

    action: PiiAction = option(
        PiiAction.none,
        "none; report: count them; mask: write <EMAIL_1> and the like in their place; drop: leave the document out",
    )
    kinds: list[PiiKind] = option(lambda: list(PiiKind), f"which are looked for: {', '.join(PiiKind)}")

    def check(self) -> None:
        """Rules between keys. Raises UserError."""
        if self.action is not PiiAction.none and not self.kinds:
            raise UserError(
                f"pii={self.action} with pii.kinds=[]", "something is looked for", "name kinds, or set pii=none"
            )
