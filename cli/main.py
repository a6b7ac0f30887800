"""The `toolkit` command: options that all commands share, and errors as one line."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from toolkit.cli.context import Context, ExitCode

_COMMANDS = {
    "bench": "Time a run of a model, alone or beside other runtimes.",
    "convert": "Rewrite a model: opset, functions inlined.",
    "export-train": "Write the training step of a model for another runtime.",
    "grad": "Write a model that also computes gradients of a model.",
    "import-step": "Write a model with weights that another runtime trained.",
    "info": "Show what a model is: inputs, outputs, operators, parameters.",
    "ops": "List the operators that run and differentiate.",
    "profile": "Show where the time of a run goes, or its memory.",
    "run": "Run a model on arrays, an image or random input.",
    "train": "Train a model by name, or an .onnx file further.",
}


class _LazyGroup(click.Group):
    """Imports a command's module only when it is called, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"toolkit.cli.commands.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print results as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print results only.")
@click.option("-v", "--verbose", count=True, help="Print more; repeat for more.")
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
@click.version_option(package_name="toolkit")
@click.pass_context
def cli(ctx: click.Context, as_json: bool, quiet: bool, verbose: int, debug: bool) -> None:
    """Build, train and run models that are ONNX graphs."""
    ctx.obj = Context(as_json, -1 if quiet else verbose, debug)


def main(args: list[str] | None = None) -> None:
    """Runs the command line and exits with an `ExitCode`."""
    debug = "--debug" in (sys.argv[1:] if args is None else args)
    try:
        outcome: Any = cli.main(args=args, prog_name="toolkit", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(ExitCode.FAILURE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(ExitCode.OK)
    except Exception as error:
        if debug:
            raise
        click.echo(f"Error: {_one_line(error)}", err=True)
        sys.exit(ExitCode.FAILURE)
    sys.exit(outcome if isinstance(outcome, int) else ExitCode.OK)


def _one_line(error: Exception) -> str:
    from toolkit.errors import ToolkitError

    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, (ToolkitError, OSError)):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"
