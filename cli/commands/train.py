"""`toolkit train`."""

from __future__ import annotations

from typing import Any

import click

from toolkit.cli.context import Context, command, pass_context


@command()
@click.argument("model")
@click.option(
    "--data",
    required=True,
    metavar="SPEC",
    help="digits, mnist5k, fashion-mnist:DIR, npz:FILE, csv:FILE, text:FILE, topics.",
)
@click.option("--loss", default=None, help="ce, nll, mse, l1, huber, bce; by the model if absent.")
@click.option("--optim", default="adam", show_default=True, help="sgd, adam or adamw.")
@click.option("--lr", type=float, default=None, help="Learning rate; 1e-3, or 1e-2 for sgd.")
@click.option("--momentum", type=float, default=0.9, show_default=True, help="For sgd.")
@click.option("--weight-decay", type=float, default=None, help="Weight decay.")
@click.option(
    "--schedule",
    type=click.Choice(["none", "cosine", "step", "onecycle"]),
    default="none",
    show_default=True,
    help="Of the learning rate.",
)
@click.option("--epochs", type=click.IntRange(1), default=5, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--clip-grad-norm", type=float, default=None, help="Largest norm of the gradients.")
@click.option("--clip-grad-value", type=float, default=None, help="Largest element of a gradient.")
@click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True,
              help="Batches that make one step.")  # fmt: skip
@click.option("--early-stop", type=int, default=0, help="Epochs without improvement; 0: never.")
@click.option("--checkpoint-every", type=int, default=0, help="Batches between checkpoints.")
@click.option("--resume", is_flag=True, help="Go on from the run folder's checkpoint.")
@click.option("-o", "--output", "run_dir", default=None, help="Run folder; runs/MODEL if absent.")
@pass_context
def train(context: Context, /, model: str, data: str, **options: Any) -> None:
    """Train MODEL: a name (mlp, digits_cnn, mnist_cnn, resnet18_cifar, char_gpt) or an .onnx file.

    The run folder gets last.onnx, best.onnx, log.csv and loss.png.
    Example: toolkit train digits_cnn --data digits --epochs 10 -o runs/digits
    """
    from toolkit.models.training import run_training

    show = not context.as_json and context.verbosity >= 0
    result = run_training(model, data, progress=show, say=context.say, **options)
    figures = "  ".join(f"{k} {v:.4g}" for k, v in result["metrics"].items())
    context.result(result, f"{figures}\nSaved {result['checkpoint']}.")
