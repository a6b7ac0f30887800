"""Models that people ship, fine-tuned: gradients, a falling loss, and the file that is left.

openwakeword is not among the packages of the extra `real`, for its licence.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import toolkit as tk
from tests import tolerances
from tests.runtime.test_real_models import SIZES, feeds_of, path_of
from toolkit import optim
from toolkit.nn.graph_module.places import places_of
from toolkit.train import TrainStep

WAKE = "openwakeword/resources/models/"
FILES = {
    "magika/models/standard_v3_3/model.onnx": {"bytes": (2, 2048)},
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx": {"x": (1, 3, 32, 64)},
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx": {"x": (1, 3, 48, 32)},
    "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x": (2, 3, 48, 64)},
    "silero_vad/data/silero_vad.onnx": None,
    "silero_vad/data/silero_vad_16k_op15.onnx": None,
    "silero_vad/data/silero_vad_op18_ifless.onnx": None,
    f"{WAKE}embedding_model.onnx": {"input_1": (1, 76, 32, 1)},
    f"{WAKE}hey_mycroft_v0.1.onnx": None,
}
# What has no gradient, or none that is finite everywhere: sizes, and exponents of negative numbers.
ARGUMENTS = {"Resize": (1, 2), "Pow": (1,)}
STEP = tolerances.FINITE_STEP / 100  # Small, for thousands of ReLUs are within a larger one.


def in_float64(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in float64: differences of float32 results say little."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)

    def tensor(t: onnx.TensorProto) -> None:
        if t.data_type == onnx.TensorProto.FLOAT:
            t.CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(t).astype("f8"), t.name)
            )

    def graph(g: onnx.GraphProto) -> None:
        for t in g.initializer:
            tensor(t)
        for value in (*g.input, *g.output):
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
                value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
        del g.value_info[:]
        for node in g.node:
            resize = node.op_type in ("Resize", "Upsample")
            for a in node.attribute:
                tensor(a.t)
                if node.op_type == "Cast" and a.name == "to" and a.i == onnx.TensorProto.FLOAT:
                    a.i = onnx.TensorProto.DOUBLE
                if a.type == onnx.AttributeProto.GRAPH:
                    graph(a.g)
            sizes.extend(name for name in node.input[1:3] if resize)

    sizes: list[str] = []
    graph(copy.graph)
    for key, place in places_of(copy.graph).items():
        if key in sizes and place.tensor is not None and place.tensor.data_type == 11:
            array = place.read().astype("f4")
            place.tensor.CopyFrom(onnx.numpy_helper.from_array(array, place.tensor.name))
    return copy


def inputs_of(file: str, float_type: str = "f4") -> dict[str, np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path_of(file), options, ["CPUExecutionProvider"])
    feeds = next(feeds_of(session.get_inputs(), FILES[file] or SIZES[file], seed=len(file)))
    return {k: x.astype(float_type) if x.dtype == np.float32 else x for k, x in feeds.items()}


def learnable(module) -> list[str]:
    """Every float tensor of the file but what has no gradient."""
    graph = module._model.graph
    names = [*(n for n, _ in module.named_buffers()), *module._constants]
    names = [n for n in names if module.tensor_of(n).is_floating_point()]
    uses = {n: [(u.node.op_type, u.idx) for u in graph.initializers[n].uses()] for n in names}
    return [
        n for n in names if uses[n] and not any(i in ARGUMENTS.get(op, ()) for op, i in uses[n])
    ]


def outputs_of(module, feeds) -> list:
    made = module(**{k: tk.tensor(x) for k, x in feeds.items()})
    return [y for y in (made if isinstance(made, tuple) else (made,)) if y.is_floating_point()]


@pytest.mark.parametrize("file", FILES)
def test_gradients_of_every_float_tensor(file: str) -> None:
    """They exist, are finite, and match central differences along 5 random directions."""
    text = in_float64(onnx.load(path_of(file))).SerializeToString()
    module = tk.load(text)
    feeds = inputs_of(file, "f8")
    module.unfreeze(*learnable(module))
    left = [t for t in module._constants.values() if t.is_floating_point() and t.numel() > 4]
    assert all(t.numpy().max(initial=0) == 0 for t in left)  # Zeros that nothing reads.

    rng = np.random.default_rng(7)
    weights = [tk.tensor(rng.standard_normal(y.shape)) for y in outputs_of(module, feeds)]

    def loss():
        pairs = zip(outputs_of(module, feeds), weights, strict=True)
        return sum((y * w).sum() for y, w in pairs)

    names, tensors = zip(*module.named_parameters(), strict=True)
    loss().backward()
    for name, p in zip(names, tensors, strict=True):
        assert p.grad is not None, name
        assert np.isfinite(p.grad.numpy()).all(), name
    start = [p.detach().numpy().copy() for p in tensors]
    grads = [p.grad.numpy() for p in tensors]
    for _ in range(5):
        # Each tensor has as large a part in the sum as it can, within its own size.
        along = [
            rng.standard_normal(x.shape)
            * min(1 / (np.linalg.norm(g) + 1e-12), np.abs(x).mean() + 1e-3)
            for g, x in zip(grads, start, strict=True)
        ]
        want = sum((g * d).sum() for g, d in zip(grads, along, strict=True))
        total = sum(abs((g * d).sum()) for g, d in zip(grads, along, strict=True))
        values = []
        with tk.no_grad():
            for h in (STEP, -STEP):
                for p, x, d in zip(tensors, start, along, strict=True):
                    p.copy_(tk.tensor(x + h * d))
                values.append(float(loss()))
        got = (values[0] - values[1]) / (2 * STEP)
        assert abs(got - want) <= tolerances.FINITE[0] * total


def mse(output, target):
    return ((output - target) ** 2).mean()


@pytest.mark.parametrize("file", FILES)
def test_fine_tuning(file: str, tmp_path) -> None:
    """50 steps lower the loss; the file runs elsewhere; what did not train is as it was."""
    onnxruntime = pytest.importorskip("onnxruntime")
    original = onnx.load(path_of(file))
    module = tk.load(path_of(file))
    assert module.to_proto() == original
    names = [name for name, _ in module.named_parameters()]
    module.freeze(names[::3])
    feeds = inputs_of(file)
    first = outputs_of(module.eval(), feeds)[0]
    rng = np.random.default_rng(3)
    target = rng.random(first.shape).astype("f4")
    if np.allclose(first.detach().numpy().sum(-1), 1):  # A distribution: one class each.
        target = np.eye(first.shape[-1], dtype="f4")[target.argmax(-1)]
    target = tk.tensor(target)
    # With a decay, weights of a branch that does not run move too.
    optimizer = optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    step = TrainStep(module, mse, optimizer)
    batch = [tk.tensor(feeds[name]) for name in module.input_names]
    losses = [float(step(*batch, target)[0]) for _ in range(50)]
    assert losses[-1] < 0.9 * losses[0], losses[::7]
    module.eval().save(tmp_path / "tuned.onnx")

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        tmp_path / "tuned.onnx", options, ["CPUExecutionProvider"]
    )
    for got, want in zip(outputs_of(module, feeds), session.run(None, feeds), strict=True):
        np.testing.assert_allclose(
            got.detach().numpy(), want, rtol=1e-4, atol=1e-5 * np.abs(want).max()
        )

    tuned = onnx.load(tmp_path / "tuned.onnx")
    before, after = places_of(original.graph), places_of(tuned.graph)
    assert list(before) == list(after)
    changed = {k for k in before if before[k].read().tobytes() != after[k].read().tobytes()}
    trained = {n for n, p in module.named_parameters() if p.requires_grad}
    assert changed == trained | moved_statistics(module)
    for key in changed:
        assert before[key].read().shape == after[key].read().shape
        after[key].write(before[key].read())
    assert tuned == original


def moved_statistics(module) -> set[str]:
    """The running statistics of BatchNormalizations that trained."""
    found = set()
    for node in module._model.graph:
        if node.op_type == "BatchNormalization":
            scale, bias, mean, var = (v.name for v in node.inputs[1:])
            if any(module.tensor_of(n).requires_grad for n in (scale, bias)):
                found |= {mean, var}
    return found
