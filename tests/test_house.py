"""The floors of the house (CONTRIBUTING.md), read from the source: who imports whom, and what may not appear at all."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bigtrain"

# A file imports from floors below its own, and from its own floor where that makes no circle.
FLOORS = {
    **dict.fromkeys(("__main__", "cli", "exits"), 8),
    **dict.fromkeys(("commands", "config", "identity", "runs", "schema"), 7),
    "training": 6,
    **dict.fromkeys(("evaluation", "generation"), 5),
    "parallel": 4,
    "objectives": 3,
    "models": 2,
    **dict.fromkeys(("data", "tokenizer", "metrics"), 1),
    **dict.fromkeys(("environment", "errors", "log", "stops", "storage", "options", "units", "__init__"), 0),
}
# Modules that the command line reads before anything heavy. A room's schema may be imported from any floor.
TORCH_FREE = [
    *("cli", "config", "runs", "schema", "environment", "errors", "log", "storage", "options", "units", "tokenizer"),
    *("data.reading.sources", "data.pipeline", "data.shards", "data.reading.stdlib", "training.schedules"),
    *(f"{room}.schema" for room in ("data", "models", "objectives", "parallel", "training", "evaluation")),
]
PICKLES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 100  # the habit is 300 and 60


class Import(NamedTuple):
    """One edge of the import graph: both ends are module names below `bigtrain`."""

    source: str
    target: str
    nested: bool  # inside a function: not run when the module is imported
    line: int


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    """`training.loop`; the package itself is `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def only_for_types(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:`, whose body never runs."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in {
        n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)
    }


def statements(node: ast.AST, nested: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import that can run, with whether it waits inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, nested
        elif not only_for_types(child):
            yield from statements(child, nested or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def imported_names(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """Dotted names: `from a import b` may mean the module a.b, so it gives both `a.b` and, if that is none, `a`."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    assert statement.level == 0, "imports are absolute"
    return [f"{statement.module}.{alias.name}" for alias in statement.names]


@cache
def own_imports() -> tuple[Import, ...]:
    names = {module_name(path) for path in files()}
    found = []
    for path in files():
        source = module_name(path)
        for statement, nested in statements(tree(path)):
            for name in imported_names(statement):
                if name.split(".")[0] != "bigtrain":
                    continue
                inner = name.removeprefix("bigtrain").removeprefix(".")
                target = next((n for n in (inner, inner.rpartition(".")[0]) if n in names), "__init__")
                found.append(Import(source, target, nested, statement.lineno))
    return tuple(found)


def room(module: str) -> str:
    return module.partition(".")[0]


def is_room_schema(module: str) -> bool:
    return module.endswith(".schema") or module == "training.schedules"


def where(edge: Import) -> str:
    return f"{edge.source}:{edge.line} imports {edge.target}"


def test_every_room_has_a_floor() -> None:
    assert {room(module_name(path)) for path in files()} <= set(FLOORS)


def test_imports_go_down() -> None:
    climbing = [
        where(edge)
        for edge in own_imports()
        if FLOORS[room(edge.target)] > FLOORS[room(edge.source)] and not is_room_schema(edge.target)
    ]
    assert climbing == []


def test_rooms_on_one_floor_keep_apart() -> None:
    """Evaluation and generation know nothing of each other; commands meet only through config and runs."""
    neighbours = [
        where(edge)
        for edge in own_imports()
        if FLOORS[room(edge.source)] == FLOORS[room(edge.target)] == 5 and room(edge.source) != room(edge.target)
    ]
    neighbours += [
        where(edge) for edge in own_imports() if edge.target.startswith("commands.") and FLOORS[room(edge.source)] < 7
    ]
    assert neighbours == []


def test_no_mutual_imports() -> None:
    """The graph has no circle, imports inside functions counted. The one exception is a schema's `build()`, which
    fetches the class that its config describes."""
    graph: dict[str, set[str]] = {module_name(path): set() for path in files()}
    for edge in own_imports():
        if not (edge.nested and is_room_schema(edge.source) and room(edge.source) == room(edge.target)):
            graph[edge.source].add(edge.target)
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module in done:
            return
        for target in sorted(graph[module] - {module}):
            visit(target, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_the_loop_knows_no_family_and_no_objective() -> None:
    allowed = {"models.base", "models.schema", "objectives.base", "objectives.schema"}
    named = [
        where(edge)
        for edge in own_imports()
        if edge.source == "training.loop"
        and room(edge.target) in {"models", "objectives"}
        and edge.target not in allowed
    ]
    assert named == []


def test_objectives_never_import_each_other() -> None:
    named = [
        where(edge)
        for edge in own_imports()
        if room(edge.source) == room(edge.target) == "objectives" and not edge.target.endswith((".base", ".schema"))
    ]
    assert [line for line in named if not line.startswith("objectives.schema")] == []


def test_only_the_command_line_imports_the_commands() -> None:
    allowed = {"cli", "__main__", "commands"}
    assert [
        where(edge) for edge in own_imports() if room(edge.target) == "commands" and room(edge.source) not in allowed
    ] == []


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_size(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{path.name}:{node.lineno} {node.name}"


def begins(node: ast.expr, prefix: str) -> bool:
    """Whether a string in the source, formatted or not, begins with `prefix` whatever is filled in."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) else node
    return isinstance(first, ast.Constant) and str(first.value).startswith(prefix)


def forbidden(node: ast.AST) -> str | None:
    """What runs code found in data: pickles, `eval`, `exec`, modules named by strings, remote code."""
    match node:
        case ast.Import(names=names) if PICKLES & {alias.name.partition(".")[0] for alias in names}:
            return names[0].name
        case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in PICKLES:
            return module
        case ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save" as name):
            return f"torch.{name}"
        case ast.Call(func=ast.Name(id="eval" | "exec" | "__import__" as name)):
            return name
        case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"), args=[module, *_]) if (
            not begins(module, "bigtrain.")
        ):
            return "import_module"
        case ast.keyword(arg="allow_pickle" | "trust_remote_code" as name, value=value):
            return None if isinstance(value, ast.Constant) and value.value is False else name
    return None


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_data_never_runs_as_code(path: Path) -> None:
    assert [f"line {node.lineno}: {forbidden(node)}" for node in ast.walk(tree(path)) if forbidden(node)] == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "importlib.import_module(name)",
        'import_module(f"{name}.x")',
        "torch.load(f)",
        "eval(x)",
        "f(trust_remote_code=True)",
        "from dill import loads",
        "np.load(f, allow_pickle=flag)",
    ],
)
def test_the_check_itself_finds_code(code: str) -> None:
    assert any(forbidden(node) for node in ast.walk(ast.parse(code)))


def loaded_after(code: str) -> set[str]:
    """Top-level modules in a fresh process after `code`."""
    script = f"{code}\nimport sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_what_is_read_first_is_free_of_torch() -> None:
    assert set(TORCH_FREE) <= {module_name(path) for path in files()}
    assert "torch" not in loaded_after("\n".join(f"import bigtrain.{name}" for name in TORCH_FREE))


def test_help_loads_neither_torch_nor_hydra() -> None:
    code = """
import contextlib, io, sys
sys.argv = ["bigtrain", "--help"]
from bigtrain.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""
    assert not loaded_after(code) & {"torch", "hydra", "omegaconf", "numpy", "tokenizers", "transformers"}
