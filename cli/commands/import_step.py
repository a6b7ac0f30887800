"""`toolkit import-step`."""

from __future__ import annotations

import click

from toolkit.cli.context import Context, command, pass_context


@command()
@click.argument("model", type=click.Path(dir_okay=False))
@click.argument("state", type=click.Path(dir_okay=False))
@click.option("--table", type=click.Path(dir_okay=False),
              help="training.json of the export; the one beside STATE if absent.")  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False),
              help="The file to write.")  # fmt: skip
@pass_context
def import_step(context: Context, model: str, state: str, table: str | None, output: str) -> None:
    """Write MODEL, an .onnx file, again with the weights in STATE that another runtime trained.

    STATE is a .npz, .safetensors, .json or .bin file. Only initializers differ.
    Example: toolkit import-step net.onnx out/trained.safetensors -o tuned.onnx
    """
    from toolkit.train.imports import import_state

    found = import_state(model, state, output, table)
    count = len(found.get("weights", found.get("states", ())))
    left = f", {len(found['left'])} left" if found["left"] else ""
    context.result({"saved": output, **found}, f"Saved {output}: {count} tensors taken{left}.")
