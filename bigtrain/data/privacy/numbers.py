"""Payment cards, bank accounts and national ids: numbers that carry their own check."""

from __future__ import annotations

import re
from collections.abc import Callable

from bigtrain.data.privacy import checks
from bigtrain.data.privacy.context import Topic
from bigtrain.data.privacy.rules import Rule, Words, compact, longest, shape, whole
from bigtrain.data.privacy.schema import PiiKind

# Prefix (ISO/IEC 7812; the networks' published ranges) and numbers of digits.
_CARDS = (
    (re.compile("4"), (16, 19)),  # Visa; its 13 digits are given out no more, and every tenth EAN would be one
    (re.compile("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile("3[47]"), (15,)),  # American Express
    (re.compile("6011|64[4-9]|65"), (16, 19)),  # Discover
    (re.compile("62|81"), (16, 17, 18, 19)),  # UnionPay
    (re.compile("35"), (16, 19)),  # JCB
    (re.compile("30[0-5]|309|36|3[89]"), (14,)),  # Diners Club
    (re.compile("5018|5020|5038|5893|6304|6759|676[1-3]"), (16, 18, 19)),  # Maestro
    (re.compile("220[0-4]"), (16,)),  # Mir
    (re.compile("60|82|508"), (16,)),  # RuPay
)
# Older and shorter ones, of which every tenth number would be one: only where they are called a card.
_RARE_CARDS = (
    (re.compile("4"), (13,)),
    (re.compile("1800|2131"), (15,)),  # JCB
    (re.compile("50|5[6-8]|6"), range(12, 20)),  # Maestro
)
_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 1), (4, 4, 4, 4, 2), (4, 4, 4, 4, 3), (6, 13), (6, 10)}


def _card(digits: str) -> bool:
    known = any(prefix.match(digits) and len(digits) in lengths for prefix, lengths in _CARDS)
    return known and len(set(digits)) > 1 and checks.luhn(digits)


def _rare_card(digits: str) -> bool:
    return any(p.match(digits) and len(digits) in lengths for p, lengths in _RARE_CARDS) and checks.luhn(digits)


def _grouped_card(text: str) -> bool:
    return tuple(map(len, re.split("[ -]", text))) in _GROUPS and _card(compact(text))


def _iban_fit(text: str) -> int:
    """As many characters as the country's accounts have, whatever comes after them."""
    length = checks.IBAN_LENGTHS.get(text[:2].upper(), 0)
    places = [place for place, character in enumerate(text) if character.isalnum()]
    if not length or len(places) < length:
        return 0
    stop = places[length - 1] + 1
    return stop if checks.iban(compact(text[:stop])) else 0


CARDS = (
    Rule(PiiKind.card, shape(rb"[2-68][0-9]{13,18}"), 14, whole(_card), Words.clear, Topic.card),
    Rule(PiiKind.card, shape(rb"[1-6][0-9]{11,18}"), 12, whole(_rare_card), Words.needed, Topic.card),
    Rule(
        PiiKind.card, shape(rb"(?<![0-9] )[2-68][0-9]{3}(?: [0-9]{1,13}){2,5}"), 14, longest(_grouped_card), Words.free
    ),
    Rule(PiiKind.card, shape(rb"[2-68][0-9]{3}(?:-[0-9]{1,13}){2,5}"), 14, longest(_grouped_card), Words.free),
    Rule(PiiKind.card, shape(rb"[2-68][0-9]{5}[ -](?:[0-9]{13}|[0-9]{10}(?![0-9]))"), 16, whole(_card), Words.free),
)
IBANS = (
    Rule(PiiKind.iban, shape(rb"[A-Z]{2}[0-9]{2}(?:[ -]?[0-9A-Z]){11,29}"), 6, _iban_fit, Words.free),
    Rule(PiiKind.iban, shape(rb"[a-z]{2}[0-9]{2}(?: ?[0-9a-z]){11,29}"), 6, _iban_fit, Words.free),
)


def _id(
    pattern: bytes, digits: int, check: Callable[[str], bool], words: Words = Words.clear, topic: Topic = Topic.national
) -> Rule:
    return Rule(PiiKind.national_id, shape(pattern), digits, whole(check), words, topic)


NATIONAL_IDS = (
    _id(rb"[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}", 9, checks.us_ssn, Words.clear, Topic.ssn),
    _id(rb"[0-8][0-9]{2}( ?)[0-9]{2}\1[0-9]{4}", 9, checks.us_ssn, Words.needed, Topic.ssn),
    _id(rb"9[0-9]{2}-[5-9][0-9]-[0-9]{4}", 9, checks.us_itin, Words.clear, Topic.ssn),
    _id(rb"9[0-9]{2}( ?)[5-9][0-9]\1[0-9]{4}", 9, checks.us_itin, Words.needed, Topic.ssn),
    _id(rb"[1-8][0-9]{5}(?:18|19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9Xx]", 17, checks.cn_id, Words.free),
    _id(rb"[0-9]{8}[- ]?[A-HJ-NP-TV-Z]|[0-9]{2}\.[0-9]{3}\.[0-9]{3}-?[A-HJ-NP-TV-Z]", 8, checks.es_dni),
    _id(rb"[XYZ][- ]?[0-9]{7}[- ]?[A-HJ-NP-TV-Z]", 7, checks.es_dni),
    _id(rb"[1-478]( ?)[0-9]{2}\1[0-9]{2}\1(?:[0-9]{2}|2[AB])\1[0-9]{3}\1[0-9]{3} ?[0-9]{2}", 13, checks.fr_nir),
    _id(rb"[1-9][0-9] [0-9]{3} [0-9]{3} [0-9]{3}", 11, checks.de_tax, Words.clear, Topic.tax),
    _id(rb"[1-9][0-9]{10}|[1-9][0-9]/[0-9]{3}/[0-9]{3}/[0-9]{3}", 11, checks.de_tax, Words.needed, Topic.tax),
    _id(
        rb"[0-9]{9}|[0-9]{4}([. ])[0-9]{2}\1[0-9]{3}|[0-9]{3}([. ])[0-9]{3}\2[0-9]{3}",
        9,
        checks.nl_bsn,
        Words.needed,
        Topic.bsn,
    ),
    _id(
        rb"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-MZ][0-9LMNP-V]{3}[A-Z]"
        rb"|[A-Z]{3} [A-Z]{3} [0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2} [A-MZ][0-9LMNP-V]{3}[A-Z]",
        0,
        checks.it_code,
        Words.free,
    ),
    # The letters that HMRC gives out, without the pairs that it does not.
    _id(
        rb"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?:[0-9]{6}| ?[0-9]{2} [0-9]{2} [0-9]{2} ?)[A-D]",
        6,
        lambda text: len(set(text[2:8])) > 1,
    ),
    _id(rb"[A-Z]{2} ?(?:[0-9]{2} ?){3}[A-FMPT]", 6, bool, Words.needed),
    _id(rb"[0-9]{11}", 11, checks.pl_pesel, Words.needed, Topic.pesel),
    _id(rb"(?:19|20)?[0-9]{6}[-+][0-9]{4}", 10, lambda digits: checks.se_number(digits[-10:])),
    _id(rb"[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]", 9, checks.fi_hetu, Words.free),
    _id(rb"[0-9]{2}\.[0-9]{2}\.[0-9]{2}[- ][0-9]{3}[. ][0-9]{2}", 11, checks.be_number),
    _id(rb"[0-9]{11}", 11, checks.be_number, Words.needed),
    _id(rb"756([. ]?)[0-9]{4}\1[0-9]{4}\1[0-9]{2}", 13, checks.ean_13, Words.free),
)
