"""Nested tuples, lists and dicts of leaves, as torch.utils._pytree takes them.

A dataclass is a node where it holds a tensor, else a leaf.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from toolkit._tensor.base import TensorBase


@dataclass(frozen=True)
class Spec:
    """The structure of a tree: `kind` None for a leaf, `keys` the keys of a dict."""

    kind: Any
    keys: tuple[Any, ...] = ()
    children: tuple[Spec, ...] = ()

    @property
    def leaves(self) -> int:
        """How many leaves there are."""
        return 1 if self.kind is None else sum(c.leaves for c in self.children)

    def __repr__(self) -> str:
        if self.kind is None:
            return "*"
        inner = [repr(c) for c in self.children]
        if self.kind in (dict, OrderedDict):
            items = ", ".join(f"{k!r}: {c}" for k, c in zip(self.keys, inner, strict=True))
            return f"{{{items}}}"
        if self.kind is list:
            return f"[{', '.join(inner)}]"
        return f"({', '.join(inner)}{',' if len(inner) == 1 else ''})"


LEAF = Spec(None)


def _is_named(tree: Any) -> bool:
    return isinstance(tree, tuple) and hasattr(tree, "_fields")


def flatten(tree: Any) -> tuple[list[Any], Spec]:
    """The leaves of a tree in order, and its structure; None is a leaf."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Spec:
    kind = type(tree)
    if kind in (dict, OrderedDict):
        return Spec(kind, tuple(tree), tuple(_flatten(v, leaves) for v in tree.values()))
    if kind in (list, tuple) or _is_named(tree):
        return Spec(kind, (), tuple(_flatten(v, leaves) for v in tree))
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None:
        return _flatten_fields(tree, [name for name in fields if hasattr(tree, name)], leaves)
    leaves.append(tree)
    return LEAF


def _flatten_fields(tree: Any, names: list[str], leaves: list[Any]) -> Spec:
    inner: list[Any] = []
    children = tuple(_flatten(getattr(tree, name), inner) for name in names)
    if not any(isinstance(x, TensorBase) for x in inner):
        leaves.append(tree)
        return LEAF
    leaves += inner
    return Spec(type(tree), tuple(names), children)


def unflatten(leaves: Iterable[Any], spec: Spec) -> Any:
    """The tree of a structure with these leaves."""
    return _unflatten(iter(leaves), spec)


def _unflatten(leaves: Any, spec: Spec) -> Any:
    if spec.kind is None:
        return next(leaves)
    children = [_unflatten(leaves, c) for c in spec.children]
    if spec.kind in (dict, OrderedDict):
        return spec.kind(zip(spec.keys, children, strict=True))
    if spec.kind is list:
        return children
    if hasattr(spec.kind, "__dataclass_fields__"):
        made = object.__new__(spec.kind)  # As it was, without what __init__ does.
        for name, child in zip(spec.keys, children, strict=True):
            object.__setattr__(made, name, child)
        return made
    return tuple(children) if spec.kind is tuple else spec.kind(*children)


def tree_map(f: Callable[[Any], Any], tree: Any) -> Any:
    """The tree of `f(leaf)`."""
    leaves, spec = flatten(tree)
    return unflatten([f(leaf) for leaf in leaves], spec)


def broadcast(prefix: Any, spec: Spec) -> list[Any] | None:
    """A leaf for each leaf of `spec`: where `prefix` ends, its leaf counts for all below it.

    None where the structures do not fit.
    """
    found: list[Any] = []
    return found if _broadcast(prefix, spec, found) else None


def _broadcast(prefix: Any, spec: Spec, found: list[Any]) -> bool:
    leaves, own = flatten(prefix)
    if own.kind is None:
        found += leaves * spec.leaves
        return True
    if own.kind is not spec.kind or len(own.children) != len(spec.children):
        return False
    if own.keys != spec.keys:
        if set(own.keys) != set(spec.keys):
            return False
        prefix = {k: prefix[k] for k in spec.keys}
    if hasattr(own.kind, "__dataclass_fields__"):
        prefix = [getattr(prefix, name) for name in own.keys]
    parts = prefix.values() if isinstance(prefix, dict) else prefix
    return all(_broadcast(p, c, found) for p, c in zip(parts, spec.children, strict=True))
