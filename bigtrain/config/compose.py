"""The one place that asks Hydra to compose: YAML files and choices of groups in, a plain tree and its files out."""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from bigtrain.config import folders
from bigtrain.config.fields import Plain
from bigtrain.errors import UserError

_WRONG_DEFAULT = re.compile(r"In '(?P<file>[^']+)': Could not (?:find|override) '(?P<entry>[^']+)'")
_LOOK = "look at the `defaults:` of your files"


@dataclass(frozen=True)
class Composition:
    """What Hydra made of the YAML files. Interpolations are not resolved yet."""

    tree: Plain
    choices: dict[str, str | None]  # group -> option; None: nothing chosen
    name: str
    overrides: tuple[str, ...]
    searched: tuple[Path, ...]

    def where(self, key: str) -> str:
        """ " (FILE, line N)" of the file that sets a dotted key; "" where none does."""
        with _hydra(list(self.searched)) as loader:
            from hydra.types import RunMode

            loaded = loader.compute_defaults_list(self.name, list(self.overrides), RunMode.RUN).defaults
        for entry in reversed(loaded):
            path = folders.find(list(self.searched), entry.config_path or "")
            package = entry.package or ""
            below = key.removeprefix(f"{package}.") if package else key
            if path is not None and (not package or below != key):
                line = _line(path, below.split("."))
                if line is not None:
                    return f" ({folders.shown(path)}, line {line}{folders.way_out(path)})"
        return ""


def _line(path: Path, parts: list[str]) -> int | None:
    """The line of a nested key in a YAML file."""
    node, line = yaml.compose(path.read_text(encoding="utf-8")), None
    for part in parts:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((name, value) for name, value in pairs if name.value == part), None)
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def compose(name: str, groups: Mapping[str, str | None], searched: list[Path]) -> Composition:
    """Compose the config `name` with these choices of groups. Raises UserError."""
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    overrides = [f"~{group}" if option is None else f"{group}={option}" for group, option in groups.items()]
    try:
        with _hydra(searched):
            config = hydra_compose(name, overrides=overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, OSError, UnicodeError, yaml.YAMLError) as error:
        raise _composition_error(name, groups, searched, error) from error
    except RecursionError:
        raise UserError(_given(name, groups), "a config must not include itself", _LOOK) from None
    tree = OmegaConf.to_container(config, resolve=False)
    assert isinstance(tree, dict)
    del tree["hydra"]
    choices = {key: option for key, option in config.hydra.runtime.choices.items() if not key.startswith("hydra/")}
    return Composition({str(key): node for key, node in tree.items()}, choices, name, tuple(overrides), tuple(searched))


def _given(name: str, groups: Mapping[str, str | None]) -> str:
    return " ".join([name, *(f"{group}={option}" for group, option in groups.items())])


def _composition_error(
    name: str, groups: Mapping[str, str | None], searched: list[Path], error: Exception
) -> UserError:
    lines = [line.strip() for line in str(error).partition("Config search path:")[0].splitlines() if line.strip()]
    given = _given(name, groups)
    if isinstance(error, yaml.YAMLError):
        return UserError(given, f"config files are YAML: {', '.join(lines)}", "mend the file at that line")
    if isinstance(error, UnicodeError):
        return UserError(given, f"config files are UTF-8 text: {lines[0]}", "save the file as UTF-8")
    if wrong := _WRONG_DEFAULT.search(lines[0] if lines else ""):
        files = [wrong["file"], *(f"{group}/{option}" for group, option in groups.items())]
        return _wrong_default(
            wrong["entry"], [path for file in files if (path := folders.find(searched, file))], searched
        )
    return UserError(given, lines[0] if lines else type(error).__name__, " ".join(lines[1:]) or _LOOK)


def _wrong_default(entry: str, files: list[Path], searched: list[Path]) -> UserError:
    """The error for an entry of a `defaults:` list that there is no group or option for; files: where it may stand."""
    path, _, package = entry.partition("@")  # a package: Hydra looked for the group inside of the file's own
    group, option = (package, "") if package else path.rpartition("/")[::2] if "/" in path else (path, "")
    wanted = re.compile(rf"\b{re.escape(group)}\b.*{re.escape(option)}")
    where = next(
        (
            f" ({folders.shown(file)}, line {number}{folders.way_out(file)})"
            for file in files
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
            if wanted.search(line.partition("#")[0])
        ),
        "",
    )
    if package:
        rule = "in a recipe the name of a group begins with a slash"
        return UserError(f"override {group}{where}", rule, f"write `override /{group}: OPTION`")
    if option and group in folders.groups():
        found = folders.unknown_option(searched, group, option)
        return UserError(f"{found.given}{where}", found.rule, found.remedy)
    near = difflib.get_close_matches(group, folders.groups(), n=1)
    remedy = f"did you mean {near[0]}?" if near else "correct the entry of `defaults:`"
    return UserError(
        f"{group}{f'={option}' if option else ''}{where}", f"the groups are {', '.join(folders.groups())}", remedy
    )


@contextlib.contextmanager
def _hydra(searched: list[Path]) -> Iterator[Any]:
    """Hydra over these folders (the user's, if any, then the packaged one); gives its config loader."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register_packaged()
    GlobalHydra.instance().clear()
    with no_environment(), initialize_config_dir(str(searched[0]), job_name="bigtrain", **version_base()):
        yield GlobalHydra.instance().config_loader()


def version_base() -> dict[str, str]:
    """The `version_base` that Hydra 1.3 wants and 1.4 deprecates."""
    import hydra

    return {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}


@functools.cache
def register_packaged() -> None:
    """Let Hydra search the packaged configs below the folder it starts from, once per process."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class PackagedConfigs(SearchPathPlugin):
        """Last in the search path, so that every file of the user's folder shadows the packaged one."""

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            search_path.append(provider="bigtrain", path=f"file://{folders.packaged()}")

    Plugins.instance().register(PackagedConfigs)


@contextlib.contextmanager
def no_environment() -> Iterator[None]:
    """Refuse `${oc.env:...}` while Hydra composes: what runs must be what is written, on every machine."""
    from omegaconf import OmegaConf
    from omegaconf.resolvers import oc

    def refuse(*arguments: Any) -> None:
        raise function_refused("${oc.env:" + ",".join(map(str, arguments)) + "}", "")

    OmegaConf.register_new_resolver("oc.env", refuse, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def function_refused(text: str, where: str) -> UserError:
    """The error for an interpolation that is more than the name of another key."""
    return UserError(
        f"{text}{where}",
        "`${...}` holds the name of another key, such as ${model.dim}; functions and the environment are out of reach",
        "write the value itself, or give it as KEY=VALUE; in YAML `\\${` stands for the characters",
    )
