"""The command line: parses, calls a command, prints results. Nothing heavy is imported here.

Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import bigtrain
from bigtrain import exits, stops
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


def _complete_name(incomplete: str) -> list[str]:
    from bigtrain.commands.configs import names

    return [name for name in names() if name.startswith(incomplete)]


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
    bool, typer.Option("-m", "--multirun", help="A sweep: one run for each combination of values, or a search.")
]
Processes = Annotated[int, typer.Option("--nproc", metavar="N", min=1, help="Start N processes on this machine.")]
Prompt = Annotated[
    str | None,
    typer.Option("-p", "--prompt", metavar="TEXT", help="The text to continue, as it is; - reads standard input."),
]


TRAINING = ("pretrain", "finetune")


@dataclasses.dataclass(frozen=True)
class Options:
    """What all verbs have besides settings."""

    print_config: bool
    dry_run: bool
    as_json: bool
    quiet: bool
    multirun: bool
    nproc: int

    def check(self) -> None:
        """Raises UserError where two do not go together."""
        if world_size() > 1 and (self.multirun or self.nproc > 1):
            raise UserError(
                f"{'--multirun' if self.multirun else '--nproc'} with WORLD_SIZE={world_size()}",
                "this process already is one of several",
                "leave the option out, or start bigtrain without the launcher",
            )
        if self.multirun and self.print_config:
            rule = "each job of a sweep has its own config"
            raise UserError("--multirun with --print-config", rule, "leave one of the two out")

    def words(self, *, nproc: bool = False) -> list[str]:
        """Those that the processes started for this command are given too."""
        words = ["--quiet"] * self.quiet + ["--dry-run"] * self.dry_run
        return words + (["--nproc", str(self.nproc)] if nproc and self.nproc > 1 else [])


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


def _add(verb: str, meaning: str) -> None:
    """A verb with the options that all of them have."""

    @app.command(verb, help=meaning)
    def command(
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
        options = Options(print_config, dry_run, as_json, quiet, multirun, nproc)
        return _verb(verb, overrides or [], config_name, config_dir, options)


_add("prepare", "Raw files -> token shards with a manifest.")
_add("pretrain", "Tokens or raw files -> a language model.")
_add("finetune", "A checkpoint and task data -> a task model.")
_add("evaluate", "A checkpoint and data -> metrics and gates.")


@app.command()
def generate(
    overrides: Overrides = None,
    prompt: Prompt = None,
    config_name: ConfigName = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    multirun: Multirun = False,
    nproc: Processes = 1,
) -> int:
    """A checkpoint and a prompt -> text."""
    if prompt == "-":
        try:
            prompt = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError("-p -", f"the prompt on standard input is UTF-8: {error}", "convert it to UTF-8") from None
    texts = {} if prompt is None else {"prompt": prompt}
    options = Options(print_config, dry_run, as_json, quiet, multirun, nproc)
    return _verb("generate", overrides or [], config_name, config_dir, options, texts=texts)


@app.command()
def configs(
    group: Annotated[
        str | None,
        typer.Argument(metavar="[GROUP]", help="A group, a section or a verb.", autocompletion=_complete_name),
    ] = None,
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
    lines: list[str],
    config_name: str | None,
    config_dir: Path | None,
    options: Options,
    *,
    texts: dict[str, str] | None = None,
) -> int:
    """Load the config and hand it to the verb's command; gives the exit code."""
    from bigtrain import config
    from bigtrain.config.loading import annotated

    logs.setup(quiet=options.quiet, rank=rank())
    options.check()
    if verb == "prepare" and options.nproc > 1:  # its processes share out the input, and know no ranks
        lines, options = [*lines, f"executor.workers={options.nproc}"], dataclasses.replace(options, nproc=1)
    places = ["--config-name", config_name] if config_name else []
    places += ["--config-dir", str(config_dir)] if config_dir else []
    if options.multirun:
        from bigtrain.config import overrides

        lines = [*lines, *(f"{key}={overrides.quoted(text)}" for key, text in (texts or {}).items())]
        return _multirun(verb, lines, config_name, config_dir, options)
    loaded = config.load(verb, lines, config_name, config_dir, texts=texts)
    if options.print_config:
        if verb in TRAINING:
            from bigtrain.commands.record import as_continued

            loaded = as_continued(loaded)
        _emit(loaded.plain, options.as_json, lambda _: print(annotated(loaded), end=""))
        try:
            _ = loaded.config
        except UserError as error:
            log.warning("not complete yet: %s", error)
        return 0
    if options.nproc > 1:
        from bigtrain.parallel.launch import launch

        prompts = [f"--{key}={text}" for key, text in (texts or {}).items()]
        words = [verb, *options.words(), *(["--json"] if options.as_json else []), *prompts, *places, *lines]
        return int(launch(options.nproc, words))
    command = _command(verb)
    stops.check()  # a module that is being imported may swallow what a signal raises
    live = {"live": True} if verb == "generate" and not options.as_json and sys.stdout.isatty() else {}
    result = command.run(loaded, dry_run=options.dry_run, **live)
    if rank() == 0:
        _emit(result, options.as_json, command.show)
    if verb == "evaluate":
        command.verdict(result)
    elif verb in TRAINING and options.dry_run:
        from bigtrain.commands.dry_run import verdict

        verdict(result)
    return 0


def _multirun(verb: str, lines: list[str], config_name: str | None, config_dir: Path | None, options: Options) -> int:
    """Every combination of the swept values, or with `search.trials` a search through them; gives the exit code."""
    from bigtrain.commands import search
    from bigtrain.config import sweep

    if search.asked(verb, lines, config_name, config_dir):
        found, code = search.run(verb, lines, config_name, config_dir, options.words(nproc=True))
        if found:
            _emit(found, options.as_json, search.show)
        return code
    jobs = sweep.sweep(verb, lines, config_name, config_dir, options.words(nproc=True))
    summary = sweep.over_seeds(jobs) if verb in sweep.SEARCHES and not options.dry_run else []
    document = {"jobs": jobs, "summary": summary} if summary else jobs
    _emit(document, options.as_json, lambda _: sweep.show(jobs, summary))
    if summary:
        sweep.write_summary(jobs, summary)
    codes = {job["exit_code"] for job in jobs} - {0}
    return max(codes.pop(), 1) if len(codes) == 1 else int(bool(codes))  # negative: killed by a signal


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
        ascii_only = "utf" not in (sys.stdout.encoding or "utf-8").lower()  # escapes of JSON are of its own kind
        print(json.dumps(_finite(result), ensure_ascii=ascii_only, default=str)) if as_json else show(result)
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
