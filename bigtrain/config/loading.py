"""From a command line to a typed config: the order of it all."""

from __future__ import annotations

import copy
import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from bigtrain.config import folders, overrides, values
from bigtrain.config.compose import Composition, compose, function_refused
from bigtrain.config.fields import Plain, below_mapping, defaults, keys, lookup, node_class
from bigtrain.config.overrides import Override
from bigtrain.config.recipes import check_recipe
from bigtrain.config.suggest import unknown_key
from bigtrain.errors import UserError
from bigtrain.runs import is_run, read_config
from bigtrain.schema import CHOICES, ROOTS

_START = re.compile(r"(?<!\\)(?:\\\\)*\$\{")  # of an interpolation: the backslashes before it do not escape it
_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\$\{[\w.\[\]-]+\}")  # to another key


@dataclass(frozen=True)
class Loaded:
    """One command's config."""

    verb: str
    plain: Plain  # nested and resolved, enums as their names: what config.yaml holds; `???` where a value is missing
    overrides: list[str]  # as typed
    sources: dict[str, tuple[str, Path]]  # group -> (option, file); the verb -> (config name, file)
    touched: set[str]  # dotted leaf keys that this command sets
    named: set[str]  # of those, the ones set by more than the choice of a group that has them

    @functools.cached_property
    def config(self) -> Any:
        """The verb's dataclass. Raises UserError where a value is missing or two do not go together.

        Built when it is asked for: a command that continues a run may leave out what the run folder knows.
        """
        return values.build(self.verb, self.plain)


def load(
    verb: str,
    lines: Sequence[str] = (),
    config_name: str | None = None,
    config_dir: str | Path | None = None,
    *,
    texts: Mapping[str, str] | None = None,
) -> Loaded:
    """Compose the config of a verb from YAML files and KEY=VALUE lines. Raises UserError.

    config_name: the YAML file to start from, the verb's own if None. config_dir: the user's folder, see `folders.user`.
    texts: keys of text with values that are taken as they are, even `null`.
    """
    searched, name = folders.search(config_dir), config_name or verb
    if folders.find(searched, name) is None:
        raise folders.unknown_config(searched, name)
    base = compose(verb, {}, searched)
    start = base if name == verb else compose(name, {}, searched)
    groups, leaves = _partition(start, [overrides.split(line) for line in lines], searched)
    check_recipe(verb, groups.get("recipe"), searched)
    composed = compose(name, groups, searched) if groups else start
    _check_kinds(verb, composed)
    kinds = _kinds_of_the_run(verb, leaves, base, composed, groups)
    base, composed = (dataclasses.replace(one, tree=one.tree | kinds) for one in (base, composed))
    given = dict(_value(verb, composed.tree, leaf) for leaf in leaves)
    if twice := sorted(given.keys() & (texts or {}).keys()):
        raise UserError(f"{twice[0]}= and the option -{twice[0][0]}", "they say the same thing", "give one of the two")
    for text in (texts or {}).values():
        overrides.require_unicode(text)
    given |= {key: overrides.escape(text) for key, text in (texts or {}).items()}

    def where(key: str) -> str:
        return "" if key in given else composed.where(key)

    plain = values.conform(verb, _resolve(verb, composed.tree, given, where), where)
    before = flat(values.conform(verb, _resolve(verb, base.tree, {}, base.where), base.where))
    entries = (key for key in keys(ROOTS[verb], plain) if below_mapping(ROOTS[verb], plain, key.name))
    before = {key.name: key.default for key in entries} | before  # what an entry of a mapping leaves out is not named
    named = set(given) | {key for key, value in flat(plain).items() if key not in before or before[key] != value}
    touched = named | {key for group in groups for key in flat(plain) if key.startswith(f"{group}.")}
    return Loaded(verb, plain, list(lines), _sources(verb, name, composed, searched), touched, named)


def _partition(
    start: Composition, lines: list[Override], searched: list[Path]
) -> tuple[dict[str, str | None], list[Override]]:
    """Tell choices of groups from settings of keys."""
    groups: dict[str, str | None] = {}
    leaves: list[Override] = []
    for line in lines:
        if line.key in start.choices:
            groups[line.key] = check_option(line.key, line.text, searched)
        elif line.key.startswith(("hydra.", "hydra/")):
            raise UserError(str(line), "Hydra's own settings belong to sweeps", "add -m (--multirun), or leave it out")
        else:
            leaves.append(line)
    real = {group: option for group, option in groups.items() if option or start.choices[group]}
    return real, leaves  # `recipe=null` where there is no recipe chooses nothing


def check_option(group: str, option: str, searched: list[Path]) -> str | None:
    """The option, or None for `null`. Raises UserError where the group does not have it."""
    if option == "null":
        return None
    if folders.find(searched, f"{group}/{option}") is None:
        if "," in option:
            rule = "one run takes one option of each group"
            raise UserError(f"{group}={option}", rule, "add -m (--multirun) to run once for each")
        raise folders.unknown_option(searched, group, option)
    return option


def _check_kinds(verb: str, composed: Composition) -> None:
    """Raise UserError, with the file, where a node does not say which kind it is."""
    for group in CHOICES:
        try:
            if group in composed.tree and _is_chosen(verb, group):
                node_class(group, composed.tree[group])
        except UserError as error:
            where = composed.where(f"{group}.name")
            path = folders.find(list(composed.searched), f"{group}/{composed.choices.get(group)}")
            if not where and path:
                where = f" ({folders.shown(path)}{folders.way_out(path)})"
            raise UserError(f"{error.given}{where}", error.rule, error.remedy) from None


def _is_chosen(verb: str, group: str) -> bool:
    """Whether the node's own name chooses its dataclass; finetune's `model` has one dataclass only."""
    return not dataclasses.is_dataclass(lookup(ROOTS[verb], {}, group))


def _kinds_of_the_run(
    verb: str, leaves: list[Override], base: Composition, composed: Composition, groups: Mapping[str, str | None]
) -> Plain:
    """Nodes of the run that `run.dir` continues, where they are of another kind and the command chooses none itself.

    Their keys are those that it may set.
    """
    folder = next((Path(line.text) for line in leaves if line.key == "run.dir"), None)
    saved = (read_config(folder) if folder and is_run(folder) else None) or {}
    own = CHOICES.keys() & saved.keys() & {field.name for field in dataclasses.fields(ROOTS[verb])}
    return {
        group: {name: overrides.escape(value) for name, value in saved[group].items()}
        for group in sorted(own - groups.keys())
        if _is_chosen(verb, group)
        and composed.choices.get(group) == base.choices.get(group)
        and isinstance(saved[group], dict)
        and saved[group].get("name") != composed.tree.get(group, {}).get("name")
    }


def key_type(verb: str, tree: Plain, line: Override) -> tuple[Override, Any]:
    """The override without a needless `+`, and the type of its key. Raises UserError."""
    plus = line.key.startswith("+")
    line = Override(line.key.lstrip("+"), line.text)
    section, _, leaf = line.key.rpartition(".")
    hint = lookup(ROOTS[verb], tree, line.key)
    if hint is None or hint is type(None):
        raise unknown_key(verb, tree, line)
    if plus and not below_mapping(ROOTS[verb], tree, line.key):
        raise UserError(f"+{line}", "keys are declared, so there is nothing to add", f"drop the plus: {line}")
    if dataclasses.is_dataclass(hint):
        raise values.section(line.key, line.text, lambda key: "")
    if section in CHOICES and leaf == "name":
        rule = f"the kind of {section} is chosen together with its settings"
        raise UserError(str(line), rule, f"give {section}=OPTION")
    return line, hint


def _value(verb: str, tree: Plain, line: Override) -> tuple[str, Any]:
    """Key and value of an override; text is escaped, so that OmegaConf sees no interpolation in it."""
    line, hint = key_type(verb, tree, line)
    value = overrides.parse(line, hint, in_mapping=_in_mapping(verb, tree, line.key))
    verbatim = overrides.is_verbatim(hint) or overrides.is_texts(hint)
    return line.key, overrides.escape(value) if verbatim else value


def _in_mapping(verb: str, tree: Plain, key: str) -> bool:
    """Whether a key is a NAME that users make up, such as `gates.accuracy`."""
    section = key.rpartition(".")[0]
    return bool(section) and not dataclasses.is_dataclass(lookup(ROOTS[verb], tree, section))


def _resolve(verb: str, tree: Plain, given: Mapping[str, Any], where: values.Where) -> Plain:
    """Put the given values over the composed tree, the tree over the defaults, and fill in the interpolations."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.merge(defaults(ROOTS[verb], tree), tree)
        for key, value in given.items():
            OmegaConf.update(config, key, value)
        _only_data(OmegaConf.to_container(config, resolve=False), "", where)
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", None) or "config")
        value = given[key] if key in given else flat(tree).get(key, "")
        rule = str(error).splitlines()[0]
        raise UserError(f"{key}={value}{where(key)}", rule, "`${NAME.KEY}` must name a key with a value") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _only_data(node: Any, key: str, where: values.Where) -> None:
    """Raise UserError for `_target_` and its like, and for interpolations that are more than the name of a key."""
    if isinstance(node, dict):
        for name, value in node.items():
            below = f"{key}.{name}" if key else str(name)
            if str(name).startswith("_") and str(name).endswith("_"):
                raise UserError(
                    f"{below}={value}{where(below)}",
                    "a config is data: it names no code to run",
                    "remove the key; own classes come in as Python entry points",
                )
            _only_data(value, below, where)
    elif isinstance(node, list):
        for value in node:
            _only_data(value, key, where)
    elif isinstance(node, str) and len(_START.findall(node)) != len(_REFERENCE.findall(node)):
        raise function_refused(f"{key}={node}", where(key))


def _sources(verb: str, name: str, composed: Composition, searched: list[Path]) -> dict[str, tuple[str, Path]]:
    chosen = {group: option for group, option in composed.choices.items() if option}
    files = {verb: (name, folders.find(searched, name))}
    files |= {group: (option, folders.find(searched, f"{group}/{option}")) for group, option in chosen.items()}
    return {group: (option, path) for group, (option, path) in files.items() if path is not None}


def from_plain(verb: str, plain: Mapping[str, Any], source: str = "") -> Any:
    """The verb's dataclass for a nested dict such as config.yaml holds; text is verbatim. Raises UserError.

    source: where the dict came from, named in errors.
    """
    where = f" ({source})" if source else ""
    return values.build(verb, values.conform(verb, dict(plain), lambda key: where))


def continued(saved: Mapping[str, Any], loaded: Loaded, file: Path | None = None) -> Loaded:
    """The saved config of a run folder, with the keys that this command sets taken from it. Raises UserError.

    Where the command sets the kind of a node (`optimizer.name`), it brings the whole node. file: of the saved config.
    """
    plain = copy.deepcopy(dict(saved))
    for key in sorted(loaded.touched):
        group = key.partition(".")[0]
        parts = [group] if f"{group}.name" in loaded.touched and group in CHOICES else key.split(".")
        source, target = loaded.plain, plain
        for part in parts[:-1]:
            source, target = source[part], target.setdefault(part, {})
        target[parts[-1]] = copy.deepcopy(source[parts[-1]])

    def where(key: str) -> str:
        return "" if key in loaded.touched else " (the run's config.yaml)"

    sources = loaded.sources
    if file:
        chosen = {line.partition("=")[0] for line in loaded.overrides}
        sources = {group: source for group, source in sources.items() if group in chosen}
        sources[loaded.verb] = ("the run's own", file)
    return dataclasses.replace(loaded, plain=values.conform(loaded.verb, plain, where), sources=sources)


def flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and their values."""
    result: dict[str, Any] = {}
    for name, value in plain.items():
        result |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return result


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes text that some YAML readers, OmegaConf's among them, take for a number."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> Any:
    try:
        float(text)
    except ValueError:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")


_Dumper.add_representer(str, _represent_text)


def to_yaml(config: Loaded | Mapping[str, Any]) -> str:
    """YAML that `read_yaml` (or any YAML reader) takes back to the same values."""
    plain = config.plain if isinstance(config, Loaded) else dict(config)
    return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def read_yaml(text: str) -> Any:
    """The values of a YAML text. Raises UserError."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError("a config file", f"config files are YAML: {error}", "mend the file at that line") from error


def annotated(loaded: Loaded) -> str:
    """The resolved config as YAML, with the file that each group came from."""
    apart = {name: source for name, source in loaded.sources.items() if name not in loaded.plain}
    lines = [f"# {name}: {option} ({folders.shown(path)})" for name, (option, path) in apart.items()]
    for name, value in loaded.plain.items():
        if name in loaded.sources:
            option, path = loaded.sources[name]
            lines.append(f"\n# {name}={option} ({folders.shown(path)})")
        lines.append(to_yaml({name: value}).rstrip("\n"))
    return "\n".join(lines) + "\n"
