"""Averages of weights over a training, as in `torch.optim.swa_utils`."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.autograd import no_grad
from toolkit.errors import InvalidArgumentError
from toolkit.nn.module import Module
from toolkit.nn.norm import _BatchNorm
from toolkit.optim.lr_scheduler.base import LRScheduler, State, per_group
from toolkit.tensor import Tensor, tensor

if TYPE_CHECKING:
    from toolkit.optim.optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Average = Callable[[Tensor, Tensor, Any], Tensor]
Averages = Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """A moving average: decay a + (1 - decay) w.

    Raises:
        InvalidArgumentError: a decay outside [0, 1].
    """
    if not 0.0 <= decay <= 1.0:
        raise InvalidArgumentError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )

    def update(averaged: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        with no_grad():
            new: Tensor = decay * averaged + (1 - decay) * current
            return new

    return update


def get_swa_avg_fn() -> Average:
    """The mean of all weights so far: a + (w - a) / (n + 1)."""

    def update(averaged: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        with no_grad():
            new: Tensor = averaged + (current - averaged) / (num_averaged + 1)
            return new

    return update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Averages:
    """`get_ema_avg_fn` over lists, in place."""
    return _over_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Averages:
    """`get_swa_avg_fn` over lists, in place."""
    return _over_lists(get_swa_avg_fn())


def _over_lists(average: Average) -> Averages:
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Any) -> None:
        with no_grad():
            for a, w in zip(averaged, current, strict=True):
                a.copy_(average(a, w, num_averaged))

    return update


class AveragedModel(Module):
    """A copy of a model whose weights are averages; `update_parameters` takes up new ones.

    Args:
        model: is copied.
        device: of the copy.
        avg_fn: the new average from the average, the weight and how many are in it; the mean of all
            if neither function is given.
        multi_avg_fn: the same over lists, in place.
        use_buffers: average buffers too; else they follow the model's.

    Raises:
        AssertionError: both functions are given.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: Averages | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0))
        self.avg_fn, self.multi_avg_fn = avg_fn, multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's output."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Takes the weights of a model into the average; the first ones are copied."""
        averaged, current = self._pairs(model)
        with no_grad():
            if int(self.n_averaged) == 0:
                for a, w in zip(averaged, current, strict=True):
                    a.copy_(w)
            elif self.multi_avg_fn is not None:
                self.multi_avg_fn(averaged, current, self.n_averaged)
            else:
                average = self.avg_fn or get_swa_avg_fn()
                _over_lists(average)(averaged, current, self.n_averaged)
            if not self.use_buffers:
                for a, w in zip(self.module.buffers(), model.buffers(), strict=True):
                    a.copy_(w)
            self.n_averaged += 1

    def _pairs(self, model: Module) -> tuple[list[Tensor], list[Tensor]]:
        found = []
        for m in (self.module, model):
            more = m.buffers() if self.use_buffers else ()
            found.append([x.detach() for x in itertools.chain(m.parameters(), more)])
        return found[0], found[1]


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Makes the running statistics of a model's BatchNorm layers those of the loader's batches.

    Args:
        loader: gives inputs, or tuples that begin with them.
        model: is run in training mode.
        device: of the inputs.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    training = model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # The mean of all batches.
    with no_grad():
        for batch in loader:
            x = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(x if device is None else x.to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.train(training)


class SWALR(LRScheduler):
    """From the current rate to `swa_lr` in `anneal_epochs`, then constant.

    Args:
        optimizer: whose rates are changed.
        swa_lr: the last rate, or one for each group.
        anneal_epochs: epochs on the way.
        anneal_strategy: "cos" or "linear".
        last_epoch: the index of the last epoch.

    Raises:
        InvalidArgumentError: an option out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        rates = per_group("SWALR: swa_lr", swa_lr, optimizer)
        if anneal_strategy not in ("cos", "linear"):
            raise InvalidArgumentError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise InvalidArgumentError(
                f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}"
            )
        for rate, group in zip(rates, optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def anneal_func(self, t: float) -> float:
        """The share of `swa_lr` after a part `t` of the way."""
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[float]:
        """The rates at this step, from those of the step before."""
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        length = max(1, self.anneal_epochs)
        before, now = (self.anneal_func(max(0, min(1, k / length))) for k in (step - 1, step))
        rates = []
        for group, lr in zip(self.optimizer.param_groups, self._rates(), strict=True):
            last = group["swa_lr"]
            first = last if before == 1 else (lr - before * last) / (1 - before)
            rates.append(last * now + first * (1 - now))
        return rates

    def load_state_dict(self, state_dict: State) -> None:
        """Takes the state of `state_dict()`, also torch's."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "anneal_func"})
