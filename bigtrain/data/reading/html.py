"""Web pages: the main text without menus, side bars and advertising, below its title.

The text is found by trafilatura (Barbaresi 2021, "Trafilatura: A Web Scraping Library and Command-Line Tool for Text
Discovery and Extraction"); what of menus it lets through on real pages is taken out here.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

_DECLARED = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w:.-]{2,40})""", re.IGNORECASE)
_SUPERSETS = {"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030"}
_MENUS = [
    "//nav",
    "//*[@role='navigation' or @role='menu' or @role='menubar' or @role='search' or @role='banner']",
    "//*[contains(translate(concat(@class, ' ', @id), 'BREADCUM', 'breadcum'), 'breadcrumb')]",
]
_TRAIL = re.compile(r"^[^.!?]{1,60}(?:\s[>»›→]\s[^>»›→]{1,200}){2,}$")  # Home > News > This page
_TRAIL_LINES = 5  # at the top, where a trail can be
_BACK = re.compile(r"^(?:[«‹←]|<<)[^»›.!?…]{1,80}$|^[^«‹.!?…]{1,80}(?:[»›→]|>>)$")  # « To the overview; next page »


def declared_encoding(content: bytes) -> str | None:
    """The encoding that a page names in its head, as what browsers take it for (WHATWG Encoding); None for UTF-8."""
    found = _DECLARED.search(content, 0, 4096)
    if not found:
        return None
    try:
        name = codecs.lookup(found[1].decode("ascii")).name
    except (LookupError, UnicodeDecodeError):
        return None
    return None if name.startswith("utf") else _SUPERSETS.get(name, name)


def main_text(page: str) -> str:
    """The main text of a page, a paragraph a line, below its title; empty where there is no text."""
    from trafilatura import extract, load_html

    tree = load_html(page)
    if tree is None:
        return ""
    titles = _titles(tree)
    text = extract(tree, include_comments=False, prune_xpath=_MENUS)
    lines = [line.rstrip() for line in (text or "").splitlines() if line.strip()]
    lines = [line for number, line in enumerate(lines) if not _is_menu(line.strip(), number)]
    text = "\n".join(lines)
    there = {_plain(line).strip("- ") for line in lines}
    if not text or not titles or any(_plain(title) in there for title in titles):
        return text
    return f"{max(titles, key=len)}\n\n{text}"


def all_text(page: str) -> str:
    """Everything that a page shows, in one line: what can be told of one without main text."""
    from trafilatura import load_html

    tree = load_html(page)
    shown = [] if tree is None else tree.xpath("//text()[not(ancestor::script or ancestor::style)]")
    return _one_line(" ".join(shown))


def _titles(tree: Any) -> list[str]:
    """Headings that the page's <title> repeats; where there is none, its only main heading, or the <title> itself."""
    named = [tree.findtext(".//title") or "", *tree.xpath("//meta[@property='og:title']/@content")]
    named = [_one_line(name) for name in named]
    headings = [(heading.tag, _one_line(heading.text_content())) for heading in tree.iter("h1", "h2", "h3")]
    repeated = [text for _, text in headings if text and any(_plain(text) in _plain(name) for name in named)]
    main = [text for tag, text in headings if tag == "h1" and text]
    return repeated or (main if len(main) == 1 else [name for name in named[:1] if name])


def _is_menu(line: str, number: int) -> bool:
    return bool(_BACK.match(line)) or (number < _TRAIL_LINES and bool(_TRAIL.match(line)))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """For comparison."""
    return _one_line(text).casefold()
