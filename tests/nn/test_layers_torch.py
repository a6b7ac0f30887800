"""Every layer beside torch's: text, keys, forward, all gradients, buffers."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn

torch = pytest.importorskip("torch")

from tests.nn.twins import check_call, check_module, close, same_weights, values  # noqa: E402

A, B, C, D = (3, 5), (2, 4, 9), (2, 4, 8, 7), (2, 4, 6, 5, 4)


def case(name, *args, on=A, kind="normal", **kwargs):
    text = ", ".join([*map(str, args), *(f"{k}={v}" for k, v in kwargs.items())])
    return pytest.param(name, args, kwargs, on, id=f"{name}({text}) {on}")


LAYERS = [
    case("Identity"),
    case("Linear", 5, 4),
    case("Linear", 5, 4, bias=False),
    case("Linear", 5, 4, on=(5,)),
    case("Linear", 5, 4, on=(2, 3, 5)),
    case("Flatten", on=C),
    case("Flatten", 0, 1, on=C),
    case("Unflatten", 1, (2, 2), on=B),
    case("Conv1d", 4, 6, 3, on=B),
    case("Conv1d", 4, 6, 3, stride=2, padding=1, dilation=2, groups=2, on=B),
    case("Conv1d", 4, 6, 4, padding="same", dilation=2, on=B),
    case("Conv1d", 4, 6, 3, on=(4, 9)),
    case("Conv2d", 4, 6, 3, on=C),
    case("Conv2d", 4, 6, (3, 2), stride=(2, 1), padding=(1, 0), bias=False, on=C),
    case("Conv2d", 4, 8, 3, padding="same", groups=4, on=C),
    case("Conv2d", 4, 6, 2, padding="same", on=C),
    case("Conv2d", 4, 6, 3, padding="valid", dilation=2, on=C),
    case("Conv2d", 4, 6, 3, padding=1, padding_mode="reflect", on=C),
    case("Conv2d", 4, 6, 3, padding=(2, 1), padding_mode="replicate", on=C),
    case("Conv2d", 4, 6, 4, padding="same", padding_mode="circular", on=C),
    case("Conv3d", 4, 6, 3, padding=1, stride=2, on=D),
    case("Conv3d", 4, 4, (1, 2, 3), groups=2, on=D),
    case("ConvTranspose1d", 4, 6, 3, stride=2, output_padding=1, on=B),
    case("ConvTranspose2d", 4, 6, 3, stride=2, padding=1, on=C),
    case("ConvTranspose2d", 4, 6, (3, 2), groups=2, dilation=2, bias=False, on=C),
    case("ConvTranspose3d", 4, 2, 2, stride=2, on=D),
    case("BatchNorm1d", 5, on=(6, 5)),
    case("BatchNorm1d", 4, on=B),
    case("BatchNorm1d", 4, affine=False, on=B),
    case("BatchNorm1d", 4, track_running_stats=False, on=B),
    case("BatchNorm2d", 4, eps=1e-3, momentum=0.3, on=C),
    case("BatchNorm2d", 4, momentum=None, on=C),
    case("BatchNorm3d", 4, on=D),
    case("LayerNorm", 5),
    case("LayerNorm", (8, 7), eps=1e-3, on=C),
    case("LayerNorm", 5, elementwise_affine=False),
    case("LayerNorm", 5, bias=False),
    case("RMSNorm", 5),
    case("RMSNorm", (8, 7), eps=1e-3, elementwise_affine=False, on=C),
    case("GroupNorm", 2, 4, on=C),
    case("GroupNorm", 4, 4, affine=False, on=B),
    case("InstanceNorm1d", 4, on=B),
    case("InstanceNorm2d", 4, affine=True, on=C),
    case("InstanceNorm2d", 4, affine=True, track_running_stats=True, on=C),
    case("InstanceNorm2d", 4, on=(4, 8, 7)),
    case("InstanceNorm3d", 4, affine=True, on=D),
    case("MaxPool1d", 2, on=B),
    case("MaxPool2d", 2, on=C),
    case("MaxPool2d", 3, stride=2, padding=1, ceil_mode=True, on=C),
    case("MaxPool2d", 2, stride=1, dilation=2, on=(4, 8, 7)),
    case("MaxPool3d", 2, on=D),
    case("AvgPool1d", 3, stride=2, padding=1, on=B),
    case("AvgPool2d", 2, on=C),
    case("AvgPool2d", 3, stride=2, padding=1, count_include_pad=False, on=C),
    case("AvgPool2d", 3, stride=2, padding=1, ceil_mode=True, on=C),
    case("AvgPool2d", 2, divisor_override=3, on=C),
    case("AvgPool3d", 2, on=D),
    case("AdaptiveAvgPool1d", 3, on=B),
    case("AdaptiveAvgPool2d", 1, on=C),
    case("AdaptiveAvgPool2d", (4, None), on=C),
    case("AdaptiveAvgPool3d", (3, 1, 2), on=D),
    case("AdaptiveMaxPool2d", 1, on=C),
    case("AdaptiveMaxPool2d", (2, 7), on=C),
    case("ReLU"),
    case("ReLU6"),
    case("LeakyReLU"),
    case("LeakyReLU", 0.2),
    case("ELU", 0.7),
    case("SELU"),
    case("CELU", 0.6),
    case("GELU"),
    case("GELU", approximate="tanh"),
    case("SiLU"),
    case("Mish"),
    case("Sigmoid"),
    case("Tanh"),
    case("Tanhshrink"),
    case("Softplus"),
    case("Softplus", 2.0, 1.0),
    case("Softsign"),
    case("LogSigmoid"),
    case("Hardswish"),
    case("Hardsigmoid"),
    case("Hardtanh", -0.5, 0.7),
    case("Threshold", 0.1, -2.0),
    case("PReLU"),
    case("PReLU", 4, on=C),
    case("GLU", on=(3, 6)),
    case("GLU", 1, on=C),
    case("Softmax", dim=1, on=C),
    case("Softmin", dim=-1),
    case("LogSoftmax", dim=1),
    case("Dropout", 0.0),
]


@pytest.mark.parametrize(("name", "args", "kwargs", "shape"), LAYERS)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's.
def test_layer(name, args, kwargs, shape):
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    check_module(ours, theirs, values(shape) * 2)


@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "InstanceNorm2d", "Dropout"])
def test_evaluation_mode(name):
    options = {"track_running_stats": True} if name.startswith("Instance") else {}
    args = () if name == "Dropout" else (4,)
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    ours.eval()
    theirs.eval()
    check_module(ours, theirs, values(B if name == "BatchNorm1d" else C))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_over_batches(momentum):
    ours, theirs = nn.BatchNorm2d(4, momentum=momentum), torch.nn.BatchNorm2d(4, momentum=momentum)
    ours.double()
    theirs.double()
    for i in range(5):
        x = values(C, seed=i) * (i + 1) + i
        close(ours(tk.tensor(x)), theirs(torch.tensor(x)))
    for name, value in theirs.state_dict().items():
        close(ours.state_dict()[name], value, name)
    assert ours.num_batches_tracked.item() == 5
    x = values(C, seed=9)
    close(ours.eval()(tk.tensor(x)), theirs.eval()(torch.tensor(x)))


def test_embedding():
    ids = np.array([[1, 2, 0], [4, 2, 2]])
    for options in ({}, {"padding_idx": 2}, {"padding_idx": -1}):
        check_module(nn.Embedding(5, 3, **options), torch.nn.Embedding(5, 3, **options), ids)
    assert (nn.Embedding(5, 3, padding_idx=2).weight[2] == 0).all()
    table = nn.Embedding.from_pretrained(tk.ones(4, 2))
    assert not table.weight.requires_grad and table(tk.tensor([3])).tolist() == [[1, 1]]


def test_bilinear():
    ours, theirs = nn.Bilinear(3, 4, 5), torch.nn.Bilinear(3, 4, 5)
    check_module(ours, theirs, values((6, 3)), values((6, 4), 1))


def test_output_size_of_a_transposed_convolution():
    ours = nn.ConvTranspose2d(4, 2, 3, stride=3)
    theirs = torch.nn.ConvTranspose2d(4, 2, 3, stride=3)
    same_weights(ours, theirs)
    size = (26, 22)
    check_call(lambda x: ours(x, size), lambda x: theirs(x, size), values(C))


def test_indices_of_max_pool():
    x = values(C)
    ours, theirs = nn.MaxPool2d(2, return_indices=True), torch.nn.MaxPool2d(2, return_indices=True)
    for got, want in zip(ours(tk.tensor(x)), theirs(torch.tensor(x)), strict=True):
        close(got, want)


@pytest.mark.parametrize("name", ["ReLU", "ReLU6", "SiLU", "Hardtanh", "LeakyReLU", "ELU"])
def test_inplace_activation(name):
    x = values(A)
    ours, theirs = getattr(nn, name)(inplace=True), getattr(torch.nn, name)(inplace=True)
    assert repr(ours) == repr(theirs)
    check_call(lambda v: ours(v * 2) * 3, lambda v: theirs(v * 2) * 3, x)
    a = tk.tensor(x)
    assert ours(a) is a and np.allclose(a.numpy(), theirs(torch.tensor(x)).numpy())


@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d"])
def test_dropout(name):
    shape = {"Dropout": (50, 40), "Dropout1d": (50, 40, 3), "Dropout2d": (50, 40, 2, 3)}.get(
        name, (50, 40, 2, 2, 3)
    )
    layer = getattr(nn, name)(0.25)
    x = tk.ones(*shape).requires_grad_()
    tk.manual_seed(3)
    y = layer(x)
    y.sum().backward()
    array = y.detach().numpy()
    assert np.array_equal(np.unique(array), np.float32([0, 4 / 3]))
    assert abs((array == 0).mean() - 0.25) < 0.03
    planes = array.reshape(50, 40, -1)
    assert (planes == planes[..., :1]).all()
    assert np.array_equal(x.grad.numpy(), array)
    tk.manual_seed(3)
    assert np.array_equal(layer(tk.ones(*shape)).numpy(), array)
    assert not np.array_equal(layer(tk.ones(*shape)).numpy(), array)
    assert (getattr(nn, name)(1.0)(tk.ones(*shape)) == 0).all()
