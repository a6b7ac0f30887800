"""Cached features: the frozen part of a model runs once over the data, and only the rest trains.

Augmentations and Dropout in the frozen part have no place here: each sample has one feature.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.data import DataLoader, TensorDataset
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn import Module, Sequential
from toolkit.nn.export import export
from toolkit.nn.graph_module import GraphModule
from toolkit.nn.graph_module.file_graph import flat, near
from toolkit.tensor import from_numpy

INDEX = "index.json"  # Names the arrays of a folder, in order.
Array = np.ndarray[Any, Any]


class Features:
    """A model in two parts, and a data set of what the first one computes.

    Attributes:
        data: of (features, ..., targets, ...), for a `DataLoader`.
        head: what remains to train. Its parameters are the model's own, so that the model is
            trained when the head is.
        body: the frozen part.
        at: the names of the values between them.
    """

    def __init__(self, body: Module, head: Module, at: list[str], batch_size: int) -> None:
        self.body = body
        self.head = head
        self.at = at
        self.batch_size = batch_size
        self.data: TensorDataset

    def extract(self, data: Any, folder: str | os.PathLike[str] | None = None) -> TensorDataset:
        """The features of another data set, such as the one that is held out.

        Args:
            data: as in `cache_features`.
            folder: as in `cache_features`.
        """
        dataset = getattr(data, "dataset", data)  # A loader's order is that of its epochs.
        if folder is None:
            arrays = self._run(dataset, lambda i, dtype, shape: np.empty(shape, dtype))
            return TensorDataset(*map(from_numpy, arrays))
        with _new_folder(Path(folder)) as made:
            arrays = self._run(
                dataset,
                lambda i, dtype, shape: np.lib.format.open_memmap(
                    made / f"{i}.npy", mode="w+", dtype=dtype, shape=shape
                ),
            )
            for array in arrays:
                array.flush()  # type: ignore[attr-defined]
            index = {"arrays": [f"{i}.npy" for i in range(len(arrays))], "at": self.at}
            (made / INDEX).write_text(json.dumps(index), encoding="utf-8")
        return load_features(folder)

    def _run(self, dataset: Any, make: Any) -> list[Array]:
        """The arrays of all samples: features, then what the data holds besides the inputs."""
        from toolkit.runtime import InferenceSession

        count, done = len(dataset), 0
        arrays: list[Array] = []
        session = None
        for batch in DataLoader(dataset, self.batch_size):
            if session is None:
                taken = _input_count(self.body, len(batch))
                session = InferenceSession(_frozen(self.body, batch[:taken]))
                names = [x.name for x in session.get_inputs()]
            inputs = [np.asarray(x) for x in batch[:taken]]
            found = [*session.run(None, dict(zip(names, inputs, strict=True)))]
            found += [np.asarray(x) for x in batch[taken:]]
            if not arrays:
                self._require_rows(found, len(inputs[0]))
                arrays = [make(i, a.dtype, (count, *a.shape[1:])) for i, a in enumerate(found)]
            for array, part in zip(arrays, found, strict=True):
                array[done : done + len(part)] = part
            done += len(inputs[0])
        return arrays

    def _require_rows(self, found: list[Array], size: int) -> None:
        for name, array in zip(self.at, found, strict=False):
            if array.ndim == 0 or len(array) != size:
                raise ShapeError(
                    f"cache_features: a value with a row for each of the {size} samples is "
                    f"required, got '{name}' of shape {list(array.shape)}. Choose another with at=."
                )


def cache_features(
    model: Module,
    data: Any,
    at: str | Iterable[str] | None = None,
    batch_size: int = 64,
    folder: str | os.PathLike[str] | None = None,
) -> Features:
    """Runs the frozen part of a model once over a data set; what it gives trains the rest.

    Args:
        model: a loaded model, or a Sequential. It is not changed until its head is trained.
        data: a data set of (inputs of the model, ..., targets, ...), or a loader of one.
        at: where the frozen part ends: values of a loaded model, or the name of the last frozen
            child of a Sequential. None: as far as no parameter trains (`requires_grad`).
        batch_size: of the run.
        folder: keeps the features as memory-mapped .npy files in this new folder, which
            `load_features` opens again; None: in memory.

    Returns:
        The features, and the head, a module whose parameters are the model's.

    Raises:
        InvalidArgumentError: no such value, or no frozen part.
        ShapeError: a value has no row for each sample.

    Example:
        cached = tk.train.cache_features(model, train)
        step = TrainStep(cached.head, loss, optim.AdamW(cached.head.parameters()))
        Trainer(step).fit(DataLoader(cached.data, 64, shuffle=True), epochs=5)
        model.save("tuned.onnx")
    """
    body: Module
    head: Module
    if isinstance(model, GraphModule):
        names = _frontier(model) if at is None else flat(at)
        body, head = model.cut(outputs=names), model.cut(inputs=names)
    elif isinstance(model, Sequential):
        body, head, names = _split(model, at)
    else:
        raise InvalidArgumentError(
            "cache_features: a loaded model or a Sequential is required, got "
            f"{type(model).__name__}. Save it and load the file."
        )
    made = Features(body, head, names, batch_size)
    made.data = made.extract(data, folder)
    return made


def load_features(folder: str | os.PathLike[str]) -> TensorDataset:
    """Opens a folder of features; its arrays stay on the disk until they are read.

    Raises:
        InvalidArgumentError: it is no such folder.
    """
    try:
        index = json.loads((Path(folder) / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(
            f"load_features '{os.fspath(folder)}': a folder that cache_features wrote is required, "
            f"got {type(error).__name__}: {error}."
        ) from None
    # Copy on write: a tensor may be written to, the file stays as it is.
    arrays = [np.load(Path(folder) / name, mmap_mode="c") for name in index["arrays"]]
    return TensorDataset(*map(from_numpy, arrays))


def _frontier(model: GraphModule) -> list[str]:
    """The values that depend on inputs alone and are read by what depends on a parameter."""
    from toolkit.graph.subgraphs import reads

    graph = model._model.graph
    fed = {v for v in graph.inputs if v.name not in graph.initializers}
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    moved = {v for name, v in graph.initializers.items() if name in names}
    hosts = getattr(model, "_hosts", ())
    adapted = {site.node for host in hosts for site in host.reading.sites}
    found: dict[Any, None] = {}
    for node in graph:
        read = reads(node)
        if node in adapted or moved.intersection(read):
            found.update((v, None) for v in read if v in fed and v not in moved)
            moved.update(node.outputs)
        if fed.intersection(read):
            fed.update(node.outputs)
    if all(v in graph.inputs for v in found):
        raise InvalidArgumentError(
            "cache_features: frozen parameters before the first that trains are required, got "
            + ("one that reads the inputs and trains." if found else "none that trains.")
        )
    return [str(v.name) for v in found]


def _split(model: Sequential, at: Any) -> tuple[Module, Module, list[str]]:
    """A Sequential behind a child; the parts hold the same modules."""
    children = dict(model.named_children())
    names = list(children)
    if at is None:
        trains = [any(p.requires_grad for p in m.parameters()) for m in children.values()]
        end = trains.index(True) if True in trains else 0
        if end == 0:
            raise InvalidArgumentError(
                "cache_features: frozen children before the first that trains are required, got "
                f"{'a first one' if True in trains else 'none'} that trains."
            )
    else:
        if at not in names[:-1]:
            raise InvalidArgumentError(
                f"cache_features: a child before the last is required, got '{at}'. "
                + near(str(at), names)
            )
        end = names.index(at) + 1
    parts = []
    for part in (names[:end], names[end:]):
        made = Sequential()
        for name in part:
            made.add_module(name, children[name])
        made.train(model.training)
        parts.append(made)
    return parts[0], parts[1], [names[end - 1]]


def _input_count(body: Module, most: int) -> int:
    """How many of a batch's values are inputs of the model."""
    if isinstance(body, GraphModule):
        return len(body._model.graph.inputs)
    return min(1, most)


def _frozen(body: Module, inputs: Any) -> Any:
    """The body in evaluation mode, as a model of any batch size."""
    training = body.training
    body.eval()
    try:
        return export(body, tuple(inputs))
    finally:
        body.train(training)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder that is there whole at the end of the block, or not at all."""
    if path.exists() and not (path / INDEX).exists():
        raise InvalidArgumentError(
            f"cache_features: a new folder, or one of features, is required, got '{path}'."
        )
    made = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        yield made
        if path.exists():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(old)
            made.rename(path)
            shutil.rmtree(old)
        else:
            made.rename(path)
    finally:
        shutil.rmtree(made, ignore_errors=True)
