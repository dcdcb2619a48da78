"""What pip sees: requirements, extras, and a wheel that holds the configs."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Where the import name is not the package's.
MODULE_OF = {"hydra-core": "hydra", "pyyaml": "yaml", "charset-normalizer": "charset_normalizer"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    with open(ROOT / "pyproject.toml", "rb") as file:
        return dict(tomllib.load(file)["project"])


def names(requirements: list[str]) -> set[str]:
    """Import names of requirement lines."""
    packages = {re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower() for requirement in requirements}
    return {MODULE_OF.get(package, package) for package in packages}


def test_torch_has_the_bounds_that_one_install_command_needs(project: dict[str, Any]) -> None:
    """An open upper bound makes pip take a newer build with gigabytes of libraries."""
    assert "torch>=2.11,<2.14" in project["dependencies"]
    assert project["requires-python"] == ">=3.11,<3.14"


def test_no_extra_moves_torch(project: dict[str, Any]) -> None:
    assert all("torch" not in names(extra) for extra in project["optional-dependencies"].values())


def test_every_import_is_declared(project: dict[str, Any]) -> None:
    """At module level only core dependencies; an extra's package only inside a function."""
    core = names(project["dependencies"]) | set(sys.stdlib_module_names) | {"bigtrain"}
    extra = {name for extra in project["optional-dependencies"].values() for name in names(extra)}
    unknown = []
    for path in sorted((ROOT / "bigtrain").rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(module):
            if isinstance(node, ast.Import):
                imported = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported = {str(node.module).partition(".")[0]}
            else:
                continue
            unknown += [
                f"{path.name}:{node.lineno} {name}"
                for name in imported - core
                if node in module.body or name not in extra
            ]
    assert unknown == []


def test_the_console_script_exists(project: dict[str, Any]) -> None:
    from bigtrain import cli

    assert project["scripts"] == {"bigtrain": "bigtrain.cli:main"}
    assert callable(cli.main)


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


@pytest.mark.skipif(
    find_spec("build") is None or find_spec("hatchling") is None, reason="needs the packages build and hatchling"
)
def test_the_wheel_holds_code_and_configs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    configs = {f"bigtrain/configs/{path.relative_to(ROOT / 'configs')}" for path in (ROOT / "configs").rglob("*.yaml")}
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "bigtrain").rglob("*.py")}
    assert configs | code | {"bigtrain/py.typed"} <= packed
    assert not [name for name in packed if name.startswith(("tests/", "scripts/", "configs/"))]
