"""Which namespaces of torch are compared with which of toolkit, and what counts as public there."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _function_or_class(value: Any) -> bool:
    return callable(value)


def _module(value: Any) -> bool:
    import torch

    return inspect.isclass(value) and issubclass(value, torch.nn.Module)


def _class(value: Any) -> bool:
    return inspect.isclass(value)


def _anything(value: Any) -> bool:
    return True


@dataclass(frozen=True)
class Namespace:
    """A namespace by its dotted path, the same on both sides unless `ours` says where it is."""

    path: str
    counts: Callable[[Any], bool] = _function_or_class
    ours: str | None = None

    def theirs(self) -> dict[str, Any]:
        """Public names of torch by name: those of `__all__`, else all without an underscore."""
        home = find(f"torch.{self.path}".rstrip("."))
        names = [n for n in getattr(home, "__all__", dir(home)) if not n.startswith("_")]
        found = {n: getattr(home, n) for n in names if hasattr(home, n)}
        return {n: v for n, v in sorted(found.items()) if self.counts(v) and self._holds(v)}

    def _holds(self, value: Any) -> bool:
        """Whether it belongs here: no module, nothing of Python's, no Tensor from elsewhere."""
        import torch

        return _belongs(value) and not (
            self.path and any(value is t for t in (torch.Tensor, torch.nn.Module))
        )

    def has(self, name: str) -> bool:
        """Whether toolkit has the name."""
        path = self.path if self.ours is None else self.ours
        home = find(f"toolkit.{path}".rstrip("."))
        return home is not None and hasattr(home, name)


def _belongs(value: Any) -> bool:
    """Whether it is no module and none of Python's own, which a namespace only happens to hold."""
    home = getattr(value, "__module__", None) or ""
    return not inspect.ismodule(value) and home.split(".")[0] not in (
        "typing", "typing_extensions", "functools", "collections", "abc", "enum", "dataclasses",
        "contextlib", "warnings", "numpy", "copy", "itertools", "operator", "math",
    )  # fmt: skip


def find(path: str) -> Any:
    """The object of a dotted path; None where there is none."""
    head, _, tail = path.partition(".")
    found = importlib.import_module(head)
    for part in tail.split(".") if tail else ():
        if not hasattr(found, part):
            try:
                found = importlib.import_module(f"{found.__name__}.{part}")
                continue
            except (ImportError, AttributeError):
                return None
        found = getattr(found, part)
    return found


NAMESPACES = (
    Namespace(""), Namespace("Tensor", _anything), Namespace("nn", _module),
    Namespace("nn.functional"), Namespace("nn.init"), Namespace("nn.utils"),
    Namespace("nn.utils.rnn"), Namespace("nn.utils.parametrizations"),
    Namespace("nn.utils.parametrize"), Namespace("linalg"), Namespace("fft"), Namespace("special"),
    Namespace("optim"), Namespace("optim.lr_scheduler", _class),
    Namespace("optim.swa_utils"), Namespace("distributions", _class),
    Namespace("utils.data", ours="data"), Namespace("autograd"),
    Namespace("autograd.functional"), Namespace("func"), Namespace("random"),
)  # fmt: skip
