"""Personal data and secrets in a document: counted, masked, or a reason to leave the document out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from bigtrain.data.privacy.addresses import AT, DOT
from bigtrain.data.privacy.rules import Finding
from bigtrain.data.privacy.scan import find
from bigtrain.data.privacy.schema import PiiAction, PiiConfig, PiiKind

_N_SAMPLES = 3  # of a kind and document: enough for a report of many documents
_SHOWN_MARKS = " -./:()+"
_NUMBERS = (PiiKind.phone, PiiKind.iban, PiiKind.card, PiiKind.national_id)


@dataclass(frozen=True)
class Scrubbed:
    """A document after the stage. `samples` are masked: no value can be read or tried out from one."""

    text: str
    dropped: bool = False
    counts: dict[str, int] = field(default_factory=dict)  # kind -> how often
    samples: dict[str, list[str]] = field(default_factory=dict)  # kind -> a few masked values


class Scrubber:
    """Looks for what the config names. It may travel between processes and be used for any number of documents.

    A value that is masked becomes `<EMAIL_1>`, `<PHONE_2>`, ...: the kind, and a number by first occurrence in the
    document, so that the same value has the same placeholder throughout a document and who is who stays clear. Nothing
    of the value is in it, and nothing links two documents: a hash of a telephone number could be inverted by trying
    all of them, and a key for it would have to be kept.
    """

    def __init__(self, config: PiiConfig) -> None:
        self.config = config
        self._kinds = frozenset(config.kinds)

    def __call__(self, text: str) -> Scrubbed:
        """The document as the stage leaves it. With `report` the text stays, with `drop` it is masked as well."""
        action = self.config.action
        findings = find(text, self._kinds) if action is not PiiAction.none else []
        if not findings:
            return Scrubbed(text)
        counts = Counter(str(finding.kind) for finding in findings)
        return Scrubbed(
            text if action is PiiAction.report else mask(text, findings),
            action is PiiAction.drop,
            {kind: counts[kind] for kind in sorted(counts)},
            _samples(text, findings),
        )


def scrub(text: str) -> str:
    """The text with everything masked, whatever the config says: for examples in reports and logs."""
    return mask(text, find(text, frozenset(PiiKind)))


def mask(text: str, findings: list[Finding]) -> str:
    """The text with a placeholder for every finding."""
    numbers: dict[PiiKind, dict[str, int]] = {}
    pieces, last = [], 0
    for kind, start, stop in findings:
        known = numbers.setdefault(kind, {})
        number = known.setdefault(_same(kind, text[start:stop]), len(known) + 1)
        pieces += [text[last:start], f"<{kind.upper()}_{number}>"]
        last = stop
    return "".join([*pieces, text[last:]])


def _same(kind: PiiKind, value: str) -> str:
    """Equal for two spellings of one value."""
    if kind in _NUMBERS:
        return "".join(filter(str.isalnum, value)).upper()
    if kind is PiiKind.email:
        value = _plain(value)
    return value.lower() if kind in (PiiKind.email, PiiKind.ip) else value


def _plain(address: str) -> str:
    """An e-mail address with the marks that it was written without."""
    address = re.sub(f"(?i)\uff20|{AT}", "@", address)
    return re.sub(f"(?i)\uff0e|{DOT}", ".", address)


def _samples(text: str, findings: list[Finding]) -> dict[str, list[str]]:
    samples: dict[str, list[str]] = {}
    for kind, start, stop in findings:
        known = samples.setdefault(str(kind), [])
        sample = masked_sample(kind, text[start:stop])
        if len(known) < _N_SAMPLES and sample not in known:
            known.append(sample)
    return dict(sorted(samples.items()))


def masked_sample(kind: PiiKind, value: str) -> str:
    """Enough of a value to see what was found, too little to know it: `j***@e***.com`, `+** *** ******7`."""
    if kind is PiiKind.email:
        local, _, domain = _plain(value).partition("@")
        name, _, top = domain.rpartition(".")
        return f"{local[0]}***@{name[0]}***.{top}"
    if kind is PiiKind.private_key:
        return value[: value.index("-----", 5) + 5]
    if kind is PiiKind.url_credentials:
        return "***:***"
    if kind is PiiKind.api_key:
        return f"{value[:4]}***" if len(value) >= 20 else "***"
    shown = value.replace("\xa0", " ")
    ends = (0, len(shown) - 1)
    return "".join(c if place in ends or c in _SHOWN_MARKS else "*" for place, c in enumerate(shown))
