"""Knowledge distillation (Hinton et al. 2015): a student learns from a teacher's outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolkit._tensor.state import STATE
from toolkit.autograd import no_grad
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn import Module
from toolkit.nn import functional as F
from toolkit.nn.export import as_tuple
from toolkit.tensor import Tensor
from toolkit.train.watching import watched

_PREFIX = "teacher."  # Of the teacher's weights in a training graph.


def soft_loss(output: Tensor, teacher: Tensor, temperature: float = 1.0, dim: int = -1) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(output / T)), the mean over all but `dim`.

    The factor T^2 keeps the size of gradients when T changes.
    """
    log_p = F.log_softmax(teacher / temperature, dim)
    log_q = F.log_softmax(output / temperature, dim)
    divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim)
    return divergence.mean() * temperature**2


class Distillation:
    """The loss of `distill_loss`; see there.

    Attributes:
        teacher: the module, in evaluation mode.
    """

    def __init__(
        self,
        teacher: Module,
        temperature: float,
        alpha: float,
        loss: Callable[..., Tensor],
        hidden: Mapping[str, str],
        hidden_weight: float,
        dim: int,
    ) -> None:
        if temperature <= 0.0 or not 0.0 <= alpha <= 1.0:
            raise InvalidArgumentError(
                "distill_loss: a temperature above 0 and alpha from 0 to 1 are required, got "
                f"{temperature} and {alpha}."
            )
        self.teacher = teacher.eval()
        self.temperature = temperature
        self.alpha = alpha
        self.loss = loss
        self.hidden = dict(hidden)
        self.hidden_weight = hidden_weight
        self.dim = dim

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Refuses: the loss depends on the inputs, which a function of these does not see."""
        raise InvalidArgumentError(
            "distill_loss: the model's inputs are required, got outputs and targets alone. Call "
            "run(model, inputs, target), as TrainStep does."
        )

    def run(
        self, model: Module, inputs: Sequence[Tensor], target: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Runs student and teacher on a batch.

        Args:
            model: the student.
            inputs: those of both.
            target: what `loss` takes.

        Returns:
            The student's outputs and the scalar loss.
        """
        with watched(model, self.hidden) as inside:
            outputs = as_tuple(model(*inputs))
        told, taught = self._ask(inputs)
        total = outputs[0].new_zeros(())
        if self.alpha > 0.0:
            _same_shape("output", outputs[0], told[0])
            total = soft_loss(outputs[0], told[0], self.temperature, self.dim) * self.alpha
        if self.alpha < 1.0:
            total = total + self.loss(outputs[0], target) * (1.0 - self.alpha)
        for mine, theirs in self.hidden.items():
            _same_shape(mine, inside[mine], taught[theirs])
            total = total + F.mse_loss(inside[mine], taught[theirs]) * self.hidden_weight
        return outputs, total

    def _ask(self, inputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """The teacher's outputs and hidden values."""
        trace = STATE.trace
        if trace is not None:
            members = *self.teacher.named_parameters(), *self.teacher.named_buffers()
            for name, tensor in members:
                trace.name_tensor(tensor, _PREFIX + name)
        with no_grad(), watched(self.teacher, self.hidden.values()) as inside:
            outputs = as_tuple(self.teacher(*inputs))
        return tuple(y.detach() for y in outputs), {k: v.detach() for k, v in inside.items()}


def distill_loss(
    teacher: Module | str | os.PathLike[str] | bytes,
    temperature: float = 2.0,
    alpha: float = 0.5,
    loss: Callable[..., Tensor] | None = None,
    hidden: Mapping[str, str] | None = None,
    hidden_weight: float = 1.0,
    dim: int = -1,
) -> Any:
    """A loss for `TrainStep` and `Trainer` by which the model learns from a teacher.

    alpha T^2 KL(softmax(teacher / T) || softmax(output / T)) + (1 - alpha) loss(output, target)
    + hidden_weight sum of mean (student's hidden - teacher's hidden)^2.

    The teacher runs on the same batch inside the compiled step, in evaluation mode and without
    gradients; a saved training holds it, the saved model does not.

    Args:
        teacher: a module, or an `.onnx`; it takes the model's inputs.
        temperature: T, which softens both distributions.
        alpha: the share of the teacher; 1: labels do not count.
        loss: of outputs and labels; cross-entropy when None.
        hidden: values of the student and those of the teacher that they shall equal: names in a
            loaded model, paths of layers in another.
        hidden_weight: weight of their mean squared differences.
        dim: the dimension of the classes.

    Raises:
        InvalidArgumentError: an option out of range.
    """
    if not isinstance(teacher, Module):
        from toolkit.nn.graph_module import load

        teacher = load(teacher)
    return Distillation(
        teacher, temperature, alpha, loss or F.cross_entropy, hidden or {}, hidden_weight, dim
    )


def _same_shape(what: str, mine: Tensor, theirs: Tensor) -> None:
    sizes = [
        (m, n)
        for m, n in zip(mine.shape, theirs.shape, strict=False)
        if isinstance(m, int) and isinstance(n, int)
    ]
    if mine.dim() != theirs.dim() or any(m != n for m, n in sizes):
        raise ShapeError(
            f"distill_loss: a value of the teacher's shape {list(theirs.shape)} is required at "
            f"'{what}', got {list(mine.shape)}."
        )
