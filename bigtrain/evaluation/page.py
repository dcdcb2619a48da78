"""HTML that is one file: escaped text, sections, and a page without anything from elsewhere."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.storage import write_text

MOST_ROWS, MOST_CELL = 120, 160  # of a table; characters of its cells


def write_page(path: Path, title: str, css: str, body: Sequence[str]) -> None:
    """Write the page, atomically. body: pieces of HTML, of which empty ones are left out."""
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{css}</style>\n</head>\n<body>\n<main>\n{chr(10).join(part for part in body if part)}\n"
        "</main>\n</body>\n</html>\n"
    )
    write_text(path, _visible(page))


def text(value: object) -> str:
    """Any value as text in which HTML means nothing."""
    return html.escape(str(value))


def cut(value: object, most: int) -> str:
    """Escaped text of at most `most` characters of the value, and a mark where it went on."""
    whole = str(value)
    return text(whole if len(whole) <= most else f"{whole[:most]} …")


def section(title: str, content: str) -> str:
    """A heading and its content; nothing where there is none."""
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>" if content else ""


def tiles(values: Sequence[tuple[str, str]]) -> str:
    """The first line of numbers: (value, what it is)."""
    shown = [f'<div class="tile"><div class="value">{text(v)}</div><div>{text(name)}</div></div>' for v, name in values]
    return f'<div class="tiles">{"".join(shown)}</div>' if shown else ""


def figures(charts: Sequence[tuple[str, str, bool]]) -> str:
    """Charts with their captions: (caption, SVG, over the whole width). Those without an SVG are left out."""
    parts = [
        f"<figure{' class=wide' if wide else ''}><figcaption>{text(caption)}</figcaption>{svg}</figure>"
        for caption, svg, wide in charts
        if svg
    ]
    return f'<div class="charts">{"".join(parts)}</div>' if parts else ""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


class Number(str):
    """A number as it is to be read, such as 12.3%."""

    __slots__ = ()


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table with a line of titles; nothing without rows. Numbers stand on the right; None leaves a cell empty."""
    if not rows:
        return ""
    right = [all(_is_number(row[number]) or row[number] is None for row in rows) for number in range(len(columns))]
    head = [
        f"<th{' class=num' if numbers else ''}>{text(name)}</th>" for name, numbers in zip(columns, right, strict=True)
    ]
    body = [f"<tr>{''.join(map(_cell, row, right))}</tr>" for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        body.append(f'<tr><td colspan="{len(columns)}">… and {len(rows) - MOST_ROWS:,} more</td></tr>')
    kind = "data" if len(columns) > 2 else "data slim"  # a number far from its name is hard to follow
    return f'<table class="{kind}"><thead><tr>{"".join(head)}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Number) and not isinstance(value, bool)


def _cell(value: object, right: bool) -> str:
    content = value if isinstance(value, Html) else "" if value is None else cut(shown(value), MOST_CELL)
    return f"<td{' class=num' if right else ''}>{content}</td>"


def shown(value: object) -> str:
    """A value as people read it: 1,234,567 and 0.123457; lists and mappings as JSON."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, the first and the last among them."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(int))]


def _visible(page: str) -> str:
    """What HTML cannot hold becomes visible: control characters as pictures, half surrogates as question marks."""
    page = page.encode("utf-8", "replace").decode("utf-8")
    page = re.sub(r"[\x00-\x08\x0b-\x1f]", lambda match: chr(0x2400 + ord(match[0])), page)
    return re.sub(r"[\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", page)
