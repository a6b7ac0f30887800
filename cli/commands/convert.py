"""`toolkit convert`."""

from __future__ import annotations

import click

from toolkit.cli.context import Context, command, pass_context


@command()
@click.argument("source", type=click.Path(dir_okay=False))
@click.argument("target", type=click.Path(dir_okay=False))
@click.option("--opset", type=click.IntRange(7), help="Operator set of the result.")
@click.option("--to", "runtime", type=click.Choice(["ort", "ortweb", "reference"]),
              help="Use only what a runtime has; ortweb is the GPU of a browser.")  # fmt: skip
@click.option("--inline", is_flag=True, help="Write function bodies out flat.")
@pass_context
def convert(
    context: Context,
    source: str,
    target: str,
    opset: int | None,
    runtime: str | None,
    inline: bool,
) -> None:
    """Read SOURCE and write it to TARGET at another opset, without functions or for one runtime.

    Example: toolkit convert old.onnx new.onnx --opset 17
    """
    from toolkit.graph.io import load_model, save_model
    from toolkit.graph.targets import lower_to

    model = load_model(source)
    if runtime is not None:
        model = lower_to(model, runtime)
    save_model(model, target, opset=opset, inline=inline)
    context.result({"saved": target}, f"Saved {target}.")
