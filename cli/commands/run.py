"""`toolkit run`."""

from __future__ import annotations

import time

import click

from toolkit.cli.context import Context, command, pass_context
from toolkit.cli.inputs import split


@command()
@click.argument("model", type=click.Path(dir_okay=False))
@click.option("--input", "inputs", multiple=True, metavar="NAME=SPEC",
              help="A .npy file, an image, or 'random'; once per input.")  # fmt: skip
@click.option("--output", "outputs", multiple=True, metavar="NAME=FILE.npy",
              help="Keep an output.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="For random inputs.")
@pass_context
def run(
    context: Context, model: str, inputs: tuple[str, ...], outputs: tuple[str, ...], seed: int
) -> None:
    """Run MODEL once and show its outputs.

    Inputs that are not given are random. Example: toolkit run m.onnx --input x=a.npy
    """
    from toolkit.convert.arrays import describe, read_inputs, save_array
    from toolkit.runtime import InferenceSession

    pairs = [split(text, "--input") for text in inputs]
    targets = [split(text, "--output") for text in outputs]
    session = InferenceSession(model)
    names = [arg.name for arg in session.get_outputs()]
    for name, _ in targets:
        if name not in names:
            raise click.BadParameter(f"an output among {names} is required, got '{name}'")
    feed = read_inputs(session.get_inputs(), dict(pairs), seed)
    for name, array in feed.items():
        context.say(f"{name}: {array.dtype}{list(array.shape)} given")
    start = time.perf_counter()
    results = dict(zip(names, session.run(None, feed), strict=True))
    context.say(f"{(time.perf_counter() - start) * 1e3:.2f} ms")
    for name, path in targets:
        save_array(path, results[name])
    rows = {name: describe(array) for name, array in results.items()}
    lines = [f"{name}: {row['dtype']}{row['shape']} {row['head']}" for name, row in rows.items()]
    context.result({"outputs": rows}, "\n".join(lines))
