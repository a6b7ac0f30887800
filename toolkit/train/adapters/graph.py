"""The weights of a loaded model that can hold adapters, one host each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from toolkit.autograd import no_grad
from toolkit.errors import InvalidArgumentError
from toolkit.nn import Module, Parameter
from toolkit.nn.graph_module import GraphModule
from toolkit.nn.graph_module.module import _Scope
from toolkit.ops.dispatch import call
from toolkit.tensor import Tensor
from toolkit.train.adapters import formula
from toolkit.train.adapters.config import LoraConfig
from toolkit.train.adapters.projections import Projection
from toolkit.train.adapters.sites import Reading, readings

if TYPE_CHECKING:
    import onnx_ir as ir


class GraphHost:
    """A weight that can hold an adapter; attributes as those of `LayerHost`.

    Attributes:
        key: the weight's name in the file.
        local: where the factors are below the module.
    """

    def __init__(self, name: str, local: str, module: GraphModule, reading: Reading) -> None:
        self.name = name
        self.key = str(reading.initializer.name)
        self.local = local
        self.module: Any = module
        self.projection: Projection = reading.sites[0].projection
        self._inner = reading.inner
        self.linear = reading.sites[0].node.op_type in ("MatMul", "Gemm")
        nodes = [site.node.name for site in reading.sites if site.node.name]
        self.aliases = [self.key, *nodes, *map(_path, nodes)]

    @property
    def weight(self) -> Tensor:
        """The weight as the module holds it."""
        found: Tensor = self.module.tensor_of(self.key)
        return found

    @property
    def alive(self) -> bool:
        """Whether the weight still holds the adapter; an edit may have removed it."""
        return self in getattr(self.module, "_hosts", ())

    @property
    def reading(self) -> Reading:
        """Where the graph as it is now reads the weight."""
        found: Reading = self.module._readings()[self.key]
        return found

    @property
    def holder(self) -> Module:
        """The module that holds the factors."""
        found: Module = self.module
        for part in self.local.split("."):
            if part not in found._modules:
                found.add_module(part, _Scope())
            found = found._modules[part]  # type: ignore[assignment]
        return found

    def attach(self, config: LoraConfig) -> None:
        """Adds the adapter.

        Raises:
            InvalidArgumentError: Dropout is asked for where only the weight can be changed.
        """
        if self._inner and config.dropout:
            raise InvalidArgumentError(
                f"lora: dropout 0 is required in bodies of If, Loop and Scan, got {config.dropout} "
                f"for '{self.name}'. Leave it out with exclude=."
            )
        from toolkit.train.adapters.graph_module import adapt

        adapt(self.module, config, self)
        formula.attach(self.holder, self.projection, self.read(), config)

    def read(self) -> Tensor:
        """The weight as the nodes read it."""
        with no_grad():
            return _value(self.module, self.reading.sites[0].weight)

    def adapted(self, weight: Tensor) -> Tensor:
        """The weight that does without the adapter, as the nodes read it."""
        factors = formula.factors_of(self.holder)
        return formula.adapted_weight(self.module.lora_config, self.projection, factors, weight)

    @property
    def through_weight(self) -> bool:
        """Whether the nodes read the adapted weight, instead of nodes behind them."""
        outputs = self.weight.shape[self.projection.out_axis]
        alone = formula.through_weight(self.module.lora_config, self.projection, outputs)
        return self.reading.inner or (alone and not self.reading.chain)

    def whole(self, weight: Tensor) -> Tensor:
        """The adapted weight as the module holds it; only Transpose stands behind it."""
        for node in self.reading.chain:
            if node.op_type == "Transpose":
                weight = weight.permute(*_order(node, weight.dim()))
        return self._back(self.adapted(weight))

    def merge(self) -> None:
        """Writes the adapted weight into the module's; a quantized one is rounded when saved."""
        with no_grad():
            found = self._back(self.adapted(self.read()))
            self.weight.copy_(found.to(self.weight.dtype))

    def _back(self, weight: Tensor) -> Tensor:
        """From the layout that the nodes read to that of the file."""
        for node in reversed(self.reading.chain):
            if node.op_type == "Transpose":
                order = _order(node, weight.dim())
                weight = weight.permute(*(order.index(axis) for axis in range(len(order))))
        return weight

    def detach(self) -> None:
        """Makes the module what it was."""
        from toolkit.train.adapters.graph_module import restore

        formula.detach(self.holder)
        parts = self.local.split(".")
        while parts and _is_empty(self.module.get_submodule(".".join(parts))):
            del self.module.get_submodule(".".join(parts[:-1]))._modules[parts.pop()]
        restore(self.module, self)

    def take(self) -> dict[str, Any]:
        """The factors, to `put` them again."""
        holder = self.holder
        tables: tuple[Mapping[str, Any], ...] = holder._parameters, holder._modules
        return {n: t[n] for t in tables for n in formula.FACTORS if n in t}

    def fits(self, factors: Mapping[str, Any]) -> bool:
        """Whether factors are of the weight's shape, which an edit may have changed."""
        a, b = (
            t if isinstance(t, Parameter) else t.weight
            for n, t in factors.items()
            if n[-2:] in ("_A", "_B")
        )
        want = self.projection.pair_shapes(tuple(self.read().shape), b.shape[1])
        return [list(a.shape), list(b.shape)] == list(want)

    def put(self, factors: Mapping[str, Any]) -> None:
        """Factors of another graph, or of this one as it was."""
        holder = self.holder
        for name, value in factors.items():
            if isinstance(value, Parameter):
                holder.register_parameter(name, value)
            else:
                holder.add_module(name, value)


def graph_hosts(path: str, module: GraphModule) -> Iterator[GraphHost]:
    """The weights of a loaded model that adapters can be put on."""
    taken: set[str] = set()
    for reading in readings_of(module).values():
        local = _local_name(module, reading, taken)
        taken.add(local)
        yield GraphHost(f"{path}.{local}" if path else local, local, module, reading)


def readings_of(module: GraphModule) -> dict[str, Reading]:
    """Where the graph reads its weights, by name."""
    found = {str(r.initializer.name): r for r in readings(module._model.graph)}
    # A parametrized weight is the result of a function: there is nothing to merge into.
    changed = module._parametrizations
    return {k: r for k, r in found.items() if k in module._places and k not in changed}


def _local_name(module: GraphModule, reading: Reading, taken: set[str]) -> str:
    """Where the factors go: `fc` for `fc.weight`, else the path of the node, else of its own."""
    name = str(reading.initializer.name)
    wishes = [name.removesuffix(".weight")] if name.endswith(".weight") else []
    wishes += [_path(site.node.name) for site in reading.sites if site.node.name]
    wishes.append("adapters." + name.replace(".", "_"))
    for wish in wishes:
        if wish not in taken and _is_free(module, wish):
            return wish
    return f"adapters.{len(taken)}"


def _is_free(module: Module, path: str) -> bool:
    """Whether modules can stand along a path, and factors at its end."""
    found: Module | None = module
    for part in path.split("."):
        if not part or (found is not None and part in (*found._parameters, *found._buffers)):
            return False
        if hasattr(Module, part) or (found is module and hasattr(type(module), part)):
            return False
        if found is module and part in vars(module):
            return False
        found = found._modules.get(part) if found is not None else None
    return found is None or not any(
        name in table for name in formula.FACTORS for table in (found._parameters, found._modules)
    )


def _path(node: str) -> str:
    """`encoder.query.MatMul` for the exporter's `/encoder/query/MatMul`."""
    return ".".join(part for part in node.split("/") if part)


def _order(transpose: ir.Node, rank: int) -> list[int]:
    perm = transpose.attributes.get("perm")
    return [*range(rank)][::-1] if perm is None else list(perm.as_ints())


def _is_empty(module: Module) -> bool:
    tables = module._parameters, module._buffers, module._modules
    return isinstance(module, _Scope) and not any(tables)


def _value(module: GraphModule, value: ir.Value) -> Tensor:
    """What a value that depends on stored tensors alone holds now."""
    from toolkit.runtime.constants import native_attributes

    node = value.producer()
    if node is None:
        return module.tensor_of(str(value.name))
    inputs = [None if v is None else _value(module, v) for v in node.inputs]
    found: Tensor = call(node.op_type, inputs, native_attributes(node.attributes.values()))
    return found
