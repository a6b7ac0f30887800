"""`state_dict` and `load_state_dict` of modules."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.parameter import is_lazy

if TYPE_CHECKING:
    from toolkit.nn.module import Module

EXTRA = "_extra_state"


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `load_state_dict` did not find, and what it did not expect."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class State(OrderedDict[str, Any]):
    """What `state_dict` returns: tensors by path, and the version of each module."""

    _metadata: OrderedDict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metadata = OrderedDict()


def collect(
    module: Module, destination: OrderedDict[str, Any], prefix: str, keep_vars: bool
) -> Any:
    """Puts the state of a module and its children into a dict, with the hooks around it."""
    metadata = {"version": module._version}
    if hasattr(destination, "_metadata"):
        destination._metadata[prefix[:-1]] = metadata
    module._hooks_of("state_dict_pre").call(module, prefix, keep_vars)
    module._save_to_state_dict(destination, prefix, keep_vars)
    for name, child in module._modules.items():
        if child is not None:
            child.state_dict(
                destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
            )
    for hook in list(module._hooks_of("state_dict").hooks.values()):
        result = hook(module, destination, prefix, metadata)
        if result is not None:
            if getattr(hook, "_from_public_api", False):
                raise RuntimeError("state_dict post-hook must return None")
            destination = result
    return destination


def own(module: Module, destination: Any, prefix: str, keep_vars: bool) -> None:
    """Puts the parameters, persistent buffers and extra state of one module into a dict."""
    for name, value in module._own_state():
        bare = keep_vars or is_lazy(value)
        destination[prefix + name] = value if bare else value.detach()
    if type(module).get_extra_state is not _module_class().get_extra_state:
        destination[prefix + EXTRA] = module.get_extra_state()


def _module_class() -> type[Module]:
    from toolkit.nn.module import Module

    return Module


class Loader:
    """One `load_state_dict`: walks the modules, copies what fits, notes what does not."""

    def __init__(self, state: Mapping[str, Any], strict: bool, assign: bool) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state)}.")
        self.metadata = getattr(state, "_metadata", None)
        self.state: Any = OrderedDict(state)  # Hooks may change it.
        self.strict = strict
        self.assign = assign
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []

    def load(self, module: Module) -> IncompatibleKeys:
        """Loads into a module.

        Raises:
            InvalidArgumentError: missing or unexpected keys (if `strict`), or shapes that differ.
        """
        self._walk(module, self.state, "")
        keys = IncompatibleKeys(self.missing, self.unexpected)
        problems = list(self.errors)
        if self.strict and self.unexpected:
            problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(self.unexpected)}. ")
        if self.strict and self.missing:
            problems.insert(0, f"Missing key(s) in state_dict: {_quoted(self.missing)}. ")
        if problems:
            misfit = any(text.startswith("size mismatch") for text in self.errors)
            kind = ShapeError if misfit else InvalidArgumentError
            raise kind(
                f"Error(s) in loading state_dict for {type(module).__name__}:\n\t"
                + "\n\t".join(problems)
            )
        return keys

    def _walk(self, module: Module, state: Any, prefix: str) -> None:
        found = None if self.metadata is None else self.metadata.get(prefix[:-1])
        metadata = dict(found or {})
        if self.assign:
            metadata["assign_to_params_buffers"] = True
        module._load_from_state_dict(
            state, prefix, metadata, True, self.missing, self.unexpected, self.errors
        )
        own = {prefix + name for name, _ in module._own_state()}  # Names of a file have dots.
        for name, child in module._modules.items():
            if child is not None:
                inner = f"{prefix}{name}."
                part = {k: v for k, v in state.items() if k.startswith(inner) and k not in own}
                self._walk(child, part, inner)
        keys = IncompatibleKeys(self.missing, self.unexpected)
        for hook in list(module._hooks_of("load_state_dict_post").hooks.values()):
            if hook(module, keys) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not expected "
                    "to return new values, if incompatible_keys need to be modified, it should be "
                    "done inplace."
                )


def load_own(
    module: Module,
    state: Any,
    prefix: str,
    metadata: dict[str, Any],
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Copies what belongs to one module, and notes what is missing, unexpected or does not fit."""
    for hook in list(module._hooks_of("load_state_dict_pre").hooks.values()):
        hook(state, prefix, metadata, True, missing, unexpected, errors)
    mine = dict(module._own_state())
    assign = bool(metadata.get("assign_to_params_buffers"))
    for name, target in mine.items():
        key = prefix + name
        if key in state:
            _copy(module, name, key, target, state[key], assign, errors)
        else:
            missing.append(key)
    extra = prefix + EXTRA
    if type(module).set_extra_state is not _module_class().set_extra_state:
        if extra in state:
            module.set_extra_state(state[extra])
        else:
            missing.append(extra)
    elif extra in state:
        unexpected.append(extra)
    for key in state:
        if key.startswith(prefix) and key != extra:
            path = key[len(prefix) :]
            name, dot, _ = path.partition(".")
            if path not in mine and not (dot and name in module._modules):
                unexpected.append(key)


def _copy(
    module: Module, name: str, key: str, target: Any, source: Any, assign: bool, errors: list[str]
) -> None:
    from toolkit.autograd import no_grad
    from toolkit.nn.parameter import Parameter
    from toolkit.tensor import Tensor, as_tensor

    if is_lazy(source) and is_lazy(target):
        return
    try:
        value = source if isinstance(source, Tensor) else as_tensor(source)
    except Exception as error:
        errors.append(
            f'While copying the parameter named "{key}", expected a tensor or an array but '
            f"received {type(source).__name__}: {error}"
        )
        return
    if not target.dim() and tuple(value.shape) == (1,):
        value = value[0]
    if tuple(value.shape) != tuple(target.shape):
        errors.append(
            f"size mismatch for {key}: copying a param with shape {value.shape} from "
            f"checkpoint, the shape in current model is {target.shape}."
        )
        return
    if assign:
        is_parameter = name in module._parameters
        value = Parameter(value, target.requires_grad) if is_parameter else value
        setattr(module, name, value)
        return
    with no_grad():
        target.copy_(value)


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)
