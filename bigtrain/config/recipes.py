"""Recipes: which verb one is for, and what is wrong with one that is none."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from bigtrain.config import folders
from bigtrain.config.fields import children, lookup
from bigtrain.errors import UserError
from bigtrain.schema import CHOICES, ROOTS

_PACKAGE = re.compile(r"^#\s*@package\s+_global_\s*$", re.MULTILINE)
_COMMAND = re.compile(r"^#.*\bbigtrain (\w+) recipe=", re.MULTILINE)
_PRETRAINED = ("causal", "masked")  # objectives; `finetune` has all


def check_recipe(verb: str, recipe: str | None, searched: list[Path]) -> None:
    """Raise UserError where the file is no recipe, or one that sets what this verb does not have and another has."""
    path = folders.find(searched, f"recipe/{recipe}") if recipe else None
    if path is None:
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return  # for `compose` to refuse
    given = f"recipe={recipe} ({folders.shown(path)}{folders.way_out(path)})"
    if not isinstance(content, dict):
        rule = "a recipe is a mapping of `defaults:` and sections" + (", and this one is empty" if not content else "")
        raise UserError(given, rule, "begin the file with `# @package _global_`, and set something below it")
    if not _PACKAGE.search(_header(text)):
        rule = "a recipe is a whole configuration, whose keys belong to no group"
        raise UserError(given, rule, "begin the file with `# @package _global_`")
    fitting = [other for other in ROOTS if _fits(other, content)]
    if fitting and verb not in fitting:
        said = [other for other in dict.fromkeys(_COMMAND.findall(text)) if other in fitting] or fitting
        remedy = f"give bigtrain {said[0]} recipe={recipe}; `bigtrain configs recipe` lists them all"
        raise UserError(f"recipe={recipe}", f"this recipe is for bigtrain {' and '.join(said)}", remedy)


def _header(text: str) -> str:
    """The comments that a file begins with."""
    lines = text.splitlines()
    end = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return "\n".join(lines[:end])


def _fits(verb: str, content: dict[Any, Any]) -> bool:
    """Whether the verb has every group and key of a recipe, and learns its objective."""
    listed = [entry for entry in content.get("defaults") or [] if isinstance(entry, dict)]
    chosen = {_group(str(group)): option for entry in listed for group, option in entry.items()}
    if verb == "pretrain" and chosen.get("objective", "causal") not in _PRETRAINED:
        return False
    root = ROOTS[verb]
    own = {name: node for name, node in content.items() if name != "defaults"}
    fields = {field.name for field in dataclasses.fields(root)}
    return chosen.keys() <= fields and all(_has(root, key) for key in _keys(own))


def _group(entry: str) -> str:
    return entry.removeprefix("override").strip().strip("/")


def _keys(node: dict[Any, Any], prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _keys(value, f"{key}.")
        else:
            yield key


def _has(root: type, key: str) -> bool:
    """Whether a verb has a key, of whatever kind its node is."""
    first = key.partition(".")[0]
    kinds = CHOICES.get(first, {"": None}) if first in children(root, {}) else {"": None}
    return any(lookup(root, {first: {"name": kind}}, key) is not None for kind in kinds)
