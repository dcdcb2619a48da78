"""Check digits: every function takes the letters and digits of a number, letters in capitals, and answers yes or no."""

from __future__ import annotations

# Lengths from the IBAN registry of SWIFT, release 98.
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28,
    "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
    "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_HETU_LETTERS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_CHINESE_CHECK = "10X98765432"
_CHINESE_PROVINCES = frozenset(
    str(first + n)
    for first, count in ((11, 5), (21, 3), (31, 7), (41, 6), (50, 5), (61, 5), (71, 1), (81, 3))
    for n in range(count)
)
_CODICE_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_CODICE_DIGITS = str.maketrans("LMNPQRSTUV", "0123456789")  # letters that tell two people of one code apart


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    values = [int(digit) for digit in reversed(digits)]
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


def iban(text: str) -> bool:
    """ISO 13616: the length of the country, and 1 as the remainder by 97 (ISO/IEC 7064)."""
    numbers = "".join(str(int(character, 36)) for character in text[4:] + text[:4])
    return len(text) == IBAN_LENGTHS.get(text[:2]) and int(numbers) % 97 == 1


def date(year: int, month: int, day: int) -> bool:
    """Whether a person may have been born on that day."""
    days = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return 1880 <= year <= 2099 and 1 <= month <= 12 and 1 <= day <= days[month - 1]


def us_ssn(digits: str) -> bool:
    """Social security number: the areas, groups and serial numbers that are given out (ssa.gov, randomization)."""
    return digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def us_itin(digits: str) -> bool:
    """Individual taxpayer identification number: 9, and the groups that the IRS gives out."""
    group = int(digits[3:5])
    return digits[0] == "9" and (50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99)


def cn_id(text: str) -> bool:
    """Chinese resident identity card, 18 characters: GB 11643-1999 (ISO/IEC 7064 MOD 11-2)."""
    total = sum(int(digit) * (1 << (17 - place)) for place, digit in enumerate(text[:17]))
    born = date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    return text[:2] in _CHINESE_PROVINCES and born and _CHINESE_CHECK[total % 11] == text[17]


def es_dni(text: str) -> bool:
    """Spanish DNI (8 digits and a letter) or NIE (X, Y or Z, 7 digits and a letter)."""
    return _DNI_LETTERS[int(text[:-1].translate(str.maketrans("XYZ", "012"))) % 23] == text[-1]


def fr_nir(text: str) -> bool:
    """French social security number, 15 characters, modulo 97; Corsica's 2A and 2B count 19 and 18."""
    number = text[:13].replace("2A", "19").replace("2B", "18")
    month = int(text[3:5])
    return number.isdigit() and (1 <= month <= 12 or month >= 20) and 97 - int(number) % 97 == int(text[13:])


def mod_11_10(digits: str) -> bool:
    """ISO/IEC 7064 MOD 11,10."""
    product = 10
    for digit in digits[:-1]:
        product = 2 * ((product + int(digit)) % 10 or 10) % 11
    return (product + int(digits[-1])) % 10 == 1


def de_tax(digits: str) -> bool:
    """German tax id, 11 digits: among the first ten one digit comes two or three times, the others once at most."""
    most, *rest = sorted((digits[:10].count(digit) for digit in set(digits[:10])), reverse=True)
    return digits[0] != "0" and most in (2, 3) and rest[0] == 1 and mod_11_10(digits)


def nl_bsn(digits: str) -> bool:
    """Dutch citizen service number, 9 digits: the test by eleven."""
    total = sum(int(digit) * weight for digit, weight in zip(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True))
    return total % 11 == 0 and int(digits) > 0


def it_code(text: str) -> bool:
    """Italian codice fiscale, 16 characters (decree of 23 December 1976)."""
    total = 0
    for place, character in enumerate(text[:15]):
        value = int(character) if character.isdigit() else ord(character) - ord("A")
        total += value if place % 2 else _CODICE_ODD[value]
    day = int(text[9:11].translate(_CODICE_DIGITS))
    return chr(ord("A") + total % 26) == text[15] and (1 <= day <= 31 or 41 <= day <= 71)


def pl_pesel(digits: str) -> bool:
    """Polish PESEL, 11 digits: the century is added to the month."""
    weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
    century, month = divmod(int(digits[2:4]), 20)
    born = date((1900, 2000, 2100, 2200, 1800)[century] + int(digits[:2]), month, int(digits[4:6]))
    return born and sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True)) % 10 == 0


def se_number(digits: str) -> bool:
    """Swedish personal number, the last 10 digits (60 is added to the day of a coordination number)."""
    day = int(digits[4:6])
    return date(2000, int(digits[2:4]), day - 60 if day > 60 else day) and luhn(digits)


def fi_hetu(text: str) -> bool:
    """Finnish personal identity code: day, month, year, mark of the century, three digits, the remainder by 31."""
    born = date(2000 + int(text[4:6]), int(text[2:4]), int(text[:2]))
    return born and _HETU_LETTERS[int(text[:6] + text[-4:-1]) % 31] == text[-1]


def be_number(digits: str) -> bool:
    """Belgian national number, 11 digits: 97 less the remainder by 97, with a 2 before it for those born since 2000."""
    born = int(digits[2:4]) <= 12 and int(digits[4:6]) <= 31
    return born and any(97 - int(century + digits[:9]) % 97 == int(digits[9:]) for century in ("", "2"))


def ean_13(digits: str) -> bool:
    """The weights 1 and 3 in turn; the Swiss AHV number is such a number that begins with 756."""
    return (sum(int(d) for d in digits[::2]) + 3 * sum(int(d) for d in digits[1::2])) % 10 == 0
