"""`grad`, `grad_and_value`, `vjp`, `jvp`, `linearize`, by torch.func's names and arguments.

Forward mode is reverse mode twice: the transpose u -> Jᵀ u is linear, and its own transpose is J.
So each operator with a gradient rule has a forward rule too, from the one table; what the first
transpose computed besides is dead in the graph and never runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from toolkit._tensor.base import FLOATS, TensorBase
from toolkit._tensor.promote import cast
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.func.level import Level, filled
from toolkit.func.pytree import Spec, flatten, tree_map, unflatten

Argnums = int | tuple[int, ...]


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Any:
    """The gradient of a function that returns a scalar.

    Args:
        func: returns a scalar tensor, or with `has_aux` a tuple (scalar, anything).
        argnums: the arguments to differentiate by: trees of tensors. A tuple gives a tuple.
        has_aux: the result is (gradients, auxiliary result).

    Raises:
        InvalidArgumentError: the result is no scalar, or `argnums` do not fit the arguments.
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        grads, value = _grad_and_value(func, argnums, has_aux, args, kwargs)
        return (grads, value[1]) if has_aux else grads

    return wrapper


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Any:
    """As `grad`, with the value: (gradients, value), or (gradients, (value, aux))."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return _grad_and_value(func, argnums, has_aux, args, kwargs)

    return wrapper


def value_and_grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Any:
    """In the order of jax: (value, gradients), or ((value, aux), gradients)."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return _grad_and_value(func, argnums, has_aux, args, kwargs)[::-1]

    return wrapper


def _grad_and_value(
    func: Callable[..., Any], argnums: Argnums, has_aux: bool, args: tuple[Any, ...], kwargs: Any
) -> tuple[Any, Any]:
    from toolkit._tensor.factories import ones_like

    level = Level()
    with level.recorded():
        xs, spec, call = differentiable(level, func, argnums, args)
        result = call(kwargs)
        aux = None
        if has_aux:
            result, aux = pair("grad_and_value", result)
        if not isinstance(result, TensorBase):
            raise InvalidArgumentError(
                f"Expected f(*args) to return a scalar tensor, got type {type(result)}"
            )
        if result.dim() != 0:
            raise InvalidArgumentError(
                "Expected f(*args) to return a scalar tensor, got tensor with "
                f"{result.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
            )
        grads = filled(level.pull([result], [ones_like(result)], xs), xs)
    made = unflatten([level.leave(g) for g in grads], spec)
    value = level.leave(result)
    return made, (value, tree_map(level.leave, aux)) if has_aux else value


def pair(api: str, result: Any) -> tuple[Any, Any]:
    """(output, aux) of a function that has an auxiliary result."""
    if not (isinstance(result, tuple) and len(result) == 2):
        raise InvalidArgumentError(
            f"{api}: output of function f should be a tuple: (output, aux) if has_aux is True"
        )
    return result


def differentiable(
    level: Level, func: Callable[..., Any], argnums: Argnums | None, args: tuple[Any, ...]
) -> tuple[list[Any], Spec, Callable[[Any], Any]]:
    """Variables for the chosen arguments.

    Args:
        level: the transform.
        func: the function.
        argnums: which arguments; None: all of them, as a tuple.
        args: the arguments.

    Returns:
        The variables, the structure of the arguments they belong to, and `func` called with them
        (it takes the keyword arguments).
    """
    chosen: Any = args
    if argnums is not None:
        numbers = check_argnums(argnums, len(args))
        chosen = args[numbers] if isinstance(numbers, int) else tuple(args[i] for i in numbers)
    leaves, spec = flatten(chosen)
    xs = [level.variable(t) for t in leaves]
    given = unflatten(xs, spec)
    new = list(args)
    if argnums is None:
        new = list(given)
    elif isinstance(numbers, int):
        new[numbers] = given
    else:
        for i, x in zip(numbers, given, strict=True):
            new[i] = x
    return xs, spec, lambda kwargs: func(*new, **kwargs)


def check_argnums(argnums: Any, count: int) -> Any:
    """`argnums` counted from 0.

    Raises:
        InvalidArgumentError: they are not integers, not unique, or there are fewer arguments.
    """
    if isinstance(argnums, tuple):
        if not argnums:
            raise InvalidArgumentError("argnums must be non-empty")
        found = tuple(check_argnums(i, count) for i in argnums)
        if len(set(found)) != len(found):
            raise InvalidArgumentError(f"argnums elements must be unique, got {argnums}")
        return found
    if not isinstance(argnums, int):
        raise InvalidArgumentError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if not -count <= argnums < count:
        raise InvalidArgumentError(f"Got argnum={argnums}, but only {count} positional inputs")
    return argnums % count


class Pullback:
    """Jᵀ of a function at a point: outputs and variables of a level.

    Attributes:
        outputs: the function's results, as they are inside the level.
        spec: their structure.
        xs: the variables.
        xs_spec: the structure of the arguments they belong to.
    """

    def __init__(
        self, api: str, func: Callable[..., Any], argnums: Argnums | None, has_aux: bool,
        args: tuple[Any, ...], kwargs: Any = None,
    ) -> None:  # fmt: skip
        self.level = Level()
        with self.level.recorded():
            self.xs, self.xs_spec, call = differentiable(self.level, func, argnums, args)
            result = call(kwargs or {})
        self.aux: Any = None
        if has_aux:
            result, aux = pair(f"{api}(f, *primals)", result)
            self.aux = tree_map(self.level.leave, aux)
        self.outputs, self.spec = flatten(result)
        check_outputs(api, self.outputs, result)

    def result(self) -> Any:
        """The function's results, as they are seen outside."""
        return unflatten([self.level.leave(y) for y in self.outputs], self.spec)

    def __call__(self, cotangents: Sequence[Any], keep: bool = False) -> list[Any]:
        """The cotangents of the variables; zeros where no path leads."""
        with self.level.recorded():
            found = self.level.pull(self.outputs, cotangents, self.xs, keep)
            return filled(found, self.xs)


def check_outputs(api: str, outputs: Sequence[Any], result: Any) -> None:
    """Results must be floating-point tensors, at least one."""
    if not outputs:
        raise InvalidArgumentError(
            f"{api}: Expected f to be a function that has non-empty output (got output = {result})"
        )
    for y in outputs:
        if not isinstance(y, TensorBase):
            raise InvalidArgumentError(
                f"{api}: expected f(*primals) to return only tensors, got unsupported type "
                f"{type(y)}"
            )
        if y._value.dtype not in FLOATS:
            raise InvalidArgumentError(
                f"{api}(f, ...): All outputs of f must be floating-point or complex Tensors, got "
                f"Tensor with dtype {y.dtype}"
            )


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value at `primals`, and the function from cotangents of outputs to those of primals.

    Returns:
        (output, vjp_fn), or (output, vjp_fn, aux). `vjp_fn` takes a tree like the output and
        returns one cotangent, or a tuple where there are several primals.

    Raises:
        InvalidArgumentError: an output is no floating-point tensor.
    """
    pullback = Pullback("vjp", func, None, has_aux, primals)

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        leaves, spec = flatten(cotangents)
        if spec != pullback.spec:
            raise InvalidArgumentError(
                "Expected pytree structure of cotangents to be the same as pytree structure of "
                f"outputs to the function. cotangents: {spec}, primal output: {pullback.spec}"
            )
        leaves = fitted("vjp", "cotangent", leaves, pullback.outputs)
        if STATE.trace is not None and pullback.level.trace is None:
            # What ran eagerly is not in the graph that records now.
            return vjp(func, *primals, has_aux=has_aux)[1](cotangents)
        grads = pullback(leaves, bool(create_graph))
        made = unflatten([pullback.level.leave(g) for g in grads], pullback.xs_spec)
        return made[0] if len(primals) == 1 else made

    result = pullback.result()
    return (result, vjp_fn, pullback.aux) if has_aux else (result, vjp_fn)


class Pushforward:
    """J of a function at a point, as the transpose of its transpose."""

    def __init__(self, pullback: Pullback) -> None:
        self.pullback = pullback
        level = pullback.level
        with level.recorded():
            self.seeds = [level.zeros(y) for y in pullback.outputs]
            found = level.pull(pullback.outputs, self.seeds, pullback.xs, keep=True)
            self.found = [(i, g) for i, g in enumerate(found) if g is not None]

    def __call__(self, tangents: Sequence[Any]) -> list[Any]:
        """The tangents of the outputs from those of the variables; None where it is zero."""
        level = self.pullback.level
        with level.recorded():
            given = [tangents[i] for i, _ in self.found]
            return level.pull([g for _, g in self.found], given, self.seeds)


def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False,
    has_aux: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """The value at `primals` and its derivative in the direction `tangents`.

    Args:
        func: the function.
        primals: a tuple of its arguments.
        tangents: a tuple of the same structure.
        strict: an output that does not depend on the primals is an error.
        has_aux: the function returns (output, aux).

    Returns:
        (output, tangent of the output), or (output, tangent, aux).

    Raises:
        InvalidArgumentError: primals and tangents do not fit.
    """
    if not isinstance(primals, tuple):
        raise InvalidArgumentError(
            "jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid "
            "to call f(*primals)."
        )
    given = _check_tangents("jvp(f, primals, tangents)", primals, tangents)
    pullback = Pullback("jvp", func, None, has_aux, primals)
    moved = Pushforward(pullback)(given)
    if strict and any(t is None for t in moved):
        raise InvalidArgumentError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
            "This is not allowed with strict=True."
        )
    leave = pullback.level.leave
    made = unflatten([leave(t) for t in filled(moved, pullback.outputs)], pullback.spec)
    result = pullback.result()
    return (result, made, pullback.aux) if has_aux else (result, made)


def _check_tangents(api: str, primals: Any, tangents: Any) -> list[Any]:
    ps, spec = flatten(primals)
    ts, other = flatten(tangents)
    if spec != other:
        raise InvalidArgumentError(
            f"{api}: Expected primals and tangents to have the same python structure. For example, "
            f"if primals is a tuple of 3 tensors, tangents also must be. Got primals with structure"
            f" {spec} and tangents with structure {other}"
        )
    for name, leaves in (("primals", ps), ("tangents", ts)):
        if not leaves:
            raise InvalidArgumentError(f"{api}: Expected {name} to contain at least one Tensor.")
        for x in leaves:
            if not isinstance(x, TensorBase):
                raise InvalidArgumentError(
                    f"{api}: Expected {name} to only contain Tensors, got {type(x)}"
                )
    return fitted(api, "tangent", ts, ps)


def fitted(api: str, what: str, given: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Cotangents or tangents, cast to the element types of their values.

    Raises:
        ShapeError: one has not the shape of its value.
        InvalidArgumentError: one is no tensor.
    """
    for t, x in zip(given, values, strict=True):
        if not isinstance(t, TensorBase):
            raise InvalidArgumentError(f"{api}: a tensor is required as {what}, got {type(t)}.")
        have, want = t._value.shape, x._value.shape
        if have is None or want is None:  # Of a trace: unknown ranks.
            continue
        same = len(have) == len(want) and all(
            a == b or not (isinstance(a, int) and isinstance(b, int))
            for a, b in zip(have, want, strict=True)
        )
        if not same:
            raise ShapeError(
                f"{api}: a {what} of shape {list(want)} is required, got {list(have)}."
            )
    return [cast(t, x._value.dtype) for t, x in zip(given, values, strict=True)]


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value at `primals`, and the function from tangents of primals to those of outputs.

    The function is evaluated once, however many tangents follow.
    """
    pullback = Pullback("linearize", func, None, False, primals)
    push = Pushforward(pullback)

    def jvp_fn(*tangents: Any) -> Any:
        given = _check_tangents("linearize", primals, tangents)
        if STATE.trace is not None and pullback.level.trace is None:
            return linearize(func, *primals)[1](*tangents)
        moved = filled(push(given), pullback.outputs)
        return unflatten([pullback.level.leave(t) for t in moved], pullback.spec)

    return pullback.result(), jvp_fn
