"""`einsum` with PyTorch's forms: letters, ellipses, lists of subscripts, dimensions of size 1."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolkit._tensor.autocast import narrowed
from toolkit._tensor.base import TensorBase
from toolkit._tensor.state import STATE
from toolkit.errors import DTypeError, InvalidArgumentError
from toolkit.ops.dispatch import apply, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

_LETTERS = string.ascii_uppercase + string.ascii_lowercase


def einsum(*args: Any) -> Tensor:
    """Einstein summation, e.g. `einsum("bij,bjk->bik", a, b)`; "..." stands for leading axes.

    The other form gives each operand's subscripts after it, as numbers below 52:
    `einsum(a, [0, 1, 2], b, [0, 2, 3], [0, 1, 3])`.

    Raises:
        InvalidArgumentError: the equation does not fit the operands.
    """
    if not args:
        raise InvalidArgumentError("einsum(): an equation or operands are required, got none.")
    equation, operands = (args[0], args[1:]) if isinstance(args[0], str) else _of_lists(args)
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not operands:
        raise InvalidArgumentError("einsum(): must provide at least one operand")
    if STATE.autocast is not None and len(operands) > 1:
        operands = _contracted(equation, operands)
    code = operands[0]._value.dtype
    for x in operands[1:]:
        if x._value.dtype != code:
            raise DTypeError(
                f"einsum: operands of the same dtype are required, got {operands[0].dtype.name} "
                f"and {x.dtype.name}."
            )
    terms, out = _parsed(equation.replace(" ", ""), operands)
    whole, out = _written_out(terms, out, operands)
    terms, kept = _without_ones(whole, operands)
    return apply(handle("Einsum", equation=f"{','.join(terms)}->{out}"), *kept)


def _contracted(equation: str, operands: Any) -> Any:
    """Under `autocast`, narrow operands where there is something to sum over: a product."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    shared = {c for c in left if c.isalpha() and left.count(c) > 1}
    return narrowed(*operands) if any(c not in out for c in shared) or not arrow else operands


def _of_lists(args: Any) -> tuple[str, tuple[Any, ...]]:
    pairs, rest = args[: len(args) // 2 * 2], args[len(args) // 2 * 2 :]
    equation = ",".join(map(_subscripts, pairs[1::2]))
    if rest:
        equation += "->" + _subscripts(rest[0])
    if not all(isinstance(x, TensorBase) for x in pairs[::2]):
        raise InvalidArgumentError(
            "einsum(): an equation and tensors, or tensors each followed by its list of subscripts "
            f"are required, got {[type(x).__name__ for x in args]}."
        )
    return equation, tuple(pairs[::2])


def _subscripts(numbers: Any) -> str:
    made = ""
    for n in numbers if isinstance(numbers, (list, tuple)) else (None,):
        if n is not Ellipsis and not (isinstance(n, int) and 0 <= n < len(_LETTERS)):
            raise InvalidArgumentError(
                f"einsum(): subscripts are numbers within [0, 52) or Ellipsis, got {n!r}."
            )
        made += "..." if n is Ellipsis else _LETTERS[n]
    return made


def _parsed(equation: str, operands: Any) -> tuple[list[str], str]:
    """The operands' subscripts and the result's, checked."""
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise InvalidArgumentError(
            f"einsum(): the equation has {len(terms)} operands, got {len(operands)} tensors."
        )
    for text in (*terms, out):
        letters = text.replace("...", "", 1)
        if not all(c in _LETTERS for c in letters):
            raise InvalidArgumentError(
                f"einsum(): letters and one '...' are required, got the subscripts '{text}'."
            )
    for p, x in zip(terms, operands, strict=True):
        more = x.dim() - len(p.replace("...", ""))
        if more < 0 or (more and "..." not in p):
            raise InvalidArgumentError(
                f"einsum(): subscripts '{p}' do not fit an operand of {x.dim()} dimensions."
            )
    if not arrow:  # Letters that occur once, in alphabetic order.
        out = "..." if any("..." in p for p in terms) else ""
        out += "".join(c for c in sorted(set(left) & set(_LETTERS)) if left.count(c) == 1)
    for c in out.replace("...", ""):
        if c not in left or out.count(c) > 1:
            raise InvalidArgumentError(
                f"einsum(): output subscript {c} must appear once, and in an operand."
            )
    return terms, out


def _written_out(terms: list[str], out: str, operands: Any) -> tuple[list[str], str]:
    """Letters in place of the ellipses, counted from the last dimension."""
    if not any("..." in p for p in terms):
        return terms, out.replace("...", "")
    ranks = [
        x.dim() - len(p) + 3 if "..." in p else 0 for p, x in zip(terms, operands, strict=True)
    ]
    used = set("".join(terms))
    free = "".join(c for c in _LETTERS if c not in used)[: max(ranks)]
    if len(free) < max(ranks):
        raise InvalidArgumentError(
            f"einsum(): at most {len(_LETTERS)} dimensions in all are required, got more."
        )
    made = [p.replace("...", free[len(free) - r :]) for p, r in zip(terms, ranks, strict=True)]
    return made, out.replace("...", free)


def _without_ones(terms: list[str], operands: Sequence[Any]) -> tuple[list[str], list[Any]]:
    """A dimension of size 1 broadcasts: it is dropped where another operand has the letter.

    Raises:
        InvalidArgumentError: sizes differ otherwise.
    """
    sizes: dict[str, Any] = {}
    for p, x in zip(terms, operands, strict=True):
        for c, n in zip(p, x.shape, strict=True):
            known = sizes.setdefault(c, n)
            if type(known) is int and known == 1:
                sizes[c] = n
            elif type(n) is int and n != 1 and type(known) is int and n != known:
                raise InvalidArgumentError(
                    f"einsum(): subscript {c} has size {n} for operand of shape {list(x.shape)} "
                    f"which does not broadcast with previously seen size {known}"
                )
    made = []
    kept: list[Any] = []
    for p, x in zip(terms, operands, strict=True):
        ones = [
            i for i, (c, n) in enumerate(zip(p, x.shape, strict=True))
            if type(n) is int and n == 1 and sizes[c] != 1
        ]  # fmt: skip
        made.append("".join(c for i, c in enumerate(p) if i not in ones))
        kept.append(x.squeeze(tuple(ones)) if ones else x)
    return made, kept
