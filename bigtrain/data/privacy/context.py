"""What the words before a number say that it is, in the languages that training text comes in most."""

from __future__ import annotations

import re
from enum import StrEnum

REACH = 40  # characters before a number in which its name is looked for


class Topic(StrEnum):
    """What a number may be called."""

    phone = "phone"
    card = "card"
    ssn = "ssn"
    tax = "tax"
    bsn = "bsn"
    pesel = "pesel"
    national = "national"
    address = "address"
    version = "version"
    identity = "identity"
    other = "other"


# How the words begin, in lower case, as regular expressions, `_` for a blank. The nearest one before the number counts;
# of two that begin at one place, the topic that comes first here.
_LATIN = {
    Topic.phone: r"""
        tel tél phone mobile mobil móvil movil cell\b cellphone cell?ular handy fax call ring(?:\b|en) dial text\b
        text_me\b sms whatsapp viber hotline helpline landline contact kontakt contatt reach appel joign joindre
        portable numéro_vert ruf anruf erreich durchwahl llam llám chiam bel\b bellen telefoon zadzwo dzwo kom\.
        lig(?:ue|ar) тел моб звон факс my_n(?:umber|o\.) meine?_nummer mon_numéro mi_número mio_numero""",
    Topic.ssn: "ssn social_sec itin taxpayer",
    Topic.tax: r"steuer(?:-?id|-?nr)? idnr id-nr ident(?:ifikations)?n tin\b tax",
    Topic.bsn: "bsn burgerservice sofi",
    Topic.pesel: "pesel",
    Topic.national: r"""
        dni nie\b nif c\.?f\b codice nir\b sécu national nino insurance personn henkil hetu rijksreg ahv avs
        passport""",
    Topic.card: r"""
        card paid pay(?:ing|ment)?\b bezahl pagad pagat payé karte carte tarjeta carta kaart karta visa mastercard
        amex credit kredit pan\b""",
    Topic.address: r"""
        ip\b ipv4 addr adress direcc indiriz host server client login ping dns ssh gateway router from\b""",
    Topic.version: r"""
        ver\b v\b version versión release build firmware driver update upgrade fassung section chapter abschnitt
        kapitel article § oid\b assembly rev""",
    Topic.identity: r"id\b ids\b ident",
    Topic.other: r"""
        isbn issn ean\b upc gtin doi arxiv pmid order bestell auftrag command pedido ordin zamów invoice rechnung
        fact(?:ura|ure) fattur faktur ref\b ref\. refer item article artikel artículo sku part\b serial serien série
        model ticket case track patent coord lat\b lon\b latitude longitude gps time unix epoch
        hash commit zip\b plz postal popula bevölk einwohn flight flug lot\b batch code código imei imsi vin\b grant
        cas\b price preis total sum\b count size bytes amount budget pages?\b pp\b vol log task user parcel sendung
        konto account reg\b lei\b duns pieza dossier chr score date room номер_заказа заказ счет""",
}
_EASTERN = {
    Topic.phone: """
        电话 電話(?:番号)? 手机 手機 致电 致電 拨打 撥打 热线 熱線 专线 传真 傳真 座机 联系 聯繫 微信 連絡 携帯 来电
        短信 咨询 전화 휴대""",
    Topic.card: "银行卡 支付 付款 刷卡 信用卡 卡号 卡號 クレジット 카드",
    Topic.national: "身份证 身分證",
    Topic.address: "地址 服务器 伺服器 主机 サーバ",
    Topic.version: "版本 バージョン 버전",
    Topic.other: """
        订单 訂單 单号 單號 编号 編號 编码 发票 發票 书号 書號 快递 运单 流水 工号 学号 坐标 总额 总计 共计 人口
        注文 番号 金额 合同 批次 型号 주문""",
}


def _any_of(words: str) -> str:
    return "|".join(words.split()).replace("_", " ")


def _pattern() -> re.Pattern[str]:
    latin = "|".join(f"(?P<{topic}>{_any_of(words)})" for topic, words in _LATIN.items())
    eastern = "|".join(f"(?P<{topic}_>{_any_of(words)})" for topic, words in _EASTERN.items())
    return re.compile(rf"(?<![^\W\d_])(?:{latin})|{eastern}")


_WORDS = _pattern()
_REST_OF_WORD = re.compile(r"\w*")
_HAN = re.compile("[\u3400-\u9fff]")


def topic(text: str, start: int) -> tuple[Topic | None, int]:
    """What the number that begins at `start` is called, and how many characters lie between; (None, 0): nothing."""
    before = text[max(0, start - REACH) : start].lower()
    found = None
    for found in _WORDS.finditer(before):  # noqa: B007  # the last one
        pass
    if found is None or found.lastgroup is None:
        return None, 0
    rest = _REST_OF_WORD.match(before, found.end())
    return Topic(found.lastgroup.rstrip("_")), len(before) - (rest.end() if rest else found.end())


def among_chinese(text: str, start: int, stop: int) -> bool:
    """Whether Chinese characters stand within a dozen characters of the span."""
    return bool(_HAN.search(text, max(0, start - 12), start) or _HAN.search(text, stop, stop + 12))
