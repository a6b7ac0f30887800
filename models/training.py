"""Trains a model by name, or an `.onnx` file, on data by name: what `toolkit train` does."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit import nn, optim
from toolkit.data import DataLoader, load
from toolkit.errors import InvalidArgumentError
from toolkit.models.char_gpt import token_cross_entropy
from toolkit.random import manual_seed
from toolkit.runtime import _core
from toolkit.train import Trainer, TrainStep

LOSSES: dict[str, Any] = {
    "ce": nn.CrossEntropyLoss,
    "nll": nn.NLLLoss,
    "mse": nn.MSELoss,
    "l1": nn.L1Loss,
    "huber": nn.HuberLoss,
    "bce": nn.BCEWithLogitsLoss,
    "token_ce": lambda: token_cross_entropy,
}

_SHOWN = ("lr", "momentum", "betas", "weight_decay")
METRICS = {"classification": ("accuracy",), "language": ("token_accuracy",), "regression": ()}


def run_training(
    model: str,
    data: str,
    loss: str | None = None,
    optim: str = "adam",
    lr: float | None = None,
    momentum: float = 0.9,
    weight_decay: float | None = None,
    schedule: str = "none",
    epochs: int = 5,
    batch_size: int = 64,
    seed: int = 0,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    accumulate: int = 1,
    early_stop: int = 0,
    checkpoint_every: int = 0,
    resume: bool = False,
    run_dir: str | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Trains and writes a run folder.

    Args:
        model: a name of `toolkit.models`, or the path of an `.onnx` file.
        data: a spec of `toolkit.data.load`.
        loss: a key of `LOSSES`; None: what suits the model or the data.
        optim: "sgd", "adam" or "adamw".
        lr: the learning rate; None: 1e-2 for sgd, 1e-3 else.
        momentum: of sgd.
        weight_decay: None: the optimizer's default.
        schedule: "none", "cosine" (to 0 over the run), "step" (a tenth at each third), "onecycle".
        epochs: in all, resumed ones counted in.
        batch_size: samples a step.
        seed: of weights, data order and dropout.
        clip_grad_norm: largest norm of all gradients together.
        clip_grad_value: largest absolute value of a gradient's element.
        accumulate: batches that make one step of the optimizer.
        early_stop: epochs without improvement; 0: never.
        checkpoint_every: batches between checkpoints besides the epochs' ends; 0: none.
        resume: go on from the run folder's checkpoint, if there is one.
        run_dir: the folder; None: runs/<model>.
        progress: show a progress bar.
        say: takes lines about what is trained, on what, and how.

    Returns:
        The latest epoch's figures ("metrics"), and the paths of checkpoint and best model.

    Raises:
        InvalidArgumentError: an unknown name.
    """
    manual_seed(seed)
    datasets = load(data, seed=seed)
    net, default_loss = _make_model(model, datasets.meta)
    loss_fn = make_loss(loss or default_loss)
    optimizer = make_optimizer(optim, net, lr, momentum, weight_decay)
    count = sum(p.numel() for p in net.parameters())
    say(f"{model}: {count:,} parameters, loss {loss or default_loss}")
    say(f"{data}: {len(datasets.train):,} samples to train on, {len(datasets.test):,} to test")
    settings = {k: v for k, v in optimizer.param_groups[0].items() if k in _SHOWN}
    say(" ".join([type(optimizer).__name__, *(f"{k} {v}" for k, v in settings.items())]))
    say(f"{_core.get_num_threads()} threads, {_core.isa()}")
    train = DataLoader(datasets.train, batch_size=batch_size, shuffle=True, generator=seed)
    test = DataLoader(datasets.test, batch_size=256)
    folder = Path(run_dir or Path("runs") / Path(model).stem)
    trainer = Trainer(
        TrainStep(
            net,
            loss_fn,
            optimizer,
            clip_grad_norm,
            clip_grad_value=clip_grad_value,
            accumulate=accumulate,
        ),
        scheduler=_make_schedule(schedule, optimizer, epochs, len(train)),
        schedule_every="batch" if schedule in ("cosine", "onecycle") else "epoch",
        metrics=METRICS[datasets.meta.task],
        run_dir=folder,
        checkpoint_every=checkpoint_every,
        early_stop=early_stop,
        progress=progress,
    )
    if resume:
        resumed = trainer.resume()
        say(f"resumed from {trainer.checkpoint_path}" if resumed else "nothing to resume from")
    history = trainer.fit(train, test, epochs)
    return {
        "metrics": {k: v for k, v in history.last.items() if math.isfinite(v)},
        "checkpoint": str(folder / "last.onnx"),
        "best": str(folder / "best.onnx"),
    }


def _make_model(name: str, meta: Any) -> tuple[nn.Module, str]:
    """The module and the name of the loss that suits it."""
    from toolkit import models

    suits = {"regression": "mse", "language": "token_ce"}.get(meta.task, "ce")
    if name.endswith(".onnx"):
        from toolkit.nn.graph_module import load as load_module

        return load_module(name), suits
    loss = models.default_loss(name) if meta.task == "classification" else suits
    return models.create_for(name, meta), loss


def make_loss(name: str) -> Any:
    """A loss by its name in `LOSSES`.

    Raises:
        InvalidArgumentError: an unknown name.
    """
    if name not in LOSSES:
        raise InvalidArgumentError(f"--loss: one of {sorted(LOSSES)} is required, got '{name}'.")
    return LOSSES[name]()


def make_optimizer(
    name: str, net: nn.Module, lr: float | None, momentum: float, weight_decay: float | None
) -> optim.Optimizer:
    """An optimizer by its name over what trains of a module.

    Raises:
        InvalidArgumentError: an unknown name.
    """
    extra: dict[str, Any] = {} if weight_decay is None else {"weight_decay": weight_decay}
    if lr is None:
        lr = 1e-2 if name == "sgd" else 1e-3
    parameters = [p for p in net.parameters() if p.requires_grad]
    if name == "sgd":
        return optim.SGD(parameters, lr=lr, momentum=momentum, **extra)
    if name in ("adam", "adamw"):
        kind = optim.Adam if name == "adam" else optim.AdamW
        return kind(parameters, lr=lr, **extra)
    raise InvalidArgumentError(f"--optim: sgd, adam or adamw is required, got '{name}'.")


def _make_schedule(name: str, optimizer: optim.Optimizer, epochs: int, batches: int) -> Any:
    schedules = optim.lr_scheduler
    if name == "cosine":
        return schedules.CosineAnnealingLR(optimizer, T_max=epochs * batches)
    if name == "step":
        return schedules.StepLR(optimizer, step_size=max(1, epochs // 3))
    if name == "onecycle":
        peak = optimizer.param_groups[0]["lr"]
        # Momenta are attributes of a compiled step, so they stay as they are.
        return schedules.OneCycleLR(
            optimizer, max_lr=peak, total_steps=epochs * batches + 1, cycle_momentum=False
        )
    return None
