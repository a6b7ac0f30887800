"""`AdaptedGraph`: a loaded model with adapters, each behind the nodes that read its weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.nn.graph_module import GraphModule
from toolkit.tensor import Tensor
from toolkit.train.adapters import formula
from toolkit.train.adapters.config import LoraConfig
from toolkit.train.adapters.graph import GraphHost, readings_of
from toolkit.train.adapters.sites import Reading, Site

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

Names = str | Iterable[str] | None


def adapt(module: Any, config: LoraConfig, host: GraphHost) -> None:
    """Makes a loaded model one with adapters, or adds one to it."""
    if type(module) is GraphModule:
        module.__class__ = AdaptedGraph
        module.lora_config = config
    elif not isinstance(module, AdaptedGraph):
        raise InvalidArgumentError(
            f"lora: a model that tk.load made is required, got {type(module).__name__}."
        )
    module._hosts = [*module._hosts, host]
    module._plan = None


def restore(module: Any, host: GraphHost) -> None:
    """Takes an adapter off; without any, the model is what `tk.load` made."""
    module._hosts = [h for h in module._hosts if h is not host]
    module._plan = None
    if not module._hosts:
        del module.lora_config, module._hosts
        vars(module).pop("_read", None)
        module.__class__ = GraphModule


class AdaptedGraph(GraphModule):
    """A GraphModule with adapters on some of its weights."""

    lora_config: LoraConfig
    _hosts: list[GraphHost] = []  # noqa: RUF012  Replaced, never changed.
    _read: tuple[Any, dict[str, Reading]] | None = None

    def _readings(self) -> dict[str, Reading]:
        """Of the graph as it is now."""
        if self._read is None or self._read[0] is not self._model:
            self._read = self._model, readings_of(self)
        return self._read[1]

    def _derive(self, model: ir.Model, given: Mapping[str, Tensor]) -> None:
        kept = [(host, host.take()) for host in self._hosts]
        super()._derive(model, given)
        there = self._readings() if kept else {}
        kept = [(h, factors) for h, factors in kept if h.key in there and h.fits(factors)]
        self._hosts = [host for host, _ in kept]
        for host, factors in kept:
            host.put(factors)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_read", None)
        return state

    def _make_plan(self) -> list[Any]:
        from toolkit.nn.graph_module.steps import plan

        before, behind = [], {}
        for number, host in enumerate(self._hosts):
            if host.through_weight:
                before.append(_weight_step(number, host.reading.initializer))
                continue
            for site in host.reading.sites:
                behind[site.node] = _adapter_step(number, site)
        return before + plan(self._model.graph, {value for value, _ in self._values}, behind)

    def cut(self, outputs: Names = None, inputs: Names = None) -> Any:
        """As `GraphModule.cut`; the part has the adapters of the weights that it reads."""
        made = super().cut(outputs, inputs)
        made.lora_config = self.lora_config
        for host in self._hosts:
            if host.key in made._readings():
                twin = copy(host)
                twin.module = made
                made._hosts = [*made._hosts, twin]
                twin.put(host.take())
        return made

    def to_proto(self) -> onnx.ModelProto:
        """The file with the adapters as nodes of their own, behind the nodes that they adapt."""
        from toolkit.nn.graph_module.file_graph import FileGraph
        from toolkit.train.adapters.splice import Splicer, insert_behind

        file = FileGraph(super().to_proto())
        splicer = Splicer(file)
        for host in self._hosts:
            factors = {
                f"{host.local}.{name}": p
                for name, p in host.holder.named_parameters()
                if name.startswith(formula.FACTORS)
            }
            for site in host.reading.sites:
                read = [site.x, site.weight, *([] if site.bias is None else [site.bias])]

                def build(*formal: Tensor, host: GraphHost = host, site: Site = site) -> Tensor:
                    x, weight, *bias, y = formal
                    return self._adapted(host, site, x, y, weight, bias[0] if bias else None, False)

                insert_behind(splicer, site.node.outputs[0], read, build, factors, host.local)
        return file.proto

    def _adapted(
        self,
        host: GraphHost,
        site: Site,
        x: Tensor,
        y: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        training: bool,
    ) -> Tensor:
        if bias is not None:
            bias = site.projection.along(bias)
            bias = bias if site.beta == 1.0 else bias * site.beta
        return formula.adapted(
            self.lora_config, site.projection, formula.factors_of(host.holder), x, y, weight,
            bias, training,
        )  # fmt: skip


def _weight_step(number: int, weight: ir.Value) -> Callable[[dict[Any, Any], Any], None]:
    def run(env: dict[Any, Any], module: AdaptedGraph) -> None:
        env[weight] = module._hosts[number].whole(env[weight])

    return run


def _adapter_step(number: int, site: Site) -> Callable[[dict[Any, Any], Any], None]:
    out = site.node.outputs[0]

    def run(env: dict[Any, Any], module: AdaptedGraph) -> None:
        bias = None if site.bias is None else env[site.bias]
        host = module._hosts[number]
        env[out] = module._adapted(
            host, site, env[site.x], env[out], env[site.weight], bias, module.training
        )

    return run
