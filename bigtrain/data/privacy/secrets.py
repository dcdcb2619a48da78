"""Secrets: keys with a known beginning, JSON web tokens, random values given to names like `api_key`, private keys."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator

from bigtrain.data.privacy.rules import Finding
from bigtrain.data.privacy.schema import PiiKind

# Beginnings that the services document, or that GitHub's secret scanning and gitleaks know.
_KEY = re.compile(
    rb"(?<![A-Za-z0-9])(?:"
    rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # Amazon
    rb"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}"
    rb"|gl(?:pat|ptt|dt|rt|cbt|soat)-[A-Za-z0-9_-]{20,}"  # GitLab
    rb"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{20,}"  # Slack
    rb"|https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/+]{30,}"
    rb"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}"  # Stripe
    rb"|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{28}"  # Google
    rb"|sk-(?:proj-|ant-|svcacct-|or-v1-)[A-Za-z0-9_-]{20,}|sk-[A-Za-z0-9]{32,}"  # OpenAI, Anthropic and their like
    rb"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-AgEI[A-Za-z0-9_-]{40,}"
    rb"|dop_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"
    rb"|key-[0-9a-f]{32}|EAA[A-Za-z0-9]{60,}|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"  # Mailgun, Facebook, Telegram
    rb"|AGE-SECRET-KEY-1[A-Z0-9]{58}"
    rb"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"  # JSON web token (RFC 7519)
    rb")"
)
_BEARER = re.compile(rb"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/-]{16,}=*)")
_PEM = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?)-----"
    rb"(?:(?:(?!-----BEGIN)[\s\S]){0,20000}?-----END \1-----|(?:[\sA-Za-z0-9+/=]|\\[nr]){16,20000})"
)

# name = "value", name: value, "name": "value", name=value&...
# Two patterns, as a search for one character at the front is many times faster than for one of two.
_ASSIGNED = tuple(re.compile(mark + rb">?[ \t]{0,2}([\"'`]?)(?=([^\s\"'`<>,;]{8,512}))") for mark in (b":", b"="))
_NAME = re.compile(rb"([A-Za-z][A-Za-z0-9_.-]{0,60})[\"'`\]]?[ \t]{0,2}$")
_ASCII = re.compile("[\0-\x7f]*")
_DIGIT = re.compile(b"[0-9]")
_SECRET_NAME = re.compile(
    r"secret|token(?!i)|api[_-]?key|access[_-]?key|auth(?!or|ent)|credential|private[_-]?key|signing[_-]?key|encrypt\w*key"
    r"|account[_-]?key|master[_-]?key|session[_-]?key|webhook"
)
_PASSWORD_NAME = re.compile(r"passw|passphrase|pwd|passcode|contrase|passe$|senha|^pass$|[_-]pass$|kennwort")
_CHINESE_NAME = re.compile(r"(?i)(?:密码|密碼|口令|密钥|密鑰|秘钥|令牌|パスワード|비밀번호|пароль)\s{0,2}$")
_TOKEN = re.compile(r"[A-Za-z0-9+/_.~=-]{16,}")
_PROGRAM = re.compile(r"[(\[{$%]|^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+$|^(?:https?|file):|^/|^\.{1,2}/")
_NAME_BEFORE = 72
# Where a value ends at `&`: in a query string, and before what HTML escapes.
_IN_QUERY = re.compile(rb"[?&][A-Za-z0-9_.%\[\]-]{1,60}$")
_NEXT_PARAMETER = re.compile(r"&(?:[A-Za-z_][\w.%\[\]-]*=|(?:amp|quot|lt|gt|apos|nbsp|#\d+)$).*", re.DOTALL)
# Amazon's are 40 characters of base64, where digits may be few.
_AMAZON_NAME, _AMAZON = re.compile(r"secret_?access_?key"), re.compile(r"[A-Za-z0-9/+]{40}")


def assigned(text: str, shadow: bytes) -> Iterator[Finding]:
    """Random values given to names that speak of secrets, and passwords."""
    for match in itertools.chain.from_iterable(pattern.finditer(shadow) for pattern in _ASSIGNED):
        if _DIGIT.search(match.group(2)):
            start = match.start(2)
            value = _ASCII.match(text, *match.span(2))[0]  # type: ignore[index]  # it matches anything
            value = _without_parameters(value, shadow, match.start()).rstrip(").]}?!")
            if _is_secret(_name(text, shadow, match.start()), value, quoted=bool(match.group(1))):
                yield Finding(PiiKind.api_key, start, start + len(value))


def _without_parameters(value: str, shadow: bytes, stop: int) -> str:
    """A value without what another `&` begins. stop: where its name ends."""
    if "&" not in value:
        return value
    if _IN_QUERY.search(shadow, max(0, stop - _NAME_BEFORE), stop):
        return value.partition("&")[0]
    return _NEXT_PARAMETER.sub("", value)


def _name(text: str, shadow: bytes, stop: int) -> str:
    """What stands before an assignment, in lower case."""
    if _CHINESE_NAME.search(text, max(0, stop - 8), stop):
        return "password"
    found = _NAME.search(shadow[max(0, stop - _NAME_BEFORE) : stop])
    return found.group(1).decode("ascii").lower() if found else ""


def _is_secret(name: str, value: str, *, quoted: bool) -> bool:
    if _PASSWORD_NAME.search(name):
        return (is_password(value) or is_random(value)) and (quoted or not _PROGRAM.search(value))
    if _AMAZON_NAME.search(name) and _AMAZON.fullmatch(value):
        return _entropy(value) >= 4
    return bool(_SECRET_NAME.search(name)) and not _PROGRAM.search(value) and is_random(value)


def is_password(value: str) -> bool:
    """Eight characters of three kinds: small letters, capitals, digits, marks. Names in a program have two."""
    kinds = (
        str.islower,
        str.isupper,
        str.isdigit,
        lambda character: not character.isalnum() and character not in "_-.",
    )
    return len(value) >= 8 and sum(any(map(kind, value)) for kind in kinds) >= 3


def is_random(value: str) -> bool:
    """Whether 16 characters or more look drawn, not written: many different ones, digits and letters in turn.

    Three bits a character by Shannon's entropy; of neighbours a quarter goes from letter to digit or back, or from a
    small letter to a capital, where identifiers change once a word.
    """
    if not _TOKEN.fullmatch(value):
        return False
    changes = sum(
        (a.isdigit() != b.isdigit() and a.isalnum() and b.isalnum()) or (a.islower() and b.isupper())
        for a, b in itertools.pairwise(value)
    )
    return (
        _entropy(value) >= 3
        and changes >= len(value) / 4
        and any(map(str.isdigit, value))
        and any(map(str.isalpha, value))
    )


def _entropy(value: str) -> float:
    """Shannon's, in bits a character."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())


def keys(text: str, shadow: bytes, start: int, stop: int) -> Iterator[Finding]:
    """Keys that their beginning or their form gives away, between two places."""
    for match in _KEY.finditer(shadow, start, stop):
        yield Finding(PiiKind.api_key, *match.span())
    for match in _BEARER.finditer(shadow, start, stop):
        if is_random(match.group(1).decode("ascii")):
            yield Finding(PiiKind.api_key, *match.span(1))


def private_keys(text: str, shadow: bytes) -> Iterator[Finding]:
    """Private keys in PEM (RFC 7468) or OpenPGP armour, cut off ones as well."""
    if b"PRIVATE KEY" in shadow:
        for match in _PEM.finditer(shadow):
            yield Finding(PiiKind.private_key, *match.span())
