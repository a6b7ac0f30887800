"""`gradcheck` and `gradgradcheck`: gradients of the tape beside central differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit._tensor.base import FLOATS, TensorBase
from toolkit._tensor.engine import run_grad
from toolkit._tensor.factories import as_tensor, tensor, zeros_like
from toolkit._tensor.state import STATE

DOUBLE = 11


class GradcheckError(RuntimeError):
    """A gradient is not what differences say, or not what a gradient must be."""


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, raise_exception: bool = True, nondet_tol: float = 0.0,
    check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
    check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:  # fmt: skip
    """Whether the gradients of `func(*inputs)` agree with central differences.

    Args:
        func: its floating outputs are looked at.
        inputs: those that require a gradient are varied; float64 is what the defaults are for.
        eps: the step of the differences.
        atol: absolute tolerance.
        rtol: relative tolerance.
        raise_exception: an error tells what differs; else the result is False.
        nondet_tol: how far two backward passes may differ.
        check_undefined_grad: zero gradients of the outputs must give zero or none.
        check_grad_dtypes: gradients must have the element types of their inputs.
        check_batched_grad: accepted; `vmap` here is exact by construction.
        check_batched_forward_grad: accepted, as above.
        check_forward_ad: accepted; forward mode is derived from the reverse rules.
        check_backward_ad: False: nothing is checked.
        fast_mode: random projections of the Jacobians instead of all their elements.
        masked: accepted; it concerns sparse tensors.

    Raises:
        ValueError: no input requires a gradient.
        GradcheckError: the gradients differ.
    """
    args = (inputs,) if isinstance(inputs, TensorBase) else tuple(inputs)
    _check_inputs(args)
    if not check_backward_ad:
        return True
    check = _Check(func, args, eps, atol, rtol, nondet_tol)
    try:
        check.jacobians(fast_mode, check_grad_dtypes)
        check.zero_gradients(check_undefined_grad)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6,
    atol: float = 1e-5, rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False,
    masked: bool = False,
) -> bool:  # fmt: skip
    """`gradcheck` of the gradients of `func`, also with respect to the outputs' cotangents.

    Args:
        func: as in `gradcheck`.
        inputs: as in `gradcheck`.
        grad_outputs: cotangents of the outputs; random ones by default.
        eps: the step of the differences.
        atol: absolute tolerance.
        rtol: relative tolerance.
        gen_non_contig_grad_outputs: the random cotangents are views with gaps.
        raise_exception: an error tells what differs; else the result is False.
        nondet_tol: how far two backward passes may differ.
        check_undefined_grad: zero gradients of the outputs must give zero or none.
        check_grad_dtypes: gradients must have the element types of their inputs.
        check_batched_grad: accepted, as in `gradcheck`.
        check_fwd_over_rev: accepted, as `check_forward_ad` of `gradcheck`.
        check_rev_over_rev: False: nothing is checked.
        fast_mode: random projections of the Jacobians instead of all their elements.
        masked: accepted; it concerns sparse tensors.
    """
    args = (inputs,) if isinstance(inputs, TensorBase) else tuple(inputs)
    if grad_outputs is None:
        cts = [_random(y, gen_non_contig_grad_outputs) for y in _outputs(func(*args))]
    else:
        cts = [grad_outputs] if isinstance(grad_outputs, TensorBase) else list(grad_outputs)

    def gradients(*both: Any) -> Any:
        own, cotangents = both[: len(args)], both[len(args) :]
        found = run_grad(
            tuple(_outputs(func(*own))), tuple(filter(_varied, own)), cotangents, None, True, True,
            False,
        )  # fmt: skip
        return tuple(g for g in found if g is not None)

    return not check_rev_over_rev or gradcheck(
        gradients, (*args, *cts), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes, fast_mode=fast_mode,
    )  # fmt: skip


def _varied(x: Any) -> bool:
    return isinstance(x, TensorBase) and x.requires_grad


def _check_inputs(args: tuple[Any, ...]) -> None:
    for i, x in enumerate(args):
        if _varied(x) and x._value.dtype != DOUBLE:
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or "
                "complex. This check will likely fail if all the inputs are not of double "
                "precision floating point or complex. ",
                stacklevel=3,
            )
    if not any(map(_varied, args)):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them "
            "have requires_grad=True."
        )


def _outputs(result: Any) -> list[Any]:
    """The outputs that have a gradient."""
    return [y for y in _floats(result) if y.requires_grad]


def _floats(result: Any) -> list[Any]:
    made = result if isinstance(result, (tuple, list)) else (result,)
    return [y for y in made if isinstance(y, TensorBase) and y._value.dtype in FLOATS]


def _random(y: Any, gaps: bool) -> Any:
    """A random cotangent, away from 0."""
    values = np.random.default_rng(y.numel()).uniform(0.1, 1, (*y.shape, 2 if gaps else 1))
    t: Any = as_tensor(values).to(y.dtype)[..., 0]
    return (t if gaps else t.clone()).detach().requires_grad_()


class _Check:
    """A function at a point, with the tolerances."""

    def __init__(
        self, func: Any, args: tuple[Any, ...], eps: float, atol: float, rtol: float, nondet: float
    ) -> None:
        self.func, self.args = func, args
        self.eps, self.atol, self.rtol, self.nondet = eps, atol, rtol, nondet
        self.inputs = [x for x in args if _varied(x)]

    def outputs(self) -> list[Any]:
        return _outputs(self.func(*self.args))

    def places(self) -> list[int]:
        """Which of the floating outputs have a gradient."""
        return [k for k, y in enumerate(_floats(self.func(*self.args))) if y.requires_grad]

    def floats(self) -> list[np.ndarray]:
        """All floating outputs as vectors, outside the tape."""
        made = _floats(self.func(*self.args))
        return [y.detach().numpy().astype(np.float64).reshape(-1) for y in made]

    def pulled(self, y: Any, ct: Any) -> list[np.ndarray]:
        """The gradients of the inputs, zeros where there is none."""
        found = run_grad(y, self.inputs, tensor(ct.reshape(y.shape), dtype=y.dtype), True, False,
                         True, True)  # fmt: skip
        for x, g in zip(self.inputs, found, strict=True):
            if g.shape != x.shape:
                raise GradcheckError("Analytical gradient has incorrect size")
        self.dtypes = [g.dtype for g in found]
        return [g.numpy().astype(np.float64).reshape(-1) for g in found]

    def difference(self, x: Any, direction: np.ndarray) -> list[np.ndarray]:
        """(f(x + eps u) - f(x - eps u)) / 2 eps, for each output."""
        place, before = x.detach(), x.detach().clone().numpy()
        step = self.eps * direction.reshape(before.shape)
        sides = []
        for value in (before + step, before - step, before):
            grad, STATE.grad = STATE.grad, False
            try:
                place.copy_(tensor(value, dtype=x.dtype))
            finally:
                STATE.grad = grad
            sides.append(self.floats() if value is not before else [])
        return [(a - b) / (2 * self.eps) for a, b in zip(*sides[:2], strict=True)]

    def jacobians(self, fast: bool, dtypes: bool) -> None:
        """Compares them, output by output and input by input."""
        places = self.places()
        if not places:
            self._no_outputs()
            return
        rng = np.random.default_rng(0)
        for o, place in enumerate(places):
            y = self.outputs()[o]  # Anew: the differences wrote to memory that the tape may share.
            left = rng.uniform(0.1, 1, (1, y.numel())) if fast else np.eye(y.numel())
            rows = [self.pulled(y, v) for v in left]
            again = [self.pulled(y, v) for v in left]
            if dtypes and rows and self.dtypes != [x.dtype for x in self.inputs]:
                raise GradcheckError("Gradient has dtype mismatch")
            for i, x in enumerate(self.inputs):
                right = rng.uniform(0.1, 1, (1, x.numel())) if fast else np.eye(x.numel())
                shape = (len(left), x.numel())
                pulled = np.array([r[i] for r in rows]).reshape(shape)
                analytical = right @ pulled.T
                numerical = np.array([self.difference(x, u)[place] @ left.T for u in right])
                numerical = numerical.reshape(analytical.shape)
                scale = np.abs(right).sum(1)[:, None] * np.abs(left).sum(1)[None] if fast else 1.0
                bound = self.atol * scale + self.rtol * np.abs(numerical)
                if not (np.abs(analytical - numerical) <= bound).all():
                    raise GradcheckError(
                        f"Jacobian mismatch for output {o} with respect to input {i},\n"
                        f"numerical:{numerical}\nanalytical:{analytical}\n"
                    )
                other = np.array([r[i] for r in again]).reshape(shape)
                if not (np.abs(pulled - other) <= self.nondet).all():
                    raise GradcheckError(
                        "Backward is not reentrant, i.e., running backward with same input and "
                        "grad_output multiple times gives different values, although analytical "
                        "gradient matches numerical gradient.The tolerance for nondeterminism was "
                        f"{self.nondet}."
                    )

    def _no_outputs(self) -> None:
        for x in self.inputs:
            for u in np.eye(x.numel()):
                if any((d != 0).any() for d in self.difference(x, u)):
                    raise GradcheckError("Numerical gradient for function expected to be zero")

    def zero_gradients(self, undefined: bool) -> None:
        """Cotangents of zero must give gradients of zero."""
        outputs = self.outputs()
        if not outputs:
            return
        given = tuple(zeros_like(y).detach() for y in outputs)
        try:
            found = run_grad(tuple(outputs), self.inputs, given, True, False, True, False)
        except RuntimeError as error:
            if not undefined:
                raise
            raise GradcheckError(
                "Expected backward function to handle undefined output grads."
            ) from error
        if any(g is not None and (g.detach().numpy() != 0).any() for g in found):
            raise GradcheckError("backward not multiplied by grad_output")
