"""`toolkit train`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from toolkit.cli.context import Context, ExitCode, command, pass_context


def _words(_: Any, __: Any, texts: tuple[str, ...]) -> tuple[str, ...]:
    """An option that is repeated, or takes a list with commas."""
    return tuple(word for text in texts for word in text.split(",") if word)


# A line an option: name, and what click is told.
_POSITIVE, _COUNT = click.IntRange(1), click.IntRange(0)
OPTIONS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("--data",), {"required": True, "metavar": "SPEC",
     "help": "digits, breast_cancer, mnist5k, topics, images:DIR, fashion-mnist:DIR, idx:DIR, "
             "npz:FILE, npy:FILE, csv:FILE, parquet:FILE, jsonl:FILE, text:FILE; options: "
             "csv:FILE?target=y&sep=;"}),
    (("--val-data",), {"metavar": "SPEC", "help": "Evaluate on these, not a part of --data."}),
    (("--val-split",), {"type": click.FloatRange(0, 1, True, True), "metavar": "SHARE",
     "help": "Share of --data that is held out; 0.2 of what has no test part, if absent."}),
    (("--loss",), {"help": "ce, nll, mse, l1, huber, bce, token_ce, hinge; by the data else."}),
    (("--class-weights",), {"metavar": "W", "help": "balanced, or a number a class: 1,2.5,1."}),
    (("--label-smoothing",), {"type": click.FloatRange(0, 1), "default": 0.0}),
    (("--metrics",), {"multiple": True, "callback": _words, "metavar": "NAMES",
     "help": "accuracy, top5, precision, recall, f1, mae, rmse, r2, ...; by the data if absent."}),
    (("--optim",), {"default": "adam", "show_default": True,
     "help": "An optimizer: sgd, adam, adamw, nadam, rmsprop, adafactor, lion, lamb, ..."}),
    (("--lr",), {"type": float, "help": "Learning rate; 1e-3, or 1e-2 for sgd."}),
    (("--momentum",), {"type": float, "default": 0.9, "show_default": True, "help": "For sgd."}),
    (("--weight-decay",), {"type": float, "help": "Weight decay."}),
    (("--group",), {"multiple": True, "metavar": "GLOB:lr=X",
     "help": "Options of the parameters that a glob takes: 'backbone.*:lr=1e-4,weight_decay=0'."}),
    (("--freeze",), {"multiple": True, "callback": _words, "metavar": "GLOBS",
     "help": "Parameters that do not train: 'backbone.*'."}),
    (("--unfreeze",), {"multiple": True, "callback": _words, "metavar": "GLOBS",
     "help": "Parameters that train after all."}),
    (("--head",), {"metavar": "classes=N|auto",
     "help": "A fresh head for an .onnx; also cut=VALUE,output=NAME,softmax=keep."}),
    (("--dropout",), {"multiple": True, "metavar": "p=P",
     "help": "Dropout in front of the head of an .onnx; also after=GLOB, before=GLOB."}),
    (("--batch-norm",), {"type": click.Choice(["frozen", "train"]),
     "help": "Running statistics of an .onnx: kept, or of the batches (as without)."}),
    (("--lora",), {"metavar": "r=N",
     "help": "Low-rank adapters; also alpha=A,dropout=P,targets=GLOB,exclude=GLOB,dora,rslora."}),
    (("--schedule",), {"type": click.Choice(["none", "cosine", "step", "onecycle"]),
     "default": "none", "show_default": True, "help": "Of the learning rate."}),
    (("--epochs",), {"type": _POSITIVE, "default": 5, "show_default": True}),
    (("--batch-size",), {"type": _POSITIVE, "default": 64, "show_default": True}),
    (("--workers",), {"type": _COUNT, "default": 0, "help": "Processes that make batches."}),
    (("--seed",), {"type": int, "default": 0, "show_default": True}),
    (("--clip-grad-norm",), {"type": float, "help": "Largest norm of the gradients."}),
    (("--clip-grad-value",), {"type": float, "help": "Largest element of a gradient."}),
    (("--accumulate",), {"type": _POSITIVE, "default": 1, "help": "Batches that make one step."}),
    (("--ema",), {"type": click.FloatRange(0, 1), "metavar": "DECAY",
     "help": "Keep a moving average of the weights; evaluate and save as best with it."}),
    (("--precision",), {"type": click.Choice(["float32", "bfloat16", "float16"]),
     "default": "float32", "show_default": True,
     "help": "Of activations in training: less memory, not more speed."}),
    (("--eval-every",), {"default": "1 epoch", "show_default": True, "metavar": "N epochs|steps"}),
    (("--monitor",), {"metavar": "NAME", "help": "What decides which is best: val_f1, val_loss."}),
    (("--mode",), {"type": click.Choice(["min", "max"]), "help": "Which is better."}),
    (("--early-stop",), {"type": _COUNT, "default": 0, "metavar": "N",
     "help": "End after so many evaluations without improvement; 0: never."}),
    (("--checkpoint-every",), {"type": _COUNT, "default": 0, "metavar": "N",
     "help": "Batches between checkpoints, besides the epochs' ends."}),
    (("--keep",), {"type": _POSITIVE, "default": 1, "help": "How many checkpoints stay."}),
    (("--resume",), {"is_flag": False, "flag_value": "auto", "metavar": "[auto|FILE]",
     "help": "Go on from the run folder's newest checkpoint that is whole, or from FILE."}),
    (("--tensorboard",), {"is_flag": True, "help": "Write event files (extra 'tensorboard')."}),
    (("--callback", "--callbacks"), {"multiple": True, "callback": _words, "metavar": "MODULE:NAME",
     "help": "Callbacks of your own."}),
    (("--confusion",), {"is_flag": True, "help": "Write confusion.csv at the end."}),
    (("--dry-run",), {"is_flag": True,
     "help": "Build all, try one batch, show shapes, parameters and memory; write nothing."}),
    (("--overfit-batches",), {"type": _COUNT, "default": 0, "metavar": "N",
     "help": "Train and evaluate on the first N batches only: can the model learn them?"}),
    (("--detect-nan",), {"is_flag": True, "help": "Name the first value that is not finite."}),
    (("-o", "--output", "run_dir"), {"help": "Run folder; runs/MODEL if absent."}),
]  # fmt: skip


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for names, settings in reversed(OPTIONS):
        function = click.option(*names, **settings)(function)
    return function


@command()
@click.argument("model")
@_with_options
@pass_context
def train(context: Context, /, model: str, data: str, **options: Any) -> int:
    """Train MODEL: an .onnx file or a name.

    Names: mlp, digits_cnn, mnist_cnn, resnet18_cifar, char_gpt, svm, kernel_svm, hmm.

    The run folder gets last.onnx, best.onnx, log.csv and loss.png, and of an .onnx model.onnx: the
    same file with its best weights. Ctrl-C writes a checkpoint and ends; --resume goes on.
    Example: toolkit train any.onnx --data images:DIR?size=224 --head auto --lora r=8 -o runs/mine
    """
    from toolkit.models.training import run_training

    show = not context.as_json and context.verbosity >= 0
    result = run_training(model, data, progress=show, say=context.say, **options)
    if "dry_run" in result:
        context.result(result["dry_run"], result["text"])
        return ExitCode.OK
    lines = ["  ".join(f"{k} {v:.4g}" for k, v in result["metrics"].items())]
    if result["stopped"]:
        lines.append(f"Ended early: {result['stopped']}.")
    lines.append(f"Saved {result['checkpoint']}.")
    context.result(result, "\n".join(lines))
    return ExitCode.INTERRUPTED if result["interrupted"] else ExitCode.OK
