"""`Optimizer`: parameter groups, state, and steps by composite operators `toolkit.optim.*`.

Eagerly a step is one native program that writes into the parameters' and states' memory; in a
training graph `emit` appends the same operators.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.autograd import enable_grad
from toolkit.errors import InvalidArgumentError
from toolkit.optim.program import StepProgram, own_memory
from toolkit.tensor import Tensor, as_tensor, from_numpy

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.build import Builder

Group = dict[str, Any]


class Optimizer:
    """The base of optimizers: a subclass names its operator, its attributes and its states.

    Args:
        params: parameters, (name, parameter) pairs, or dictionaries with "params" and options of
            their own.
        defaults: options of groups that do not give them.

    Raises:
        TypeError: something other than a tensor among the parameters.
        InvalidArgumentError: no parameters, one that is not a leaf, or one given twice.
    """

    op_type: str

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
        raise NotImplementedError

    def arrange(self, param: Any, grad: Any, state: Mapping[str, Any], lr: Any, step: Any) -> Any:
        """The operator's inputs in order, None for one that is absent."""
        raise NotImplementedError

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
                if p.grad is not None:
                    p.grad = None if set_to_none else p.grad.detach() * 0

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
        buckets: dict[int, tuple[Tensor, list[Tensor]]] = {}
        for p in params:
            step = self.state[p]["step"]
            buckets.setdefault(id(step), (step, []))[1].append(p)
        return list(buckets.values())

    def _begin(self, group: Group, params: Iterable[Tensor]) -> None:
        """Makes the states that parameters lack: all, or those that a changed option asks for."""
        fresh: Tensor | None = None
        names = self.state_names(group)
        for p in params:
            state = self.state[p]
            if "step" not in state:
                fresh = from_numpy(np.zeros((), np.float32)) if fresh is None else fresh
                state["step"] = fresh
            elif all(state.get(name) is not None for name in names):
                continue
            for name, array in self.init_state(p, group).items():
                if state.get(name) is None:
                    state[name] = from_numpy(array)

    def _run(self, i: int, number: int, group: Group, step: Tensor, params: list[Tensor]) -> None:
        names = self.state_names(group)
        states = [{name: self.state[p][name] for name in names} for p in params]
        attributes = self.attributes(group)
        program = self._programs.get((i, number))
        if program is None or not program.fits(params, states, attributes, group["maximize"]):
            for tensor in chain(params, *(s.values() for s in states)):
                own_memory(tensor)
            program = StepProgram(self, params, states, attributes, group["maximize"])
            self._programs[i, number] = program
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

    def init_state(
        self, param: Tensor, group: Group | None = None
    ) -> dict[str, np.ndarray[Any, Any]]:
        """A parameter's states before the first step: zeros of its shape and type."""
        group = self._group_of(param) if group is None else group
        shape, dtype = tuple(param.shape), param.dtype.numpy
        return {name: np.zeros(shape, dtype) for name in self.state_names(group)}

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
            state: by the names of `init_state`.
            lr: float32 scalar.
            step: int64 scalar, 1 at the first step.
            group: the parameter's group; all options but "lr" become attributes.

        Returns:
            The parameter's next value, and the states' next values by name.
        """
        names = self.state_names(group)
        if group["maximize"]:
            grad = builder.Neg(grad)
        results = builder.call(
            "toolkit.optim",
            self.op_type,
            self.arrange(param, grad, state, lr, step),
            self.attributes(group),
            1 + len(names),
        )
        if not names:
            return results, {}
        return results[0], dict(zip(names, results[1:], strict=True))

    # -- state ---------------------------------------------------------------------------------

    def _exported(self, state: dict[str, Any]) -> dict[str, Any]:
        """A parameter's state as `state_dict` shows it."""
        return dict(state)

    def _imported(self, state: dict[str, Any]) -> dict[str, Any]:
        """The inverse of `_exported`."""
        return state

    def state_dict(self) -> dict[str, Any]:
        """State and groups in torch's layout: parameters are numbers in the groups' order."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            packed = {k: v for k, v in group.items() if k != "params"}
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {numbers[id(p)]: self._exported(s) for p, s in self.state.items()}
        return {"state": {i: s for i, s in state.items() if s}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes state and options from `state_dict()`; tensors are copied.

        Raises:
            InvalidArgumentError: the groups are not the same in number or size.
        """
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
        by_number: dict[Any, Tensor] = {}
        for theirs, group in zip(saved, self.param_groups, strict=True):
            by_number.update(zip(theirs["params"], group["params"], strict=True))
            group.update({k: v for k, v in theirs.items() if k != "params"})
        self.state.clear()
        self._programs.clear()
        counts: dict[float, Tensor] = {}
        for number, state in state_dict["state"].items():
            param = by_number[number] if number in by_number else by_number[int(number)]
            self.state[param] = self._imported(_copied(state, param, counts))

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def _copied(state: Mapping[str, Any], param: Tensor, counts: dict[float, Tensor]) -> dict[str, Any]:
    """A parameter's saved state as tensors of its type; equal step counts become one tensor."""
    copied: dict[str, Any] = {}
    for name, value in state.items():
        if name == "step":
            step = float(value)
            if step not in counts:
                counts[step] = from_numpy(np.array(step, np.float32))
            copied[name] = counts[step]
        elif value is None or isinstance(value, (bool, int, float, str)):
            copied[name] = value
        else:
            tensor = as_tensor(value).detach()
            tensor = tensor.to(param.dtype) if tensor.is_floating_point() else tensor
            copied[name] = from_numpy(tensor.numpy().copy())
    return copied


def check_range(name: str, value: float, low: float, high: float | None = None) -> None:
    """Refuses an option outside [low, high), as torch does."""
    if not (low <= value and (high is None or value < high)):
        raise InvalidArgumentError(f"Invalid {name}: {value}")
