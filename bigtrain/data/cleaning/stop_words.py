"""Stop words of the languages: how many different ones a document holds tells running text from lists and debris.

English has the eight words of Gopher (Rae et al. 2021). The other lists are frequent function words chosen for this
table; FineWeb-2 (Penedo et al. 2025) showed that the rule needs a list for each language.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from bigtrain.data.cleaning.profile import Profile, Script, hash_words

SPACED = {
    "en": "the be to of and that have with",
    "ar": "من في على إلى أن عن هذا أو لا ما كل التي",
    "bg": "на и да се за от не с по в",
    "ca": "de la que i el a en per les un",
    "cs": "a v se na je že s z do o",
    "da": "og i at det er en til på af for",
    "de": "der die und das in zu den nicht von mit ist ein",
    "el": "και το της η να του την με από για",
    "es": "de la que el en y a los se del un por",
    "et": "ja on ei et ta see oli kui ka või",
    "fa": "و در به از که این را با است هر",
    "fi": "ja on ei että se hän oli kun mutta tai sekä",
    "fr": "de la le et les des en un que à est dans",
    "he": "של את על לא כל או הוא זה עם גם אל",
    "hi": "के में की है और को से का कि पर",
    "hr": "i je u se na da za su od ne",
    "hu": "a az és hogy nem is egy van meg vagy",
    "id": "yang dan di dengan untuk dari dalam ini tidak atau",
    "it": "di che e la il un a per in non una del",
    "ko": "이 그 및 수 있는 또는 한 등 모든 더 것",
    "lt": "ir yra kad į su iš tai ne bet arba kaip",
    "lv": "un ir ar no uz kas par ka vai tiek",
    "ms": "yang dan di dengan untuk dari dalam ini tidak atau",
    "nl": "de van het een en in dat is te op niet met",
    "no": "og i det er på til en som av for at",
    "pl": "i w na z nie się do że jest o oraz",
    "pt": "de a o que e do da em um para com não",
    "ro": "și de la în a cu pe să nu care este",
    "ru": "и в не на что с по как это к от или",
    "sk": "a v sa na je že s z do o",
    "sl": "in je v na se da za so ne z",
    "sr": "и је у се на да за су од не",
    "sv": "och i att det som en på är av för",
    "tr": "ve bir bu için ile de da her olan veya",
    "uk": "і в на не що з та до як у або",
    "ur": "کے میں کی ہے اور کو سے کا کہ پر",
    "vi": "và của là có không được các cho một những trong người với để",
}
UNSPACED = {  # these are looked for anywhere in the text
    "zh": "的 是 在 不 了 有 和 人 之 一",
    "ja": "の に は を が と で も た",
    "th": "ที่ และ ของ การ ใน มี เป็น ไม่ จะ ให้",
}
_SAME = {"bs": "hr"}
_SCRIPTS = {Script.chinese: "zh", Script.japanese: "ja"}


def count(profile: Profile, language: str | None) -> int | None:
    """How many different stop words of its language a document holds; None where there is no list for it.

    language: ISO 639-1 code; None: unknown, the language with the most of them counts.
    """
    if language is not None:
        language = _SAME.get(language, language)
    if profile.script is not Script.spaced:
        listed = UNSPACED.get(language or _SCRIPTS.get(profile.script, ""))
        return None if listed is None else sum(word in profile.text for word in listed.split())
    if language is not None and language not in SPACED:
        return None
    hashes, words = _table(language)
    tokens = profile.tokens.hashes
    places = hashes.searchsorted(tokens)
    found = {words[place] for place in set(places[hashes.take(places, mode="clip") == tokens].tolist())}
    return max(len(found.intersection(SPACED[name].split())) for name in ([language] if language else SPACED))


@functools.cache
def _table(language: str | None) -> tuple[NDArray[np.uint64], list[str]]:
    """Sorted hashes of the stop words of one language, or of all, in small, capital and title letters; the words."""
    words = sorted({word for name in ([language] if language else SPACED) for word in SPACED[name].split()})
    forms = {form: word for word in words for form in (word, word.capitalize(), word.upper())}
    hashes = hash_words(list(forms))
    order = np.argsort(hashes)
    written = list(forms.values())
    return hashes[order], [written[index] for index in order.tolist()]
