"""`toolkit ops`."""

from __future__ import annotations

import click

from toolkit.cli.context import Context, command, pass_context


@command()
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="The whole table as Markdown (OPERATORS.md).")
@pass_context
def ops(context: Context, name: str | None, markdown: bool) -> None:
    """List the operators that run and differentiate, or those whose name contains NAME.

    Example: toolkit ops conv
    """
    from toolkit.convert.operators import operator_rows, to_markdown

    rows = operator_rows()
    if name:
        rows = [row for row in rows if name.lower() in row.op_type.lower()]
    if markdown:
        click.echo(to_markdown(rows), nl=False)
        return
    text = "\n".join(row.as_line() for row in rows) or f"No operator's name contains '{name}'."
    context.result({"operators": [row.as_dict() for row in rows]}, text)
