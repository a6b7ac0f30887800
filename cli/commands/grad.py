"""`toolkit grad`."""

from __future__ import annotations

import click

from toolkit.cli.context import Context, command, pass_context


@command()
@click.argument("model", type=click.Path(dir_okay=False))
@click.option("--wrt", multiple=True, required=True, metavar="NAME|GLOB",
              help="What to differentiate by: inputs or weights.")  # fmt: skip
@click.option("--loss", metavar="OUTPUT", help="An output of one element to start from.")
@click.option("--outputs", multiple=True, metavar="OUTPUT",
              help="Outputs to differentiate; all of them if absent.")  # fmt: skip
@click.option("--order", type=click.IntRange(1), default=1, show_default=True,
              help="Highest derivative; above 1 along directions v_<name>.")  # fmt: skip
@click.option("--opset", type=click.IntRange(7), help="Operator set of the result.")
@click.option("--target", type=click.Choice(["ort", "ortweb", "reference"]),
              help="Use only what a runtime has; ortweb is the GPU of a browser.")  # fmt: skip
@click.option("--inline", is_flag=True, help="Write function bodies out flat.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False),
              help="The file to write.")  # fmt: skip
@pass_context
def grad(
    context: Context,
    model: str,
    wrt: tuple[str, ...],
    loss: str | None,
    outputs: tuple[str, ...],
    order: int,
    opset: int | None,
    target: str | None,
    inline: bool,
    output: str,
) -> None:
    """Write a model that also computes gradients of MODEL.

    With --loss the result has the outputs d_<name>, the gradients; else it takes d_<output> for
    each output and gives vector-Jacobian products. --order 2 adds the inputs v_<name> and the
    outputs d2_<name>, the Hessian times v.
    Example: toolkit grad net.onnx --wrt '*.weight' --loss loss -o grad.onnx
    """
    from toolkit.autodiff import grad_model
    from toolkit.graph.io import write_proto

    made = grad_model(
        model, wrt, outputs or None, opset, inline, loss=loss, order=order, target=target
    )
    write_proto(made, output)
    inputs, results = ([v.name for v in x] for x in (made.graph.input, made.graph.output))
    text = f"Saved {output}.\ninputs {', '.join(inputs)}\noutputs {', '.join(results)}"
    context.result({"saved": output, "inputs": inputs, "outputs": results}, text)
