"""`state_dict` and `load_state_dict` of modules."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from toolkit.nn.module import Module


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `load_state_dict` did not find, and what it did not expect."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


def collect(
    module: Module, destination: OrderedDict[str, Any], prefix: str, keep_vars: bool
) -> None:
    """Puts the parameters and persistent buffers of a module and its children into a dict."""
    for name, value in module._own_state():
        destination[prefix + name] = value if keep_vars else value.detach()
    extra = type(module).get_extra_state
    if extra is not _module_class().get_extra_state:
        destination[prefix + "_extra_state"] = module.get_extra_state()
    for name, child in module._modules.items():
        if child is not None:
            collect(child, destination, f"{prefix}{name}.", keep_vars)


def _module_class() -> type[Module]:
    from toolkit.nn.module import Module

    return Module


class Loader:
    """One `load_state_dict`: walks the modules, copies what fits, notes what does not."""

    def __init__(self, state: Mapping[str, Any], strict: bool, assign: bool) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state)}.")
        self.state = state
        self.strict = strict
        self.assign = assign
        self.missing: list[str] = []
        self.known: set[str] = set()
        self.errors: list[str] = []

    def load(self, module: Module) -> IncompatibleKeys:
        """Loads into a module.

        Raises:
            InvalidArgumentError: missing or unexpected keys (if `strict`), or shapes that differ.
        """
        self._walk(module, "")
        unexpected = [key for key in self.state if key not in self.known]
        keys = IncompatibleKeys(self.missing, unexpected)
        problems = list(self.errors)
        if self.strict and self.missing:
            problems.insert(0, f"Missing key(s) in state_dict: {_quoted(self.missing)}. ")
        if self.strict and unexpected:
            problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        if problems:
            misfit = any(text.startswith("size mismatch") for text in self.errors)
            kind = ShapeError if misfit else InvalidArgumentError
            raise kind(
                f"Error(s) in loading state_dict for {type(module).__name__}:\n\t"
                + "\n\t".join(problems)
            )
        return keys

    def _walk(self, module: Module, prefix: str) -> None:
        for name, target in module._own_state():
            key = prefix + name
            if key in self.state:
                self.known.add(key)
                self._copy(module, name, key, target, self.state[key])
            else:
                self.missing.append(key)
        if type(module).set_extra_state is not _module_class().set_extra_state:
            key = prefix + "_extra_state"
            self.known.add(key)
            if key in self.state:
                module.set_extra_state(self.state[key])
            else:
                self.missing.append(key)
        for name, child in module._modules.items():
            if child is not None:
                self._walk(child, f"{prefix}{name}.")

    def _copy(self, module: Module, name: str, key: str, target: Any, source: Any) -> None:
        from toolkit.autograd import no_grad
        from toolkit.nn.parameter import Parameter
        from toolkit.tensor import Tensor, as_tensor

        try:
            value = source if isinstance(source, Tensor) else as_tensor(source)
        except Exception as error:
            self.errors.append(
                f'While copying the parameter named "{key}", expected a tensor or an array but '
                f"received {type(source).__name__}: {error}"
            )
            return
        if tuple(value.shape) != tuple(target.shape):
            self.errors.append(
                f"size mismatch for {key}: copying a param with shape {value.shape} from "
                f"checkpoint, the shape in current model is {target.shape}."
            )
            return
        if self.assign:
            is_parameter = name in module._parameters
            value = Parameter(value, target.requires_grad) if is_parameter else value
            setattr(module, name, value)
            return
        with no_grad():
            target.copy_(value)


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)
