"""`toolkit export-train`."""

from __future__ import annotations

from typing import Any

import click

from toolkit.cli.context import Context, command, pass_context
from toolkit.cli.inputs import shapes_of, sizes_of


@command()
@click.argument("model")
@click.option("--loss", help="ce, nll, mse, l1, huber, bce; by the model if absent.")
@click.option(
    "--optim",
    default="adamw",
    show_default=True,
    help="sgd, adam, adamw, nadam, rmsprop, lion, ...",
)
@click.option("--layout", type=click.Choice(["step", "artifacts", "training-info"]),
              default="step", show_default=True,
              help="One graph, one for each task, or the one file.")  # fmt: skip
@click.option("--target", type=click.Choice(["ort", "ortweb", "reference"]), default="ort",
              show_default=True,
              help="Use only what a runtime has; ortweb is the GPU of a browser.")  # fmt: skip
@click.option("--state", type=click.Choice(["initializers", "safetensors", "npz", "bin", "onnx"]),
              help="Where the first states are; by layout and target if absent.")  # fmt: skip
@click.option(
    "--train", multiple=True, metavar="GLOB", help="Parameters that train; all if absent."
)
@click.option("--freeze", multiple=True, metavar="GLOB", help="Parameters that do not.")
@click.option("--batch-norm", type=click.Choice(["train", "frozen"]), default="train",
              show_default=True, help="BatchNormalization of an .onnx file.")  # fmt: skip
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True),
              help="Put Dropout before the classifier of an .onnx file.")  # fmt: skip
@click.option("--lr", type=float, help="The rate to note; it is an input. 1e-3, or 1e-2 for sgd.")
@click.option("--momentum", type=float, default=0.9, show_default=True, help="For sgd.")
@click.option("--weight-decay", type=float, help="Weight decay.")
@click.option("--clip-grad-norm", type=float, help="Largest norm of the gradients.")
@click.option("--clip-grad-value", type=float, help="Largest element of a gradient.")
@click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True,
              help="Batches that make one step.")  # fmt: skip
@click.option("--dim", "dims", multiple=True, metavar="NAME=SIZE",
              help="A symbolic size of an .onnx file, other than the batch.")  # fmt: skip
@click.option("--shape", "shapes", multiple=True, metavar="NAME=SIZE,SIZE,...",
              help="Of an input of an .onnx file; the first size stays open.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and masks.")
@click.option("--opset", type=click.IntRange(7), help="Operator set of the result.")
@click.option("-o", "--output", "folder", required=True, type=click.Path(file_okay=False),
              help="The folder to write.")  # fmt: skip
@pass_context
def export_train(
    context: Context,
    /,
    model: str,
    folder: str,
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
    **options: Any,
) -> None:
    """Write the training step of MODEL, an .onnx file or a name, for another runtime.

    The folder gets the graphs, their first states, and training.json, which says what is fed back.
    Example: toolkit export-train net.onnx --loss ce --optim adamw --target ortweb -o out
    """
    from toolkit.models.export import run_export, summary

    table = run_export(model, folder, sizes=sizes_of(dims), shapes=shapes_of(shapes), **options)
    context.result(table, summary(table, folder))
