"""Layers that draw: what they draw has the distribution that torch's has."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn
from toolkit.nn import functional as F

SHAPE = (40, 50, 4, 5)


@pytest.fixture(autouse=True)
def seeded():
    tk.manual_seed(5)


def drawn(layer, x=None):
    """A layer in training mode on normal numbers (or `x`), as arrays; gradients of the input."""
    x = tk.randn(*SHAPE) if x is None else x
    x.requires_grad_()
    y = layer(x)
    y.sum().backward()
    return x.detach().numpy(), y.detach().numpy(), x.grad.numpy()


def test_alpha_dropout_keeps_mean_and_variance():
    for p in (0.1, 0.4):
        x, y, slope = drawn(nn.AlphaDropout(p))
        assert abs(y.mean() - x.mean()) < 0.02 and abs(y.std() - x.std()) < 0.02
        dropped = slope == 0
        assert abs(dropped.mean() - p) < 0.01 and len(np.unique(y[dropped])) == 1
        # torch's own constants: scale (1 - p) (1 + p alpha'^2) = 1.
        a = ((1 - p) * (1 + p * 1.7580993408473766**2)) ** -0.5
        np.testing.assert_allclose(y[dropped][0], -a * 1.7580993408473766 * (1 - p), 1e-5)
        np.testing.assert_allclose(slope[~dropped], a, 1e-5)


@pytest.mark.parametrize("layer", [nn.FeatureAlphaDropout(0.3), nn.Dropout2d(0.3)])
def test_whole_channels_are_dropped(layer):
    _, _, slope = drawn(layer)
    planes = slope.reshape(*SHAPE[:2], -1)
    assert (planes == planes[..., :1]).all()
    assert abs((planes[..., 0] == 0).mean() - 0.3) < 0.04


def test_three_dimensions_are_taken_as_torch_takes_them():
    with pytest.warns(UserWarning, match="interpreted as shape"):
        y = nn.Dropout2d(0.5)(tk.ones(30, 40, 6)).numpy()
    assert (y == y[..., :1]).all() and 0.4 < (y == 0).mean() < 0.6
    y = nn.Dropout3d(0.5)(tk.ones(300, 2, 2, 2)).numpy().reshape(300, -1)
    assert (y == y[:, :1]).all() and 0.4 < (y == 0).mean() < 0.6


def test_rrelu_draws_a_slope_for_each_negative_element():
    x, y, slope = drawn(nn.RReLU(0.2, 0.6))
    assert (y[x > 0] == x[x > 0]).all() and (slope[x > 0] == 1).all()
    drawn_slopes = slope[x < 0]
    assert drawn_slopes.min() >= 0.2 and drawn_slopes.max() <= 0.6
    assert abs(drawn_slopes.mean() - 0.4) < 0.01
    assert abs(drawn_slopes.std() - 0.4 / 12**0.5) < 0.01
    np.testing.assert_allclose(y[x < 0], x[x < 0] * drawn_slopes, 1e-6)


def test_fractional_pooling_covers_the_plane():
    x = tk.arange(64).float().reshape(1, 1, 8, 8).expand(200, 3, 8, 8)
    y, at = nn.FractionalMaxPool2d(2, output_size=5, return_indices=True)(x)
    rows, columns = at.numpy() // 8, at.numpy() % 8
    assert (rows[..., -1, :] == 7).all() and (columns[..., -1] == 7).all()
    steps = np.diff(rows[..., 0], axis=-1)
    assert steps.min() >= 1 and steps.max() <= 2 and len(np.unique(rows[:, :, :, 0], axis=0)) > 5
    assert y.shape == (200, 3, 5, 5) and (y.numpy() == at.numpy()).all()


def test_gumbel_softmax_picks_with_the_probabilities():
    logits = tk.tensor([0.1, 0.2, 0.7]).log().expand(4000, 3).clone().requires_grad_()
    y = F.gumbel_softmax(logits, hard=True)
    assert set(np.unique(y.detach().numpy().round(5))) == {0.0, 1.0}
    np.testing.assert_allclose(y.detach().numpy().mean(0), [0.1, 0.2, 0.7], atol=0.03)
    (y * tk.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert np.isfinite(logits.grad.numpy()).all() and (logits.grad.numpy() != 0).any()


def test_attention_weights_drop_out():
    q = tk.ones(1, 2, 50, 4)
    y = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5).numpy()
    assert y.std() > 0.05 and abs(y.mean() - 1) < 0.1


def test_skip_init_leaves_the_generator():
    before = tk.get_rng_state().tolist()
    layer = nn.utils.skip_init(nn.Linear, 3, 4)
    assert layer.weight.shape == (4, 3) and tk.get_rng_state().tolist() == before


def test_fills_have_their_distributions():
    x = nn.init.sparse_(tk.zeros(100, 50), 0.3, std=2.0).numpy()
    assert ((x == 0).sum(0) == 30).all() and abs(x[x != 0].std() - 2) < 0.1
    q = nn.init.orthogonal_(tk.zeros(4, 3, 2), gain=2.0).numpy().reshape(4, 6)
    np.testing.assert_allclose(q @ q.T, 4 * np.eye(4), atol=1e-5)
    t = nn.init.trunc_normal_(tk.zeros(5000), 0.5, 1.0, -0.5, 1.0).numpy()
    assert t.min() >= -0.5 and t.max() <= 1.0 and abs(t.mean() - 0.32) < 0.05
    with pytest.warns(FutureWarning, match="deprecated in favor of"):
        nn.init.normal(tk.zeros(3))


@pytest.mark.parametrize("name", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_orthogonal_weights_stay_orthogonal(name, shape):
    layer = nn.Linear(shape[1], shape[0])
    nn.init.orthogonal_(layer.weight)
    weight = layer.weight.detach().clone()
    nn.utils.parametrizations.orthogonal(layer, orthogonal_map=name)
    np.testing.assert_allclose(layer.weight.detach().numpy(), weight.numpy(), atol=1e-5)
    (layer(tk.randn(2, shape[1])) ** 2).sum().backward()
    original = layer.parametrizations.weight.original
    with tk.no_grad():
        original.sub_(original.grad * 0.1)
    w = layer.weight.detach().numpy()
    w = w if shape[0] >= shape[1] else w.T
    np.testing.assert_allclose(w.T @ w, np.eye(min(shape)), atol=1e-5)
