"""What every command shares: output form, verbosity, exit codes."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click


class ExitCode(enum.IntEnum):
    """The process's exit status."""

    OK = 0
    FAILURE = 1  # The work could not be done: bad file, bad shape, no kernel.
    USAGE = 2  # The command line itself is wrong (click's own code).
    INTERRUPTED = 130  # A signal ended it; what was done is saved. As shells have it.


@dataclass
class Context:
    """Options that stand before the command's name."""

    as_json: bool = False
    verbosity: int = 0  # -1 quiet, 0 normal, 1 and more verbose.
    debug: bool = False

    def say(self, text: str) -> None:
        """Prints details for a person, with -v."""
        if not self.as_json and self.verbosity >= 1:
            click.echo(text, err=True)

    def result(self, value: dict[str, Any], text: str) -> None:
        """Prints the command's result: one JSON object with --json, else the text."""
        click.echo(json.dumps(value) if self.as_json else text)


def _update(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """A shared option given after the command's name."""
    context = ctx.ensure_object(Context)
    if param.name == "as_json":
        context.as_json |= value
    elif param.name == "quiet" and value:
        context.verbosity = -1
    elif param.name == "verbose":
        context.verbosity += value
    elif param.name == "debug":
        context.debug |= value


def command() -> Callable[[Callable[..., Any]], click.Command]:
    """`click.command` with the options that all commands share."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        made = click.command()(function)
        made.params += [
            click.Option(["--json", "as_json"], is_flag=True, help="Print results as JSON."),
            click.Option(["-q", "--quiet"], is_flag=True, help="Print results only."),
            click.Option(["-v", "--verbose"], count=True, help="Print more."),
            click.Option(["--debug"], is_flag=True, help="Show a traceback when it fails."),
        ]
        for option in made.params[-4:]:
            option.expose_value, option.callback = False, _update
        return made

    return decorate


pass_context = click.make_pass_decorator(Context, ensure=True)
