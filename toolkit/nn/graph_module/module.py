"""`GraphModule`: any ONNX model as a module that runs, differentiates, trains and is edited."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.nn.graph_module import edits
from toolkit.nn.graph_module.file_graph import flat, near
from toolkit.nn.graph_module.steps import constant_tensor, plan
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from toolkit.nn.graph_module.places import Place
    from toolkit.tensor import Tensor

BATCH_NORM = ("train", "frozen")
Patterns = str | Iterable[str]


class _Scope(Module):
    """A level of dotted initializer names."""

    def forward(self, *args: Any) -> Any:
        raise NotImplementedError


class GraphModule(edits.Edits):
    """A model file as a module; `tk.load` makes it.

    `forward` takes the graph's inputs, in order or by name, and returns its output, or a tuple of
    them. Weights are parameters and running statistics buffers under the names that the file gives
    them; see `tk.load` for what counts as a weight. `save` writes the file again with what changed.

    Args:
        source: the file; it is kept and edited, with its external data read in. A `ModelProto` is
            taken as valid.
        tensors: of keys to take in place of the file's values; they stay shared.
        trainable: as in `tk.load`.
        batch_norm: as in `tk.load`.
        layout: where the file's external data lay, see `toolkit.graph.external_layout`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes | onnx.ModelProto,
        tensors: Mapping[str, Tensor] | None = None,
        trainable: Patterns | None = None,
        batch_norm: str = "train",
    ) -> None:
        super().__init__()
        if batch_norm not in BATCH_NORM:
            raise InvalidArgumentError(
                f"load: batch_norm 'train' or 'frozen' is required, got {batch_norm!r}."
            )
        from toolkit.nn.graph_module.hoist import canonical

        self.batch_norm = batch_norm
        self._parametrizations: dict[str, Callable[[Tensor], Tensor]] = {}
        self._places: dict[str, tuple[dict[str, Any], str]] = {}
        self._constants: dict[str, Tensor] = {}
        self._promoted: set[str] = set()
        self._watchers: list[Callable[[dict[Any, Any]], None]] = []  # See all values of a run.
        again = not isinstance(source, (str, bytes, os.PathLike))
        model, proto, self._layout = canonical(source, again)
        self._source = proto
        self._derive(model, tensors or {})
        if trainable is not None:
            self._match(trainable, "load: trainable")  # Before anything changes.
            self.freeze("*")
            self.unfreeze(trainable)

    def __setattr__(self, name: str, value: Any) -> None:
        # A weight of the file may be called as an attribute of the module is: "training".
        if name in self.__dict__ and not isinstance(value, (Parameter, Module)):
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    # -- the tensors ---------------------------------------------------------------------------

    def _derive(self, model: ir.Model, given: Mapping[str, Tensor]) -> None:
        """What runs, from the file: tensors are kept where they fit, others are made."""
        from toolkit.nn.graph_module.places import places_of
        from toolkit.nn.graph_module.roles import Role, role_of
        from toolkit.runtime.constants import native_of
        from toolkit.tensor import Tensor

        self._model = model
        self._plan: Any = None
        self._values: list[tuple[ir.Value, str]] = []
        self._clear()
        places = places_of(self._source.graph)
        fixed: list[tuple[ir.Value, Tensor]] = []
        found = model.graph.initializers
        order = [k for k in places if k in found] + [k for k in found if k not in places]
        for key in order:
            value = found[key]
            if value.const_value is None:
                continue
            place = places.get(key)
            native = native_of(value.const_value)
            role = Role.CONSTANT
            if place is not None and _fits(place, value):
                constant_node = place.node is not None
                role = role_of(value, constant_node, value.const_value.numpy())
                if key in self._promoted and role is not Role.WEIGHT:
                    role = Role.WEIGHT if value.uses() else role
            tensor = given.get(key)
            if tensor is None or tuple(tensor.shape) != tuple(native.shape):
                tensor = Tensor._from_native(native.clone())
            if role is Role.WEIGHT:
                self._place(key, tensor if isinstance(tensor, Parameter) else Parameter(tensor))
            elif role is Role.STATISTIC:
                self._place(key, tensor.detach() if isinstance(tensor, Parameter) else tensor)
            else:
                self._constants[key] = tensor
                fixed.append((value, tensor))
                continue
            self._values.append((value, key))
        self._fixed = fixed

    def _clear(self) -> None:
        """Forgets the tensors of the file, and nothing that was assigned to the module."""
        for table, leaf in self._places.values():
            table.pop(leaf, None)
        for name in [n for n, m in self._modules.items() if isinstance(m, _Scope)]:
            del self._modules[name]
        self._places, self._constants = {}, {}

    def _place(self, name: str, tensor: Tensor) -> None:
        """Registers a tensor: below scopes where its name has dots, as nested modules hold it.

        A name that no attribute can have stands, as it is, in the table of this module.
        """
        *scopes, leaf = name.split(".")
        owner: Module = self
        plain = all(scopes) and leaf != "" and not hasattr(Module, leaf)
        for part in scopes if plain else ():
            child = owner._modules.get(part)
            if child is None:
                if hasattr(owner, part):
                    owner, plain = self, False
                    break
                child = _Scope()
                owner.add_module(part, child)
            owner = child
        if not plain or hasattr(owner, leaf):
            owner, leaf = self, name
        table = owner._parameters if isinstance(tensor, Parameter) else owner._buffers
        tensor._share()  # Programs that update it hold its memory.
        table[leaf] = tensor  # type: ignore[assignment]
        self._places[name] = table, leaf

    def tensor_of(self, name: str) -> Tensor:
        """The parameter, the buffer or the constant of an initializer.

        Raises:
            InvalidArgumentError: the model has none of this name.
        """
        if name in self._places:
            table, leaf = self._places[name]
            found: Tensor = table[leaf]
            return found
        if name in self._constants:
            return self._constants[name]
        raise InvalidArgumentError(
            f"GraphModule: the name of a weight is required, got '{name}'. {self._near(name)}"
        )

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a name, as the file spells it."""
        table, leaf = self._places.get(target, ({}, ""))
        found = table.get(leaf)
        return found if isinstance(found, Parameter) else super().get_parameter(target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a name, as the file spells it."""
        table, leaf = self._places.get(target, ({}, ""))
        if leaf in table and not isinstance(table[leaf], Parameter):
            found: Tensor = table[leaf]
            return found
        return super().get_buffer(target)

    # -- what trains ---------------------------------------------------------------------------

    def freeze(self, *patterns: str | Iterable[str]) -> GraphModule:
        """Weights that do not train: globs of names, or lists of them; all without.

        A BatchNormalization whose scale and bias are both frozen keeps its running statistics.

        Raises:
            InvalidArgumentError: a pattern matches no weight.
        """
        for name in self._match(patterns or "*", "freeze"):
            self.tensor_of(name).requires_grad_(False)
        return self

    def unfreeze(self, *patterns: str | Iterable[str]) -> GraphModule:
        """Weights that train again: globs of names, or lists of them; all without.

        A name without wildcards may also be a constant or a running statistic: it becomes a
        parameter.

        Raises:
            InvalidArgumentError: a pattern matches no weight.
        """
        names = self._match(patterns or "*", "unfreeze", literal=True)
        others = [n for n in names if not isinstance(self.tensor_of(n), Parameter)]
        if others:
            self._promoted.update(others)
            self._rederive()
        for name in names:
            tensor = self.tensor_of(name)
            if not isinstance(tensor, Parameter):
                raise InvalidArgumentError(
                    f"unfreeze: a float tensor of the file is required, got '{name}'."
                )
            tensor.requires_grad_(True)
        return self

    def _match(self, patterns: Any, where: str, literal: bool = False) -> list[str]:
        """The names that patterns match, each once."""
        found: dict[str, None] = {}
        weights = [name for name, _ in self.named_parameters(remove_duplicate=False)]
        for pattern in flat(patterns):
            known = self._places if literal or pattern in self._places else {}
            if pattern in known or (literal and pattern in self._constants):
                found[pattern] = None
                continue
            matched = fnmatch.filter(weights, pattern)
            if not matched and not (pattern == "*" and not weights):
                raise InvalidArgumentError(
                    f"{where}: a pattern that matches a weight is required, got '{pattern}'. "
                    f"{self._near(pattern)}"
                )
            found.update(dict.fromkeys(matched))
        return [n for n in found if literal or isinstance(self.tensor_of(n), Parameter)]

    def _near(self, name: str) -> str:
        return near(name, [*self._places] or [*self._constants])

    def _moves_statistics(self, scale: Any, bias: Any, *statistics: Any) -> bool:
        """Whether a BatchNormalization is in training mode now."""
        if not self.training or self.batch_norm != "train":
            return False
        if any(isinstance(t, Parameter) for t in statistics):
            return False
        return bool(scale.requires_grad or bias.requires_grad)

    # -- running -------------------------------------------------------------------------------

    @property
    def input_names(self) -> list[str]:
        """The names of the graph's inputs."""
        return [v.name or "" for v in self._model.graph.inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the graph's outputs."""
        return [v.name for v in self._source.graph.output]

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Runs the graph.

        Raises:
            InvalidArgumentError: the inputs are not the graph's.
        """
        graph = self._model.graph
        env: dict[Any, Any] = {v: constant_tensor(t._get()) for v, t in self._fixed}
        env.update(zip(graph.inputs, self._ordered(inputs, named), strict=True))
        for value, key in self._values:
            table, leaf = self._places[key]
            change = self._parametrizations.get(key)
            env[value] = table[leaf] if change is None else change(table[leaf])
        if self._plan is None:
            self._plan = self._make_plan()
        for step in self._plan:
            step(env, self)
        for watch in self._watchers:
            watch(env)
        outputs = tuple(env[v] for v in graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _make_plan(self) -> list[Any]:
        """What runs, in order; see `steps.py`."""
        return plan(self._model.graph, {value for value, _ in self._values})

    def _ordered(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> list[Any]:
        names = self.input_names
        values = dict(zip(names, inputs, strict=False)) | dict(named)
        if len(inputs) > len(names) or len(values) < len(inputs) + len(named) or (
            set(values) != set(names)
        ):  # fmt: skip
            got = f"{len(inputs)} values" + (f" and {sorted(named)}" if named else "")
            raise InvalidArgumentError(f"GraphModule: inputs {names} are required, got {got}.")
        return [values[name] for name in names]

    def parametrize(self, name: str, function: Callable[[Tensor], Tensor] | None) -> None:
        """What a weight is replaced by where the graph reads it: `function(weight)`.

        `save` writes the function's result. A module as `function` is no part of this one: assign
        it to an attribute to have its parameters listed.

        Args:
            name: of the weight.
            function: gives a tensor of the weight's shape; None takes an earlier one away.
        """
        self.tensor_of(name)
        if function is None:
            self._parametrizations.pop(name, None)
        else:
            self._parametrizations[name] = function

    # -- saving --------------------------------------------------------------------------------

    def save(
        self,
        path: str | os.PathLike[str],
        inputs: Any = None,
        dynamic: Any = None,
        opset: int | None = None,
        inline: bool = False,
    ) -> None:
        """Writes the file it was loaded from again, with what was trained or edited.

        Args:
            path: the file. External data goes to a file beside it, as the original's did.
            inputs: not needed.
            dynamic: not needed.
            opset: of the file; another one than the original's writes every node anew.
            inline: write the bodies of composite functions out flat.
        """
        from toolkit.graph.io import load_model, save_model, write_proto

        proto = self.to_proto()
        if opset is not None or inline:
            save_model(load_model(proto), path, opset=opset, inline=inline)
            return
        self._layout.write(proto, Path(path))
        write_proto(proto, path)

    def to_proto(self) -> onnx.ModelProto:
        """The file as `save` writes it, its external data inside."""
        from toolkit.nn.graph_module.saving import filled

        return filled(self)

    # -- copies --------------------------------------------------------------------------------

    def _rederive(
        self,
        given: Mapping[str, Tensor] | None = None,
        without: Sequence[str] = (),
        proto: onnx.ModelProto | None = None,
    ) -> None:
        """What runs, again, after an edit.

        Args:
            given: tensors to take for some keys.
            without: keys whose values are those of the file.
            proto: the file, where another one takes the place of the old.
        """
        from toolkit.nn.graph_module.hoist import canonical

        held = {**self._constants, **{k: self.tensor_of(k) for k in self._places}}
        held = {k: t for k, t in held.items() if k not in without} | dict(given or {})
        proto = self._source if proto is None else proto
        model, _, _ = canonical(proto, again=True)
        self._source = proto
        self._derive(model, held)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        held = {**self._constants, **{k: self.tensor_of(k) for k in self._places}}
        for name in ("_model", "_plan", "_values", "_fixed"):
            del state[name]
        return {**state, "_held": held}

    def __setstate__(self, state: dict[str, Any]) -> None:
        held = state.pop("_held")
        self.__dict__.update(state)
        from toolkit.nn.graph_module.hoist import canonical

        self._derive(canonical(self._source, again=True)[0], held)


def _fits(place: Place, value: ir.Value) -> bool:
    """Whether what the canonical graph holds under a name is what the file holds there."""
    held = place.tensor
    shape = tuple(held.dims) if held is not None else place.read().shape
    return value.shape is not None and tuple(value.shape) == shape
