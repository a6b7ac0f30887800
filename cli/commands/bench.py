"""`toolkit bench`."""

from __future__ import annotations

import click

from toolkit.cli.context import Context, command, pass_context

_PEERS = {"ort": "onnxruntime", "onnxruntime": "onnxruntime", "openvino": "openvino"}


@command()
@click.argument("model", type=click.Path(dir_okay=False))
@click.option("--compare", "others", multiple=True, type=click.Choice(list(_PEERS)),
              help="Time another runtime in turns with ours; may be repeated.")  # fmt: skip
@click.option("--input", "inputs", multiple=True, metavar="NAME=SPEC",
              help="A .npy file, an image, or 'random'; once per input.")  # fmt: skip
@click.option("--batch", type=click.IntRange(1), help="Size of first dimensions that are open.")
@click.option("--dim", "dims", multiple=True, metavar="NAME=N",
              help="Size of a named dimension.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Of each side; default: all cores.")
@click.option("--seconds", type=click.FloatRange(0), default=3.0, show_default=True,
              help="How long to measure in all.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="For random inputs.")
@pass_context
def bench(
    context: Context,
    model: str,
    others: tuple[str, ...],
    inputs: tuple[str, ...],
    batch: int | None,
    dims: tuple[str, ...],
    threads: int | None,
    seconds: float,
    seed: int,
) -> None:
    """Time a run of MODEL, alone or beside other runtimes.

    The sides take turns; medians are compared, and outputs. Inputs that are not given are random.
    Example: toolkit bench m.onnx --compare ort --batch 8
    """
    from toolkit.cli.inputs import feed_of
    from toolkit.runtime import InferenceSession, SessionOptions
    from toolkit.runtime._core import get_num_threads, isa
    from toolkit.runtime.measure import peers

    session = InferenceSession(model, SessionOptions(intra_op_num_threads=threads or 0))
    count = get_num_threads()
    feed = feed_of(session, inputs, dims, batch, seed)
    for name, array in feed.items():
        context.say(f"{name}: {array.dtype}{list(array.shape)} given")
    runs: dict[str, peers.Run] = {"ours": lambda feed: session.run(None, feed)}
    for name in dict.fromkeys(_PEERS[other] for other in others):
        runs[name] = peers.load(name, model, count, feed)
    found = peers.measure(runs, feed, seconds)
    lines = [f"{count} threads, {isa()}"]
    for side, median in found.medians.items():
        line = f"{side}: {median * 1e3:.3f} ms"
        if side != "ours":
            ratio = median / found.medians["ours"]
            line += f", {ratio:.2f} times ours; outputs differ by {found.errors[side]:.1e}"
        lines.append(line)
    report = {"threads": count, "isa": isa(), "seconds": found.medians, "errors": found.errors}
    context.result(report, "\n".join(lines))
