"""What a `GraphModule` can be turned into: its methods that edit the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from toolkit.nn.module import Module

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from toolkit.nn.graph_module.file_graph import FileGraph
    from toolkit.tensor import Tensor

E = TypeVar("E", bound="Edits")


class Edits(Module):
    """Edits of a model's file; what runs is derived from it again, with the same parameters."""

    batch_norm: str
    _source: onnx.ModelProto
    _model: ir.Model
    _rederive: Callable[..., None]
    tensor_of: Callable[[str], Tensor]

    def replace_head(
        self: E,
        classes: int | None = None,
        *,
        cut: str | None = None,
        head: Module | None = None,
        output: str | None = None,
        softmax: str = "drop",
        name: str = "head",
    ) -> E:
        """A fresh end for other classes.

        With `classes`, the last Gemm, MatMul or Conv with a weight of its own in front of the
        output, and the bias behind it, are drawn anew as `nn.Linear` and `nn.Conv2d` draw them,
        under the names they had. With `head`, the module's nodes take the place of what computes
        the output from the value `cut`; its parameters are the module's own, named `head.…`. They
        are written as in evaluation mode; Dropout and BatchNorm in it train as those of the file.

        Args:
            classes: the size of the new output.
            cut: a value of the graph, the head's input; without, the input of the classifier.
            head: what computes the output from it.
            output: which output, the first without.
            softmax: "drop" takes Softmax, LogSoftmax or Sigmoid behind the classifier away, so that
                the output is logits, which CrossEntropyLoss and BCEWithLogitsLoss take; "keep"
                keeps them, and the loss must take probabilities. To have them in the file once it
                is trained: `model.replace_head(cut=model.output_names[0], head=nn.Softmax(-1))`.
            name: prefix of a head's parameters.

        Raises:
            InvalidArgumentError: there is no classifier, or no such value.
        """
        from toolkit.nn.graph_module import head as heads

        heads.replace(self, classes, cut, head, output, softmax, name)
        return self

    def cut(
        self: E,
        outputs: str | Iterable[str] | None = None,
        inputs: str | Iterable[str] | None = None,
    ) -> E:
        """The part of the model between values, as a module that shares the parameters.

        `model.cut(outputs="features")` computes features, `model.cut(inputs="features")` the rest.

        Args:
            outputs: names of values; the model's outputs without.
            inputs: names of values that are inputs of the part; the model's without.

        Raises:
            InvalidArgumentError: no value has this name, or the part needs another input.
        """
        from toolkit.nn.graph_module import cutting

        made: E = cutting.cut(self, outputs, inputs)
        return made

    def insert_dropout(
        self: E,
        p: float = 0.5,
        *,
        after: str | Iterable[str] | None = None,
        before: str | Iterable[str] | None = None,
    ) -> E:
        """Dropout where an exporter folded it away: active in training mode.

        The saved file holds it as a Dropout node in inference form, which changes nothing and is
        found again when the file is loaded; `remove_dropout` takes it away.

        Args:
            p: probability of a zero.
            after: globs of names of values.
            before: globs of names or operators of nodes, whose first input it drops; without
                `after` and `before`, the classifier (see `replace_head`).

        Raises:
            InvalidArgumentError: nothing matches.
        """
        from toolkit.nn.graph_module import dropout

        dropout.insert(self, p, after, before)
        return self

    def remove_dropout(self: E, patterns: str | Iterable[str] = "*") -> E:
        """Takes Dropout nodes away: globs of their names or outputs."""
        from toolkit.nn.graph_module import dropout

        dropout.remove(self, patterns)
        return self

    def tie(self: E, name: str, other: str, transposed: bool | None = None) -> E:
        """One weight in the place of two: what read `other` reads `name` from now on.

        Args:
            name: the weight that stays.
            other: the weight that goes, of the same shape or the transposed one.
            transposed: whether `other` is the transpose; without, what the shapes say.

        Raises:
            InvalidArgumentError: the shapes do not fit.
        """
        from toolkit.nn.graph_module import tying

        tying.tie(self, name, other, transposed)
        return self

    def untie(self, name: str) -> list[str]:
        """A weight of its own for each node that reads a shared one.

        Returns:
            The names, the first of which is the old one.

        Raises:
            InvalidArgumentError: less than two nodes read it.
        """
        from toolkit.nn.graph_module import tying

        return tying.untie(self, name)

    def _edited(
        self, file: FileGraph, given: Mapping[str, Any] | None = None, without: Sequence[str] = ()
    ) -> None:
        """Takes over an edited file: cleans it, runs it, and declares what its outputs are."""
        from toolkit.graph.training_info import strip

        file.prune()
        strip(file.proto)  # It continued the graph that was.
        self._rederive(given, without, file.proto)
        self._declare_outputs()

    def _declare_outputs(self) -> None:
        for info, value in zip(self._source.graph.output, self._model.graph.outputs, strict=True):
            if value.shape is None:
                info.type.tensor_type.ClearField("shape")
                continue
            dims = info.type.tensor_type.shape.dim
            if len(dims) != len(value.shape):
                del dims[:]
            for i, size in enumerate(value.shape):
                dim = dims[i] if i < len(dims) else dims.add()
                if isinstance(size, int):
                    dim.dim_value = size
                elif not dim.WhichOneof("value") and size.value is not None:
                    dim.dim_param = size.value
