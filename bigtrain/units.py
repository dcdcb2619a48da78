"""Numbers as people read them."""

from __future__ import annotations


def si(number: float) -> str:
    """Three digits and a unit: 950, 12.3k, 4.56M."""
    for unit in ("", "k", "M", "G", "T"):
        if abs(number) < 999.5 or unit == "T":
            break
        number /= 1000
    return f"{number:.3g}{unit}"


def gib(n_bytes: float) -> str:
    """Bytes as 0.3 GiB."""
    return f"{n_bytes / 2**30:.1f} GiB"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 0:07, 12:34, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
