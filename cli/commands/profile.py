"""`toolkit profile`."""

from __future__ import annotations

import click

from toolkit.cli.context import Context, command, pass_context


@command()
@click.argument("model", type=click.Path(dir_okay=False))
@click.option("--input", "inputs", multiple=True, metavar="NAME=SPEC",
              help="A .npy file, an image, or 'random'; once per input.")  # fmt: skip
@click.option("--batch", type=click.IntRange(1), help="Size of first dimensions that are open.")
@click.option("--dim", "dims", multiple=True, metavar="NAME=N",
              help="Size of a named dimension.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Default: all cores.")
@click.option("--seconds", type=click.FloatRange(0), default=1.0, show_default=True,
              help="How long to measure.")  # fmt: skip
@click.option("--rows", type=click.IntRange(1), default=30, show_default=True,
              help="Nodes to list, the dearest first.")  # fmt: skip
@click.option("--trace", type=click.Path(dir_okay=False, writable=True), metavar="OUT.json",
              help="Write all events in Chrome's trace format.")  # fmt: skip
@click.option("--memory", is_flag=True, help="Show memory instead of time.")
@click.option("--seed", type=int, default=0, show_default=True, help="For random inputs.")
@pass_context
def profile(
    context: Context,
    model: str,
    inputs: tuple[str, ...],
    batch: int | None,
    dims: tuple[str, ...],
    threads: int | None,
    seconds: float,
    rows: int,
    trace: str | None,
    memory: bool,
    seed: int,
) -> None:
    """Show where the time of a run of MODEL goes, by node and by operator.

    Nodes are those that run, after fusion, beside the machine's peaks; a node whose values lie in a
    cache can exceed the memory's. Example: toolkit profile m.onnx --trace m.json
    """
    from toolkit.cli.inputs import feed_of
    from toolkit.runtime import InferenceSession, SessionOptions
    from toolkit.runtime.measure.profile import profile as measure

    session = InferenceSession(model, SessionOptions(intra_op_num_threads=threads or 0))
    feed = feed_of(session, inputs, dims, batch, seed)
    for name, array in feed.items():
        context.say(f"{name}: {array.dtype}{list(array.shape)} given")
    if memory:
        session.run(None, feed)
        used = session.memory_report()
        context.result(used.as_dict(), used.as_text())
        return
    found = measure(session.native_program(), lambda: session.run(None, feed), seconds)
    if trace:
        found.write_trace(trace)
    context.result(found.as_dict(), found.as_text(rows))
