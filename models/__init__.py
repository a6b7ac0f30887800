"""Reference models written with `toolkit.nn`, each trainable by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from toolkit import nn
from toolkit.errors import InvalidArgumentError


@dataclass(frozen=True)
class Info:
    """What is known of a model without building it.

    Attributes:
        make: "module:function" below `toolkit.models`; takes the model's options.
        loss: the loss that suits it, by the name that `toolkit train --loss` takes.
        data: the data it is made for, as a spec of `toolkit.data.load`.
        input_shape: one sample's shape, without the batch.
        input_dtype: "float32", or "int64" for characters.
        num_classes: size of the output's class dimension by default.
        options: how options follow from the data's meta; see `create_for`.
        summary: one line.
    """

    make: str
    loss: str
    data: str
    input_shape: tuple[int, ...]
    input_dtype: str
    num_classes: int
    options: Callable[[Any], dict[str, Any]]
    summary: str


def _images(meta: Any) -> dict[str, Any]:
    return {"num_classes": meta.num_classes, "in_channels": meta.input_shape[0]}


def _features(meta: Any) -> dict[str, Any]:
    size = 1
    for d in meta.input_shape:
        size *= d
    return {"in_features": size, "num_classes": meta.num_classes or 1}


def _text(meta: Any) -> dict[str, Any]:
    return {"vocab_size": meta.num_classes, "block_size": meta.input_shape[0]}


MODELS: dict[str, Info] = {
    "mlp": Info(
        "mlp:MLP", "ce", "mnist5k", (1, 28, 28), "float32", 10, _features,
        "Fully connected: 784-128-64-10 with ReLU",
    ),
    "digits_cnn": Info(
        "digits_cnn:DigitsCNN", "ce", "digits", (1, 8, 8), "float32", 10, _images,
        "Convolutions with BatchNorm and Dropout for 8x8 digits",
    ),
    "mnist_cnn": Info(
        "mnist_cnn:MnistCNN", "nll", "mnist5k", (1, 28, 28), "float32", 10, _images,
        "The two-convolution network of PyTorch's basic MNIST example",
    ),
    "resnet18_cifar": Info(
        "resnet18_cifar:ResNet18", "ce", "npz:cifar10.npz", (3, 32, 32), "float32", 10, _images,
        "ResNet-18 with a 3x3 stem for 32x32 images",
    ),
    "char_gpt": Info(
        "char_gpt:CharGPT", "token_ce", "topics", (128,), "int64", 96, _text,
        "A character-level GPT: 4 layers, 6 heads, width 192",
    ),
    "svm": Info(
        "svm:SVM", "hinge", "breast_cancer", (30,), "float32", 2, _features,
        "A linear support vector machine",
    ),
    "kernel_svm": Info(
        "svm:kernel_svm", "hinge", "breast_cancer", (30,), "float32", 2, _features,
        "A support vector machine of a Gaussian kernel, by 512 random Fourier features",
    ),
    "hmm": Info(
        "hmm:HMM", "token_ce", "topics", (128,), "int64", 96,
        lambda meta: {"vocab_size": meta.num_classes},
        "A hidden Markov model of characters with 16 states",
    ),
}  # fmt: skip


def info(name: str) -> Info:
    """What is known of a model.

    Raises:
        InvalidArgumentError: there is no model of that name.
    """
    if name not in MODELS:
        raise InvalidArgumentError(f"models: one of {', '.join(MODELS)} is required, got '{name}'.")
    return MODELS[name]


def create(name: str, **options: Any) -> nn.Module:
    """Builds a model by name, with freshly drawn weights.

    Raises:
        InvalidArgumentError: there is no model of that name, or it has no such option.
    """
    module, _, attribute = info(name).make.partition(":")
    make = getattr(import_module(f"toolkit.models.{module}"), attribute)
    try:
        model: nn.Module = make(**options)
    except TypeError as error:
        raise InvalidArgumentError(f"models: options of '{name}' are required: {error}.") from None
    return model


def create_for(name: str, meta: Any) -> nn.Module:
    """Builds a model for data, by the `meta` that `toolkit.data.load` gives with them.

    Raises:
        InvalidArgumentError: the data's inputs are not of the kind the model takes.
    """
    known = info(name)
    flat = known.options is _features
    if meta.input_dtype != known.input_dtype or not (
        flat or len(meta.input_shape) == len(known.input_shape)
    ):
        raise InvalidArgumentError(
            f"models: data like {known.input_dtype}{list(known.input_shape)} is required by "
            f"'{name}', got {meta.input_dtype}{list(meta.input_shape)} of '{meta.name}'."
        )
    options = known.options(meta)
    if name in ("mnist_cnn", "digits_cnn"):
        options["image_size"] = meta.input_shape[1:]
    return create(name, **options)


def default_loss(name: str) -> str:
    """The name of the loss that suits a model."""
    return info(name).loss


def example_input(name: str, batch: int = 2, seed: int = 0) -> Any:
    """A random batch of the kind that a model takes by default, as a tensor."""
    import numpy as np

    from toolkit.tensor import from_numpy

    known = info(name)
    rng = np.random.default_rng(seed)
    shape = (batch, *known.input_shape)
    if known.input_dtype == "int64":
        return from_numpy(rng.integers(0, known.num_classes, shape))
    return from_numpy(rng.standard_normal(shape, np.float32))


__all__ = ["MODELS", "Info", "create", "create_for", "default_loss", "example_input", "info"]
