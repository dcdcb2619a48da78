"""`bigtrain configs [GROUP]`: the groups, their options, and every key with its type, default and meaning."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from pathlib import Path
from typing import Any, get_type_hints

from bigtrain.config import folders
from bigtrain.config.fields import Key, describe, entry_class, keys
from bigtrain.errors import UserError
from bigtrain.schema import CHOICES, ROOTS


def run(group: str | None = None, config_dir: Path | None = None) -> dict[str, Any]:
    """What there is to choose. Raises UserError for a name that is no group, section or verb.

    group: a group (`model`), a section (`train`), or a verb for the keys at its top; None lists them all.
    """
    searched = folders.search(config_dir)
    if group is None:
        return {
            "groups": {name: list(folders.options(searched, name)) for name in folders.groups()},
            "sections": [name for name in _sections() if name not in folders.groups()],
            "verbs": list(ROOTS),
        }
    kinds = _kinds(group)
    listed = folders.options(searched, group) if group in folders.groups() else {}
    if not kinds and not listed:
        near = difflib.get_close_matches(group, names(), n=1)
        remedy = f"did you mean `bigtrain configs {near[0]}`?" if near else "`bigtrain configs` lists them"
        raise UserError(f"bigtrain configs {group}", "it takes a group, a section or a verb", remedy)
    options = [{"option": option, "file": str(path), "doc": folders.doc(path)} for option, path in listed.items()]
    return {"group": group, "options": options, "kinds": kinds}


def names() -> list[str]:
    """What `bigtrain configs` takes: groups, sections and verbs."""
    return list(dict.fromkeys([*folders.groups(), *_sections(), *ROOTS]))


def _sections() -> list[str]:
    """The nodes of all verbs whose keys are fixed, in the order of the verbs."""
    found: dict[str, None] = {}
    for root in ROOTS.values():
        found |= dict.fromkeys(_nodes(root))
    return list(found)


def _nodes(root: type) -> dict[str, Any]:
    """The sections of a verb and their dataclasses."""
    return {key.name: key.hint for key in _top(root) if dataclasses.is_dataclass(key.hint)}


def _top(root: type) -> list[Key]:
    """The keys at the top of a dataclass, sections included."""
    hints = get_type_hints(root)
    return [Key(field.name, field, hints[field.name]) for field in dataclasses.fields(root)]


def _kinds(group: str) -> list[dict[str, Any]]:
    """The dataclasses that a node can be, each with the verbs or the `name` that lead to it."""
    if group in CHOICES:
        return [_kind(f"name: {name}", cls, f"{group}.") for name, cls in CHOICES[group].items()]
    if group in ROOTS:
        top = [key for key in _top(ROOTS[group]) if not dataclasses.is_dataclass(key.hint) and key.hint is not Any]
        return [{"for": f"bigtrain {group}", "doc": _doc(ROOTS[group]), "keys": [_row(key) for key in top]}]
    verbs: dict[type, list[str]] = {}
    for verb, root in ROOTS.items():
        if group in _nodes(root):
            verbs.setdefault(_nodes(root)[group], []).append(verb)
    return [_kind(f"bigtrain {', '.join(names)}", cls, f"{group}.") for cls, names in verbs.items()]


def _kind(used_for: str, cls: type, prefix: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for key in keys(cls, {}, prefix):
        rows.append(_row(key))
        if entry := entry_class(key.hint):  # the keys of an entry, under the NAME that users make up
            rows += [_row(below) for below in keys(entry, {}, f"{key.name}.NAME.")]
    return {"for": used_for, "doc": _doc(cls), "keys": rows}


def _doc(cls: type) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def _row(key: Key) -> dict[str, Any]:
    return {
        "key": key.name,
        "type": describe(key.hint),
        "default": None if key.required else key.default,
        "required": key.required,
        "meaning": key.field.metadata.get("meaning", ""),
    }


def show(result: dict[str, Any]) -> None:
    """Print for people."""
    if "groups" in result:
        print("groups (GROUP=OPTION):")
        for group, options in result["groups"].items():
            print(f"  {group:<10} {' '.join(options)}")
        print(f"sections (SECTION.KEY=VALUE):\n  {' '.join(result['sections'])}")
        print(f"verbs (KEY=VALUE):\n  {' '.join(result['verbs'])}")
        print("`bigtrain configs NAME` shows the options and keys of one of them.")
        return
    group = result["group"]
    for option in result["options"]:
        print(f"{group}={option['option']}\n    {option['doc']}\n    {folders.shown(Path(option['file']))}")
    for kind in result["kinds"]:
        print(f"\nkeys ({kind['for']}): {kind['doc']}")
        for row in kind["keys"]:
            print(f"  {row['key']}={_default(row)}\n      {row['meaning']} ({row['type']})")


def _default(row: dict[str, Any]) -> str:
    if row["required"]:
        return "..."
    value = row["default"]
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )
