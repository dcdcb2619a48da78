"""Personal data and secrets with valid check digits, planted in sentences of several languages.

Written from the standards alone (the side that computes a check digit, not the one that verifies it), so that the
patterns under test meet values that they were not drawn from.
"""

import random
import string
from typing import NamedTuple

DIGITS, UPPER, ALNUM = string.digits, string.ascii_uppercase, string.ascii_letters + string.digits


class Case(NamedTuple):
    """A text and the one value in it: kind, form (for the report), and where it stands."""

    text: str
    kind: str
    form: str
    start: int
    stop: int


def some(draw: random.Random, alphabet: str, n: int) -> str:
    return "".join(draw.choice(alphabet) for _ in range(n))


def fill(draw: random.Random, shape: str) -> str:
    """`#`: any digit; `@`: 1 to 9; `&`: 2 to 9; all else as it is."""
    table = {"#": DIGITS, "@": DIGITS[1:], "&": DIGITS[2:]}
    return "".join(draw.choice(table[mark]) if mark in table else mark for mark in shape)


def plant(draw: random.Random, carrier: str, value: str, kind: str, form: str, part: str | None = None) -> Case:
    """`part`: the piece of the value that is secret, where it is not the whole."""
    start = carrier.index("{}")
    text = carrier.replace("{}", value, 1)
    piece = part or value
    start += value.index(piece)
    return Case(text, kind, form, start, start + len(piece))


EMAILS = [
    "Please write to {} if the parcel is late.",
    "From: Maria Lopez <{}>",
    "{} wrote on Tuesday:",
    'Anna Weber;{};Berlin;"no newsletter"',
    '{"name": "Li", "email": "{}", "age": 31}',
    "[write to me](mailto:{})",
    "Schreiben Sie uns an {}, wir antworten sofort.",
    "Envoyez votre dossier à {} avant vendredi.",
    "Mi correo es {}.",
    "Scrivi a {}; risponderemo presto.",
    "Proszę pisać na adres {}!",
    "请发送简历至{}，谢谢。",
    "邮箱：{}",
    "联系人王伟（{}）",
    "お問い合わせは{}まで。",
    "Пишите на {} в любое время.",
]
NAMES = [
    "maria",
    "j.smith",
    "li.wei",
    "anna-lena",
    "k_mueller",
    "o.garcia",
    "p.rossi",
    "chen88",
    "sales+eu",
    "x.y.z",
    "T.Kowalski",
]
HOSTS = ["gmail.com", "163.com", "web.de", "orange.fr", "correo.es", "libero.it", "mail.example.co.uk", "qq.com"]
HOSTS += ["uni-bonn.de", "sub.dept.example.edu", "firma.io", "yandex.ru", "example.org", "müller-bau.de"]


def email(draw: random.Random) -> Case:
    name = draw.choice(NAMES) + (fill(draw, "##") if draw.random() < 0.3 else "")
    return plant(draw, draw.choice(EMAILS), f"{name}@{draw.choice(HOSTS)}", "email", "email")


# country -> (shapes, sentences that say it is a telephone, sentences that do not)
PHONES: dict[str, tuple[list[str], list[str], list[str]]] = {
    "us": (
        [
            "(&##) &##-####",
            "&##-&##-####",
            "&##.&##.####",
            "+1 &## &## ####",
            "+1-&##-&##-####",
            "1-8##-&##-####",
            "+1 (&##) &##-####",
        ],
        ["Call me at {} after six.", "Phone: {}", "Tel. {} (reception)", "Fax {}", "Text {} to order."],
        [
            "Maria Lopez, 12 Main St, Springfield, {}",
            "Reception: {}, ask for Joe.",
            "You will find us under {} any day.",
        ],
    ),
    "gb": (
        [
            "020 7&## ####",
            "07&## ######",
            "+44 20 7### ####",
            "+44 7### ######",
            "(0161) 4## ####",
            "0161 4## ####",
            "+44 (0)20 7### ####",
        ],
        ["Ring us on {}.", "Tel: {}", "My mobile is {}."],
        ["The Old Mill, Leeds, {}.", "Mrs Brown ({}) keeps the keys."],
    ),
    "de": (
        [
            "030 @#######",
            "030/@######",
            "0171-@######",
            "(089) @#####",
            "+49 30 @#######",
            "+49 171 @######",
            "0049 30 @######",
            "+49 (0)40 @#####",
        ],
        ["Telefon: {}", "Sie erreichen mich unter {}.", "Rufen Sie {} an.", "Handy {}"],
        ["Anna Schmidt, Hauptstraße 5, 10115 Berlin, {}", "Praxis Dr. Vogel ({}), nur vormittags."],
    ),
    "fr": (
        [
            "01 ## ## ## ##",
            "06 ## ## ## ##",
            "06.##.##.##.##",
            "06########",
            "+33 6 ## ## ## ##",
            "+336########",
            "01-##-##-##-##",
        ],
        ["Appelez le {} pour réserver.", "Tél. : {}", "Mon portable : {}.", "Joignable au {} le soir."],
        ["Cabinet Durand, Lyon, {}", "Paul ({}) passera demain."],
    ),
    "es": (
        ["6## ## ## ##", "6## ### ###", "91 ### ## ##", "9&# ### ###", "+34 6## ### ###", "+346########"],
        ["Llámame al {} mañana.", "Teléfono: {}", "Mi móvil es {}.", "Tel. {}"],
        [],
    ),
    "it": (
        ["3&# #######", "3&# ### ####", "06 @### ####", "02 @#######", "+39 3&# #######", "+39 06 @#######"],
        ["Chiamami al {} stasera.", "Telefono: {}", "Il mio cellulare è {}."],
        [],
    ),
    "nl": (
        ["06-########", "06 ########", "020-@######", "+31 6 ########", "+31 20 @######"],
        ["Bel mij op {}.", "Telefoon: {}", "Mobiel {}"],
        ["Jan de Vries, Keizersgracht 8, Amsterdam, {}"],
    ),
    "cn": (
        [
            "138########",
            "15@########",
            "139 #### ####",
            "186-####-####",
            "010-&#######",
            "0755-&#######",
            "400-8##-####",
            "+86 138 #### ####",
            "+86 13#########",
        ],
        ["请拨打{}联系我们。", "电话：{}", "手机号{}，微信同号。", "客服热线 {}", "有事打我电话{}吧"],
        ["联系人：王女士 {}", "王先生（{}），北京朝阳区"],
    ),
    "jp": (["03-&###-####", "090-####-####", "+81 3-&###-####"], ["電話番号は{}です。", "TEL {}"], ["山田太郎（{}）"]),
    "ru": (
        ["+7 (495) ###-##-##", "8 (495) ###-##-##", "+7 9## ### ## ##"],
        ["Тел.: {}", "Звоните {}"],
        ["Иван, {}, Москва"],
    ),
    "br": (["(11) 9####-####", "+55 11 9####-####"], ["Telefone: {}", "Ligue para {}."], ["João, São Paulo, {}"]),
    "in": (["+91 9#### #####", "9#### #####"], ["Call {} for details.", "WhatsApp: {}"], []),
    "pl": (["+48 6## ### ###", "6## ### ###"], ["Telefon: {}", "Zadzwoń: {}"], []),
    "se": (["070-### ## ##", "+46 70 ### ## ##"], ["Ring {} i kväll.", "Mobil: {}"], ["Erik, Uppsala, {}"]),
}


def phone(draw: random.Random) -> Case:
    country = draw.choice(sorted(PHONES))
    shapes, told, untold = PHONES[country]
    carrier = draw.choice(untold if untold and draw.random() < 0.4 else told)
    return plant(draw, carrier, fill(draw, draw.choice(shapes)), "phone", f"phone {country}")


IBANS = {
    "DE": "##################",
    "GB": "AAAA##############",
    "FR": "##########XXXXXXXXXXX##",
    "ES": "####################",
    "IT": "A##########XXXXXXXXXXXX",
    "NL": "AAAA##########",
    "PL": "########################",
    "CH": "#####XXXXXXXXXXXX",
    "NO": "###########",
    "MT": "AAAA#####XXXXXXXXXXXXXXXXXX",
    "AT": "################",
    "SE": "####################",
}
ACCOUNTS = [
    "Please transfer the rent to {} by Friday.",
    "IBAN: {}",
    "Konto {}, BIC auf Anfrage",
    "Überweisen Sie bitte auf {}.",
    "Virement sur le compte {} sous huit jours.",
    "Haz la transferencia a {}, por favor.",
    "Il mio conto è {}.",
    "请汇款至{}。",
    "rekening {} t.n.v. J. Bakker",
    "account,{},EUR",
]


def iban(draw: random.Random) -> Case:
    country = draw.choice(sorted(IBANS))
    kinds = {"#": DIGITS, "A": UPPER, "X": DIGITS + UPPER}
    account = "".join(draw.choice(kinds[mark]) for mark in IBANS[country])
    number = "".join(str(int(character, 36)) for character in account + country + "00")
    plain = f"{country}{98 - int(number) % 97:02d}{account}"
    spaced = " ".join(plain[at : at + 4] for at in range(0, len(plain), 4))
    return plant(draw, draw.choice(ACCOUNTS), draw.choice([plain, spaced]), "iban", f"iban {country}")


def luhn_digit(digits: str) -> str:
    """The digit that makes `digits` + it pass Luhn's test (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return str(-total % 10)


CARDS = [
    ("visa", "4", 16),
    ("mastercard", "5@", 16),
    ("mastercard2", "23", 16),
    ("amex", "37", 15),
    ("amex2", "34", 15),
]
CARDS += [
    ("discover", "6011", 16),
    ("jcb", "3540", 16),
    ("unionpay", "62", 16),
    ("unionpay19", "6222", 19),
    ("diners", "36", 14),
]
PAYMENTS = [
    "I paid with {} yesterday.",
    "Card number: {}, exp 09/27",
    "card={}&exp=0927",
    "Kreditkarte {} (Visa)",
    "Ma carte est la {} et elle expire bientôt.",
    "Mi tarjeta: {}.",
    "Numero di carta {}",
    "银行卡号：{}，请查收",
    "我的卡是{}。",
    '{"pan": "{}", "cvv": "***"}',
]


def card(draw: random.Random) -> Case:
    name, prefix, length = draw.choice(CARDS)
    prefix = prefix.replace("@", draw.choice("12345"))
    digits = prefix + some(draw, DIGITS, length - 1 - len(prefix))
    digits += luhn_digit(digits)
    groups = {14: (4, 6, 4), 15: (4, 6, 5), 16: (4, 4, 4, 4), 19: (6, 13)}[length]
    parts, at = [], 0
    for size in groups:
        parts.append(digits[at : at + size])
        at += size
    return plant(draw, draw.choice(PAYMENTS), draw.choice(["", "", " ", "-"]).join(parts), "card", f"card {name}")


HOSTS_SEEN = [
    "Failed login from {} on Monday",
    "The server at {} did not answer.",
    '{} - - [10/Oct/2024:13:55:36 +0000] "GET / HTTP/1.1" 200 2326',
    "ssh admin@{}",
    "Der Angriff kam von {}.",
    "L'adresse {} est bloquée.",
    "La IP {} fue bloqueada.",
    "服务器地址是{}，请勿外传。",
    "client={} port=443",
    '{"ip": "{}"}',
]


def ip(draw: random.Random) -> Case:
    if draw.random() < 0.6:
        first = draw.choice([*range(11, 100), *range(128, 224)])
        value = ".".join(
            str(part) for part in (first, draw.randrange(256), draw.randrange(256), draw.randrange(10, 255))
        )
        form = "ip v4"
    else:
        words = [f"{draw.randrange(65536):x}" for _ in range(8)]
        words[0] = draw.choice(["2001", "2a02", "2003", "fe80", "2409", "fd00"])
        value, form = ":".join(words), "ip v6"
        if draw.random() < 0.5:
            value = ":".join(words[:3]) + "::" + ":".join(words[6:])
        if value.count("::") == 0 and draw.random() < 0.5:
            value = value.upper()
    carriers = [carrier for carrier in HOSTS_SEEN if form == "ip v4" or "ssh" not in carrier]
    return plant(draw, draw.choice(carriers), value, "ip", form)
