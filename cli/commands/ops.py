"""`toolkit ops`."""

from __future__ import annotations

from typing import Any

import click

from toolkit.cli.context import Context, command, pass_context


@command()
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="The whole table as Markdown (OPERATORS.md).")
@click.option("--score", is_flag=True, help="Run ONNX's conformance suite and tell the score.")
@pass_context
def ops(context: Context, name: str | None, markdown: bool, score: bool) -> None:
    """List the operators that run and differentiate, or those whose name contains NAME.

    Example: toolkit ops conv
    """
    from toolkit.convert.operators import operator_rows, to_markdown

    rows = operator_rows()
    if name:
        rows = [row for row in rows if name.lower() in row.op_type.lower()]
    passed = None
    if score:
        from toolkit.runtime import conformance

        passed = conformance.score()
    if markdown:
        click.echo(to_markdown(rows, passed), nl=False)
        return
    text = "\n".join(row.as_line() for row in rows) or f"No operator's name contains '{name}'."
    result: dict[str, Any] = {"operators": [row.as_dict() for row in rows]}
    if passed is not None:
        text += f"\n{passed[0]} of {passed[1]} cases of ONNX's conformance suite pass."
        result["conformance"] = {"passed": passed[0], "cases": passed[1]}
    context.result(result, text)
