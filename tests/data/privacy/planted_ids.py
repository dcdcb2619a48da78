"""National ids with valid check digits, and secrets; see `planted.py`."""

import base64
import random
import string

from planted import ALNUM, DIGITS, UPPER, Case, fill, luhn_digit, plant, some


def date(draw: random.Random, order: str) -> str:
    parts = {
        "Y": f"{draw.randrange(1930, 2006)}",
        "m": f"{draw.randrange(1, 13):02d}",
        "d": f"{draw.randrange(1, 29):02d}",
    }
    parts["y"] = parts["Y"][2:]
    return "".join(parts[mark] for mark in order)


def us_ssn(draw: random.Random) -> str:
    area = draw.choice([*range(1, 666), *range(667, 900)])
    return f"{area:03d}-{draw.randrange(1, 100):02d}-{draw.randrange(1, 10000):04d}"


def us_itin(draw: random.Random) -> str:
    group = draw.choice([*range(50, 66), *range(70, 89), 90, 91, 92, *range(94, 100)])
    return f"9{fill(draw, '##')}-{group}-{fill(draw, '####')}"


def cn_id(draw: random.Random) -> str:
    """GB 11643-1999."""
    body = draw.choice(["110101", "310104", "440305", "510107", "330106"]) + date(draw, "Ymd") + fill(draw, "###")
    total = sum(int(digit) * (2 ** (17 - place) % 11) for place, digit in enumerate(body))
    return body + "10X98765432"[total % 11]


def es_dni(draw: random.Random) -> str:
    number = draw.randrange(1_000_000, 100_000_000)
    return f"{number:08d}{draw.choice(['', '', '-'])}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def es_nie(draw: random.Random) -> str:
    first, rest = draw.randrange(3), fill(draw, "#######")
    dash = draw.choice(["", "-"])
    return f"{'XYZ'[first]}{dash}{rest}{dash}{'TRWAGMYFPDXBNJZSQVHLCKE'[int(f'{first}{rest}') % 23]}"


def fr_nir(draw: random.Random) -> str:
    sex, department = draw.choice("12"), draw.choice(["75", "13", "69", "2A", "2B", "59"])
    tail = fill(draw, "###") + fill(draw, "###")
    year, month = f"{draw.randrange(30, 99)}", f"{draw.randrange(1, 13):02d}"
    number = int(f"{sex}{year}{month}{department.replace('2A', '19').replace('2B', '18')}{tail}")
    parts = [sex, year, month, department, tail[:3], tail[3:], f"{97 - number % 97:02d}"]
    return draw.choice(["", " "]).join(parts)


def de_tax(draw: random.Random) -> str:
    """11 digits: one digit of the first ten occurs twice, one not at all; ISO/IEC 7064 MOD 11,10."""
    while True:
        digits = draw.sample(DIGITS, 9)
        digits.insert(draw.randrange(10), draw.choice(digits))
        text = "".join(digits)
        if text[0] != "0":
            break
    product = 10
    for digit in text:
        total = (int(digit) + product) % 10 or 10
        product = 2 * total % 11
    text += str((11 - product) % 10)
    return draw.choice([text, f"{text[:2]} {text[2:5]} {text[5:8]} {text[8:]}"])


def nl_bsn(draw: random.Random) -> str:
    while True:
        digits = fill(draw, "@#######")
        last = sum(int(digit) * weight for digit, weight in zip(digits, range(9, 1, -1), strict=True)) % 11
        if last < 10:
            return draw.choice([f"{digits}{last}", f"{digits[:4]}.{digits[4:6]}.{digits[6:]}{last}"])


def it_code(draw: random.Random) -> str:
    consonants = "BCDFGLMNPRSTVZ"
    day = draw.randrange(1, 29) + draw.choice([0, 40])
    body = some(draw, consonants, 6) + fill(draw, "##") + draw.choice("ABCDEHLMPRST") + f"{day:02d}"
    body += draw.choice("AFHL") + fill(draw, "###")
    odd = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]
    total = 0
    for place, character in enumerate(body):
        value = int(character) if character in DIGITS else ord(character) - 65
        total += odd[value] if place % 2 == 0 else value
    return body + chr(65 + total % 26)


def gb_nino(draw: random.Random) -> str:
    pair = draw.choice(["AB", "CE", "JG", "LX", "PW", "SR", "YZ", "HE"])
    parts = [pair, *(fill(draw, "##") for _ in range(3)), draw.choice("ABCD")]
    return draw.choice(["", " "]).join(parts)


def pl_pesel(draw: random.Random) -> str:
    body = f"{draw.randrange(30, 99)}{draw.randrange(1, 13):02d}{draw.randrange(1, 29):02d}" + fill(draw, "####")
    total = sum(int(digit) * weight for digit, weight in zip(body, (1, 3, 7, 9) * 3, strict=False))
    return body + str(-total % 10)


def se_number(draw: random.Random) -> str:
    body = date(draw, "ymd") + fill(draw, "###")
    return f"{body[:6]}-{body[6:]}{luhn_digit(body)}"


def fi_hetu(draw: random.Random) -> str:
    day, number = date(draw, "dmy"), f"{draw.randrange(2, 900):03d}"
    return f"{day}-{number}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(day + number) % 31]}"


def be_number(draw: random.Random) -> str:
    year, rest = draw.randrange(30, 99), f"{draw.randrange(1, 13):02d}{draw.randrange(1, 29):02d}"
    serial = f"{draw.randrange(1, 998):03d}"
    check = 97 - int(f"{year}{rest}{serial}") % 97
    return f"{year}.{rest[:2]}.{rest[2:]}-{serial}.{check:02d}"


def ch_ahv(draw: random.Random) -> str:
    body = "756" + fill(draw, "#########")
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(body))
    digits = body + str(-total % 10)
    return f"{digits[:3]}.{digits[3:7]}.{digits[7:11]}.{digits[11:]}"


NATIONAL = {
    us_ssn: ["My SSN is {}.", "Employee {} was hired in May.", "social security number {} on file", "SSN,{},John"],
    us_itin: ["The ITIN {} belongs to her.", "Taxpayer {}, filed late"],
    cn_id: ["身份证号：{}", "本人{}，现住北京。", "ID card {} of Mr. Wang", "我的身份证号码是{}，请核对。"],
    es_dni: ["Con DNI {} y domicilio en Madrid", "D. Juan Pérez, {}, vecino de Sevilla", "NIF: {}"],
    es_nie: ["NIE {} expedido en Barcelona", "La señora Ivanova, {}, comparece."],
    fr_nir: ["Numéro de sécurité sociale : {}", "Mme Martin, {}, née à Lyon", "NIR {}"],
    de_tax: ["Steuer-ID: {}", "Meine Steueridentifikationsnummer lautet {}.", "IdNr. {}"],
    nl_bsn: ["Mijn BSN is {}.", "burgerservicenummer: {}", "BSN {} staat op het paspoort"],
    it_code: ["Codice fiscale {}", "Il signor Rossi, {}, nato a Roma", "C.F.: {}"],
    gb_nino: ["National Insurance number: {}", "NINO {}", "His number {} is on the payslip."],
    pl_pesel: ["PESEL: {}", "Jan Kowalski, PESEL {}, zamieszkały w Krakowie"],
    se_number: ["Personnummer: {}", "Erik Svensson, {}, Uppsala"],
    fi_hetu: ["Henkilötunnus {}", "Matti Virtanen, {}, Helsinki"],
    be_number: ["Rijksregisternummer: {}", "Numéro national {}"],
    ch_ahv: ["AHV-Nummer {}", "Herr Keller, {}, Zürich"],
}


def national_id(draw: random.Random) -> Case:
    make = draw.choice(list(NATIONAL))
    return plant(draw, draw.choice(NATIONAL[make]), make(draw), "national_id", f"id {make.__name__}")


URLS = [
    "Clone it from {} first.",
    'DATABASE_URL="{}"',
    "Die Daten liegen unter {}, bitte löschen.",
    "Ouvrez {} dans un navigateur.",
    "数据库地址：{}",
    "url: {}",
    "<a href='{}'>here</a>",
]


def url_credentials(draw: random.Random) -> Case:
    scheme = draw.choice(["https", "http", "ftp", "postgres", "postgresql", "mysql", "redis", "mongodb+srv", "amqp"])
    user = draw.choice(["admin", "deploy", "j.smith", "root", "maria%40example.com", "reader_1"])
    password = some(draw, ALNUM, 6) + draw.choice(["", "!", "%21", "_x", "$9"])
    host = draw.choice(
        ["db.example.com:5432/shop", "store.example.net/data", "files.example.org/pub/a.zip", "localhost:6379/0"]
    )
    return plant(
        draw, draw.choice(URLS), f"{scheme}://{user}:{password}@{host}", "url_credentials", scheme, f"{user}:{password}"
    )


def b64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def jwt(draw: random.Random) -> str:
    head = b64url(b'{"alg":"HS256","typ":"JWT"}')
    body = b64url(f'{{"sub":"{fill(draw, "##########")}","name":"J","iat":15162390}}'.encode())
    return f"{head}.{body}.{b64url(draw.randbytes(32))}"


KEYS = {
    "aws": lambda draw: "AKIA" + some(draw, UPPER + "234567", 16),
    "github": lambda draw: draw.choice(["ghp_", "gho_", "ghs_"]) + some(draw, ALNUM, 36),
    "github_pat": lambda draw: "github_pat_" + some(draw, ALNUM, 22) + "_" + some(draw, ALNUM, 59),
    "slack": lambda draw: f"xoxb-{fill(draw, '@###########')}-{fill(draw, '@###########')}-{some(draw, ALNUM, 24)}",
    "slack_hook": lambda draw: (
        f"https://hooks.slack.com/services/T{some(draw, UPPER + DIGITS, 8)}/B{some(draw, UPPER + DIGITS, 8)}/"
        + some(draw, ALNUM, 24)
    ),
    "stripe": lambda draw: draw.choice(["sk_live_", "rk_live_", "sk_test_"]) + some(draw, ALNUM, 24),
    "google": lambda draw: "AIza" + some(draw, ALNUM + "-_", 34) + some(draw, ALNUM, 1),
    "openai": lambda draw: "sk-proj-" + some(draw, ALNUM, 48),
    "huggingface": lambda draw: "hf_" + some(draw, string.ascii_letters, 34),
    "gitlab": lambda draw: "glpat-" + some(draw, ALNUM + "_", 19) + some(draw, ALNUM, 1),
    "npm": lambda draw: "npm_" + some(draw, ALNUM, 36),
    "jwt": jwt,
}
LEAKS = [
    "The key {} was leaked.",
    'export TOKEN="{}"',
    "key: {}",
    "curl -H 'Authorization: Bearer {}' https://api.example.com/v1/me",
    "Der Schlüssel {} ist ungültig.",
    "密钥是{}，不要泄露。",
    "La clave {} ya no vale.",
]
ASSIGNED = [
    'api_key = "{}"',
    "API_KEY={}",
    "client_secret: '{}'",
    '{"access_token": "{}", "expires": 3600}',
    "aws_secret_access_key = {}",
    "const authToken = '{}';",
    "DB_PASSWORD={}",
    'password="{}"',
    "https://api.example.com/v1?apikey={}&q=cat",
    "Authorization: Bearer {}",
]


def api_key(draw: random.Random) -> Case:
    if draw.random() < 0.25:
        value = some(draw, ALNUM, draw.choice([24, 32, 40])) if draw.random() < 0.7 else draw.randbytes(20).hex()
        return plant(draw, draw.choice(ASSIGNED), value, "api_key", "key assigned")
    name = draw.choice(sorted(KEYS))
    return plant(draw, draw.choice(LEAKS), KEYS[name](draw), "api_key", f"key {name}")


def private_key(draw: random.Random) -> Case:
    label = draw.choice(
        ["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"]
    )
    body = base64.b64encode(draw.randbytes(draw.choice([120, 400, 1200]))).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    value = f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----"
    if draw.random() < 0.3:
        value = value.replace("\n", "\\n")
    carrier = draw.choice(
        ["The file says:\n{}\nDelete it.", '{"private_key": "{}"}', "密钥文件：\n{}\n", "cat id_rsa\n{}\n$ "]
    )
    return plant(draw, carrier, value, "private_key", label)
