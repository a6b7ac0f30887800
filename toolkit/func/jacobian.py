"""`jacrev`, `jacfwd`, `hessian`, `hvp`: products with all unit vectors by `vmap`, in one graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from toolkit._tensor.base import FLOATS, TensorBase
from toolkit.errors import InvalidArgumentError
from toolkit.func.level import filled
from toolkit.func.pytree import flatten, tree_map, unflatten
from toolkit.func.staging import staged
from toolkit.func.transforms import Argnums, Pullback, Pushforward, grad, vjp
from toolkit.func.vectorize import vmap


def jacrev(
    func: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """The Jacobian by reverse mode: a vector-Jacobian product for each element of the outputs.

    Args:
        func: returns a tree of tensors.
        argnums: the arguments to differentiate by.
        has_aux: the function returns (output, aux), the result is (Jacobian, aux).
        chunk_size: how many rows to compute at once; None: all.

    Returns:
        A function that gives, in the structure of the output, the structure of the arguments; a
        leaf has the output's shape, then the argument's.
    """
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        run = functools.partial(_jacrev, func, argnums, has_aux, chunk_size)
        return staged(run, args, run)

    return wrapper


def _jacrev(
    func: Callable[..., Any], argnums: Argnums, has_aux: bool, chunk_size: int | None, *args: Any
) -> Any:
    pullback = Pullback("jacrev", func, argnums, has_aux, args)
    leave = pullback.level.leave

    def rows(k: int) -> Any:
        """The rows of outputs[k]."""
        others = len(pullback.outputs)

        def one(ct: Any) -> tuple[Any, ...]:
            return tuple(pullback([ct if i == k else None for i in range(others)]))

        y = pullback.outputs[k]
        made = vmap(one, chunk_size=chunk_size)(_basis("jacrev", y))
        parts = [j.reshape((*y.shape, *x.shape)) for j, x in zip(made, pullback.xs, strict=True)]
        return unflatten([leave(p) for p in parts], pullback.xs_spec)

    result = unflatten([rows(k) for k in range(len(pullback.outputs))], pullback.spec)
    return (result, pullback.aux) if has_aux else result


def _basis(api: str, like: Any) -> Any:
    """All unit vectors of a tensor's shape, stacked."""
    from toolkit._tensor.factories import eye

    n = like.shape.numel()
    if not isinstance(n, int):
        raise InvalidArgumentError(
            f"{api}: a known shape is required of what is differentiated, got {list(like.shape)}. "
            "Take the Jacobian of one example, and vmap over the batch."
        )
    return eye(n, dtype=like.dtype).reshape((n, *like.shape))


def jacfwd(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *,
    randomness: str = "error",
) -> Callable[..., Any]:  # fmt: skip
    """The Jacobian by forward mode: a Jacobian-vector product for each element of the arguments.

    Arguments and result as in `jacrev`.
    """

    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        run = functools.partial(_jacfwd, func, argnums, has_aux, randomness)
        return staged(run, args, run)

    return wrapper


def _jacfwd(
    func: Callable[..., Any], argnums: Argnums, has_aux: bool, randomness: str, *args: Any
) -> Any:
    pullback = Pullback("jacfwd", func, argnums, has_aux, args)
    push = Pushforward(pullback)
    outputs, leave = pullback.outputs, pullback.level.leave

    def columns(k: int) -> list[Any]:
        """The columns of arguments[k], for each output."""
        xs = pullback.xs

        def one(tangent: Any) -> tuple[Any, ...]:
            given = [tangent if i == k else None for i in range(len(xs))]
            return tuple(filled(push(given), outputs))

        x = xs[k]
        made = vmap(one, out_dims=-1, randomness=randomness)(_basis("jacfwd", x))
        return [leave(j.reshape((*y.shape, *x.shape))) for j, y in zip(made, outputs, strict=True)]

    found = [columns(k) for k in range(len(pullback.xs))]
    rows = [
        unflatten([column[i] for column in found], pullback.xs_spec) for i in range(len(outputs))
    ]
    result = unflatten(rows, pullback.spec)
    return (result, pullback.aux) if has_aux else result


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The Hessian, forward over reverse: `jacfwd(jacrev(func))`."""
    return jacfwd(jacrev(func, argnums), argnums)


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None) -> tuple[Any, Any]:
    """The value of a scalar function, and its Hessian times a vector.

    As torch.autograd.functional.hvp, for trees of tensors. The Hessian is symmetric, so this is
    the gradient's vector-Jacobian product.

    Args:
        func: returns a scalar tensor.
        inputs: its argument, or a tuple of arguments.
        v: a vector in the structure of `inputs`; it may be left out for an input of one element.
    """
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    if v is None:
        leaves, _ = flatten(inputs)
        if len(leaves) != 1 or leaves[0].numel() != 1:
            raise InvalidArgumentError(
                "The vector v can only be None if the input to the user-provided function is a "
                "single Tensor with a single element."
            )
        v = tree_map(lambda x: x.detach() * 0 + 1, inputs)
    vectors = v if isinstance(v, tuple) else (v,)
    for x, u in zip(flatten(args)[0], flatten(vectors)[0], strict=False):
        if not isinstance(u, TensorBase) or u._value.dtype not in FLOATS or u.shape != x.shape:
            raise InvalidArgumentError(
                f"hvp: a vector of the shape {list(x.shape)} is required, got {u!r}."
            )

    def gradient(*xs: Any) -> Any:
        def valued(*ys: Any) -> Any:
            y = func(*ys)
            return y, y

        return grad(valued, tuple(range(len(xs))), has_aux=True)(*xs)

    _, pull, value = vjp(gradient, *args, has_aux=True)
    product = pull(vectors)
    return value, product
