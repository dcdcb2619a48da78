"""The command line: parses, calls a command, prints results. Nothing heavy is imported here.

Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import bigtrain
from bigtrain import exits
from bigtrain import log as logs
from bigtrain.errors import BigtrainError, UserError
from bigtrain.exits import rank, world_size
from bigtrain.log import log

app = typer.Typer(
    name="bigtrain",
    help="From raw text to a model you can ship. Settings are KEY=VALUE; `bigtrain configs` lists them.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    from bigtrain.config.completion import complete

    words, folder = context.params.get("overrides") or [], context.params.get("config_dir")
    try:
        return complete(context.info_name or "", list(words), incomplete, folder)
    except BigtrainError:
        return []


Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings.", autocompletion=_complete, show_default=False),
]
ConfigName = Annotated[
    str | None, typer.Option("-c", "--config-name", metavar="NAME", help="Config to start from, not the verb's own.")
]
ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", metavar="DIR", help="Your configs, laid over the packaged ones [./configs]."),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the resolved config and the file each group came from, then stop.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Build everything without memory, print what it would take, write nothing.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Log warnings only.")]
Multirun = Annotated[
    bool, typer.Option("-m", "--multirun", help="Run once for each combination of comma-separated values.")
]
Processes = Annotated[int, typer.Option("--nproc", metavar="N", min=1, help="Start N processes on this machine.")]
Prompt = Annotated[
    str | None,
    typer.Option("-p", "--prompt", metavar="TEXT", help="The text to continue, as it is; - reads standard input."),
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"bigtrain {bigtrain.__version__} (torch {version('torch')}, Python {sys.version.split()[0]})")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print versions, then stop.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(UserError.exit_code)


@app.command()
def prepare(
    overrides: Overrides = None,
    config_name: ConfigName = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Raw files -> token shards with a manifest."""
    return _verb("prepare", overrides, config_name, config_dir, print_config, as_json, quiet)


@app.command()
def pretrain(
    overrides: Overrides = None,
    config_name: ConfigName = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    multirun: Multirun = False,
    nproc: Processes = 1,
) -> int:
    """Tokens or raw files -> a language model."""
    return _verb("pretrain", overrides, config_name, config_dir, print_config, as_json, quiet, dry_run, multirun, nproc)


@app.command()
def finetune(
    overrides: Overrides = None,
    config_name: ConfigName = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    multirun: Multirun = False,
    nproc: Processes = 1,
) -> int:
    """A checkpoint and task data -> a task model."""
    return _verb("finetune", overrides, config_name, config_dir, print_config, as_json, quiet, dry_run, multirun, nproc)


@app.command()
def evaluate(
    overrides: Overrides = None,
    config_name: ConfigName = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    multirun: Multirun = False,
) -> int:
    """A checkpoint and data -> metrics and gates."""
    return _verb("evaluate", overrides, config_name, config_dir, print_config, as_json, quiet, dry_run, multirun)


@app.command()
def generate(
    overrides: Overrides = None,
    prompt: Prompt = None,
    config_name: ConfigName = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """A checkpoint and a prompt -> text."""
    if prompt == "-":
        try:
            prompt = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError("-p -", f"the prompt on standard input is UTF-8: {error}", "convert it to UTF-8") from None
    texts = {} if prompt is None else {"prompt": prompt}
    return _verb("generate", overrides, config_name, config_dir, print_config, as_json, quiet, texts=texts)


@app.command()
def configs(
    group: Annotated[str | None, typer.Argument(metavar="[GROUP]", help="A group, a section or a verb.")] = None,
    config_dir: ConfigDir = None,
    as_json: Json = False,
) -> None:
    """Options, and keys with type, default, meaning."""
    from bigtrain.commands import configs as command

    _emit(command.run(group, config_dir), as_json, command.show)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has, and what is missing."""
    from bigtrain.commands import doctor as command

    _emit(command.run(), as_json, command.show)


def _verb(
    verb: str,
    overrides: list[str] | None,
    config_name: str | None,
    config_dir: Path | None,
    print_config: bool,
    as_json: bool,
    quiet: bool,
    dry_run: bool | None = None,
    multirun: bool = False,
    nproc: int = 1,
    *,
    texts: dict[str, str] | None = None,
) -> int:
    """Load the config and hand it to the verb's command; gives the exit code. dry_run is None for verbs without it."""
    from bigtrain import config
    from bigtrain.config.loading import annotated

    logs.setup(quiet=quiet, rank=rank())
    lines = overrides or []
    if world_size() > 1 and (multirun or nproc > 1):
        raise UserError(
            f"{'--multirun' if multirun else '--nproc'} with WORLD_SIZE={world_size()}",
            "this process already is one of several",
            "leave the option out, or start bigtrain without the launcher",
        )
    options = ["--quiet"] * quiet + ["--dry-run"] * bool(dry_run)
    places = ["--config-name", config_name] if config_name else []
    places += ["--config-dir", str(config_dir)] if config_dir else []
    if multirun and print_config:
        rule = "each job of a sweep has its own config"
        raise UserError("--multirun with --print-config", rule, "leave one of the two out")
    if multirun:
        from bigtrain.config import sweep

        options += ["--nproc", str(nproc)] if nproc > 1 else []
        jobs = sweep.sweep(verb, lines, config_name, config_dir, options)
        _emit(jobs, as_json, sweep.show)
        return int(any(job["exit_code"] for job in jobs))
    loaded = config.load(verb, lines, config_name, config_dir, texts=texts)
    if print_config:
        _emit(loaded.plain, as_json, lambda _: print(annotated(loaded), end=""))
        try:
            _ = loaded.config
        except UserError as error:
            log.warning("not complete yet: %s", error)
        return 0
    if nproc > 1:
        from bigtrain.parallel.launch import launch

        return int(launch(nproc, [verb, *options, *(["--json"] if as_json else []), *places, *lines]))
    command = _command(verb)
    result = command.run(loaded) if dry_run is None else command.run(loaded, dry_run=dry_run)
    if rank() == 0:
        _emit(result, as_json, command.show)
    if verb == "evaluate":
        command.verdict(result)
    return 0


def _command(verb: str) -> Any:
    """The verb's module: `run(loaded)` gives a dict, `show(dict)` prints it."""
    match verb:
        case "prepare":
            from bigtrain.commands import prepare

            return prepare
        case "pretrain":
            from bigtrain.commands import pretrain

            return pretrain
        case "finetune":
            from bigtrain.commands import finetune

            return finetune
        case "evaluate":
            from bigtrain.commands import evaluate

            return evaluate
        case _:
            from bigtrain.commands import generate

            return generate


def _emit(result: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Print a result; a reader that has gone away (`| head`) is no error."""
    try:
        print(json.dumps(_finite(result), ensure_ascii=False, default=str)) if as_json else show(result)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush when Python leaves


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main(arguments: list[str] | None = None) -> int:
    """The entry point. Returns the exit code: see `exits.py`."""
    command = typer.main.get_command(app)
    return exits.guarded(lambda: command(args=arguments, prog_name="bigtrain", standalone_mode=False))
