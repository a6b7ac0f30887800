"""Trains an exported step with onnxruntime: python train.py FOLDER DATA STEPS."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder, data, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
table = json.loads(Path(folder, "training.json").read_text())
session = onnxruntime.InferenceSession(f"{folder}/step.onnx")
names = [output.name for output in session.get_outputs()]
updates = table["models"]["step"]["updates"]  # Output -> the state whose next value it is.
x = np.fromfile(f"{data}/x.bin", np.float32).reshape(-1, 1, 8, 8)
y = np.fromfile(f"{data}/y.bin", np.int64)

states = {}  # The first call takes the initial values that step.onnx holds.
for i in range(steps):
    rows = np.arange(64 * i, 64 * i + 64) % len(x)
    rate = np.array(1e-2 * 0.5 * (1 + math.cos(math.pi * i / steps)), np.float32)
    feed = {"x": x[rows], "target": y[rows], "lr": rate, **states}
    results = dict(zip(names, session.run(names, feed), strict=True))
    states = {state: results[output] for output, state in updates.items()}
    print(f"{results['loss']:.6f}")
np.savez(f"{folder}/trained.npz", **states)
