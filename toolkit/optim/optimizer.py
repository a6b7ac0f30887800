"""`Optimizer`: parameter groups, state, and steps by composite operators `toolkit.optim.*`.

Eagerly a step is one native program that writes into the parameters' and states' memory; in a
training graph `emit` appends the same operators.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.autograd import enable_grad, no_grad
from toolkit.dtypes import DType, float32
from toolkit.errors import InvalidArgumentError
from toolkit.optim.hooks import (
    HookedOptimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from toolkit.optim.program import StepProgram, own_memory
from toolkit.tensor import Tensor, as_tensor, from_numpy

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.build import Builder

__all__ = [
    "Optimizer",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
]

Group = dict[str, Any]
Array = np.ndarray[Any, Any]


class Optimizer(HookedOptimizer):
    """The base of optimizers: a subclass names its operator, its attributes and its states.

    Or it defines `step` alone; then it can be used eagerly only.

    Args:
        params: parameters, (name, parameter) pairs, or dictionaries with "params" and options of
            their own.
        defaults: options of groups that do not give them.

    Raises:
        TypeError: something other than a tensor among the parameters.
        InvalidArgumentError: no parameters, one that is not a leaf, or one given twice.
    """

    op_type: str
    scalars: tuple[str, ...] = ()  # States that are numbers, in float32.

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or "
                f"dicts, but got {type(params).__name__}"
            )
        if defaults.get("differentiable"):
            raise InvalidArgumentError(
                f"{type(self).__name__}: differentiable=False is required, got True."
            )
        if defaults.get("fused") and defaults.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        super().__init__()
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._programs: dict[tuple[int, int], StepProgram] = {}
        groups = list(params)
        if not groups:
            raise InvalidArgumentError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    # -- what a subclass says ------------------------------------------------------------------

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The states of each parameter of a group, by torch's names."""
        raise NotImplementedError

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        raise InvalidArgumentError(
            f"{type(self).__name__}: an optimizer with an operator is required in a compiled step, "
            "got one that steps eagerly only. Call its step()."
        )

    def names_for(self, group: Group, param: Tensor) -> tuple[str, ...]:
        """Those of `state_names` that one parameter has."""
        return self.state_names(group)

    def attributes_for(self, group: Group, shape: Sequence[int]) -> dict[str, Any]:
        """`attributes` for a parameter of this shape."""
        return self.attributes(group)

    def first_state(self, name: str, param: Tensor, group: Group) -> Array:
        """A state before the first step: zeros of the parameter's shape and type."""
        return np.zeros(tuple(param.shape), param.dtype.numpy)

    def arrange(self, param: Any, grad: Any, state: Mapping[str, Any], lr: Any, step: Any) -> Any:
        """The operator's inputs in order, None for one that is absent."""
        return [param, grad, lr, step, *state.values()]

    # -- groups --------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters with options of their own."""
        group = dict(param_group)
        params = group["params"]
        if isinstance(params, (set, frozenset)):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        if params and isinstance(params[0], tuple):
            group["param_names"] = [name for name, _ in params]
            params = [param for _, param in params]
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is "
                                f"{type(param).__name__}")  # fmt: skip
            if not param.is_leaf:
                raise InvalidArgumentError("can't optimize a non-leaf Tensor")
        known = {id(p) for g in self.param_groups for p in g["params"]}
        if len({id(p) for p in params}) != len(params) or any(id(p) in known for p in params):
            raise InvalidArgumentError("some parameters appear in more than one parameter group")
        group["params"] = params
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        self.param_groups.append(group)

    def _group_of(self, param: Tensor) -> Group:
        for group in self.param_groups:
            if any(p is param for p in group["params"]):
                return group
        raise InvalidArgumentError(
            f"{type(self).__name__}: a parameter of this optimizer is required, got one of shape "
            f"{list(param.shape)}."
        )

    # -- steps ---------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops (or zeroes) the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if set_to_none:
                    p.grad = None
                    continue
                with no_grad():
                    p.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient, in place.

        Args:
            closure: computes the loss (and the gradients) again; called first.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for i, group in enumerate(self.param_groups):
            params = [p for p in group["params"] if p.grad is not None]
            for number, (step, members) in enumerate(self._by_step(group, params)):
                self._run(i, number, group, step, members)
        return loss

    def _by_step(self, group: Group, params: list[Tensor]) -> list[tuple[Tensor, list[Tensor]]]:
        """The parameters by the tensor that counts their steps; new ones share a new count."""
        self._begin(group, params)
        if len(params) < len(group["params"]):
            self._part_counts(group, params)
        buckets: dict[int, tuple[Tensor, list[Tensor]]] = {}
        for p in params:
            step = self.state[p]["step"]
            buckets.setdefault(id(step), (step, []))[1].append(p)
        return list(buckets.values())

    def _part_counts(self, group: Group, params: list[Tensor]) -> None:
        """Those that step leave the counts that they share with parameters that do not."""
        stepping = {id(p) for p in params}
        idle = {id(self.state[p].get("step")) for p in group["params"] if id(p) not in stepping
                and p in self.state}  # fmt: skip
        own: dict[int, Tensor] = {}
        for p in params:
            step = self.state[p]["step"]
            if id(step) in idle:
                self.state[p]["step"] = own.setdefault(id(step), step.detach().clone())

    def _begin(self, group: Group, params: Iterable[Tensor]) -> None:
        """Makes the states that parameters lack: all, or those that a changed option asks for."""
        fresh: Tensor | None = None
        for p in params:
            state = self.state[p]
            if "step" not in state:
                fresh = from_numpy(np.zeros((), np.float32)) if fresh is None else fresh
                state["step"] = fresh
            elif all(state.get(name) is not None for name in self.names_for(group, p)):
                continue
            for name, array in self.init_state(p, group).items():
                if state.get(name) is None:
                    state[name] = from_numpy(array)

    def _run(self, i: int, number: int, group: Group, step: Tensor, params: list[Tensor]) -> None:
        states = [{name: self.state[p][name] for name in self.names_for(group, p)} for p in params]
        program = self._programs.get((i, number))
        if program is None or not program.fits(self, group, params, states):
            for tensor in chain(params, *(s.values() for s in states)):
                own_memory(tensor)
            program = self._programs[i, number] = StepProgram(self, group, params, states)
        count = step._get().numpy()
        count += 1
        program.run([p.grad for p in params], float(group["lr"]), int(count))

    # -- training graphs -----------------------------------------------------------------------

    def begin(self) -> None:
        """Makes the states of all parameters that train, for a program that updates them."""
        for group in self.param_groups:
            self._begin(group, [p for p in group["params"] if p.requires_grad])

    def set_step_count(self, count: int) -> None:
        """Says how many steps the parameters have had, after a program did them."""
        for step in {id(s["step"]): s["step"] for s in self.state.values()}.values():
            step._get().numpy()[...] = count

    def init_state(self, param: Tensor, group: Group | None = None) -> dict[str, Array]:
        """A parameter's states before the first step."""
        group = self._group_of(param) if group is None else group
        names = self.names_for(group, param)
        return {name: self.first_state(name, param, group) for name in names}

    def emit(
        self,
        builder: Builder,
        param: ir.Value,
        grad: ir.Value,
        state: Mapping[str, ir.Value],
        lr: ir.Value,
        step: ir.Value,
        group: Group,
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Appends one parameter's step to a graph.

        Args:
            builder: appends the nodes.
            param: the parameter.
            grad: its gradient, of the same shape and type.
            state: by the names of `init_state`, in their order.
            lr: float32 scalar.
            step: int64 scalar, 1 at the first step.
            group: the parameter's group; all options but "lr" become attributes.

        Returns:
            The parameter's next value, and the states' next values by name.
        """
        if group.get("maximize", False):
            grad = builder.Neg(grad)
        shape = [] if param.shape is None else [int(d) for d in param.shape]  # type: ignore[arg-type]
        results = builder.call(
            "toolkit.optim",
            self.op_type,
            self.arrange(param, grad, state, lr, step),
            self.attributes_for(group, shape),
            1 + len(state),
        )
        if not state:
            return results, {}
        return results[0], dict(zip(state, results[1:], strict=True))

    # -- state ---------------------------------------------------------------------------------

    def _exported(self, state: dict[str, Any]) -> dict[str, Any]:
        """A parameter's state as `state_dict` shows it, with a count of its own."""
        own = {"step": state["step"].detach().clone()} if "step" in state else {}
        return {**state, **own}

    def _imported(self, state: dict[str, Any]) -> dict[str, Any]:
        """The inverse of `_exported`."""
        return state

    def state_dict(self) -> dict[str, Any]:
        """State and groups in torch's layout: parameters are numbers in the groups' order."""
        for hook in list(self._state_dict_pre_hooks.values()):
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            packed = {k: v for k, v in group.items() if k != "params"}
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {numbers[id(p)]: self._exported(s) for p, s in self.state.items()}
        found = {"state": {i: s for i, s in state.items() if s}, "param_groups": groups}
        changed: dict[str, Any] = self._changed(self._state_dict_post_hooks, found)
        return changed

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes state and options from `state_dict()`; tensors are copied.

        Raises:
            InvalidArgumentError: the groups are not the same in number or size.
        """
        state_dict = self._changed(self._load_pre_hooks, dict(state_dict))
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise InvalidArgumentError(
                "loaded state dict has a different number of parameter groups"
            )
        if any(
            len(s["params"]) != len(g["params"])
            for s, g in zip(saved, self.param_groups, strict=True)
        ):
            raise InvalidArgumentError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                "optimizer's group"
            )
        by_number: dict[Any, tuple[Tensor, int]] = {}
        for i, (theirs, group) in enumerate(zip(saved, self.param_groups, strict=True)):
            pairs = zip(theirs["params"], group["params"], strict=True)
            by_number.update({number: (p, i) for number, p in pairs})
            group.update({k: copy.copy(v) for k, v in theirs.items() if k != "params"})
        self.state.clear()
        self._programs.clear()
        counts: list[dict[float, Tensor]] = [{} for _ in saved]
        for number, state in state_dict["state"].items():
            param, i = by_number[number] if number in by_number else by_number[int(number)]
            self.state[param] = self._imported(self._copied(state, param, counts[i]))
        for hook in list(self._load_post_hooks.values()):
            hook(self)

    def _copied(
        self, state: Mapping[str, Any], param: Tensor, counts: dict[float, Tensor]
    ) -> dict[str, Any]:
        """A parameter's saved state as tensors of its type; equal counts become one tensor."""
        copied: dict[str, Any] = {}
        for name, value in state.items():
            if name == "step":
                step = float(value)
                if step not in counts:
                    counts[step] = from_numpy(np.array(step, np.float32))
                copied[name] = counts[step]
            else:
                copied[name] = _cast(value, float32 if name in self.scalars else param.dtype)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        names = ("defaults", "state", "param_groups")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._make_hooks()
        self.__dict__.update(state)
        self._programs = {}

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def _cast(value: Any, dtype: DType) -> Any:
    """A copy; tensors become ours, those of floats of this type."""
    if isinstance(value, (list, tuple)):
        return type(value)(_cast(v, dtype) for v in value)
    if not isinstance(value, Tensor) and not hasattr(value, "__array__"):
        return copy.copy(value)
    tensor = as_tensor(value).detach()
    return from_numpy((tensor.to(dtype) if tensor.is_floating_point() else tensor).numpy().copy())


def check_range(name: str, value: Any, low: float, high: float | None = None) -> None:
    """Refuses an option outside [low, high), as torch does."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise InvalidArgumentError(f"Tensor {'lr' if 'rate' in name else name} must be 1-element")
    if not (low <= value and (high is None or value < high)):
        raise InvalidArgumentError(f"Invalid {name}: {value}")


def check_adam(lr: Any, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    """Refuses options of Adam and its relatives that are out of range."""
    check_range("learning rate", lr, 0.0)
    check_range("epsilon value", eps, 0.0)
    check_range("beta parameter at index 0", betas[0], 0.0, 1.0)
    check_range("beta parameter at index 1", betas[1], 0.0, 1.0)
    check_range("weight_decay value", weight_decay, 0.0)
