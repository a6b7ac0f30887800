"""Items and slices of a part of a numpy array, and batches of it, beside torch.

python benchmarks/items.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import compare
from toolkit import data as our_data

COUNT, USED = 2000, 1500


def cases(m: Any, data: Any, array: np.ndarray) -> dict[str, Callable[[], None]]:
    """The rows of the table on one side."""
    part = m.from_numpy(array)[:USED]
    loader = data.DataLoader(data.TensorDataset(part, m.arange(USED)), batch_size=64)

    def items() -> None:
        for i in range(USED):
            part[i]

    def slices() -> None:
        for i in range(0, USED, 4):
            part[i : i + 4]

    def batches() -> None:
        for _ in loader:
            pass

    return {
        f"{USED} items of images[:{USED}]": items,
        f"{USED // 4} slices of it": slices,
        "DataLoader, batches of 64": batches,
    }


def main() -> None:
    """Prints microseconds."""
    tk.set_num_threads(1)
    torch.set_num_threads(1)
    array = np.random.default_rng(0).random((COUNT, 1, 28, 28), np.float32)
    ours, theirs = cases(tk, our_data, array), cases(torch, torch_data, array)
    print("| what | ours us | torch us | ours / torch |\n|" + "---|" * 4)
    for name, run in ours.items():
        found = compare(name, {"ours": run, "torch": theirs[name]}, seconds=1).medians
        a, b = found["ours"] * 1e6, found["torch"] * 1e6
        print(f"| {name} | {a:.0f} | {b:.0f} | {a / b:.2f} |")


if __name__ == "__main__":
    main()
