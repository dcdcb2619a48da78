"""Text that looks like personal data and is none: dates, book numbers, versions, hashes, broken check digits."""

import base64
import random
import string
import uuid
from collections.abc import Callable

from planted import ALNUM, DIGITS, UPPER, card, fill, iban, some
from planted_ids import cn_id, es_dni, fr_nir, it_code


def dates(draw: random.Random) -> str:
    y, m, d = draw.randrange(1900, 2030), draw.randrange(1, 13), draw.randrange(1, 29)
    h, n, s = draw.randrange(24), draw.randrange(60), draw.randrange(60)
    return draw.choice(
        [
            f"It happened on {y}-{m:02d}-{d:02d} at noon.",
            f"Am {d:02d}.{m:02d}.{y} um {h:02d}.{n:02d} Uhr",
            f"Réunion le {d:02d}/{m:02d}/{y} à {h:02d}h{n:02d}",
            f"Created {y}-{m:02d}-{d:02d}T{h:02d}:{n:02d}:{s:02d}Z by cron",
            f"{y}-{m:02d}-{d:02d} {h:02d}:{n:02d}:{s:02d},{draw.randrange(1000):03d} INFO started",
            f"backup-{y}{m:02d}{d:02d}{h:02d}{n:02d}{s:02d}.tar.gz",
            f"Call for papers {y}-{y + 1}, phone calls from {d:02d}/{m:02d}/{y}",
            f"会议时间：{y}年{m}月{d}日 {h:02d}:{n:02d}",
            f"La tienda abre de {h:02d}.00-{h:02d}.30 desde el {d}-{m}-{y}.",
            f"between {y} and {y + 12} ({y}/{(y + 1) % 100:02d})",
            f"lived {y}-{y + 61} in Graz; see {y - 3} 12 31",
            f"Tel Aviv, {d:02d}.{m:02d}.{y}",
        ]
    )


def isbn(draw: random.Random) -> str:
    body = "978" + fill(draw, "#########")
    thirteen = body + str(-sum(int(x) * (3 if place % 2 else 1) for place, x in enumerate(body)) % 10)
    ten = fill(draw, "#########")
    total = sum(int(x) * (10 - place) for place, x in enumerate(ten))
    ten += "0123456789X"[-total % 11]
    return draw.choice(
        [
            f"ISBN {thirteen}",
            f"ISBN-13: {thirteen[:3]}-{thirteen[3]}-{thirteen[4:6]}-{thirteen[6:12]}-{thirteen[12]}",
            f"ISBN {ten[0]}-{ten[1:4]}-{ten[4:9]}-{ten[9]}, gebunden",
            f"ISBN: {ten}",
            f"ISSN {fill(draw, '####')}-{fill(draw, '###')}X",
            f"书号 {thirteen[:3]}-7-{thirteen[4:7]}-{thirteen[7:12]}-{thirteen[12]}",
            f"EAN {thirteen}",
            f"doi:10.{fill(draw, '@###')}/{fill(draw, '######')}.{fill(draw, '#######')}",
            f"arXiv:{fill(draw, '2@0@.#####')}v2",
            f"PMID {fill(draw, '@#######')}",
        ]
    )


def orders(draw: random.Random) -> str:
    number = fill(draw, draw.choice(["@#######", "@#########", "@############", "##########", "@###-#######-#######"]))
    words = [
        "Order #{} has shipped.",
        "Your order number is {}.",
        "Invoice no. {} is due.",
        "Bestellnummer: {}",
        "Rechnung Nr. {}",
        "Commande n° {}",
        "Número de pedido: {}",
        "订单号：{}",
        "发票编号 {}",
        "Ticket {} was closed.",
        "Artikelnummer {}",
        "SKU {}",
        "tracking number {}",
        "case no. {}",
        "注文番号 {}",
        "Numer zamówienia {}",
        "Ref: {}",
        "id={}",
        "user_id: {},",
        "https://shop.example.com/item/{}?ref=home",
        "https://example.com/p?id={}",
        "#{}",
        "Part No. {}",
        "serial number {}",
    ]
    return draw.choice(words).replace("{}", number)


def amounts(draw: random.Random) -> str:
    return fill(
        draw,
        draw.choice(
            [
                "It costs $@,###,###.## in all.",
                "Der Preis: @.###.###,## €",
                "Population: @ ### ### people",
                "@## ### ### habitants",
                "a budget of 1@ 000 000 000 yen",
                "总额为@########元",
                "€ @########",
                "@############ bytes",
                "£@##.## or 2 for £@###.##",
                "about @######## km away",
                "0.############",
                "3.14159265358979",
                "(@#.######, -@#.######)",
                "@#.####° N, @#.####° E",
                "lat=@#.######&lon=@#.######",
                "坐标：3@.######, 11@.######",
                "@##,###,### shares",
                "x = [@####, @####, @####, @####]",
                "@#### @#### @#### @#### @####",
                "@,@###,###,### stars",
                "1e-0@ to 1@e+##",
                "score @##-@##, @#-@#",
                "pp. @##-@##, vol. @#(@)",
                "@##x@##x@## mm",
                "ZIP @####-####",
                "@### @### @### @###  total",
                "01 02 03 04 05 06 07",
                "1 2 3 4 5 6 7 8 9 10 11 12",
                "@@@-@@-@@",
            ]
        ),
    )


def versions(draw: random.Random) -> str:
    number = ".".join(str(draw.randrange(0, 30)) for _ in range(4))
    return draw.choice(
        [
            f"Version {number} fixes the crash.",
            f"v{number}",
            f"version: {number}",
            f"Firmware {number} für alle Geräte",
            f"版本 {number}",
            f"Chrome/91.0.{fill(draw, '4###')}.{fill(draw, '1##')}",
            f"release {number}",
            f"numpy>=1.26,<{fill(draw, '&.#.#')}",
            f"OID 1.3.6.1.4.1.{fill(draw, '@###')}",
            f"See section {fill(draw, '@.@.@.@')} for details.",
            f"driver {number} (64-bit)",
            f"§ {fill(draw, '@.@.@.@')}",
            f"mylib-{number}.jar",
            f"{fill(draw, '3##')}.{fill(draw, '4##')}.1.2 is no address",
            f"assembly Foo, Version={number}, Culture=neutral",
            "bind to 127.0.0.1 or 0.0.0.0",
            "netmask 255.255.255.0",
        ]
    )


def hashes(draw: random.Random) -> str:
    md5, sha1, sha256 = (draw.randbytes(size).hex() for size in (16, 20, 32))
    return draw.choice(
        [
            f'commit = "{sha1}"',
            f"sha256:{sha256}",
            f"{md5}  image.iso",
            f'"integrity": "sha512-{base64.b64encode(draw.randbytes(64)).decode()}"',
            f"commit {sha1}\nMerge: {sha1[:7]} {md5[:7]}",
            f'assert digest == "{sha256}"',
            str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            f"id: {uuid.UUID(int=draw.getrandbits(128), version=4)}",
            f"checksum = '{md5}'",
            f'ETag: "{md5}"',
            f"docker pull app@sha256:{sha256}",
            f"data:image/png;base64,iVBORw0KGgo{base64.b64encode(draw.randbytes(90)).decode()}",
            f"#{sha1[:6]}; color: #{sha1[6:12]}",
            f"/static/app.{md5[:20]}.js",
            f"00:1A:{':'.join(fill(draw, '##') for _ in range(4))}",
            f"package-lock {sha1}",
            f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(draw.randbytes(90)).decode()}\n-----END PUBLIC KEY-----",
            f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(draw.randbytes(90)).decode()}\n-----END CERTIFICATE-----",
            f"ssh-rsa AAAAB3NzaC1yc2E{base64.b64encode(draw.randbytes(90)).decode()}",
            f"0x{sha1}",
            f"block {sha256} mined",
        ]
    )


def code(draw: random.Random) -> str:
    name = some(draw, string.ascii_lowercase, 6)
    return draw.choice(
        [
            'password = os.environ["DB_PASSWORD"]',
            "api_key: YOUR_API_KEY_HERE",
            f"token = get_token_from_{name}(config_2)",
            "secret: ${MY_SECRET_VALUE_1}",
            'api_key = "xxxxxxxxxxxxxxxxxxxxxxxx"',
            "access_token=<your-access-token-here>",
            f"tokenizer = AutoTokenizer.from_{name}(path)",
            f"@{name}.route('/users/1234567')",
            f"git clone git@github.com:{name}/repo2.git",
            f"<img src='icon@2x.png' alt='{name}'>",
            f"npm install @{name}/core@12.4.1",
            f"y = {name}@weights",
            f"follow @{name}_{fill(draw, '####')}",
            f"std::{name}::abc::def(0)",
            "a::b::c",
            f"https://example.com/@{name}/1234567890",
            f"http://{name}.example.com:8080/a@b",
            f"key = '{name}_{name}_{name}_{name}'",
            "password: str = Field(min_length=12)",
            f"secret_key_{name} = load_from_file_{name}",
            "if token == previous_token_in_line_12345678:",
            "self.password_field_2 = QLineEdit(self.centralwidget)",
            "ratio 12:34:56:78",
            "10:15:42 - 11:20:03",
            f"AKIA{name.upper()}",
            f"sk-{name}",
            "SELECT * FROM t WHERE a=12345678 AND b=23456789",
            f"max_tokens=1234567890, {name}_token_count: 12345678901234567890",
            f"{name}.{fill(draw, '########')}.log",
            f"task_{fill(draw, '##########')}",
            "eyJhbGciOi is how it starts",
            f"Flight {name[:2].upper()}{fill(draw, '@###')}",
        ]
    )


def broken(draw: random.Random) -> str:
    """A value whose last check fails: one digit or letter is another."""
    what = draw.randrange(6)
    if what == 0:
        case = card(draw)
        value = case.text[case.start : case.stop]
        return f"Reference {value[:-1]}{(int(value[-1]) + draw.randrange(1, 10)) % 10} in the list"
    if what == 1:
        case = iban(draw)
        value = case.text[case.start : case.stop]
        return f"Code {value[:2]}{(int(value[2:4]) + draw.randrange(1, 96)) % 97:02d}{value[4:]} is wrong"
    if what == 2:
        value = cn_id(draw)
        return f"编码{value[:-1]}{draw.choice([x for x in '0123456789X' if x != value[-1]])}有误"
    if what == 3:
        value = es_dni(draw)
        return f"pieza {value[:-1]}{draw.choice([x for x in 'TRWAGMYFPDXBNJZSQVHLCKE' if x != value[-1]])}"
    if what == 4:
        value = fr_nir(draw)
        return f"dossier {value[:-2]}{(int(value[-2:]) + draw.randrange(1, 90)) % 97 or 97:02d}"
    value = it_code(draw)
    return f"codice {value[:-1]}{draw.choice([x for x in UPPER if x != value[-1]])}"


def identifiers(draw: random.Random) -> str:
    return draw.choice(
        [
            f"Model {some(draw, UPPER, 2)}-{fill(draw, '####')}-{some(draw, UPPER, 1)}",
            f"patent US{fill(draw, '@######')}B2",
            f"grant no. {fill(draw, '##-######')}",
            f"CAS {fill(draw, '@###')}-{fill(draw, '##')}-{fill(draw, '#')}",
            f"000-{fill(draw, '##')}-{fill(draw, '####')}",
            f"666-{fill(draw, '##')}-{fill(draw, '####')}",
            f"RFC {fill(draw, '@###')}, STD {fill(draw, '##')}",
            f"room {fill(draw, '@##')}, floor {fill(draw, '#')}, desk {fill(draw, '@####')}",
            f"IMEI {fill(draw, '@##############')}",
            f"chr{fill(draw, '@')}:{fill(draw, '@########')}-{fill(draw, '@########')}",
            f"NGC {fill(draw, '@###')}",
            f"RS{some(draw, ALNUM, 6).upper()}{fill(draw, '##')}QX",
            f"GB12 {some(draw, DIGITS, 4)} is a plate",
            f"1d{fill(draw, '#')}+{fill(draw, '#')}",
            f"lot {some(draw, UPPER, 2)}{fill(draw, '######')}",
            f"Q{fill(draw, '@#####')} in Wikidata",
            f"grid {fill(draw, '@#####')} {fill(draw, '@#####')}",
            f"VIN 1HGCM82633A{fill(draw, '######')}",
            f"H{fill(draw, '@')}N{fill(draw, '@')} and B{fill(draw, '@@@@')}",
            f"timestamp {fill(draw, '16########')}",
            f"ts=1{fill(draw, '6###########')}",
            f"rs{fill(draw, '@########')} (SNP)",
            f"({fill(draw, '@##')}) {fill(draw, '@##')} {fill(draw, '@##')}",
        ]
    )


LOOKALIKES: list[Callable[[random.Random], str]] = [
    dates,
    isbn,
    orders,
    amounts,
    versions,
    hashes,
    code,
    broken,
    identifiers,
]
