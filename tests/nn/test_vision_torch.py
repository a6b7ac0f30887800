"""Resampling, folding and shuffling beside torch."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn import functional as F

torch = pytest.importorskip("torch")

from tests.nn.twins import check_call, check_module, values  # noqa: E402

TF = torch.nn.functional
L, HW, DHW = (2, 3, 7), (2, 3, 6, 5), (1, 2, 4, 3, 5)
RESIZES = [
    (L, {"size": 4}),
    (L, {"scale_factor": 2.5}),
    (HW, {"size": (9, 3)}),
    (HW, {"scale_factor": 2}),
    (HW, {"scale_factor": (0.5, 1.75)}),
    (HW, {"scale_factor": 0.7, "recompute_scale_factor": True}),
    (DHW, {"size": (3, 6, 5)}),
    (DHW, {"scale_factor": 1.5}),
]


@pytest.mark.parametrize(("shape", "to"), RESIZES)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_interpolate_nearest(shape, to, mode):
    check_call(
        lambda v: F.interpolate(v, mode=mode, **to),
        lambda v: TF.interpolate(v, mode=mode, **to),
        values(shape),
    )


@pytest.mark.parametrize(("shape", "to"), RESIZES)
@pytest.mark.parametrize("align_corners", [None, False, True])
def test_interpolate_smooth(shape, to, align_corners):
    for mode in {3: ["linear"], 4: ["bilinear", "bicubic"], 5: ["trilinear"]}[len(shape)]:
        how = {"mode": mode, "align_corners": align_corners, **to}
        check_call(
            lambda v, how=how: F.interpolate(v, **how),
            lambda v, how=how: TF.interpolate(v, **how),
            values(shape),
        )


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(3, 2), (4, 9), (13, 3)])
def test_interpolate_antialias(mode, size):
    check_call(
        lambda v: F.interpolate(v, size, mode=mode, antialias=True),
        lambda v: TF.interpolate(v, size, mode=mode, antialias=True),
        values((1, 2, 9, 8)),
    )


def test_interpolate_area():
    x = values((1, 2, 6, 8))
    check_call(
        lambda v: F.interpolate(v, (3, 2), mode="area"),
        lambda v: TF.interpolate(v, (3, 2), mode="area"),
        x,
    )


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [False, True])
def test_grid_sample(mode, padding, align):
    rng = np.random.default_rng(3)
    for shape, out in (((2, 3, 5, 4), (3, 6)), ((1, 2, 3, 4, 5), (2, 3, 2))):
        if mode == "bicubic" and len(out) == 3:
            continue
        grid = rng.uniform(-1.7, 1.7, (shape[0], *out, len(out)))
        if mode == "nearest":  # Torch has zeros for the grid, here none flows.
            check_call(
                lambda x, g=grid: F.grid_sample(x, tk.tensor(g), mode, padding, align),
                lambda x, g=grid: TF.grid_sample(x, torch.tensor(g), mode, padding, align),
                values(shape),
            )
            continue
        check_call(
            lambda x, g: F.grid_sample(x, g, mode, padding, align),
            lambda x, g: TF.grid_sample(x, g, mode, padding, align),
            values(shape),
            grid,
        )


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")  # torch's.
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 1, 1, 3), (2, 1, 3, 1, 2)])
def test_affine_grid(size, align):
    space = len(size) - 2
    check_call(
        lambda t: F.affine_grid(t, size, align),
        lambda t: TF.affine_grid(t, list(size), align),
        values((size[0], space, space + 1)),
    )


WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "padding": (1, 0), "stride": (2, 1)},
    {"kernel_size": 2, "dilation": (2, 1), "padding": 1, "stride": 2},
]


@pytest.mark.parametrize("window", WINDOWS)
def test_fold_and_unfold(window):
    x = values((2, 3, 6, 5))
    check_module(nn.Unfold(**window), torch.nn.Unfold(**window), x)
    check_module(nn.Unfold(**window), torch.nn.Unfold(**window), x[0])
    columns = TF.unfold(torch.tensor(x), **window).numpy()
    check_module(nn.Fold((6, 5), **window), torch.nn.Fold((6, 5), **window), values(columns.shape))
    check_module(nn.Fold((6, 5), **window), torch.nn.Fold((6, 5), **window), columns[0])


@pytest.mark.parametrize("shape", [(2, 8, 3, 4), (8, 3, 4), (2, 1, 8, 3, 4)])
def test_pixel_shuffle(shape):
    check_module(nn.PixelShuffle(2), torch.nn.PixelShuffle(2), values(shape))
    turned = (*shape[:-3], 2, shape[-2] * 2, shape[-1] * 2)
    check_module(nn.PixelUnshuffle(2), torch.nn.PixelUnshuffle(2), values(turned))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("how", [(2,), (3, 2), (3, 2, 1)])
def test_max_unpool(n, how):
    x = values((2, 3, *[8 if len(how) == 1 else 9] * n))
    pool = getattr(torch.nn, f"MaxPool{n}d")(*how, return_indices=True)
    y, indices = pool(torch.tensor(x))
    ours, theirs = (getattr(m, f"MaxUnpool{n}d")(*how) for m in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    for size in (None, x.shape, x.shape[2:]):
        check_call(
            lambda v, size=size: ours(v, tk.tensor(indices.numpy()), output_size=size),
            lambda v, size=size: theirs(v, indices, output_size=size),
            y.numpy(),
        )


def test_max_unpool_to_a_larger_output():
    x = values((1, 2, 7, 6))
    y, indices = TF.max_pool2d(torch.tensor(x), 2, return_indices=True)
    check_call(
        lambda v: F.max_unpool2d(v, tk.tensor(indices.numpy()), 2, output_size=(7, 6)),
        lambda v: TF.max_unpool2d(v, indices, 2, output_size=(7, 6)),
        y.numpy(),
    )


def test_upsample_layers():
    x = values(HW)
    check_module(nn.Upsample(scale_factor=2), torch.nn.Upsample(scale_factor=2), x)
    args = {"size": (4, 7), "mode": "bilinear", "align_corners": True}
    check_module(nn.Upsample(**args), torch.nn.Upsample(**args), x)
    for ours, theirs in (
        (nn.UpsamplingNearest2d(scale_factor=3), torch.nn.UpsamplingNearest2d(scale_factor=3)),
        (nn.UpsamplingBilinear2d((3, 4)), torch.nn.UpsamplingBilinear2d((3, 4))),
    ):
        check_module(ours, theirs, x)


X = tk.zeros(1, 2, 4, 4)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: F.interpolate(X), InvalidArgumentError, "got neither"),
        (lambda: F.interpolate(X, 2, 2.0), InvalidArgumentError, "got both"),
        (lambda: F.interpolate(X, 2, mode="linear"), ShapeError, "3 dimensions"),
        (lambda: F.interpolate(X, 2, mode="cubic"), InvalidArgumentError, "got mode 'cubic'"),
        (lambda: F.interpolate(X, 2, align_corners=True), InvalidArgumentError, "align_corners"),
        (lambda: F.interpolate(X, 2, antialias=True), InvalidArgumentError, "antialias"),
        (lambda: F.interpolate(X, scale_factor=(1, 2, 3)), InvalidArgumentError, "2 scale"),
        (lambda: F.interpolate(tk.zeros(3, 3), 2), ShapeError, "three to five"),
        (lambda: F.grid_sample(X, X, "cubic"), InvalidArgumentError, "got 'cubic'"),
        (lambda: F.grid_sample(X, tk.zeros(1, 2, 2, 3)), ShapeError, "grid must be"),
        (lambda: F.affine_grid(X, (1, 1, 2, 2)), ShapeError, "theta"),
        (lambda: F.fold(X, 3, 2), ShapeError, "C \\* kernel, L"),
        (lambda: F.fold(tk.zeros(1, 8, 5), 3, 2), ShapeError, "blocks"),
        (lambda: F.pixel_shuffle(X, 2), ShapeError, "divisible by 4"),
        (lambda: F.pixel_unshuffle(X, 3), ShapeError, "divisible by 3"),
        (lambda: F.max_unpool2d(X, X.long(), 2, output_size=(20, 20)), ShapeError, "within"),
    ],
)
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()
