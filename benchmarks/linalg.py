"""Factorisations beside torch's (LAPACK): batches of small matrices, and single ones.

python benchmarks/linalg.py [--threads 2] [--seconds 0.5]
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import compare, header, settle

SHAPES = [(1000, 8, 8), (64, 64), (512, 512)]


def cases(shape: tuple[int, ...]) -> dict[str, tuple[Callable[..., object], list[np.ndarray]]]:
    """Name, call for either side, float32 inputs."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    positive = x @ x.swapaxes(-1, -2) + shape[-1] * np.eye(shape[-1], dtype=np.float32)
    symmetric = x + x.swapaxes(-1, -2)
    return {
        "cholesky": (lambda m, a: m.linalg.cholesky(a), [positive]),
        "solve, 1 right side": (lambda m, a, b: m.linalg.solve(a, b), [x, x[..., :1].copy()]),
        "solve, n right sides": (lambda m, a, b: m.linalg.solve(a, b), [x, x]),
        "qr": (lambda m, a: m.linalg.qr(a), [x]),
        "eigh": (lambda m, a: m.linalg.eigh(a), [symmetric]),
        "eigvalsh": (lambda m, a: m.linalg.eigvalsh(a), [symmetric]),
        "svd": (lambda m, a: m.linalg.svd(a), [x]),
        "svdvals": (lambda m, a: m.linalg.svdvals(a), [x]),
        "matrix_exp": (lambda m, a: m.linalg.matrix_exp(a), [x * 0.1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5)
    args = parser.parse_args()
    tk.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    print(header("ours", "torch"))
    for shape in SHAPES:
        for name, (call, arrays) in cases(shape).items():
            mine, theirs = ([m.tensor(a) for a in arrays] for m in (tk, torch))
            settle()
            sides = {"ours": partial(call, tk, *mine), "torch": partial(call, torch, *theirs)}
            row = compare(f"{name}, {' x '.join(map(str, shape))}", sides, args.seconds)
            print(row.line(), flush=True)


if __name__ == "__main__":
    main()
