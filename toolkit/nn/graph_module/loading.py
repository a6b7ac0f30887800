"""`tk.load`: a file as a module."""

from __future__ import annotations

import os
from collections.abc import Iterable

from toolkit.nn.graph_module.module import GraphModule


def load(
    path: str | os.PathLike[str] | bytes,
    trainable: str | Iterable[str] | None = None,
    batch_norm: str = "train",
) -> GraphModule:
    """Reads any `.onnx` as a module that trains; `tk.load`.

    Every float tensor of the file that can have been learned is a `Parameter` under its own name,
    wherever the file holds it: initializers, Constant nodes, the graphs inside If, Loop and Scan,
    and integers behind DequantizeLinear, which train as floats and are rounded where they are
    read. Running statistics are buffers. Arguments of operators (bounds of Clip, epsilons, scales
    of quantization, masks) are constants; `model.unfreeze("name")` makes a parameter of one. Bodies
    of model-local functions stay as they are.

    The module is in evaluation mode. In training mode Dropout nodes of the file are active and
    BatchNormalization takes the batch's statistics, as in PyTorch; exporters fold both away as a
    rule (`model.insert_dropout` puts Dropout back).

    `model.save` writes the same file again: names, interface, metadata, opset and nodes are the
    original's, and only tensors that changed differ. See docs/fine_tuning.md for heads, cuts, ties.

    Args:
        path: a path or the file's bytes.
        trainable: globs of the names that train, "encoder.*" or a list; all without. The others are
            frozen, as by `model.freeze`.
        batch_norm: "train" (in training mode the batch's statistics, and the running ones move) or
            "frozen" (the running ones, always). One whose scale and bias are frozen is frozen.

    Raises:
        InvalidModelError: it is no valid model.
        InvalidArgumentError: a pattern of `trainable` matches no name.

    Example:
        model = tk.load("resnet18.onnx", trainable=["layer4.*", "fc.*"])
        model.replace_head(classes=5).train()
    """
    module = GraphModule(path, None, trainable, batch_norm)
    module.eval()
    return module
