"""Jacobians, Hessians and products with them, by the names of `torch.autograd.functional`.

Eagerly they walk the tape, so that any Python may stand in the function. In a trace, and with
`vectorize`, they are `toolkit.func`'s transforms: one graph for all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit._tensor.base import TensorBase
from toolkit._tensor.state import STATE
from toolkit._tensor.symint import SymInt
from toolkit.autograd import enable_grad
from toolkit.errors import InvalidArgumentError, ShapeError

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
Function = Callable[..., Any]


def _tuple(value: Any, what: str, where: str) -> tuple[bool, tuple[Any, ...]]:
    """Whether it was a tuple, and the tensors.

    Raises:
        TypeError: it is neither a tensor nor a tuple of tensors.
    """
    alone = not isinstance(value, tuple)
    found = (value,) if alone else value
    for i, x in enumerate(found):
        if not isinstance(x, TensorBase):
            place = "" if alone else f" at index {i}"
            raise TypeError(
                f"The {what} given to {where} must be either a Tensor or a tuple of Tensors but "
                f"the given {what}{place} has type {type(x).__name__}."
            )
    return not alone, found


def _inputs(inputs: Any, where: str, create_graph: bool) -> tuple[bool, tuple[Any, ...]]:
    """Tensors of their own place on the tape; with `create_graph` they stay tied to the given."""
    several, xs = _tuple(inputs, "inputs", where)
    if create_graph:
        return several, tuple(x.clone() if x.requires_grad else _leaf(x) for x in xs)
    return several, tuple(map(_leaf, xs))


def _leaf(x: Any) -> Any:
    return x.detach().clone().requires_grad_()


def _outputs(value: Any, where: str, strict: bool) -> tuple[bool, tuple[Any, ...]]:
    several, ys = _tuple(value, "outputs of the user-provided function", where)
    for i, y in enumerate(ys):
        if strict and not y.requires_grad:
            raise InvalidArgumentError(
                f"Output {i} of the user-provided function does not require gradients. The outputs "
                "must be computed in a differentiable manner from the input when running in strict "
                "mode."
            )
    return several, ys


def _vectors(v: Any, like: tuple[Any, ...], several: bool, what: str) -> tuple[Any, ...]:
    """`v` as a tuple of the shapes of `like`; ones where it may be left out.

    Raises:
        InvalidArgumentError: it may not be left out, or does not fit.
    """
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise InvalidArgumentError(
                f"The vector v can only be None if {what} is a single Tensor with a single element."
            )
        return (like[0].detach() * 0 + 1,)
    _, found = _tuple(v, "v", "toolkit.autograd.functional")
    if len(found) != len(like):
        raise InvalidArgumentError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(found)}."
        )
    for i, (u, x) in enumerate(zip(found, like, strict=True)):
        if tuple(u.shape) != tuple(x.shape):
            entry = f"Entry {i} in v" if several else "v"
            raise ShapeError(
                f"{entry} has invalid size: should be {list(x.shape)} but got {list(u.shape)}."
            )
    return found


def _pull(
    ys: tuple[Any, ...], xs: tuple[Any, ...], cts: Any, create_graph: bool
) -> tuple[Any, ...]:
    """Gradients of the ys, weighted, by the xs; None where nothing depends on one."""
    from toolkit._tensor.engine import run_grad

    pairs = [(y, ct) for y, ct in zip(ys, cts, strict=True) if y.requires_grad]
    if not pairs:
        return (None,) * len(xs)
    outputs, given = zip(*pairs, strict=True)
    return run_grad(outputs, xs, given, True, create_graph, True, False)


def _settled(
    grads: tuple[Any, ...], xs: tuple[Any, ...], what: str, strict: bool, create_graph: bool
) -> tuple[Any, ...]:
    """Zeros where there is no gradient, or an error if `strict`."""
    for i, g in enumerate(grads):
        if strict and (g is None or (create_graph and not g.requires_grad)):
            raise InvalidArgumentError(
                f"The {what} of the user-provided function is independent of input {i}. This is "
                "not allowed in strict mode."
            )
    found = [x.detach() * 0 if g is None else g for g, x in zip(grads, xs, strict=True)]
    return tuple(found if create_graph else [g.detach() for g in found])


def _given(values: tuple[Any, ...], several: bool, create_graph: bool) -> Any:
    kept = values if create_graph else tuple(y.detach() for y in values)
    return kept if several else kept[0]


def vjp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The outputs of a function, and a vector times its Jacobian.

    Args:
        func: takes and gives tensors.
        inputs: a tensor, or a tuple of them.
        v: of the outputs' shapes; it may be left out for an output of one element.
        create_graph: the results can be differentiated.
        strict: an output that does not depend on an input is an error, not zeros.
    """
    if STATE.trace is not None:
        return _traced_vjp(func, inputs, v)
    with enable_grad():
        several, xs = _inputs(inputs, "vjp", create_graph)
        many, ys = _outputs(func(*xs), "vjp", strict)
        cts = _vectors(v, ys, many, "the user-provided function returns: it")
        grads = _settled(_pull(ys, xs, cts, create_graph), xs, "output", strict, create_graph)
    return _given(ys, many, create_graph), grads if several else grads[0]


def jvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The outputs of a function, and its Jacobian times a vector `v` of the inputs' shapes.

    By two reverse passes: the vector-Jacobian product is linear in its vector.
    """
    if STATE.trace is not None:
        return _traced_jvp(func, inputs, v)
    with enable_grad():
        several, xs = _inputs(inputs, "jvp", create_graph)
        vectors = _vectors(v, xs, several, "the input to the user-provided function")
        many, ys = _outputs(func(*xs), "jvp", strict)
        duals = tuple(_leaf(y * 0) for y in ys)
        first = _settled(_pull(ys, xs, duals, True), xs, "output", strict, True)
        second = _pull(first, duals, vectors, create_graph)
        found = _settled(second, ys, "output", False, create_graph)
    return _given(ys, many, create_graph), found if many else found[0]


def jacobian(
    func: Function, inputs: Any, create_graph: bool = False, strict: bool = False,
    vectorize: bool = False, strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """All derivatives of a function's outputs: the output's shape, then the input's.

    Args:
        func: takes and gives tensors.
        inputs: a tensor, or a tuple of them.
        create_graph: the results can be differentiated.
        strict: an output that does not depend on an input is an error, not zeros.
        vectorize: all rows in one batched graph, which the function has to be traceable for.
        strategy: "forward-mode" takes columns instead of rows; it needs `vectorize`.

    Returns:
        A tensor, a tuple over inputs or outputs if there are several, or a tuple over outputs of
        tuples over inputs.
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise InvalidArgumentError(
            'jacobian: Expected strategy to be either "forward-mode" or "reverse-mode", got '
            f"{strategy!r}."
        )
    forward = strategy == "forward-mode"
    if forward and create_graph:
        raise NotImplementedError(
            'jacobian: create_graph=True is not supported with strategy="forward-mode". Use '
            '"reverse-mode".'
        )
    if vectorize and strict:
        raise InvalidArgumentError(
            "jacobian: `strict=True` and `vectorize=True` are not supported together. Please "
            "either set `strict=False` or `vectorize=False`."
        )
    if forward and not vectorize:
        raise NotImplementedError(
            'jacobian: strategy="forward-mode" requires vectorize=True, got False.'
        )
    if vectorize or STATE.trace is not None:
        return _vectorized(func, inputs, forward, create_graph)
    with enable_grad():
        several, xs = _inputs(inputs, "jacobian", create_graph)
        many, ys = _outputs(func(*xs), "jacobian", strict)
        rows = tuple(_rows(y, xs, strict, create_graph) for y in ys)
    return _nested(rows, several, many)


def _nested(rows: tuple[Any, ...], several: bool, many: bool) -> Any:
    found = rows if several else tuple(row[0] for row in rows)
    return found if many else found[0]


def _rows(y: Any, xs: tuple[Any, ...], strict: bool, create_graph: bool) -> tuple[Any, ...]:
    """The Jacobian of one output by each input, one reverse pass for each element."""
    from toolkit._tensor.factories import eye, stack

    made: list[list[Any]] = [[] for _ in xs]
    for unit in eye(y.numel(), dtype=y.dtype):
        grads = _pull((y,), xs, (unit.reshape(y.shape),), create_graph)
        for into, g in zip(made, _settled(grads, xs, "output", strict, create_graph), strict=True):
            into.append(g)
    return tuple(
        stack(parts).reshape((*y.shape, *x.shape)) if parts else x.new_zeros((*y.shape, *x.shape))
        for parts, x in zip(made, xs, strict=True)
    )


def _vectorized(func: Function, inputs: Any, forward: bool, create_graph: bool) -> Any:
    from toolkit.func import jacfwd, jacrev

    several, xs = _tuple(inputs, "inputs", "jacobian")
    numbers = tuple(range(len(xs)))

    def checked(*given: Any) -> Any:
        y = func(*given)
        _outputs(y, "jacobian", False)
        return y

    with enable_grad():
        if create_graph and STATE.trace is None:
            _, xs = _inputs(inputs, "jacobian", True)
        if forward or any(type(d) is SymInt for d in _sizes(checked, xs)):
            made = jacfwd(checked, numbers)(*xs)
        else:
            made = jacrev(checked, numbers)(*xs)
    many = not isinstance(made[0], TensorBase)
    rows = tuple(made) if many else (made,)
    if not create_graph:
        rows = tuple(tuple(j.detach() for j in row) for row in rows)
    return _nested(rows, several, many)


def _sizes(func: Function, xs: tuple[Any, ...]) -> list[Any]:
    """In a trace, the sizes of the outputs: symbolic ones have columns only."""
    if STATE.trace is None:
        return []
    _, ys = _tuple(func(*xs), "outputs of the user-provided function", "jacobian")
    return [d for y in ys for d in y.shape]


def _scalar(ys: tuple[Any, ...], many: bool, where: str) -> None:
    if many or len(ys) != 1:
        raise InvalidArgumentError(
            f"The function given to {where} should return a single Tensor, got a tuple."
        )
    if ys[0].numel() != 1:
        raise InvalidArgumentError(
            f"The Tensor returned by the function given to {where} should contain a single "
            f"element, got {list(ys[0].shape)}."
        )


def hessian(
    func: Function, inputs: Any, create_graph: bool = False, strict: bool = False,
    vectorize: bool = False, outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """All second derivatives of a function that gives one number; arguments as of `jacobian`."""
    several, _ = _tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise InvalidArgumentError(
            'hessian: Expected strategy to be either "forward-mode" or "reverse-mode", got '
            f"{outer_jacobian_strategy!r}."
        )

    def gradient(*xs: Any) -> Any:
        def number(*given: Any) -> Any:
            y = func(*given)
            many, ys = _outputs(y, "hessian", strict)
            _scalar(ys, many, "hessian")
            return y.reshape(())

        found = jacobian(number, xs if several else xs[0], create_graph=True)
        for i, g in enumerate(found if several else (found,)):
            if strict and not g.requires_grad:
                raise InvalidArgumentError(
                    f"The jacobian of the user-provided function with respect to input {i} is "
                    "independent of the input. This is not allowed in strict mode."
                )
        return found

    return jacobian(
        gradient, inputs, create_graph, strict, vectorize, outer_jacobian_strategy
    )  # fmt: skip


def vhp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The output of a function that gives one number, and a vector times its Hessian."""
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


def hvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The output of a function that gives one number, and its Hessian times a vector.

    The Hessian is symmetric, so this is `vhp`.
    """
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)


def _hessian_product(
    where: str, func: Function, inputs: Any, v: Any, create_graph: bool, strict: bool
) -> tuple[Any, Any]:
    if STATE.trace is not None:
        return _traced_product(func, inputs, v)
    with enable_grad():
        several, xs = _inputs(inputs, where, create_graph)
        vectors = _vectors(v, xs, several, "the input to the user-provided function")
        many, ys = _outputs(func(*xs), where, strict)
        _scalar(ys, many, where)
        one = (ys[0].detach() * 0 + 1,)
        first = _settled(_pull(ys, xs, one, True), xs, "jacobian", strict, True)
        found = _settled(_pull(first, xs, vectors, create_graph), xs, "jacobian", strict,
                         create_graph)  # fmt: skip
    return _given(ys, many, create_graph), found if several else found[0]


def _traced_vjp(func: Function, inputs: Any, v: Any) -> tuple[Any, Any]:
    from toolkit.func import vjp as of_func

    several, xs = _tuple(inputs, "inputs", "vjp")
    y, pull = of_func(func, *xs)
    many, ys = _tuple(y, "outputs of the user-provided function", "vjp")
    cts = _vectors(v, ys, many, "the user-provided function returns: it")
    grads = pull(cts if many else cts[0])
    return y, _as_given(grads, several)


def _traced_jvp(func: Function, inputs: Any, v: Any) -> tuple[Any, Any]:
    from toolkit.func import jvp as of_func

    several, xs = _tuple(inputs, "inputs", "jvp")
    found: tuple[Any, Any] = of_func(func, xs, _vectors(v, xs, several, "the input"))
    return found


def _traced_product(func: Function, inputs: Any, v: Any) -> tuple[Any, Any]:
    from toolkit.func import hvp as of_func

    several, xs = _tuple(inputs, "inputs", "hvp")
    y, product = of_func(func, xs, _vectors(v, xs, several, "the input"))
    return y, _as_given(product, several)


def _as_given(found: Any, several: bool) -> Any:
    """`toolkit.func` gives a tensor for one argument, a tuple for more."""
    return (found,) if several and isinstance(found, TensorBase) else found
