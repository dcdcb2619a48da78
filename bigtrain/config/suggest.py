"""Unknown keys: which one was meant. Names from elsewhere are answered with ours; there are no aliases."""

from __future__ import annotations

import dataclasses
import difflib
import re

from bigtrain.config.fields import Plain, entry_class, keys, lookup
from bigtrain.config.foreign import FOREIGN, FOREIGN_OF
from bigtrain.config.overrides import Override
from bigtrain.errors import UserError
from bigtrain.schema import CHOICES, ROOTS


def unknown_option(verb: str, option: str) -> str | None:
    """What to give for an option of the command line that there is not: the key that was meant."""
    key = option.lstrip("-").replace("-", "_")
    node = _first_kinds()
    if any(each.name == key for each in keys(ROOTS[verb], node)):
        return f"settings have no dashes: give {key}=VALUE"
    meant = _meant(verb, node, Override(key, "VALUE"))
    return meant and f"settings have no dashes: {meant}"


def unknown_key(verb: str, node: Plain, override: Override, where: str = "") -> UserError:
    """The error for a key that a verb's config does not have, with the nearest thing that there is."""
    given = f"{override}{where}"
    root = ROOTS[verb]
    section, _, leaf = override.key.rpartition(".")
    if section and dataclasses.is_dataclass(kind := lookup(root, node, section)):
        there = [key.name for key in keys(kind, {})]  # type: ignore[arg-type]
        rule = f"{section} has no key `{leaf}`; it has {', '.join(there) or 'none'}"
    else:
        rule = f"bigtrain {verb} has no key `{override.key}`"
    remedy = _meant(verb, node, override) or f"`bigtrain configs {_section(verb, override.key)}` lists the keys"
    return UserError(given, rule, remedy)


def _section(verb: str, key: str) -> str:
    first = key.partition(".")[0]
    return first if first in {field.name for field in dataclasses.fields(ROOTS[verb])} else verb


def _meant(verb: str, node: Plain, override: Override) -> str | None:
    """The remedy, by the surest hint first."""
    known = [key.name for key in keys(ROOTS[verb], node)]
    section, _, leaf = override.key.replace("-", "_").rpartition(".")
    for name, kind in CHOICES.get(section, {}).items():
        if leaf in {field.name for field in dataclasses.fields(kind)} and section in node:
            return f"that is a key of {section}={name}: give {section}={name} {override}"
    entry = entry_class(lookup(ROOTS[verb], node, section.rpartition(".")[0])) if "." in section else None
    if entry and (close := difflib.get_close_matches(leaf, [field.name for field in dataclasses.fields(entry)], n=1)):
        return f"did you mean {section}.{close[0]}={override.text}?"
    elsewhere = [key for key in known if key.rpartition(".")[2] == leaf]
    own = FOREIGN_OF.get(verb, {}).get(override.key.lower())
    if elsewhere and not own:
        return "did you mean " + " or ".join(f"{key}={override.text}" for key in elsewhere[:3]) + "?"
    names = (override.key.lower(), leaf.lower(), override.key.partition(".")[0].lower())
    if foreign := own or next((FOREIGN[name] for name in names if name in FOREIGN), None):
        return _told(verb, known, foreign)
    leaves = {key.rpartition(".")[2]: key for key in reversed(known)}
    near = difflib.get_close_matches(override.key, known, n=2) or [
        leaves[name] for name in difflib.get_close_matches(leaf, leaves, n=2, cutoff=0.75)
    ]
    if near:
        return "did you mean " + " or ".join(f"{key}={override.text}" for key in near) + "?"
    others = [other for other, root in ROOTS.items() if lookup(root, {}, override.key) is not None]
    return f"it is a key of bigtrain {', '.join(others)}" if others else None


def _told(verb: str, known: list[str], foreign: str) -> str:
    """An answer of the tables, with the verbs that have its keys where this one does not."""
    if foreign.startswith("there is none"):
        return foreign
    named = re.findall(r"\b([a-z_]+(?:\.[a-z_]+)*)=", foreign)

    def has(root: type, key: str) -> bool:
        return lookup(root, _first_kinds(), key) is not None

    if not named or any(key in known or has(ROOTS[verb], key) for key in named):
        return f"give {foreign}"
    others = [other for other, root in ROOTS.items() if any(has(root, key) for key in named)]
    return f"bigtrain {' and '.join(others)} {'have' if len(others) > 1 else 'has'} {foreign}"


def _first_kinds() -> Plain:
    """A config in which every node is of the first kind that it can be."""
    return {group: {"name": next(iter(kinds))} for group, kinds in CHOICES.items()}
