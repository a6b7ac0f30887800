"""Files with classes: a folder for each class, or a list `path,label`; and `ImageFolder`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.data import formats
from toolkit.data.dataset import Dataset
from toolkit.data.spec import Spec
from toolkit.errors import InvalidArgumentError

Labels = npt.NDArray[np.int64]

IMAGE_ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
_TRAIN, _TEST = ("train", "training"), ("val", "valid", "validation", "test", "testing")


def class_files(
    spec: Spec, endings: frozenset[str], what: str, known: tuple[str, ...] | None
) -> list[tuple[list[Path], Labels, tuple[str, ...]]]:
    """Paths, labels and classes of one part, or of a training and a testing part."""
    path = spec.file
    if path.is_file():
        return [_listed(spec, path, what, known)]
    if not path.is_dir():
        raise spec.error(f"a folder or a list of files is required, got '{path}'.")
    first, second = _subfolder(path, _TRAIN), _subfolder(path, _TEST)
    if first is None or second is None:
        return [_foldered(spec, path, endings, what, known)]
    train = _foldered(spec, first, endings, what, known)
    return [train, _foldered(spec, second, endings, what, train[2])]


def _subfolder(path: Path, names: Sequence[str]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path, endings: frozenset[str]) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in endings)


def _foldered(
    spec: Spec, path: Path, endings: frozenset[str], what: str, classes: tuple[str, ...] | None
) -> tuple[list[Path], Labels, tuple[str, ...]]:
    folders = _folders(path)
    if classes is None:
        classes = tuple(p.name for p in folders)
    found: list[tuple[Path, int]] = []
    for folder in folders:
        if folder.name not in classes:
            raise spec.error(
                f"folders of the classes {', '.join(classes[:10])} are required, got one more.",
                folder,
            )
        found += [(p, classes.index(folder.name)) for p in _files(folder, endings)]
    if not found:
        raise spec.error(f"a folder with {what} for each class is required, got none.", path)
    labels = np.array([label for _, label in found], np.int64)
    return [p for p, _ in found], labels, classes


def _listed(
    spec: Spec, path: Path, what: str, classes: tuple[str, ...] | None
) -> tuple[list[Path], Labels, tuple[str, ...]]:
    """A csv file with a header `path,label`; paths are relative to `root`, or to the list."""
    listed = Spec(spec.text, spec.kind, path, {"sep": None, "header": "yes"})
    table = formats.read_csv(listed)
    names = [table.column(spec, name, "a column of the list") for name in ("path", "label")]
    texts = table.texts(names[1])
    if classes is None:
        classes = tuple(sorted(set(texts)))
    root = path.parent if spec["root"] is None else Path(spec["root"]).expanduser()
    paths, labels = [], np.empty(len(texts), np.int64)
    for i, (name, text) in enumerate(zip(table.texts(names[0]), texts, strict=True)):
        where = f"{path} line {table.lines[i]}"
        if text not in classes:
            raise spec.error(
                f"one of the classes {', '.join(classes[:10])} is required, got '{text}'.", where
            )
        if not (root / name).is_file():
            raise spec.error(f"a file is required, got '{root / name}'.", where)
        paths.append(root / name)
        labels[i] = classes.index(text)
    if not paths:
        raise spec.error(f"at least one of {what} is required, got an empty list.", path)
    return paths, labels, classes


class ImageFolder(Dataset[Any]):
    """Images of a folder with a folder for each class, by torchvision's name.

    Sample `i` is the image, through `transform`, and the number of its class.

    Args:
        root: the folder.
        transform: from a Pillow image in RGB to what a model takes.
        target_transform: from the number of a class to what a loss takes.
        loader: from a path to an image.

    Raises:
        InvalidArgumentError: no folder, or one without images.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        loader: Callable[[Path], Any] | None = None,
    ) -> None:
        self.root, self.loader = Path(root), loader or _load_image
        self.transform, self.target_transform = transform, target_transform
        if not self.root.is_dir():
            raise InvalidArgumentError(f"ImageFolder: a folder is required, got '{root}'.")
        folders = _folders(self.root)
        self.classes = [folder.name for folder in folders]
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        self.samples: list[tuple[Path, int]] = []
        for i, folder in enumerate(folders):
            files = _files(folder, IMAGE_ENDINGS)
            if not files:
                raise InvalidArgumentError(
                    f"ImageFolder: images are required of each class, got none in '{folder}'."
                )
            self.samples += [(path, i) for path in files]
        if not self.samples:
            raise InvalidArgumentError(
                f"ImageFolder: a folder for each class is required in '{root}', got none."
            )
        self.imgs = self.samples
        self.targets = [target for _, target in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        path, target = self.samples[index]
        image: Any = self.loader(path)
        if self.transform is not None:
            image = self.transform(image)
        made: Any = target if self.target_transform is None else self.target_transform(target)
        return image, made


def _load_image(path: Path) -> Any:
    from PIL import Image

    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        text = " ".join(str(error).split())
        raise InvalidArgumentError(
            f"ImageFolder: a readable image is required, got '{path}': {text}"
        ) from None


UNREADABLE = (OSError, SyntaxError, ValueError)  # Pillow's, besides its own.
