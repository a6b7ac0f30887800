"""Makes data/ort_artifacts.zip: artifacts of onnxruntime-training, and what it gives in 20 steps.

    pip install onnxruntime-training==1.19.2 onnx==1.17 "numpy<2.3" torch   # Python 3.11 or older
    python -m tests.convert.record.artifacts

For each case: the generated files, the checkpoint after 20 steps, losses of all steps; some also hold
the optimizer's state and a checkpoint after 10.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import torch

from tests.convert.networks import CASES, NOT_RUN, RESUMED, STEPS, batches

TARGET = Path(__file__).parent.parent / "data" / "ort_artifacts.zip"


def export(case: str, folder: Path) -> onnx.ModelProto:
    """The network as torch exports it for training."""
    kind, opset, _, _, _ = (CASES | NOT_RUN)[case]
    torch.manual_seed(0)
    x = torch.from_numpy(next(batches(case))[0])
    axis = 1 if kind.__name__ == "Recurrent" else 0
    dynamic = None if case == "conv_sgd" else {"input": {axis: "batch"}, "output": {0: "batch"}}
    torch.onnx.export(
        kind().train(),
        (x,),
        str(folder / "model.onnx"),
        input_names=["input"],
        output_names=["output"],
        opset_version=opset,
        dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        dynamic_axes=dynamic,
    )
    return onnx.load(folder / "model.onnx")


def generate(case: str, folder: Path) -> None:
    """training_model, eval_model, optimizer_model, checkpoint."""
    from onnxruntime.training import artifacts, onnxblock

    _, _, loss, optim, _ = (CASES | NOT_RUN)[case]
    model = export(case, folder)
    floats = [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    frozen = [name for name in floats if "running" in name]
    losses = {
        "ce": "CrossEntropyLoss",
        "mse": "MSELoss",
        "l1": "L1Loss",
        "bce": "BCEWithLogitsLoss",
    }
    optimizer = artifacts.OptimType.SGD if optim == "sgd" else onnxblock.optim.AdamW()
    if optim == "clip":
        optimizer = onnxblock.optim.AdamW(
            clip_grad=onnxblock.optim.ClipGradNorm(0.5),
            weight_decay=0.1,
            betas=(0.8, 0.9),
            eps=1e-3,
        )
    elif optim == "torch_adamw":
        optimizer = onnxblock.optim.AdamW(weight_decay=0.1, eps=1e-3)
    artifacts.generate_artifacts(
        model,
        requires_grad=[name for name in floats if name not in frozen],
        frozen_params=frozen,
        loss=getattr(artifacts.LossType, losses[loss]),
        optimizer=optimizer,
        artifact_directory=folder,
        additional_output_names=["output"] if loss == "bce" else None,
    )
    (folder / "model.onnx").unlink()
    if optim == "torch_adamw":  # The generator knows only mode 1.
        path = folder / "optimizer_model.onnx"
        proto = onnx.load(path)
        next(a for a in proto.graph.node[0].attribute if a.name == "adam_mode").i = 0
        onnx.save(proto, path)


def train(case: str, folder: Path) -> None:
    """Runs all steps; writes checkpoints and losses."""
    from onnxruntime.training import api

    # onnxruntime does not load what it wrote: BatchNormalization with its outputs of training.
    proto = onnx.load(folder / "eval_model.onnx")
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            del node.output[1:]
    onnx.save(proto, folder / "fixed.onnx")
    state = api.CheckpointState.load_checkpoint(str(folder / "checkpoint"))
    module = api.Module(str(folder / "training_model.onnx"), state, str(folder / "fixed.onnx"))
    optimizer = api.Optimizer(str(folder / "optimizer_model.onnx"), module)
    optimizer.set_learning_rate(CASES[case][4])
    losses = []
    for i, batch in enumerate(batches(case)):
        module.train()
        losses.append(first(module(*batch)))
        optimizer.step()
        module.lazy_reset_grad()
        if i + 1 == STEPS or (i + 1 == STEPS // 2 and case in RESUMED):
            path = folder / f"checkpoint{i + 1}"
            api.CheckpointState.save_checkpoint(state, str(path), case in RESUMED)
    module.eval()
    losses.append(first(module(*batch)))
    (folder / "fixed.onnx").unlink()
    np.save(folder / "losses.npy", np.array(losses, np.float32))


def first(results) -> float:
    return float(results[0] if isinstance(results, (tuple, list)) else results)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(TARGET, "w") as target:
        for case in sys.argv[1:] or [*CASES, *NOT_RUN]:
            folder = Path(name) / case
            folder.mkdir()
            generate(case, folder)
            if case in CASES:
                train(case, folder)
            for path in sorted(folder.iterdir()):
                info = zipfile.ZipInfo(f"{case}/{path.name}", (2026, 1, 1, 0, 0, 0))
                info.compress_type = zipfile.ZIP_DEFLATED
                target.writestr(info, path.read_bytes(), compresslevel=9)


if __name__ == "__main__":
    main()
