"""Trains a model by name, or an `.onnx` file, on data by name: what `toolkit train` does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from toolkit import nn
from toolkit.data import DataLoader, load
from toolkit.errors import InvalidArgumentError
from toolkit.models import recipe
from toolkit.models.adapting import Changes, adapt, load_changed, save_model
from toolkit.models.recipe import LOSSES
from toolkit.random import manual_seed
from toolkit.runtime import _core
from toolkit.train import GradScaler, Trainer, TrainStep

_SHOWN = ("lr", "momentum", "betas", "weight_decay")
METRICS = {"classification": ("accuracy",), "language": ("token_accuracy",), "regression": ()}
Say = Callable[[str], None]


@dataclass
class Settings:
    """How to train; the options of `toolkit train`.

    Attributes:
        val_data: a spec to evaluate on; None: what `data` holds out.
        val_split: the share of `data` that is held out; None: what its reader says.
        loss: a key of `LOSSES`; None: what suits the model or the data.
        class_weights: "balanced", or a number for each class with commas between.
        label_smoothing: of the cross entropy.
        metrics: names; none: what suits the data.
        optim: a key of `toolkit.models.recipe.OPTIMIZERS`.
        lr: the learning rate; None: as `make_optimizer` has it.
        momentum: of sgd.
        weight_decay: None: the optimizer's default.
        group: options of parameters by glob, "GLOB:lr=1e-4,weight_decay=0".
        changes: what becomes of the model first; its fields are options of their own.
        schedule: "none", "cosine" (to 0 over the run), "step" (a tenth at each third), "onecycle".
        epochs: in all, resumed ones counted in.
        batch_size: samples a step.
        workers: processes that make batches.
        seed: of weights, data order, augmentation and dropout.
        clip_grad_norm: largest norm of all gradients together.
        clip_grad_value: largest absolute value of a gradient's element.
        accumulate: batches that make one step of the optimizer.
        ema: decay of the moving average of the weights; None: none is kept.
        precision: "float32", or "bfloat16" and "float16" for activations; the latter with dynamic
            loss scaling.
        eval_every: "2 epochs" or "500 steps".
        monitor: the figure that decides what is best; None: the first metric, or the loss.
        mode: "min" or "max"; None: what the metric says.
        early_stop: evaluations without improvement; 0: never.
        checkpoint_every: batches between checkpoints besides the epochs' ends; 0: none.
        keep: how many of the newest checkpoints stay.
        resume: "auto" for the newest whole checkpoint of the run folder, if there is one; or a
            file.
        tensorboard: write event files.
        callback: "module:name" of callbacks.
        confusion: write confusion.csv at the end.
        dry_run: build all, try one batch on copies, write nothing.
        overfit_batches: train and evaluate on this many batches only; 0: on all.
        detect_nan: name the first value that is not finite.
        run_dir: the folder; None: runs/<model>.
        progress: show a progress bar.
    """

    val_data: str | None = None
    val_split: float | None = None
    loss: str | None = None
    class_weights: str | None = None
    label_smoothing: float = 0.0
    metrics: Sequence[str] = ()
    optim: str = "adam"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    group: Sequence[str] = ()
    changes: Changes = field(default_factory=Changes)
    schedule: str = "none"
    epochs: int = 5
    batch_size: int = 64
    workers: int = 0
    seed: int = 0
    clip_grad_norm: float | None = None
    clip_grad_value: float | None = None
    accumulate: int = 1
    ema: float | None = None
    precision: str = "float32"
    eval_every: str = "1 epoch"
    monitor: str | None = None
    mode: str | None = None
    early_stop: int = 0
    checkpoint_every: int = 0
    keep: int = 1
    resume: str | None = None
    tensorboard: bool = False
    callback: Sequence[str] = ()
    confusion: bool = False
    dry_run: bool = False
    overfit_batches: int = 0
    detect_nan: bool = False
    run_dir: str | None = None
    progress: bool = True


def run_training(
    model: str, data: str, say: Say = lambda text: None, **options: Any
) -> dict[str, Any]:
    """Trains and writes a run folder.

    Args:
        model: a name of `toolkit.models`, or the path of an `.onnx` file.
        data: a spec of `toolkit.data.load`.
        say: takes lines about what is trained, on what, and how.
        options: see `Settings` and `Changes`.

    Returns:
        The latest epoch's figures ("metrics"), why it ended early if it did ("stopped"), and the
        paths of checkpoint, best model and, of an `.onnx`, the same file with its best weights
        ("model"). Of a dry run, what it found.

    Raises:
        InvalidArgumentError: an unknown name, or a model that does not take the data.
    """
    first = {f.name for f in fields(Changes)}
    known = first | {f.name for f in fields(Settings)} - {"changes"}
    for name in options:
        if name not in known:
            raise InvalidArgumentError(
                f"run_training: options among {', '.join(sorted(known))} are required, got "
                f"'{name}'."
            )
    changes = Changes(**{name: options.pop(name) for name in first & options.keys()})
    return _Run(model, data, Settings(changes=changes, **options), say).result()


class _Run:
    """One run: what is built for it, in order."""

    def __init__(self, model: str, data: str, settings: Settings, say: Say) -> None:
        self.model, self.settings, self.say = model, settings, say
        o = settings
        manual_seed(o.seed)
        self.data = load(data, seed=o.seed, val=o.val_data, val_split=o.val_split)
        self.meta = self.data.meta
        self.net, suits, order = make_model(model, self.meta, o.changes)
        self.loss = o.loss or suits
        self.folder = Path(o.run_dir or Path("runs") / Path(model).stem)
        self.train = self._loader(self.data.train, o.batch_size, order, shuffle=True)
        self.val = self._loader(self.data.test, max(o.batch_size, 256), order, shuffle=False)
        self.trainer = self._trainer()

    def _loader(self, dataset: Any, size: int, order: tuple[int, ...], shuffle: bool) -> Any:
        collate = None if order == tuple(range(len(order))) else _Reordered(order)
        return DataLoader(
            dataset,
            batch_size=size,
            shuffle=shuffle,
            generator=self.settings.seed,
            num_workers=self.settings.workers,
            collate_fn=collate,
        )

    def _trainer(self) -> Trainer:
        o, meta = self.settings, self.meta
        optimizer = recipe.make_optimizer(
            o.optim, self.net, o.lr, o.momentum, o.weight_decay, o.group
        )
        loss = recipe.make_loss(
            self.loss, o.class_weights, o.label_smoothing, self.data.labels, meta.num_classes
        )
        step = TrainStep(
            self.net,
            loss,
            optimizer,
            o.clip_grad_norm,
            clip_grad_value=o.clip_grad_value,
            accumulate=o.accumulate,
            grad_scaler=GradScaler() if o.precision == "float16" else None,
            ema_decay=o.ema,
            precision=o.precision,
        )
        self._tell(optimizer)
        batches = min(o.overfit_batches or len(self.train), len(self.train))
        return Trainer(
            step,
            scheduler=recipe.make_schedule(o.schedule, optimizer, o.epochs, batches),
            schedule_every="batch" if o.schedule in ("cosine", "onecycle") else "epoch",
            metrics=o.metrics or METRICS[meta.task],
            run_dir=None if o.dry_run else self.folder,
            checkpoint_every=o.checkpoint_every,
            early_stop=o.early_stop,
            progress=o.progress,
            eval_every=o.eval_every,
            monitor=o.monitor,
            mode=o.mode,
            keep_checkpoints=o.keep,
            tensorboard=o.tensorboard and not o.dry_run,
            callbacks=[recipe.make_callback(text) for text in o.callback],
            detect_nan=o.detect_nan,
            overfit_batches=o.overfit_batches,
        )

    def _tell(self, optimizer: Any) -> None:
        parameters = list(self.net.parameters())
        count = sum(p.numel() for p in parameters)
        frozen = sum(p.numel() for p in parameters if not p.requires_grad)
        note = f" ({frozen:,} frozen)" if frozen else ""
        self.say(f"{self.model}: {count:,} parameters{note}, loss {self.loss}")
        samples = f"{len(self.data.train):,} samples to train on, {len(self.data.test):,} to test"
        self.say(f"{self.meta.name}: {samples}")
        for group in optimizer.param_groups:
            shown = {k: v for k, v in group.items() if k in _SHOWN}
            self.say(" ".join([type(optimizer).__name__, *(f"{k} {v}" for k, v in shown.items())]))
        self.say(f"{_core.get_num_threads()} threads, {_core.isa()}")

    def result(self) -> dict[str, Any]:
        """Trains (or tries), and says what came of it."""
        from toolkit.models.checking import check_classes

        o, trainer = self.settings, self.trainer
        trainer.step.prepare(*next(iter(self.train.batches(0))))
        check_classes(trainer.step, self.meta, self.model)
        if o.dry_run:
            report = trainer.dry_run(self.train, self.val)
            return {"dry_run": report.as_dict(), "text": report.as_text()}
        if o.resume is not None:
            found = trainer.resume(o.resume)
            self.say("nothing to resume from" if found is None else f"resumed from {found}")
        history = trainer.fit(self.train, self.val, o.epochs)
        result = {
            "metrics": {k: v for k, v in history.last.items() if math.isfinite(v)},
            "stopped": history.stopped,
            "interrupted": trainer.interrupted,
            "checkpoint": str(self.folder / "last.onnx"),
            "best": str(self.folder / "best.onnx"),
        }
        if o.confusion:
            path = self.folder / "confusion.csv"
            write_confusion(trainer.confusion_matrix(self.val), self.meta.classes, path)
            result["confusion"] = str(path)
        if self.model.endswith(".onnx") and (self.folder / "best.onnx").exists():
            result["model"] = str(self.folder / "model.onnx")
            save_model(trainer.step, self.folder / "best.onnx", self.folder / "model.onnx")
        return result


class _Reordered:
    """A batch whose inputs stand as the model takes them."""

    def __init__(self, order: tuple[int, ...]) -> None:
        self.order = order

    def __call__(self, samples: Any) -> list[Any]:
        from toolkit.data import default_collate

        *inputs, target = default_collate(samples)
        return [*(inputs[k] for k in self.order), target]


def make_model(
    name: str, meta: Any, changes: Changes | None = None
) -> tuple[nn.Module, str, tuple[int, ...]]:
    """The module, the name of the loss that suits it, and the order of its inputs in the data."""
    from toolkit import models

    changes = changes or Changes()
    suits = {"regression": "mse", "language": "token_ce"}.get(meta.task, "ce")
    if name.endswith(".onnx"):
        from toolkit.graph.summary import summarize
        from toolkit.models.checking import check_inputs

        order = check_inputs(summarize(name), meta, name)
        return load_changed(name, changes, meta.num_classes), suits, order
    if (option := changes.of_files_only()) is not None:
        raise InvalidArgumentError(f"{option}: an .onnx file is required, got '{name}'.")
    loss = models.default_loss(name) if meta.task == "classification" else suits
    net = models.create_for(name, meta)
    if changes.some:
        adapt(net, changes)
    return net, loss, tuple(range(len(meta.input_shapes)))


def write_confusion(matrix: Any, classes: Sequence[str], path: Path) -> None:
    """Rows: true classes; columns: predicted ones."""
    import csv
    import io

    from toolkit.graph.atomic import write_atomically

    names = [*classes, *(str(i) for i in range(len(classes), len(matrix)))][: len(matrix)]
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["true \\ predicted", *names])
    writer.writerows([name, *map(int, row)] for name, row in zip(names, matrix, strict=True))
    write_atomically(path, stream.getvalue().encode())


__all__ = ["LOSSES", "METRICS", "Settings", "make_model", "run_training"]
