"""What is found: a thousand planted values, as many lookalikes, and real text without any."""

import collections
import random
import time
from pathlib import Path

import pytest
from lookalikes import LOOKALIKES
from planted import Case, card, email, iban, ip, phone
from planted_ids import api_key, national_id, private_key, url_credentials

from bigtrain.data.privacy.rules import Finding
from bigtrain.data.privacy.scan import find, shadow
from bigtrain.data.privacy.schema import PiiKind

KINDS = frozenset(PiiKind)
PLANTED = [(email, 120), (phone, 250), (iban, 100), (card, 100), (ip, 100), (national_id, 200)]
PLANTED += [(url_credentials, 70), (api_key, 130), (private_key, 40)]
N_LOOKALIKES = 1200


def planted(seed: int) -> list[Case]:
    draw = random.Random(seed)
    return [make(draw) for make, count in PLANTED for _ in range(count)]


def values(text: str) -> list[tuple[str, str]]:
    return [(str(kind), text[start:stop]) for kind, start, stop in find(text, KINDS)]


@pytest.mark.parametrize("seed", [1, 2])
def test_precision_and_recall_of_planted_values(seed: int) -> None:
    """Whole values only: a span that is one character off is both missed and false."""
    right, missed, false = (collections.Counter[str]() for _ in range(3))
    examples = []
    for case in planted(seed):
        findings = find(case.text, KINDS)
        hit = Finding(PiiKind(case.kind), case.start, case.stop) in findings
        (right if hit else missed)[case.kind] += 1
        false.update(str(finding.kind) for finding in findings[hit:])
        if not hit or findings[1:]:
            examples.append((case.form, case.text))
    draw = random.Random(seed)
    for _ in range(N_LOOKALIKES):
        text = draw.choice(LOOKALIKES)(draw)
        found = values(text)
        false.update(kind for kind, _ in found)
        examples += [("lookalike", text)] if found else []
    assert right.total() + missed.total() >= 1000
    table = "\n".join(
        f"{kind}: recall {right[kind] / (right[kind] + missed[kind]):.3f}, "
        f"precision {right[kind] / (right[kind] + false[kind]):.3f}"
        for kind in sorted(KINDS)
    )
    print(table)
    for kind in [*KINDS, None]:
        r, m, f = (counts[kind] if kind else counts.total() for counts in (right, missed, false))
        assert r / (r + m) >= 0.95, (table, examples[:20])
        assert r / (r + f) >= 0.95, (table, examples[:20])


def test_planted_in_real_text(test_data: Path) -> None:
    """The same values between sentences of a real text in many scripts; nothing is found without them."""
    files = sorted((test_data / "udhr_languages").glob("*.txt"))
    draw = random.Random(3)
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert all(find(line, KINDS) == [] for line in lines)
    cases = draw.sample(planted(3), 400)
    missed = 0
    for case in cases:
        before, after = draw.choice(lines) + "\n", "\n" + draw.choice(lines)
        expected = Finding(PiiKind(case.kind), len(before) + case.start, len(before) + case.stop)
        missed += expected not in find(before + case.text + after, KINDS)
    assert missed / len(cases) <= 0.05


@pytest.mark.parametrize("name", ["tinyshakespeare/input.txt", "wikitext2_valid/valid.txt", "eltec_novels/ENG*.txt"])
def test_nothing_is_found_in_prose(name: str, test_data: Path) -> None:
    for file in sorted(test_data.glob(name)):
        assert values(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mail me: José.Núñez@correo.es!", [("email", "José.Núñez@correo.es")]),
        ("邮箱：li_wei＠163.com", [("email", "li_wei＠163.com")]),  # the mark of full width too
        ("two: a.b@c-d.org,e@f.io", [("email", "a.b@c-d.org"), ("email", "e@f.io")]),
        ("（１３８１２３４５６７８）是我的手机", [("phone", "１３８１２３４５６７８")]),
        ("Tél. 06\u202f12\u202f34\u202f56\u202f78", [("phone", "06\u202f12\u202f34\u202f56\u202f78")]),
        ("Tel. 212\u2011555\u20110123", [("phone", "212\u2011555\u20110123")]),
        ("call +49 30 1234567 2024 times", [("phone", "+49 30 1234567")]),
        ("my fax is 0161 496 0000 and the order no. 0161 496 0001", [("phone", "0161 496 0000")]),
        ("Orders: 0161 496 0000", []),
        ("pay 4111 1111 1111 1111 123 now", [("card", "4111 1111 1111 1111")]),
        ("order 4111111111111111", []),
        ("IBAN DE89370400440532013000BIC", []),
        ("IBAN DE89 3704 0044 0532 0130 00 BIC X", [("iban", "DE89 3704 0044 0532 0130 00")]),
        ("de89370400440532013000", [("iban", "de89370400440532013000")]),
        ("http://u:p@ss@h.org/ and http://${U}:${P}@h.org", [("url_credentials", "u:p@ss")]),
        ("ping 8.8.8.8", [("ip", "8.8.8.8")]),
        ("see 8.8.8.8", []),
        ("::ffff:1.2.3.4, 2001:db8::1 and 2001:db8::2:", [("ip", "2001:db8::1"), ("ip", "2001:db8::2")]),
        ("密码：Xy7!kkpw2，勿外传", [("api_key", "Xy7!kkpw2")]),
        ("password: Tr0ub4dor&3", [("api_key", "Tr0ub4dor&3")]),
        ("https://a.org/?x=1&password=Tr0ub4dor&3", [("api_key", "Tr0ub4dor")]),
        ("password=Tr0ub4dor&user=3", [("api_key", "Tr0ub4dor")]),
        ('<a title="password=Tr0ub4dor&quot;', [("api_key", "Tr0ub4dor")]),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",  # of Amazon's documentation
            [("api_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")],
        ),
        ("aws_secret_access_key = 7_find_it_in_the_console_of_your_account", []),
        ("write to john.doe [at] gmail.com.", [("email", "john.doe [at] gmail.com")]),
        ("john(at)mail.example.co.uk", [("email", "john(at)mail.example.co.uk")]),
        ("J.Doe [AT] example (dot) org", [("email", "J.Doe [AT] example (dot) org")]),
        ("look (at) this. And (at) https://example.org, a[at]=b.c(d)", []),
        ("почта: ivan@пример.рф, иван.петров@mail.ru", [("email", "ivan@пример.рф"), ("email", "иван.петров@mail.ru")]),
        ("邮箱li@例子.中国请联系", [("email", "li@例子.中国")]),
        ("@пример и a@ б.в; 见@公司。", []),
        ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC", [("private_key", None)]),
        ("\ud800 a@b.org", [("email", "a@b.org")]),
        ("", []),
    ],
)
def test_single_texts(text: str, expected: list[tuple[str, str | None]]) -> None:
    whole = [(kind, text if value is None else value) for kind, value in expected]
    assert values(text) == whole


def test_only_the_kinds_that_are_asked_for() -> None:
    text = "a@b.org, +49 30 1234567, 4111 1111 1111 1111"
    assert [kind for kind, _, _ in find(text, {PiiKind.card})] == ["card"]
    assert find(text, set()) == []


def test_the_shadow_keeps_places() -> None:
    draw = random.Random(0)
    for _ in range(200):
        text = "".join(
            chr(draw.choice([draw.randrange(128), draw.randrange(0x500), draw.randrange(0x30000)])) for _ in range(50)
        )
        dark = shadow(text)
        assert len(dark) == len(text)
        assert all(chr(byte) == character for byte, character in zip(dark, text, strict=True) if character < "\x80")


@pytest.mark.parametrize(
    "text",
    [
        "1" * 100_000,
        "=" * 100_000,
        "a@" * 50_000,
        "://a:b" * 50_000,
        "1 " * 50_000,
        "-----BEGIN PRIVATE KEY-----" * 9000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    start = time.process_time()
    find(text, KINDS)
    assert time.process_time() - start < 5
