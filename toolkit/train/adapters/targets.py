"""Chooses layers by name: globs, or "all-linear"."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from toolkit.errors import InvalidArgumentError
from toolkit.nn.graph_module.file_graph import flat, near

ALL_LINEAR = "all-linear"


class Named(Protocol):
    """What is chosen."""

    name: str
    aliases: list[str]
    linear: bool


N = TypeVar("N", bound=Named)


def chosen(hosts: Sequence[N], targets: str | Iterable[str], exclude: Iterable[str]) -> list[N]:
    """The hosts that any target names, in order, without those that `exclude` names.

    A glob matches a whole name, or what follows a dot or a slash in it, as peft's suffixes do.

    Raises:
        InvalidArgumentError: a target names nothing.
    """
    found: list[N] = []
    for target in flat(targets):
        matched = [h for h in hosts if (h.linear if target == ALL_LINEAR else matches(h, target))]
        if not matched:
            raise InvalidArgumentError(_nothing(target, hosts))
        found += [h for h in matched if h not in found]
    patterns = flat(exclude)
    return [h for h in hosts if h in found and not any(matches(h, p) for p in patterns)]


def matches(host: Named, pattern: str) -> bool:
    """Whether a glob names a host."""
    return any(name_matches(name, pattern) for name in (host.name, *host.aliases))


def name_matches(name: str, pattern: str) -> bool:
    """Whether a glob is a name, or what follows a dot or a slash in it."""
    if name == pattern:  # A name may hold brackets.
        return True
    return any(fnmatch.fnmatchcase(name, lead + pattern) for lead in ("", "*.", "*/"))


def _nothing(target: str, hosts: Sequence[Named]) -> str:
    kinds = "Linear, Conv, Embedding, MultiheadAttention, or nodes MatMul, Gemm, Conv, Gather"
    if not hosts:
        return f"lora: a layer that takes an adapter ({kinds}) is required, got a model without."
    names = [h.name for h in hosts]
    return (
        f"lora: targets that name a layer which takes an adapter ({kinds}) are required, got "
        f"'{target}'. {near(target, names)}"
    )
