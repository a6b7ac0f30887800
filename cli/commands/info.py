"""`toolkit info`."""

from __future__ import annotations

import click

from toolkit.cli.context import Context, command, pass_context


@command()
@click.argument("model", type=click.Path(dir_okay=False))
@pass_context
def info(context: Context, model: str) -> None:
    """Show what MODEL is: inputs, outputs, operators, parameters, training state.

    Example: toolkit info digits.onnx
    """
    from toolkit.graph.summary import summarize

    summary = summarize(model)
    context.result(summary.as_dict(), summary.as_text())
