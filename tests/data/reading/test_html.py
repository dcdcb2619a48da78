"""Web pages: their text and title, and nothing of their menus. The strings were chosen by looking at each page."""

from pathlib import Path

import pytest
from trafilatura import load_html

from bigtrain.data.reading import sources
from bigtrain.data.reading.html import declared_encoding, main_text
from bigtrain.data.schema import DataConfig, OnError
from bigtrain.errors import UserError

# page: its title, a piece of its text, and strings of its menus, side bars, cookie notices and footers
PAGES = {
    "adac.de.kindersitze": (
        "18 Kindersitze im Test: Vier Modelle fallen durch",
        "| Britax Römer Swingfix M i-Size | 500 € | ja | 1,7 |",
        ["Zur Navigation", "Rund ums Fahrzeug", "Jetzt einloggen", "Diesel-Umtauschprämien", "Lob & Kritik"],
    ),
    "brandenburg.de.homo-brandenburgensis": (
        "Homo Brandenburgensis",
        "Im Café erhielt ich auf meine Frage, ob im Cappuccino ein doppelter Espresso sei",
        ["Direkt zum Inhalt", "Pfadnavigation", "Wappentier", "Teilen auf", "Bewertung", "Netiquette", "Beutemärker"],
    ),
    "cdu-fraktion-erfurt.de.waldorfschule": (
        "Entwicklung der Waldorfschule ermöglicht",
        "schon jetzt besuchen rund 10% der thüringer Schüler eine der Schulen in freier Trägerschaft",
        ["TERMINE", "weiter lesen", "Zurück zur Übersicht", "Infobrief", "Inhaltsübersicht", "Impressum"],
    ),
    "de.creativecommons.org.endlich": (
        "Endlich wird es spannend: Die NC-Einschränkug nach deutschem Recht",
        "Leonhard Dobusch hat einen sehr guten Beitrag zum neuen Fall bei netzpolitik.org geschrieben",
        ["Zum Inhalt springen", "Was ist CC?", "Neueste Beiträge", "September 2007", "Stolz präsentiert"],
    ),
    "fairkom.eu.about": (
        "Über uns",
        "Das PUBLIC VOICE Labor wurde 1995 gegründet",
        ["Direkt zum Inhalt", "fairchat", "Gutschein", "Main navigation", "Newsletter", "Server Status", "Impressum"],
    ),
    "gruen-digital.de.jahrestagung": (
        "Digitalpolitische Jahrestagung 2015 der Heinrich-Böll-Stiftung Baden-Württemberg",
        "Die Tagung wird gestreamt. Um Anmeldung und einen geringen Unkostenbeitrag wird gebeten.",
        ["Parlamentarische Initiativen", "Gastbeiträge", "Related Posts", "TEMPORA", "Tabea Rößner", "Impressum"],
    ),
    "jovelstefan.de.gefallt": (
        "Gefällt mir",
        "Manchmal überrascht einen der Alltag ja mit kleinen Freuden",
        ["Jovelbuch", "Kommentarfeed", "Trackback-URL", "Simple Tagging Widget", "WordPress", "Datenschutz"],
    ),
    "love-hina.ch.0409": (
        "Site Update - Leseprobe Band 14 / Kapitel 121",
        "Kapitel 121 ist nun auch online.",
        ["Disclaimer", "Gästebuch", "Wettbewerb", "Fan Fictions", "Wörterbuch", "Impressum"],
    ),
    "piratenpartei-mv.de.grundeinkommen": (
        "Grundeinkommen ist ein Menschenrecht!",
        "Wir setzen uns für ein bedingungsloses Grundeinkommen ein, das Freiräume für alle schafft",
        ["MITMACHEN", "Wissensgesellschaft", "Jetzt Spenden", "Was denkst du?", "Vorpommern-Rügen", "IMPRESSUM"],
    ),
    "sauvonsluniversite.com.spip": (
        "Décisions de l’AG Éducation IDF du mardi 10 septembre",
        "L’AG Éducation Île-de-France inter-degrés a réuni le mardi 10 septembre",
        ["Accueil >", "Communiqués et textes de SLU", "Mystique du management", "Plan du site", "Se connecter"],
    ),
    "skateboardmsm.de.dormhagen": (
        "The Captain’s Quest 2017 – Contest auf schwimmender Miniramp am 19. August in Dormagen",
        "Austragungsort ist der Straberger See bei Dormagen",
        ["Oesterreich", "Fiederlings Festplatte", "Ähnliche Artikel", "Cookies", "Privacy Policy", "Impressum"],
    ),
    "spreeblick.com.habeck": (
        "Aus! Aus! Alles vorbei! Habeck macht die Stahnke",
        "An der Costa Brava, da war das Leben leicht, das Körperhaar gebleicht von Sonne und Meer",
        ["NEU: SHOP", "Spreeblick bei Twitter", "Letzte Features", "Homöophobie", "Podcast in iTunes", "Impressum"],
    ),
    "wehranlage-horka.de.887": (
        "Historischer Markt",
        "Wissen Sie eigentlich wie unser Wehrmauerbrot schmeckt ?",
        ["Zurück zu den", "Weihnachtsmarkt", "Downloads", "Bilderalbum", "nach oben", "Impressum"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_real_pages(page: str, test_data: Path) -> None:
    path = test_data / "web_html" / f"{page}.html"
    title, text, menus = PAGES[page]
    (document,) = sources.documents(DataConfig(files=[str(path)]))
    assert title in document.text
    assert text.casefold() in document.text.casefold()
    assert [words for words in menus if words in document.text] == []
    everything = " ".join(load_html(path.read_bytes()).text_content().split())
    assert [words for words in menus if words not in everything] == []
    assert document.replacements == 0


def test_the_page_that_is_not_utf8(test_data: Path) -> None:
    path = test_data / "web_html" / "cdu-fraktion-erfurt.de.waldorfschule.html"
    (document,) = sources.documents(DataConfig(files=[str(path)]))
    assert document.encoding == "cp1252"
    assert "Thüringer Verfassungsgericht" in document.text


PAGE = """<!DOCTYPE html><html><head><title>The river | A site</title>{head}</head><body>
<nav><a href="/">Home</a> <a href="/news">News of the day</a></nav><div class="Breadcrumb">Home / Rivers</div>
<article>{heading}<p>{text}</p><p>« <a href="/b">Back to all rivers</a></p><p>The end of it.</p></article>
<footer><a href="/imprint">Imprint and more</a></footer></body></html>"""
TEXT = "The river runs under the old bridge, and nobody knows where it goes. " * 10


def test_titles() -> None:
    text = main_text(PAGE.format(head="", heading="<h1>The river</h1>", text=TEXT))
    assert text.splitlines()[0] == "The river"
    assert text.splitlines()[-1] == "The end of it."
    assert not [words for words in ("A site", "Home", "News", "Rivers", "Back", "Imprint") if words in text]
    assert main_text(PAGE.format(head="", heading="", text=TEXT)).startswith("The river | A site\n\nThe river runs")


def test_pages_without_text() -> None:
    assert main_text("") == ""
    assert main_text("<html></html>") == ""
    assert main_text("\x01\x02 no page") in ("", "no page")
    assert main_text("<" * 10_000) == ""


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ('<meta charset="ISO-8859-1">', "cp1252"),
        ("<META http-equiv=Content-Type content='text/html; charset=windows-1251'>", "cp1251"),
        ("<meta charset=gb2312>", "gb18030"),
        ("<meta charset=klingon>", None),
        ("<meta name=description content=x>", None),
    ],
)
def test_declared_encodings(head: str, encoding: str | None, tmp_path: Path) -> None:
    assert declared_encoding(head.encode()) == encoding
    word = {"cp1252": "Gänsefüßchen", "cp1251": "Река", "gb18030": "河流"}.get(encoding or "", "plain")
    page = PAGE.format(head=head, heading="<h1>The river</h1>", text=f"{word} {TEXT}")
    (tmp_path / "a.html").write_bytes(page.replace("« ", "").encode(encoding or "ascii"))
    (document,) = sources.documents(DataConfig(files=[str(tmp_path)]))
    assert word in document.text
    assert document.encoding == (encoding or "utf-8")


def test_a_page_that_names_a_wrong_encoding(tmp_path: Path) -> None:
    page = PAGE.format(head="<meta charset=utf-8>", heading="", text=f"Gänsefüßchen und Käse für alle. {TEXT}")
    (tmp_path / "a.html").write_bytes(page.replace("« ", "").encode("cp1252"))
    (document,) = sources.documents(DataConfig(files=[str(tmp_path)]))
    assert "Gänsefüßchen und Käse für alle." in document.text


def test_pages_do_not_depend_on_the_pages_before(test_data: Path) -> None:
    pages = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(test_data.glob("web_html/*.html"))]
    assert [main_text(page) for page in pages] == [main_text(page) for page in pages[::-1]][::-1]


def test_a_page_that_breaks_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*arguments: object, **options: object) -> str:
        raise AttributeError("NoneType")

    monkeypatch.setattr("trafilatura.extract", breaks)
    (tmp_path / "a.html").write_text(PAGE)
    with pytest.raises(UserError, match=r"a\.html: AttributeError"):
        list(sources.documents(DataConfig(files=[str(tmp_path)])))


def test_a_page_that_is_too_long(tmp_path: Path) -> None:
    for name in ("a.html", "b.htm"):
        (tmp_path / name).write_text(PAGE.format(head="", heading="", text=TEXT * (50 if name == "a.html" else 1)))
    found = list(sources.documents(DataConfig(files=[str(tmp_path)], max_row_bytes=5000, on_error=OnError.skip)))
    assert [Path(document.file).name for document in found] == ["b.htm"]
