"""Fourier transforms, complex numbers, windows: torch's numbers, gradients and errors."""

import numpy as np
import pytest
from against import compare, data, leaf, refused, tk, torch


def pairs(z):
    """What a complex or real result holds, as real numbers."""
    if isinstance(z, tk.ComplexTensor):
        return tk.view_as_real(z)
    if isinstance(z, torch.Tensor) and z.is_complex():
        return torch.view_as_real(z.resolve_conj())
    return z


def signal(m, *shape, seed=0):
    return m.view_as_complex(leaf(m, *shape, 2, seed=seed))


REAL = """
m.fft.fft(x); m.fft.fft(x, 5); m.fft.fft(x, 9, 0); m.fft.fft(x, norm='ortho')
m.fft.fft(x, norm='forward'); m.fft.ifft(x); m.fft.ifft(x, 7, 1, 'ortho')
m.fft.ifft(x, norm='forward'); m.fft.rfft(x); m.fft.rfft(x, 5); m.fft.rfft(x, 8, 0)
m.fft.rfft(x, norm='ortho'); m.fft.rfft(x, 6, -2, 'forward'); m.fft.ihfft(x)
m.fft.ihfft(x, 5, norm='ortho'); m.fft.fft2(x); m.fft.fftn(x); m.fft.ifft2(x); m.fft.rfft2(x)
m.fft.rfftn(x); m.fft.rfftn(x, (4, 6)); m.fft.fftn(x, (5,)); m.fft.fft2(x, (3, 9), norm='ortho')
m.fft.fftn(x, dim=0); m.fft.irfft(m.fft.rfft(x), 7); m.fft.irfftn(m.fft.rfftn(x), x.shape)
m.fft.fftshift(x); m.fft.ifftshift(x, 1); m.stft(x, 4, return_complex=True)
m.stft(x[0], 3, 1, return_complex=True)
m.stft(x, 4, 2, window=m.hann_window(4), return_complex=True)
m.stft(x, 4, 1, 2, center=False, normalized=True, return_complex=True)
m.stft(x, 4, onesided=False, return_complex=True, pad_mode='constant')
m.stft(x, 5, 2, 3, m.hamming_window(3), pad_mode='replicate', return_complex=True)
"""
COMPLEX = """
m.fft.fft(z); m.fft.fft(z, 5, 0); m.fft.ifft(z); m.fft.ifft(z, 9, norm='ortho'); m.fft.irfft(z)
m.fft.irfft(z, 7); m.fft.irfft(z, 6, 0, 'ortho'); m.fft.irfft(z, norm='forward'); m.fft.hfft(z)
m.fft.hfft(z, 7, norm='ortho'); m.fft.fft2(z); m.fft.ifft2(z); m.fft.ifftn(z, (3, 8))
m.fft.irfft2(z); m.fft.irfftn(z, (4, 9)); m.fft.fftshift(z, 0); m.stft(z, 4, 2)
m.stft(z, 4, 3, window=m.hann_window(4), return_complex=True); z + z * 2; z * z - z; z / (z + 3)
z * (1 + 2j); -z; z.abs(); abs(z); z.angle(); z.conj() * z; z.real; z.imag; z * z.real
z / z.abs(); z.exp(); z[0]; z[..., 1]; z[:, 1:3]; z.reshape(4, 5); z.permute(1, 0)
z.transpose(0, 1); z.flatten(); z.unsqueeze(-1); z.sum(); z.sum(1); z.sum((0, 1), True)
z.narrow(1, 1, 2); z.roll(1, 1); 2 / z; 1 - z; m.polar(z.real.abs(), z.imag)
m.complex(z.real, z.imag) * 2; m.real(z); m.imag(z); m.angle(z); m.conj(z)
"""


def cases(text):
    return [e.strip() for line in text.strip().splitlines() for e in line.split(";")]


def check(make, expression):
    """Values and gradients."""

    def run(m):
        x, variables = make(m)
        y = pairs(eval(expression, {"m": m, **variables}))
        (y * m.tensor(data(*y.shape, seed=7))).sum().backward()
        return [y.detach(), x.grad]

    compare(run, rtol=1e-4, atol=2e-5)


@pytest.mark.filterwarnings("ignore:A window was not provided")
@pytest.mark.parametrize("expression", cases(REAL))
def test_real_input(expression):
    def make(m):
        x = leaf(m, 4, 7, seed=1)
        return x, {"x": x}

    check(make, expression)


@pytest.mark.filterwarnings("ignore:A window was not provided")
@pytest.mark.parametrize("expression", cases(COMPLEX))
def test_complex_input(expression):
    def make(m):
        x = leaf(m, 4, 5, 2, seed=2)
        return x, {"z": m.view_as_complex(x)}

    check(make, expression)


def test_second_order():
    def run(m):
        x = leaf(m, 3, 6, seed=1)
        y = m.fft.rfft(x).abs().sum()
        (g,) = m.autograd.grad(y, x, create_graph=True)
        (g**2).sum().backward()
        return [g.detach(), x.grad]

    compare(run, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 16, 100, 1000, 1021, 4096, 12_289, 40_000])
def test_lengths(n):
    x = data(2, n)
    got = tk.fft.fft(tk.tensor(x)).numpy()
    want = np.fft.fft(x.astype(np.float64))
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * abs(want).max())
    back = tk.fft.irfft(tk.fft.rfft(tk.tensor(x)), n).numpy()
    np.testing.assert_allclose(back, x, rtol=0, atol=3e-6)


@pytest.mark.parametrize("arguments", [(16, 4), (16, 8, 12), (15, 5)])
@pytest.mark.parametrize(
    "options",
    [{}, {"center": False}, {"normalized": True}, {"onesided": False}, {"length": 50}],
    ids=str,
)
def test_istft(arguments, options):
    def run(m):
        width = arguments[2] if len(arguments) > 2 else arguments[0]
        window = m.tensor(np.linspace(0.5, 1.5, width).astype(np.float32))
        x = leaf(m, 2, 64, seed=3)
        forward = {k: v for k, v in options.items() if k != "length"}
        z = m.stft(x, *arguments, window=window, return_complex=True, **forward)
        y = m.istft(z, *arguments, window=window, **options)
        (y * y).sum().backward()
        return [y.detach(), x.grad]

    if len(arguments) > 2 and not options.get("center", True):
        assert "overlap" in refused(run)  # Nothing covers the first samples.
    else:
        compare(run, rtol=1e-4, atol=1e-4)


def test_complex_tensor_is_seen_as_torch_shows_it():
    def run(m):
        z = signal(m, 3, 4)
        d = z.detach()
        return [list(z.shape), z.dim(), z.ndim, z.size(1), z.numel(), len(z), z.is_complex(),
                m.is_complex(z), z.requires_grad, d.requires_grad, str(z.dtype).split(".")[1],
                d.tolist()[0][0] == d[0, 0].item(), d.numpy()]  # fmt: skip

    ours, theirs = run(tk), run(torch)
    np.testing.assert_array_equal(ours.pop(), theirs.pop())
    assert ours == theirs
    assert repr(tk.fft.fft(tk.ones(2))) == "tensor([2.+0.j, 0.+0.j])"
    assert tk.fft.fft(tk.ones(2, dtype=tk.float64)).dtype is tk.complex128
    np.testing.assert_array_equal((signal(tk, 2).detach() * np.complex64(2)).numpy(),
                                  2 * signal(tk, 2).detach().numpy())  # fmt: skip


WINDOWS = ["hann_window", "hamming_window", "blackman_window", "bartlett_window", "kaiser_window"]


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("length", [0, 1, 2, 7, 64])
def test_windows(name, length):
    def run(m):
        make = getattr(m, name)
        return [make(length), make(length, periodic=False), make(length, dtype=m.float64)]

    compare(run, rtol=1e-5, atol=1e-6)


def test_window_parameters_and_frequencies():
    def run(m):
        return [
            m.hamming_window(6, True, 0.6, 0.4), m.kaiser_window(6, True, 3.0), m.fft.fftfreq(5),
            m.fft.fftfreq(6, 0.5), m.fft.rfftfreq(7, 2.0), m.fft.fft(m.arange(4)).real,
            m.hann_window(3, requires_grad=True),
        ]  # fmt: skip

    compare(run)
    assert "non-negative" in refused(lambda m: m.hann_window(-1))


@pytest.mark.parametrize(
    "program, message",
    [
        ("m.fft.fft(m.ones(3), 0)", "Invalid number of data points"),
        ("m.fft.fft(m.ones(3), dim=2)", "Dimension out of range"),
        ("m.fft.fft(m.ones(3), norm='x')", "norm"),
        ("m.fft.fft(m.tensor(1.0))", "dimension|Dimension"),
        ("m.fft.irfft(m.ones(1))", "Invalid number of data points"),
        ("m.fft.rfft(m.view_as_complex(m.ones(3, 2)))", "real"),
        ("m.fft.fftn(m.ones(3, 3), (2,), (0, 1))", "dim"),
        ("m.fft.fftn(m.ones(3, 3), dim=(0, 0))", "unique"),
        ("m.view_as_complex(m.ones(3))", "last dimension of size 2"),
        ("m.view_as_complex(m.ones(2).long())", "only supported for"),
        ("m.view_as_real(m.ones(3))", "only supported for complex"),
        ("m.imag(m.ones(3))", "imag"),
        ("m.complex(m.ones(3), m.ones(3).double())", "Expected object of scalar type"),
        ("m.stft(m.ones(9), 4)", "return_complex"),
        ("m.stft(m.ones(9), 40, center=False, return_complex=True)", "n_fft"),
        ("m.stft(m.ones(9), 4, window=m.ones(3), return_complex=True)", "win_length"),
        ("m.stft(m.ones(9), 4, 0, return_complex=True)", "hop_length"),
        ("m.stft(m.ones(9), 4, win_length=5, return_complex=True)", "win_length"),
        ("m.stft(m.ones(2, 2, 9), 4, return_complex=True)", "1D or 2D"),
        ("m.istft(m.ones(3, 4), 4)", "complex"),
    ],
)
def test_refused(program, message):
    import re

    said = refused(lambda m: eval(program, {"m": m}))
    assert re.search(message, said), said


def test_traced_with_a_dynamic_size():
    from toolkit.runtime import InferenceSession
    from toolkit.tracing import Trace

    with Trace() as t:
        x = t.input("x", tk.float32, ("batch", "samples"))
        y = tk.fft.rfft(x, norm="ortho").abs()
    session = InferenceSession(t.finish({"y": y}))
    for shape in ((2, 8), (3, 15)):
        (got,) = session.run(None, {"x": data(*shape)})
        want = abs(np.fft.rfft(data(*shape), norm="ortho"))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
