"""Check digits: numbers published as examples pass, one wrong digit never does."""

import random
from collections.abc import Callable

import planted_ids
import pytest
from planted import DIGITS, card, iban

from bigtrain.data.privacy import checks
from bigtrain.data.privacy.rules import compact


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (checks.luhn, "79927398713"),  # Wikipedia, Luhn algorithm
        (checks.luhn, "4111111111111111"),
        (checks.luhn, "378282246310005"),
        (checks.iban, "GB29NWBK60161331926819"),  # the examples of the IBAN registry
        (checks.iban, "DE89370400440532013000"),
        (checks.iban, "FR1420041010050500013M02606"),
        (checks.iban, "MT84MALT011000012345MTLCAST001S"),
        (checks.iban, "NO9386011117947"),
        (checks.us_ssn, "078051120"),
        (checks.us_itin, "912701234"),
        (checks.cn_id, "11010519491231002X"),  # GB 11643-1999
        (checks.cn_id, "440524188001010014"),
        (checks.es_dni, "12345678Z"),
        (checks.es_dni, "X1234567L"),
        (checks.fr_nir, "255081416802538"),
        (checks.mod_11_10, "07945"),  # ISO/IEC 7064
        (checks.de_tax, "86095742719"),  # the tax office's example
        (checks.nl_bsn, "111222333"),
        (checks.it_code, "RSSMRA85T10A562S"),
        (checks.pl_pesel, "44051401359"),
        (checks.se_number, "8112189876"),
        (checks.fi_hetu, "131052-308T"),
        (checks.be_number, "85073003328"),
        (checks.ean_13, "7569217076985"),
    ],
)
def test_published_examples(check: Callable[[str], bool], value: str) -> None:
    assert check(value)


def value_of(make: Callable) -> Callable[[random.Random], str]:
    def draw_value(draw: random.Random) -> str:
        case = make(draw)
        return case.text[case.start : case.stop]

    return draw_value


@pytest.mark.parametrize(
    ("check", "make"),
    [
        (checks.luhn, value_of(card)),
        (checks.iban, value_of(iban)),
        (checks.cn_id, planted_ids.cn_id),
        (checks.es_dni, planted_ids.es_dni),
        (checks.es_dni, planted_ids.es_nie),
        (checks.fr_nir, planted_ids.fr_nir),
        (checks.de_tax, planted_ids.de_tax),
        (checks.nl_bsn, planted_ids.nl_bsn),
        (checks.pl_pesel, planted_ids.pl_pesel),
        (checks.se_number, planted_ids.se_number),
        (checks.be_number, planted_ids.be_number),
        (checks.ean_13, planted_ids.ch_ahv),
    ],
)
def test_one_wrong_digit_is_noticed(check: Callable[[str], bool], make: Callable[[random.Random], str]) -> None:
    draw = random.Random(4)
    for _ in range(100):
        value = compact(make(draw))
        assert check(value), value
        places = [place for place, character in enumerate(value) if character in DIGITS]
        place = draw.choice(places[2:])
        other = draw.choice([digit for digit in DIGITS if digit != value[place]])
        assert not check(value[:place] + other + value[place + 1 :]), (value, place, other)


@pytest.mark.parametrize("make", [planted_ids.it_code, planted_ids.gb_nino, planted_ids.fi_hetu, planted_ids.us_itin])
def test_the_generator_agrees_on_the_others(make: Callable[[random.Random], str]) -> None:
    check = {"it_code": checks.it_code, "us_itin": checks.us_itin, "fi_hetu": checks.fi_hetu}.get(make.__name__, bool)
    draw = random.Random(5)
    for _ in range(200):
        value = make(draw)
        assert check(value if make is planted_ids.fi_hetu else compact(value)), value
