"""What is done with personal data; above all, that no value leaves by any door."""

import pickle
import random
import re

import pytest
from planted import Case
from test_scan import planted

from bigtrain.data.privacy.schema import PiiAction, PiiConfig, PiiKind
from bigtrain.data.privacy.scrubber import Scrubbed, Scrubber, masked_sample, scrub
from bigtrain.errors import UserError

TEXT = "From anna@web.de to bob@web.de: call +49 30 1234567. Anna@web.de again, +49 (30) 12345-67."
MASKED = "From <EMAIL_1> to <EMAIL_2>: call <PHONE_1>. <EMAIL_1> again, <PHONE_1>."


def scrubber(action: str, *kinds: PiiKind) -> Scrubber:
    return Scrubber(PiiConfig(PiiAction(action), list(kinds or PiiKind)))


def test_the_four_actions() -> None:
    assert scrubber("none")(TEXT) == Scrubbed(TEXT)
    counts = {"email": 3, "phone": 2}
    samples = {
        "email": ["a***@w***.de", "b***@w***.de", "A***@w***.de"],
        "phone": ["+** ** ******7", "+** (**) *****-*7"],
    }
    assert scrubber("report")(TEXT) == Scrubbed(TEXT, False, counts, samples)
    assert scrubber("mask")(TEXT) == Scrubbed(MASKED, False, counts, samples)
    assert scrubber("drop")(TEXT) == Scrubbed(MASKED, True, counts, samples)
    assert scrubber("drop")("Nothing here.") == Scrubbed("Nothing here.")


def test_kinds() -> None:
    assert scrubber("mask", PiiKind.phone)(TEXT).text.startswith("From anna@web.de to bob@web.de: call <PHONE_1>.")


def test_placeholders_depend_on_the_document_alone() -> None:
    one, two = scrubber("mask"), pickle.loads(pickle.dumps(scrubber("mask")))
    one("Mail zoe@web.de")  # what came before makes no difference
    assert one(TEXT) == two(TEXT)


def test_masking_again_changes_nothing() -> None:
    for case in planted(6)[::3]:
        once = scrub(case.text)
        assert scrub(once) == once


def secret_part(case: Case) -> str:
    """What must not be seen: of a private key its first line of content, of the others all."""
    value = case.text[case.start : case.stop]
    return re.split(r"\n|\\n", value)[1] if case.kind == "private_key" else value


@pytest.mark.parametrize("action", ["mask", "drop"])
def test_no_value_leaves(action: str) -> None:
    """Neither the text nor the samples hold a value, nor most of one; each form of a value is tried."""
    stage = scrubber(action)
    leaked = []
    cases = planted(7)
    for case in cases:
        result = repr(stage(case.text))
        value = secret_part(case)
        leaked += [case] if value in result or value[len(value) // 2 :] in result else []
    assert len(leaked) <= 0.05 * len(cases), leaked[:10]  # those that are not found at all


def test_reports_hold_no_value() -> None:
    for case in planted(8):
        result = scrubber("report")(case.text)
        value = secret_part(case)
        digits = re.sub(r"\D", "", value)
        for sample in [sample for samples in result.samples.values() for sample in samples]:
            assert value not in sample
            assert value[len(value) // 3 :] not in sample
            assert not (digits and len(re.sub(r"\D", "", sample)) > 4), (value, sample)


def test_samples_are_few_and_different() -> None:
    text = " ".join(f"u{n}@host{n % 2}.org" for n in range(100))
    result = scrubber("report")(text)
    assert result.counts == {"email": 100}
    assert result.samples == {"email": ["u***@h***.org"]}


@pytest.mark.parametrize(
    ("kind", "value", "sample"),
    [
        ("email", "jane.doe@mail.example.com", "j***@m***.com"),
        ("card", "4111 1111 1111 1111", "4*** **** **** ***1"),
        ("iban", "DE89370400440532013000", "D********************0"),
        ("ip", "81.2.69.142", "8*.*.**.**2"),
        ("national_id", "078-05-1120", "0**-**-***0"),
        ("url_credentials", "root:Tr0ub4dor", "***:***"),
        ("api_key", "AKIAIOSFODNN7EXAMPLE", "AKIA***"),
        ("api_key", "Xy7!kkpw2", "***"),
        (
            "private_key",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----",
        ),
        ("private_key", "-----BEGIN PRIVATE KEY----- MIIEow", "-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_masked_samples(kind: str, value: str, sample: str) -> None:
    assert masked_sample(PiiKind(kind), value) == sample


def test_the_config() -> None:
    PiiConfig(PiiAction.none, []).check()
    with pytest.raises(UserError, match=r"pii\.kinds"):
        PiiConfig(PiiAction.mask, []).check()


def test_every_kind_is_scrubbed_in_examples() -> None:
    draw = random.Random(9)
    cases = draw.sample(planted(9), 300)
    assert sum(case.text[case.start : case.stop] in scrub(case.text) for case in cases) <= 15


def test_an_address_is_one_however_it_is_written() -> None:
    text = "j.doe@example.org, j.doe＠example.org, j.doe [at] example (dot) org, ivan@пример.рф"
    masked = Scrubber(PiiConfig(PiiAction.mask))(text)
    assert masked.text == "<EMAIL_1>, <EMAIL_1>, <EMAIL_1>, <EMAIL_2>"
    assert masked.samples == {"email": ["j***@e***.org", "i***@п***.рф"]}
