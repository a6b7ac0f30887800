"""L-BFGS, with or without a line search; it steps eagerly only, since it calls a closure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from toolkit.autograd import enable_grad, no_grad
from toolkit.errors import InvalidArgumentError
from toolkit.optim.line_search import strong_wolfe
from toolkit.optim.optimizer import Array, Optimizer, check_range
from toolkit.tensor import Tensor, from_numpy


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last gradients (Nocedal, 1980), as `torch.optim.LBFGS`.

    Args:
        params: parameters, in one group.
        lr: the step along each direction.
        max_iter: directions in one `step`.
        max_eval: calls of the closure in one `step`; 1.25 `max_iter` if None.
        tolerance_grad: ends where no element of the gradient is larger.
        tolerance_change: ends where neither the loss nor a parameter changes more.
        history_size: differences of gradients that are kept.
        line_search_fn: None or "strong_wolfe".

    Raises:
        InvalidArgumentError: more than one group, or an option out of range.
    """

    op_type = ""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_range("learning rate", lr, 0.0)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise InvalidArgumentError(
                "LBFGS doesn't support per-parameter options (parameter groups)"
            )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Goes up to `max_iter` steps downhill.

        Args:
            closure: clears the gradients, computes the loss, calls backward, returns the loss.

        Returns:
            The loss before.
        """
        group = self.param_groups[0]
        if closure is None:
            raise InvalidArgumentError("LBFGS.step: a closure is required, got None.")
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        return _Descent(self, group, closure).run()


class _Descent:
    """One `step`: vectors of all parameters one after the other."""

    def __init__(self, optimizer: LBFGS, group: dict[str, Any], closure: Callable[[], Any]) -> None:
        self.params: list[Tensor] = group["params"]
        self.group, self.closure = group, closure
        # As torch has it: all state is the first parameter's.
        self.state = optimizer.state[self.params[0]]
        self.state.setdefault("func_evals", 0)
        self.state.setdefault("n_iter", 0)
        self.lr = float(group["lr"])
        self.evaluations = 0

    def run(self) -> Any:
        group, state = self.group, self.state
        first = self._evaluate()
        loss, grad = float(first), self._gradient()
        if self._flat(grad):
            return first
        direction, before = _array(state.get("d")), _array(state.get("prev_flat_grad"))
        size = float(state.get("t") or 0.0)
        last_loss = state.get("prev_loss")
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                direction = -grad
                state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
                size = min(1.0, 1.0 / float(np.abs(grad).sum())) * self.lr
            else:
                assert direction is not None and before is not None
                self._remember(grad - before, direction * _like(size, direction))
                direction = self._newton(grad)
                size = self.lr
            before, last_loss = grad.copy(), loss
            slope = float(grad @ direction)
            if slope > -group["tolerance_change"]:
                break
            loss, grad, size, calls = self._move(direction, size, loss, grad, slope, iteration)
            self.evaluations += calls
            state["func_evals"] += calls
            moved = float(np.abs(direction * _like(size, direction)).max())
            if (
                iteration == group["max_iter"]
                or self.evaluations >= group["max_eval"]
                or self._flat(grad)
                or moved <= group["tolerance_change"]
                or abs(loss - last_loss) < group["tolerance_change"]
            ):
                break
        state.update(t=size, prev_loss=last_loss)
        for name, vector in (("d", direction), ("prev_flat_grad", before)):
            state[name] = None if vector is None else from_numpy(vector)
        return first

    def _move(
        self, direction: Array, size: float, loss: float, grad: Array, slope: float, iteration: int
    ) -> tuple[float, Array, float, int]:
        """Moves along the direction; the loss and gradient there, the step and the calls."""
        start = self._values()
        if self.group["line_search_fn"] is not None:

            def at(t: float) -> tuple[float, Array]:
                self._set(start + _like(t, direction) * direction)
                return float(self._loss()), self._gradient()

            calls = self.group["max_eval"] - self.evaluations
            found = strong_wolfe(at, size, direction, loss, grad, slope, calls)
            self._set(start + _like(found[2], direction) * direction)
            return found
        self._set(start + _like(size, direction) * direction)
        if iteration == self.group["max_iter"]:  # No one looks at what is there.
            return loss, grad, size, 0
        return float(self._loss()), self._gradient(), size, 1

    def _remember(self, y: Array, s: Array) -> None:
        """Keeps a difference of gradients and the step that made it, unless it curves downwards."""
        state, curvature = self.state, float(y @ s)
        if not curvature > 1e-10:
            return
        if len(state["old_dirs"]) == self.group["history_size"]:
            for name in ("old_dirs", "old_stps", "ro"):
                state[name].pop(0)
        state["old_dirs"].append(from_numpy(y))
        state["old_stps"].append(from_numpy(s))
        state["ro"].append(1.0 / curvature)
        state["H_diag"] = curvature / float(y @ y)

    def _newton(self, grad: Array) -> Array:
        """- H grad by the two-loop recursion."""
        state = self.state
        ys, ss = ([v.numpy() for v in state[name]] for name in ("old_dirs", "old_stps"))
        ro = [float(r) for r in state["ro"]]
        state.setdefault("al", [None] * self.group["history_size"])
        alphas: list[float] = [0.0] * len(ys)
        q = -grad
        for i in reversed(range(len(ys))):
            alphas[i] = state["al"][i] = float(ss[i] @ q) * ro[i]
            q -= _like(alphas[i], q) * ys[i]
        q *= _like(float(state["H_diag"]), q)
        for i, (y, s) in enumerate(zip(ys, ss, strict=True)):
            q += _like(alphas[i] - float(y @ q) * ro[i], q) * s
        return q

    def _evaluate(self) -> Any:
        self.evaluations += 1
        self.state["func_evals"] += 1
        return self._loss()

    def _loss(self) -> Any:
        with enable_grad():
            return self.closure()

    def _gradient(self) -> Array:
        parts = [
            np.zeros(p.numel(), p.dtype.numpy)
            if p.grad is None
            else p.grad.detach().numpy().ravel()
            for p in self.params
        ]
        return np.concatenate(parts)

    def _values(self) -> Array:
        return np.concatenate([p.detach().numpy().ravel() for p in self.params])

    def _set(self, values: Array) -> None:
        offset = 0
        with no_grad():
            for p in self.params:
                part = values[offset : offset + p.numel()]
                p.copy_(from_numpy(part.reshape(tuple(p.shape)).astype(p.dtype.numpy)))
                offset += p.numel()

    def _flat(self, grad: Array) -> bool:
        return float(np.abs(grad).max(initial=0.0)) <= float(self.group["tolerance_grad"])


def _array(vector: Any) -> Array | None:
    return None if vector is None else np.array(vector.detach().numpy())


def _like(number: float, vector: Array) -> Any:
    """A number in the vector's type, so that products stay in it."""
    return vector.dtype.type(number)
