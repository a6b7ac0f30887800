"""Loading of data beside torch: epochs of the same data sets through both loaders, in turns.

    python benchmarks/data_loading.py [--seconds 6] [part of a row's name ...]

The programs are the same but for the module. torch has no transforms of its own (they are
torchvision's): there, images are changed by Pillow and by torch's operations, as those do.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.data
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
import toolkit.utils.data
from benchmarks.harness import compare
from toolkit.data import transforms
from toolkit.data.transforms.base import chance

OURS, THEIRS = (tk, toolkit.utils.data), (torch, torch.utils.data)
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60_000, 784), np.float32), RNG.integers(0, 10, 60_000)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def jpegs(count: int) -> list[bytes]:
    """Smooth pictures of 256 x 256 as files."""
    found = []
    for _ in range(count):
        small = Image.fromarray(RNG.integers(0, 256, (16, 16, 3), np.uint8))
        file = io.BytesIO()
        small.resize((256, 256), Image.Resampling.BICUBIC).save(file, "jpeg", quality=90)
        found.append(file.getvalue())
    return found


FILES = jpegs(96)


def epoch(make: Callable[[], Any]) -> Callable[[], None]:
    """One pass through a loader, which is kept."""
    loader = make()

    def run() -> None:
        tk.manual_seed(0)  # The same crops in each epoch, on both sides.
        for batch in loader:
            batch[0]

    return run


def tensors(m: Any, d: Any) -> Any:
    """60,000 rows of 784 floats with labels."""
    return d.TensorDataset(m.from_numpy(X), m.from_numpy(Y))


def items(m: Any, d: Any, count: int) -> Any:
    """Samples that are tensors of their own, with a label."""

    class Items(d.Dataset):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = [m.from_numpy(row.copy()) for row in X[:count]]

        def __len__(self) -> int:
            return count

        def __getitem__(self, i: int) -> Any:
            return self.rows[i], i

    return Items()


def stream(m: Any, d: Any, count: int, arrays: bool) -> Any:
    """A stream of samples: rows of numpy or tensors, with a label."""
    rows = list(X[:count]) if arrays else [m.from_numpy(row.copy()) for row in X[:count]]

    class Stream(d.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Any:
            info = d.get_worker_info()
            first, step = (info.id, info.num_workers) if info else (0, 1)
            return ((rows[i], i) for i in range(first, count, step))

    return Stream()


def pictures(m: Any, d: Any) -> Any:
    """Decoded, resized, cropped, flipped and normalized pictures of 224 x 224."""

    class Pictures(d.Dataset):  # type: ignore[misc]
        def __init__(self) -> None:
            mean, std = (m.tensor(v).reshape(3, 1, 1) for v in (MEAN, STD))
            self.mean, self.std = mean, std
            self.change = transforms.Compose(
                [
                    transforms.RandomResizedCrop(224),
                    transforms.RandomHorizontalFlip(),
                    transforms.ToTensor(),
                    transforms.Normalize(MEAN, STD),
                ]
            )

        def __len__(self) -> int:
            return len(FILES)

        def __getitem__(self, i: int) -> Any:
            image = Image.open(io.BytesIO(FILES[i])).convert("RGB")
            return (self.change(image) if m is tk else self.theirs(image)), i

        def theirs(self, image: Image.Image) -> Any:
            """What torchvision does, step by step."""
            get = transforms.RandomResizedCrop.get_params
            top, left, h, w = get(image, (0.08, 1.0), (0.75, 4 / 3))
            image = image.crop((left, top, left + w, top + h))
            image = image.resize((224, 224), Image.Resampling.BILINEAR)
            if chance(0.5):
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            x = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous()
            return x.to(torch.float32).div(255).sub_(self.mean).div_(self.std)

    return Pictures()


def wide(m: Any, d: Any) -> Any:
    """Samples of 600 KB that cost nothing to make: what remains is handing them over."""

    class Wide(d.Dataset):  # type: ignore[misc]
        def __init__(self) -> None:
            self.row = m.from_numpy(np.ones(150_000, np.float32))

        def __len__(self) -> int:
            return 256

        def __getitem__(self, i: int) -> Any:
            return self.row, i

    return Wide()


def cases() -> dict[str, Callable[[Any, Any], Any]]:
    """Loaders by name."""
    plain = {"batch_size": 64, "shuffle": True}
    two = {"num_workers": 2, "persistent_workers": True}

    def own(samples: Any) -> Any:
        return samples

    return {
        "TensorDataset, 60,000 x 784": lambda m, d: d.DataLoader(tensors(m, d), **plain),
        "TensorDataset, own collate_fn": lambda m, d: d.DataLoader(
            d.Subset(tensors(m, d), range(12_800)), collate_fn=own, **plain
        ),
        "TensorDataset, 2 workers": lambda m, d: d.DataLoader(tensors(m, d), **plain, **two),
        "tensors one by one": lambda m, d: d.DataLoader(items(m, d, 12_800), **plain),
        "stream of tensors": lambda m, d: d.DataLoader(stream(m, d, 12_800, False), 64),
        "stream of arrays": lambda m, d: d.DataLoader(stream(m, d, 12_800, True), 64),
        "stream of arrays, 2 workers": lambda m, d: d.DataLoader(
            stream(m, d, 12_800, True), 64, **two
        ),
        "JPEG, crop, flip, normalize": lambda m, d: d.DataLoader(pictures(m, d), 16),
        "the same, 2 workers": lambda m, d: d.DataLoader(pictures(m, d), 16, **two),
        "batches of 19 MB, 2 workers": lambda m, d: d.DataLoader(wide(m, d), 32, **two),
    }


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    tk.set_num_threads(1)
    torch.set_num_threads(1)
    print("| epoch of | ours ms | torch ms | ratio |\n|" + "---|" * 4)
    for name, make in cases().items():
        if given.names and not any(part in name for part in given.names):
            continue
        sides = {
            "ours": epoch(lambda make=make: make(*OURS)),  # type: ignore[misc]
            "torch": epoch(lambda make=make: make(*THEIRS)),  # type: ignore[misc]
        }
        medians = compare(name, sides, seconds=given.seconds).medians
        ours, theirs = (medians[side] * 1e3 for side in ("ours", "torch"))
        print(f"| {name} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
