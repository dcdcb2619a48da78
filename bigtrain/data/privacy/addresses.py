"""Addresses: e-mail, IP, and the user and password inside a URL."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator

from bigtrain.data.cleaning.characters import UNSPACED
from bigtrain.data.privacy.context import Topic, topic
from bigtrain.data.privacy.rules import Finding
from bigtrain.data.privacy.schema import PiiKind

_WORD = rb"[A-Za-z0-9\xc0-\xff]"  # letters of Western Europe included: josé@..., ...@müller.de
_LOCAL = re.compile(_WORD + rb"(?:[A-Za-z0-9\xc0-\xff._%+'-]*" + rb"[A-Za-z0-9\xc0-\xff_+-])?$")
_DOMAIN = re.compile(
    rb"(?:" + _WORD + rb"(?:[A-Za-z0-9\xc0-\xff-]{0,61}" + _WORD + rb")?\.)+(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,59})"
    rb"(?![A-Za-z0-9_(@])"
)
_LONGEST_LOCAL = 64  # RFC 5321
# File names such as icon@2x.png, units of systemd, and the user that everybody has.
_NO_DOMAIN = re.compile(
    rb"(?i)\.(?:png|jpe?g|gif|svg|webp|ico|bmp|css|js|json|html?|xml|txt|pdf|service|socket|timer|mount|target|slice)$"
)
_NO_PERSON = {b"git", b"hg", b"svn"}

# Internationalised ones (RFC 6531): letters of any script in the domain; before it none of Chinese and its like, whose
# words stand before an address without a blank. Of these the top-level domains are named, as text may follow likewise.
_LETTER = rf"[^\W_{UNSPACED}\uac00-\ud7a3]"
_WIDE_LOCAL = re.compile(rf"{_LETTER}(?:(?:{_LETTER}|[._%+'-])*(?:{_LETTER}|[_+-]))?$")
_WIDE_DOMAIN = re.compile(
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+(?:(?:中国|中國|香港|台灣|台湾|公司|网络|網絡|在线|中文网|新加坡|みんな|コム|닷컴|닷넷|한국)"
    rf"|(?:(?!\d){_LETTER}){{2,24}}(?!\w))"
)

# Written for people: `john.doe [at] gmail.com`, `john (at) gmail (dot) com`.
AT, DOT = r" ?[\[({] ?at ?[\])}] ?", r" ?[\[({] ?dot ?[\])}] ?"
_SPELLED_AT = tuple(re.compile(mark + rb" ?[aA][tT] ?[\])}] ?") for mark in (rb"\[", rb"\(", rb"\{"))
_SPELLED_LOCAL = re.compile(rb"(?i)[a-z0-9](?:[a-z0-9._%+'-]|" + DOT.encode() + rb")*$")
_SPELLED_DOMAIN = re.compile(
    rb"(?i)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:(?:\.|%s)[a-z0-9-]{1,63})*(?:\.|%s)[a-z]{2,24}(?![a-z0-9_(@])"
    % (DOT.encode(), DOT.encode())
)


def emails(text: str, shadow: bytes) -> Iterator[Finding]:
    """E-mail addresses. The shapes are those in use, not all of RFC 5322."""
    at = shadow.find(b"@")
    while at >= 0:
        start, stop = _local(text, shadow, at), _domain(text, shadow, at + 1)
        if start < at and stop > at and shadow[start:at] not in _NO_PERSON:
            yield Finding(PiiKind.email, start, stop)
        at = shadow.find(b"@", at + 1)


def _local(text: str, shadow: bytes, at: int) -> int:
    """Where the part before the mark begins; `at`, if there is none."""
    before = shadow[max(0, at - _LONGEST_LOCAL) : at]
    wide = _WIDE_LOCAL.search(text[at - len(before) : at]) if b"?" in before else None
    found = wide or _LOCAL.search(before)
    return at - len(found.group()) if found else at


def _domain(text: str, shadow: bytes, start: int) -> int:
    """Where the domain that begins at `start` ends; 0, if there is none."""
    if found := _DOMAIN.match(shadow, start):
        return 0 if _NO_DOMAIN.search(found.group()) else found.end()
    wide = _WIDE_DOMAIN.match(text, start) if b"?" in shadow[start : start + _LONGEST_LOCAL] else None
    return wide.end() if wide and not wide.group().isascii() else 0


def spelled_emails(text: str, shadow: bytes) -> Iterator[Finding]:
    """E-mail addresses with `[at]` or `(at)` in the place of the mark."""
    for at in itertools.chain.from_iterable(pattern.finditer(shadow) for pattern in _SPELLED_AT):
        before = shadow[max(0, at.start() - _LONGEST_LOCAL) : at.start()].removesuffix(b" ")
        local, domain = _SPELLED_LOCAL.search(before), _SPELLED_DOMAIN.match(shadow, at.end())
        if local and domain and not _NO_DOMAIN.search(domain.group()):
            blank = shadow[at.start() - 1 : at.start()] == b" "
            yield Finding(PiiKind.email, at.start() - blank - len(local.group()), domain.end())


# The name and password of RFC 3986's userinfo; not `${USER}:${PASSWORD}` and the like, which a program fills in.
_USERINFO = re.compile(rb"://([^\s/?#:@\"'<>]{0,128}:(?![${<%*])[^\s/?#\"'<>]{1,256})@(?=[A-Za-z0-9\[\xc0-\xff$?])")


def url_credentials(text: str, shadow: bytes) -> Iterator[Finding]:
    """User and password inside a URL, without the rest of it."""
    if b"@" in shadow and b"://" in shadow:
        for match in _USERINFO.finditer(shadow):
            yield Finding(PiiKind.url_credentials, *match.span(1))


_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(
    rb"(?<![A-Za-z0-9_.-])(?<![A-Za-z]/)" + _OCTET + rb"(?:\." + _OCTET + rb"){3}(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
)
# Unicast, unique local and link-local addresses, as assigned by IANA, and all that have four groups or more: `a::b` and
# `abc::def` are names in programs.
_IPV6 = re.compile(
    rb"(?<![A-Za-z0-9_:.])(?:(?:[23][0-9A-Fa-f]{3}|[Ff][CcDd][0-9A-Fa-f]{2}|[Ff][Ee][89ABab][0-9A-Fa-f]):"
    rb"|(?:[0-9A-Fa-f]{1,4}:){3})[0-9A-Fa-f:]*(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?![A-Za-z0-9_])"
)
_COLONS = re.compile(rb":[0-9A-Fa-f]{0,4}:")
_LONGEST_IPV6 = 45


def ipv4(text: str, shadow: bytes, start: int, stop: int) -> Iterator[Finding]:
    """IPv4 addresses that may belong to a machine: no versions, no numbers of chapters, no masks, no loopback."""
    for match in _IPV4.finditer(shadow, start, stop):
        octets = [int(octet) for octet in match.group().split(b".")]
        called, _ = topic(text, match.start())
        if octets[0] in (0, 127, 255) or octets == [octets[0]] * 3 + [0] or called is Topic.version:
            continue
        if called is Topic.address or max(octets) > 9:
            yield Finding(PiiKind.ip, *match.span())


def ipv6(text: str, shadow: bytes) -> Iterator[Finding]:
    """IPv6 addresses of machines."""
    last = 0
    for hint in _COLONS.finditer(shadow):
        for match in _IPV6.finditer(shadow, max(last, hint.start() - _LONGEST_IPV6), hint.end() + _LONGEST_IPV6):
            value = match.group().rstrip(b":") if not match.group().endswith(b"::") else match.group()
            last = match.end()
            if _is_ipv6(value):
                yield Finding(PiiKind.ip, match.start(), match.start() + len(value))


def _is_ipv6(value: bytes) -> bool:
    try:
        ipaddress.IPv6Address(value.decode("ascii"))
    except ValueError:
        return False
    return True
