"""What every command shares: output form, verbosity, exit codes."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any

import click


class ExitCode(enum.IntEnum):
    """The process's exit status."""

    OK = 0
    FAILURE = 1  # The work could not be done: bad file, bad shape, no kernel.
    USAGE = 2  # The command line itself is wrong (click's own code).


@dataclass
class Context:
    """Options that stand before the command's name."""

    as_json: bool = False
    verbosity: int = 0  # -1 quiet, 0 normal, 1 and more verbose.
    debug: bool = False

    def say(self, text: str) -> None:
        """Prints for a person; silent with --json or -q."""
        if not self.as_json and self.verbosity >= 0:
            click.echo(text)

    def result(self, value: dict[str, Any], text: str) -> None:
        """Prints the command's result: one JSON object with --json, else the text."""
        click.echo(json.dumps(value) if self.as_json else text)


pass_context = click.make_pass_decorator(Context, ensure=True)
