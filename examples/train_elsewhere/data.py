"""Writes scikit-learn's digits as plain numbers: python data.py DATA."""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
images, labels = load_digits(return_X_y=True)
(folder / "x.bin").write_bytes((images[:1600] / 16).astype(np.float32).tobytes())
(folder / "y.bin").write_bytes(labels[:1600].astype(np.int64).tobytes())
