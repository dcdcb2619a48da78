"""Completion of groups, options and keys in the shell. Reads folders and dataclasses only: no Hydra, no YAML."""

from __future__ import annotations

import dataclasses
from enum import Enum
from pathlib import Path
from typing import Any

from bigtrain.config import folders
from bigtrain.config.fields import keys, lookup, without_none
from bigtrain.schema import CHOICES, ROOTS


def complete(verb: str, words: list[str], incomplete: str, config_dir: Path | None = None) -> list[str]:
    """What may follow. words: the KEY=VALUE words before; incomplete: the word under the cursor.

    A shell that cuts words at `=` (bash) gives `model`, `=` and `tin`, and wants `tiny`; others give `model=tin` and
    want `model=tiny`.
    """
    words = _glued(words)
    if words and words[-1].find("=") in (-1, len(words[-1]) - 1):  # the shell has cut the word under the cursor
        key = words.pop().removesuffix("=")
        return [value for value in _values(verb, words, key, config_dir) if value.startswith(incomplete)]
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={each}" for each in _values(verb, words, key, config_dir) if each.startswith(value)]
    names = [name for name in _names(verb, words) if name.startswith(incomplete)]
    if "." in incomplete:
        return names
    sections = dict.fromkeys(name.partition(".")[0] + "." for name in names if "." in name)
    groups = [f"{group}=" for group in _groups(verb) if group.startswith(incomplete)]
    return [*groups, *(name for name in names if "." not in name), *sections]


def _glued(words: list[str]) -> list[str]:
    """Put together what the shell has cut at `=`."""
    result: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if result and "=" in (before, word):
            result[-1] += word
        else:
            result.append(word)
    return result


def _groups(verb: str) -> list[str]:
    fields = {field.name for field in dataclasses.fields(ROOTS[verb])}
    return [group for group in folders.groups() if group in fields or group == "recipe"]


def _tree(verb: str, words: list[str], kind: str = "") -> dict[str, Any]:
    """A guess at the composed config: each node of the kind that the line names, else of this kind where it can be."""
    chosen = dict(word.split("=", 1) for word in words if "=" in word)
    fields = {field.name for field in dataclasses.fields(ROOTS[verb])}
    tree: dict[str, Any] = {}
    for group in fields & CHOICES.keys():
        wanted = [chosen.get(group), kind, next(iter(CHOICES[group]))]
        tree[group] = {"name": next(name for name in wanted if name in CHOICES[group])}
    return tree


def _names(verb: str, words: list[str]) -> list[str]:
    """All keys, each with its `=`; those of every kind where the line does not say which."""
    kinds = dict.fromkeys(name for names in CHOICES.values() for name in names)
    found = (key.name for kind in kinds for key in keys(ROOTS[verb], _tree(verb, words, kind)))
    return list(dict.fromkeys(f"{name}=" for name in found if not _is_kind(name)))


def _is_kind(name: str) -> bool:
    group, _, leaf = name.partition(".")
    return group in CHOICES and leaf == "name"


def _values(verb: str, words: list[str], key: str, config_dir: Path | None) -> list[str]:
    if key in _groups(verb):
        return list(folders.options(folders.search(config_dir), key))
    hint, optional = without_none(lookup(ROOTS[verb], _tree(verb, words), key))
    values = ["true", "false"] if hint is bool else []
    if isinstance(hint, type) and issubclass(hint, Enum):
        values = list(hint.__members__)
    return [*values, "null"] if values and optional else values
