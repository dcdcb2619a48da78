"""Where config files lie: the user's folder overlays the packaged one. Hydra is not needed to list them."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from bigtrain.errors import UserError

ENVIRONMENT = "BIGTRAIN_CONFIG_DIR"


def packaged() -> Path:
    """The configs that come with bigtrain: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def user(config_dir: str | Path | None = None) -> Path | None:
    """The user's folder: --config-dir, else $BIGTRAIN_CONFIG_DIR (empty: none), else ./configs. Raises UserError."""
    named = str(config_dir) if config_dir is not None else os.environ.get(ENVIRONMENT)
    if named is None:
        folder = Path("configs")
    elif not named:
        return None
    else:
        folder = Path(named)
        if not folder.is_dir():
            source = "--config-dir" if config_dir is not None else ENVIRONMENT
            raise UserError(f"{source}={named}", "it must be a folder of YAML files", "name an existing folder")
    folder = folder.resolve()
    return folder if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK) and folder != packaged() else None


def search(config_dir: str | Path | None = None) -> list[Path]:
    """The folders in which a config file is looked for, first hit wins."""
    own = user(config_dir)
    return [packaged()] if own is None else [own, packaged()]


def find(folders: list[Path], name: str) -> Path | None:
    """The file of a config such as `pretrain` or `model/tiny`."""
    if ".." in Path(name).parts or Path(name).is_absolute():
        return None
    return next((folder / f"{name}.yaml" for folder in folders if (folder / f"{name}.yaml").is_file()), None)


def groups() -> list[str]:
    """The packaged groups."""
    return sorted(path.name for path in packaged().iterdir() if path.is_dir())


def options(folders: list[Path], group: str) -> dict[str, Path]:
    """The options of a group and the file of each; with the group "", the configs that a verb can start from."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def doc(path: Path) -> str:
    """The one line of documentation that a config file begins with (below `# @package`, which Hydra wants first)."""
    with open(path, encoding="utf-8", errors="replace") as file:
        first = next((line for line in file if not line.startswith("# @")), "")
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def shown(path: Path) -> str:
    """A path as people read it: relative where it lies below the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def way_out(path: Path) -> str:
    """What to add to an error in a file that nobody named: ./configs may belong to something else."""
    named = os.environ.get(ENVIRONMENT) is not None or not path.is_relative_to(Path("configs").resolve())
    return "" if named or path.is_relative_to(packaged()) else f"; {ENVIRONMENT}= leaves ./configs out"


def unknown_option(folders: list[Path], group: str, option: str) -> UserError:
    """The error for an option that a group does not have: it lists those there are."""
    there = list(options(folders, group))
    near = difflib.get_close_matches(option, there, n=1)
    return UserError(
        f"{group}={option}",
        f"{group} has these options: {', '.join(there)}",
        f"did you mean {group}={near[0]}?" if near else f"choose one, or add {group}/{option}.yaml to your configs",
    )


def unknown_config(folders: list[Path], name: str) -> UserError:
    """The error for a --config-name that no folder holds."""
    there = list(options(folders, ""))
    near = difflib.get_close_matches(name, there, n=1)
    remedy = f"did you mean {near[0]}?" if near else "give the name without its folder and without .yaml"
    if name.endswith(".yaml"):
        path = Path(name)
        remedy = f"give --config-dir {path.parent} --config-name {path.stem}"
    return UserError(f"--config-name {name}", f"these configs were found: {', '.join(there)}", remedy)
