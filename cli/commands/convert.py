"""`toolkit convert`."""

from __future__ import annotations

import click

from toolkit.cli.context import Context, command, pass_context


@command()
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path(dir_okay=False))
@click.option("--opset", type=click.IntRange(7), help="Operator set of the result.")
@click.option("--to", "runtime", type=click.Choice(["ort", "ortweb", "reference"]),
              help="Use only what a runtime has; ortweb is the GPU of a browser.")  # fmt: skip
@click.option("--inline", is_flag=True, help="Write function bodies out flat.")
@click.option("--weights", type=click.Choice(["int8", "int4"]),
              help="Store the weights of products in so many bits (opset 21).")  # fmt: skip
@click.option("--group", type=click.IntRange(1), default=32, show_default=True,
              help="Rows of a weight that share a scale.")  # fmt: skip
@click.option("--strip-training", is_flag=True, help="Leave training_info out.")
@click.option("--lower-training", is_flag=True,
              help="Write Gradient, Adam, Momentum and Adagrad as standard operators.")  # fmt: skip
@click.option("--layout", type=click.Choice(["training-info", "step", "model"]),
              help="How to write a folder of onnxruntime's training artifacts.")  # fmt: skip
@click.option("--checkpoint", type=click.Path(), help="Another than the folder's own.")
@pass_context
def convert(
    context: Context,
    source: str,
    target: str,
    opset: int | None,
    runtime: str | None,
    inline: bool,
    weights: str | None,
    group: int,
    strip_training: bool,
    lower_training: bool,
    layout: str | None,
    checkpoint: str | None,
) -> None:
    """Read SOURCE and write it to TARGET at another opset, without functions or for one runtime.

    SOURCE is an .onnx file, or a folder of training artifacts of onnxruntime-training.

    With only --strip-training or --lower-training nothing else is changed.
    Example: toolkit convert old.onnx new.onnx --opset 17
    Example: toolkit convert gpt2.onnx small.onnx --weights int4
    """
    from toolkit.convert.ort_artifacts import is_artifacts
    from toolkit.errors import InvalidArgumentError
    from toolkit.graph.io import load_model, read_proto, save_model
    from toolkit.graph.targets import lower_to
    from toolkit.graph.training_file import write_training
    from toolkit.graph.training_info import strip
    from toolkit.train import rewriting

    if weights is not None:
        from toolkit.convert import quantize_weights

        if runtime is not None or strip_training or lower_training or is_artifacts(source):
            raise InvalidArgumentError(
                "--weights: a model for inference is required, got other conversions beside it. "
                "Convert in two steps."
            )
        model = quantize_weights(source, int(weights.removeprefix("int")), group)
        save_model(model, target, opset=opset or 21, inline=inline)
        context.result({"saved": target}, f"Saved {target}.")
        return
    if is_artifacts(source):
        from toolkit.train.artifacts import convert_artifacts

        shape = layout or "training-info"
        convert_artifacts(source, target, shape, opset, runtime, inline, checkpoint=checkpoint)
        context.result({"saved": target}, f"Saved {target}.")
        return
    if layout is not None or checkpoint is not None:
        raise InvalidArgumentError(
            f"--layout, --checkpoint: a folder of training artifacts is required, got '{source}'."
        )
    proto = read_proto(source) if strip_training or lower_training else None
    if proto is not None and lower_training:
        proto = rewriting.lower_training(proto, opset)
    if proto is not None and strip_training:
        strip(proto)
    if proto is not None and runtime is None and not inline and (opset is None or lower_training):
        write_training(proto, target)
    else:
        model = load_model(source if proto is None else proto)
        if runtime is not None:
            model = lower_to(model, runtime)
        save_model(model, target, opset=opset, inline=inline)
    context.result({"saved": target}, f"Saved {target}.")
