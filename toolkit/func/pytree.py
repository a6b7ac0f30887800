"""Nested tuples, lists and dicts of leaves, as torch.utils._pytree takes them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


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
    leaves.append(tree)
    return LEAF


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
    parts = prefix.values() if isinstance(prefix, dict) else prefix
    return all(_broadcast(p, c, found) for p, c in zip(parts, spec.children, strict=True))
