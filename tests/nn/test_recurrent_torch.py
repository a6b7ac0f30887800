"""RNN, LSTM, GRU, their cells and packed sequences beside torch's."""

import numpy as np
import onnxruntime
import pytest

import toolkit as tk
from toolkit import nn, optim
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.utils import rnn as packing
from toolkit.train import TrainStep

torch = pytest.importorskip("torch")

from tests.nn.twins import check_module, close, same_weights, values  # noqa: E402

KINDS = ("RNN", "LSTM", "GRU")
OPTIONS = [
    {},
    {"bias": False},
    {"bidirectional": True},
    {"num_layers": 3, "batch_first": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True, "bias": False},
]


def text(options):
    return ", ".join(f"{k}={v}" for k, v in options.items()) or "plain"


def flat(result):
    """Every tensor of nested tuples."""
    if isinstance(result, (tuple, list)):
        return [t for part in result for t in flat(part)]
    return [result]


def both(kind, *args, **options):
    ours, theirs = getattr(nn, kind)(*args, **options), getattr(torch.nn, kind)(*args, **options)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    same_weights(ours, theirs)
    return ours, theirs


def check(ours, theirs, call, inputs):
    """`call(module, library's wrap, inputs) -> result`: values and all gradients agree."""
    xs = [tk.tensor(x).requires_grad_() for x in inputs]
    ys = [torch.tensor(x).requires_grad_() for x in inputs]
    got, want = flat(call(ours, packing, xs)), flat(call(theirs, torch.nn.utils.rnn, ys))
    assert len(got) == len(want)
    a = b = 0
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        close(g, w, f"output {i}")
        if w.is_floating_point() and w.requires_grad:
            weights = values(tuple(w.shape), seed=i)
            a = a + (g * tk.tensor(weights)).sum()
            b = b + (w * torch.tensor(weights)).sum()
    a.backward()
    b.backward()
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        close(x.grad, y.grad, f"gradient of input {i}")
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, name)


def hidden(kind, states):
    return tuple(states) if kind == "LSTM" else states[0]


@pytest.mark.parametrize("options", OPTIONS, ids=text)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
def test_layers(kind, options, given):
    ours, theirs = both(kind, 5, 7, **options)
    layers = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    x = values((2, 4, 5) if options.get("batch_first") else (4, 2, 5))
    states = [values((layers, 2, 7), 1), values((layers, 2, 7), 2)][: 2 if kind == "LSTM" else 1]

    def call(module, _, inputs):
        return module(inputs[0], hidden(kind, inputs[1:])) if given else module(inputs[0])

    check(ours, theirs, call, [x, *states] if given else [x])


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_batch(kind):
    ours, theirs = both(kind, 5, 7, bidirectional=True, batch_first=True)
    states = [values((2, 7), 1), values((2, 7), 2)][: 2 if kind == "LSTM" else 1]
    check(ours, theirs, lambda m, _, v: m(v[0]), [values((4, 5))])
    theirs.zero_grad()
    ours.zero_grad()
    check(
        ours, theirs, lambda m, _, v: m(v[0], hidden(kind, v[1:])), [values((4, 5)), *states]
    )  # fmt: skip


def test_relu():
    ours, theirs = both("RNN", 5, 7, 2, nonlinearity="relu", bidirectional=True)
    assert ours.nonlinearity == "relu"
    check(ours, theirs, lambda m, _, v: m(v[0]), [values((4, 2, 5))])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells(kind, bias):
    ours, theirs = both(kind, 5, 7, bias=bias)
    states = [values((3, 7), 1), values((3, 7), 2)][: 2 if kind == "LSTMCell" else 1]
    check(ours, theirs, lambda m, _, v: m(v[0]), [values((3, 5))])
    ours.zero_grad()
    theirs.zero_grad()
    name = kind.removesuffix("Cell")
    check(ours, theirs, lambda m, _, v: m(v[0], hidden(name, v[1:])), [values((3, 5)), *states])
    ours.zero_grad()
    theirs.zero_grad()
    check(ours, theirs, lambda m, _, v: m(v[0]), [values((5,))])


def test_relu_cell():
    check_module(
        nn.RNNCell(5, 7, nonlinearity="relu"),
        torch.nn.RNNCell(5, 7, nonlinearity="relu"),
        values((3, 5)),
    )


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=text)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [[5, 3, 1], [2, 4, 3]])
def test_packed_sequences(kind, options, lengths):
    ours, theirs = both(kind, 5, 7, **options)
    layers = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    states = [values((layers, 3, 7), 1), values((layers, 3, 7), 2)][: 2 if kind == "LSTM" else 1]

    def call(module, library, inputs):
        packed = library.pack_padded_sequence(inputs[0], lengths, enforce_sorted=False)
        y, last = module(packed, hidden(kind, inputs[1:]))
        padded, sizes = library.pad_packed_sequence(y, padding_value=-2.0)
        return y.data, last, padded, sizes, y.batch_sizes, y.sorted_indices

    check(ours, theirs, call, [values((5, 3, 5)), *states])


def test_data_of_a_packed_sequence_may_be_changed():
    ours, theirs = both("GRU", 4, 3)
    embedding, table = nn.Linear(5, 4), torch.nn.Linear(5, 4)
    same_weights(embedding, table)

    def call(module, library, inputs):
        layer = table if library is torch.nn.utils.rnn else embedding
        data, sizes, order, places = library.pack_padded_sequence(
            inputs[0], [1, 4, 2], batch_first=True, enforce_sorted=False
        )
        packed = library.PackedSequence(layer(data), sizes, order, places)
        y, h = module(packed)
        return library.pad_packed_sequence(y, batch_first=True, total_length=6), h

    check(ours, theirs, call, [values((3, 4, 5))])
    close(embedding.weight.grad, table.weight.grad)


def test_padding():
    arrays = [values((n, 2), n) for n in (2, 4, 1)]
    ours, theirs = [tk.tensor(a) for a in arrays], [torch.tensor(a) for a in arrays]
    library = torch.nn.utils.rnn
    for options in (
        {},
        {"batch_first": True},
        {"padding_value": 1.5},
        {"padding_side": "left", "batch_first": True},
    ):
        close(packing.pad_sequence(ours, **options), library.pad_sequence(theirs, **options))
    a = packing.pack_sequence(ours, enforce_sorted=False)
    b = library.pack_sequence(theirs, enforce_sorted=False)
    for x, y in zip(a, b, strict=True):
        close(x, y)
    padded = packing.pad_sequence(ours)
    for x, y in zip(packing.unpad_sequence(padded, tk.tensor([2, 4, 1])), arrays, strict=True):
        np.testing.assert_array_equal(x.numpy(), y)


def test_dropout_between_layers():
    torch.manual_seed(0)
    layer = nn.LSTM(5, 7, 2, dropout=1.0)
    x = tk.tensor(values((4, 2, 5)).astype(np.float32))
    y, _ = layer(x)
    bare = nn.LSTM(7, 7)
    bare.load_state_dict({k[:-1] + "0": v for k, v in layer.state_dict().items() if "l1" in k})
    close(y, bare(tk.zeros(4, 2, 7))[0])
    assert not np.allclose(layer.eval()(x)[0].detach().numpy(), y.detach().numpy())
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        nn.GRU(5, 7, dropout=0.5)


class Tagger(nn.Module):
    """A class for each step."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 6, 2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(12, 3)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


def test_export_runs_in_onnxruntime(tmp_path):
    tk.manual_seed(0)
    model = Tagger().eval()
    x = tk.randn(2, 4, 5)
    path = tmp_path / "tagger.onnx"
    tk.save(path, model, inputs=x, dynamic={"x": {0: "batch", 1: "time"}})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for shape in ((2, 4, 5), (3, 7, 5)):
        x = tk.randn(*shape)
        (y,) = session.run(None, {name: x.numpy()})
        np.testing.assert_allclose(y, model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_compiled_training_is_eager_training():
    tk.manual_seed(1)
    model, x, y = Tagger(), tk.randn(4, 6, 5), tk.randint(0, 3, (4, 6))
    twin = Tagger()
    twin.load_state_dict(model.state_dict())

    def loss(output, target):
        return nn.functional.cross_entropy(output.flatten(0, 1), target.flatten())

    step = TrainStep(model, loss, optim.SGD(model.parameters(), lr=0.5))
    optimizer = optim.SGD(twin.parameters(), lr=0.5)
    losses = []
    for _ in range(5):
        losses.append(float(step(x, y)[0]))
        optimizer.zero_grad()
        value = loss(twin(x), y)
        value.backward()
        optimizer.step()
        np.testing.assert_allclose(losses[-1], value.item(), rtol=1e-5)
    assert losses[-1] < losses[0]


def test_exported_step_trains_in_onnxruntime(tmp_path):
    """The gradient is its body there: Scan and standard operators."""
    tk.manual_seed(2)
    model, x, y = Tagger(), tk.randn(4, 6, 5), tk.randint(0, 3, (4, 6))

    def loss(output, target):
        return nn.functional.cross_entropy(output.flatten(0, 1), target.flatten())

    step = TrainStep(model, loss, optim.SGD(model.parameters(), lr=0.5))
    step.prepare(x, y)
    path = tmp_path / "step.onnx"
    tk.export_train_step(path, step)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    feed = {"x": x.numpy(), "target": y.numpy(), "lr": np.array(0.5, np.float32)}
    feed = {k: v for k, v in feed.items() if k in [i.name for i in session.get_inputs()]}
    for _ in range(5):
        ours = float(step(x, y)[0])
        results = dict(zip(names, session.run(None, feed), strict=True))
        assert results["loss"] == pytest.approx(ours, rel=1e-4)
        feed |= {n.removesuffix(".next"): v for n, v in results.items() if n.endswith(".next")}


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_may_be_an_input_of_the_graph(kind, tmp_path):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(nn, kind)(5, 6, bidirectional=True)

        def forward(self, x, lengths):
            packed = packing.pack_padded_sequence(x, lengths, enforce_sorted=False)
            return packing.pad_packed_sequence(self.rnn(packed)[0])[0]

    model = Last().eval()
    x, lengths = tk.randn(4, 3, 5), tk.tensor([2, 4, 1])
    path = tmp_path / "lengths.onnx"
    tk.save(path, model, inputs=(x, lengths), dynamic={"x": {0: "time"}})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for sizes in ([2, 4, 1], [4, 1, 3]):
        feed = {"x": x.numpy(), "lengths": np.array(sizes)}
        (y,) = session.run(None, feed)
        want = model(x, tk.tensor(sizes)).detach().numpy()
        np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-6)


def test_errors():
    layer = nn.LSTM(5, 7)
    with pytest.raises(ShapeError, match="Expected 5, got 4"):
        layer(tk.zeros(3, 2, 4))
    with pytest.raises(ShapeError, match="2D or 3D, got 4D"):
        layer(tk.zeros(3, 2, 5, 1))
    with pytest.raises(ShapeError, match=r"hidden\[1\] size \(1, 2, 7\)"):
        layer(tk.zeros(3, 2, 5), (tk.zeros(1, 2, 7), tk.zeros(1, 3, 7)))
    with pytest.raises(ShapeError, match="batched 3-D input"):
        layer(tk.zeros(3, 2, 5), (tk.zeros(2, 7), tk.zeros(2, 7)))
    with pytest.raises(InvalidArgumentError, match="smaller than hidden_size"):
        nn.LSTM(5, 7, proj_size=7)
    with pytest.raises(InvalidArgumentError, match="hidden_size must be greater than zero"):
        nn.GRU(5, 0)
    with pytest.raises(InvalidArgumentError, match="Unknown nonlinearity 'elu'"):
        nn.RNN(5, 7, nonlinearity="elu")
    with pytest.raises(InvalidArgumentError, match="sorted in decreasing order"):
        packing.pack_padded_sequence(tk.zeros(4, 2, 5), [1, 2])
    with pytest.raises(InvalidArgumentError, match="greater than 0 and at most 4"):
        packing.pack_padded_sequence(tk.zeros(4, 2, 5), [5, 2])
    with pytest.raises(ShapeError, match="2 lengths are required, got 3"):
        packing.pack_padded_sequence(tk.zeros(4, 2, 5), [3, 2, 1])
    with pytest.raises(InvalidArgumentError, match="total_length to be at least"):
        packed = packing.pack_padded_sequence(tk.zeros(4, 2, 5), [3, 2])
        packing.pad_packed_sequence(packed, total_length=2)
    with pytest.raises(ShapeError, match="1D or 2D, got 3D"):
        nn.LSTMCell(5, 7)(tk.zeros(1, 2, 5))
