"""A compiled module: the module itself, whose calls run programs."""

from __future__ import annotations

from typing import Any

from toolkit.compiler.compiled import Compiled, Explanation
from toolkit.nn.module import Module


class OptimizedModule(Module):
    """What `compile(module)` gives; it shares everything with the module, under `_orig_mod`."""

    def __init__(self, module: Module, compiled: Compiled) -> None:
        super().__init__()
        self._orig_mod = module
        self.training = module.training
        object.__setattr__(self, "_compiled", compiled)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the program for this signature."""
        return self._compiled(*args, **kwargs)

    def explain(self) -> Explanation:
        """See `Compiled.explain`."""
        found: Explanation = self._compiled.explain()
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        """On the module, but for what belongs to this one."""
        if name in ("_orig_mod", "training") or "_orig_mod" not in self.__dict__.get(
            "_modules", ()
        ):
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)
