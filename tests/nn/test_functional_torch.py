"""Functions without a layer of their own, gradient tools, and refusals of layers."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn import functional as F
from toolkit.nn import utils

torch = pytest.importorskip("torch")

from tests.nn.twins import check_call, close, values  # noqa: E402

TF = torch.nn.functional


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("pad", [(1, 2), (2, 1, 0, 3), (1, 0, 2, 2, 1, 1)])
def test_pad(mode, pad):
    x = values((2, 3, 5, 6, 4))[:, :, : 5 if len(pad) == 6 else 1].squeeze()
    if len(pad) == 2:
        x = x[:, 0]
    if mode == "constant":
        check_call(lambda v: F.pad(v, pad, mode, 1.5), lambda v: TF.pad(v, pad, mode, 1.5), x)
    else:
        check_call(lambda v: F.pad(v, pad, mode), lambda v: TF.pad(v, pad, mode), x)


def test_negative_pad_crops():
    check_call(lambda v: F.pad(v, (-1, 2)), lambda v: TF.pad(v, (-1, 2)), values((2, 5)))


def test_one_hot():
    y = np.array([[0, 3], [1, 1]])
    close(F.one_hot(tk.tensor(y)), TF.one_hot(torch.tensor(y)))
    close(F.one_hot(tk.tensor(y), 6), TF.one_hot(torch.tensor(y), 6))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, float("inf")])
def test_normalize(p):
    check_call(lambda v: F.normalize(v, p, -1), lambda v: TF.normalize(v, p, -1), values((3, 4)))


def test_cosine_similarity():
    check_call(F.cosine_similarity, TF.cosine_similarity, values((3, 4)), values((3, 4), 1))


@pytest.mark.parametrize("case", ["plain", "causal", "bool", "float", "scale", "gqa"])
def test_attention(case):
    q, k, v = values((2, 4, 5, 6)), values((2, 4, 7, 6), 1), values((2, 4, 7, 3), 2)
    mask = np.random.default_rng(5).random((5, 7)) > 0.3
    mask[:, 0] = True
    options = {
        "plain": ({}, {}),
        "causal": ({"is_causal": True},) * 2,
        "bool": ({"attn_mask": tk.tensor(mask)}, {"attn_mask": torch.tensor(mask)}),
        "float": ({"attn_mask": tk.tensor(mask * 1.0)}, {"attn_mask": torch.tensor(mask * 1.0)}),
        "scale": ({"scale": 0.3},) * 2,
        "gqa": ({"enable_gqa": True},) * 2,
    }[case]
    if case == "gqa":
        k, v = k[:, :2].copy(), v[:, :2].copy()
    if case == "causal":
        k, v = k[:, :, :5].copy(), v[:, :, :5].copy()
    check_call(
        lambda *t: F.scaled_dot_product_attention(*t, **options[0]),
        lambda *t: TF.scaled_dot_product_attention(*t, **options[1]),
        q, k, v,
    )  # fmt: skip


def test_attention_drops_weights():
    q = tk.ones(1, 1, 50, 4)
    y = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)
    assert y.std() > 0
    with pytest.raises(InvalidArgumentError, match="got both"):
        F.scaled_dot_product_attention(q, q, q, attn_mask=q, is_causal=True)


def make_grads(*arrays):
    ours, theirs = [], []
    for a in arrays:
        p, q = nn.Parameter(tk.tensor(a)), torch.nn.Parameter(torch.tensor(a))
        p.grad, q.grad = tk.tensor(a * 3), torch.tensor(a * 3)
        ours.append(p)
        theirs.append(q)
    ours.append(nn.Parameter(tk.ones(2)))
    theirs.append(torch.nn.Parameter(torch.ones(2)))
    return ours, theirs


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clip_grad_norm(norm_type, max_norm):
    ours, theirs = make_grads(values((3, 4)), values((5,), 1))
    a = utils.clip_grad_norm_(ours, max_norm, norm_type)
    close(a, torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type))
    for p, q in zip(ours[:2], theirs, strict=False):
        close(p.grad, q.grad)
    ours[0].grad = ours[0].grad * float("nan")
    with pytest.raises(InvalidArgumentError, match="finite"):
        utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)


def test_clip_grad_value_and_vectors():
    ours, theirs = make_grads(values((3, 4)), values((5,), 1))
    utils.clip_grad_value_(ours, 0.7)
    torch.nn.utils.clip_grad_value_(theirs, 0.7)
    for p, q in zip(ours[:2], theirs, strict=False):
        close(p.grad, q.grad)
    vector = utils.parameters_to_vector(ours[:2])
    close(vector, torch.nn.utils.parameters_to_vector(theirs[:2]))
    utils.vector_to_parameters(vector.detach() * 2, ours[:2])
    close(ours[1], theirs[1] * 2)
    with pytest.raises(InvalidArgumentError, match="17 elements"):
        utils.vector_to_parameters(tk.ones(3), ours[:2])


X = {2: (2, 3), 3: (2, 3, 4), 4: (2, 3, 6, 6)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3)(tk.zeros(2, 5, 6, 6)), ShapeError, "3 input channels"),
        (lambda: nn.Conv2d(3, 4, 3)(tk.zeros(2, 3)), ShapeError, "Expected 3D .* or 4D"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), InvalidArgumentError, "multiples of groups"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), InvalidArgumentError, "2 integers"),
        (lambda: nn.Conv2d(3, 4, 3, padding="some"), InvalidArgumentError, "'same', 'valid'"),
        (lambda: nn.Conv2d(3, 4, 3, 2, padding="same"), InvalidArgumentError, "stride 1"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="x"), InvalidArgumentError, "padding_mode"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=1)(tk.zeros(*X[4])),
         InvalidArgumentError, "output_padding smaller"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"),
         InvalidArgumentError, "'zeros' is required"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, 2)(tk.zeros(*X[4]), (99, 99)),
         InvalidArgumentError, "an output size from 13 to 14"),
        (lambda: nn.Linear(4, 2)(tk.zeros(2, 3)), ShapeError, "Gemm"),
        (lambda: nn.BatchNorm2d(3)(tk.zeros(*X[3])), ShapeError, "expected 4D input"),
        (lambda: nn.BatchNorm1d(3)(tk.zeros(1, 3)), ShapeError, "more than 1 value per channel"),
        (lambda: F.batch_norm(tk.zeros(2, 3), None, None), InvalidArgumentError, "running_mean"),
        (lambda: nn.LayerNorm(5)(tk.zeros(2, 3)), ShapeError, r"last dimensions are \[5\]"),
        (lambda: nn.GroupNorm(2, 3), InvalidArgumentError, "multiple of num_groups"),
        (lambda: nn.Dropout(1.5), InvalidArgumentError, "between 0 and 1"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), InvalidArgumentError, "within num_emb"),
        (lambda: nn.Embedding(3, 2, sparse=True), InvalidArgumentError, "sparse=False is required"),
        (lambda: nn.MaxPool2d(2, padding=2)(tk.zeros(*X[4])), InvalidArgumentError, "half"),
        (lambda: nn.GELU("fast")(tk.zeros(1)), InvalidArgumentError, "'none' or 'tanh'"),
        (lambda: F.pad(tk.zeros(2), (1, 1, 1, 1)), InvalidArgumentError, "at most 2"),
        (lambda: F.pad(tk.zeros(2), (1, 1), "mirror"), InvalidArgumentError, "mode 'mirror'"),
        (lambda: F.one_hot(tk.tensor([0]), 0), InvalidArgumentError, "num_classes > 0"),
    ],
)  # fmt: skip
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
