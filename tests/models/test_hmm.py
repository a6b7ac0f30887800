"""The hidden Markov model beside a case worked by hand and the sum over all paths."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest

import toolkit as tk
from toolkit.errors import InvalidArgumentError
from toolkit.models.char_gpt import token_cross_entropy
from toolkit.models.hmm import HMM, Decoder
from toolkit.train import TrainStep

STATES, SYMBOLS = 3, 4
RNG = np.random.default_rng(0)
X = RNG.integers(0, SYMBOLS, (4, 5))
LENGTHS = [5, 3, 1, 4]
MASK = np.arange(5) < np.array(LENGTHS)[:, None]


def with_probabilities(initial, transition, emission):
    m = HMM(np.shape(emission)[1], len(initial)).double()
    for p, value in zip(m.parameters(), (initial, transition, emission), strict=True):
        p.data = tk.tensor(np.log(value))
    return m


def model(seed=0):
    tk.manual_seed(seed)
    return HMM(SYMBOLS, STATES, spread=1.5).double()


def brute_force(m, row):
    """Log p(x), the best path with its log-probability, and the posterior, from every path."""
    initial, transition, emission = (p.exp().detach().numpy() for p in m.potentials())
    paths = list(itertools.product(range(len(initial)), repeat=len(row)))
    weights = np.array([
        initial[path[0]]
        * np.prod([transition[a, b] for a, b in itertools.pairwise(path)])
        * np.prod([emission[k, s] for k, s in zip(path, row, strict=True)])
        for path in paths
    ])  # fmt: skip
    best = weights.argmax()
    shares = np.zeros((len(row), len(initial)))
    for path, weight in zip(paths, weights, strict=True):
        shares[np.arange(len(row)), path] += weight / weights.sum()
    return np.log(weights.sum()), paths[best], np.log(weights[best]), shares


def test_a_case_worked_by_hand():
    """Rain and sun; someone walks, shops, cleans.

    alpha: (0.06, 0.24), (0.0552, 0.0486), (0.02904, 0.004572), which sum to 0.033612. The best path
    is sun, rain, rain: 0.4 * 0.6 * 0.4 * 0.4 * 0.7 * 0.5 = 0.01344.
    """
    m = with_probabilities([0.6, 0.4], [[0.7, 0.3], [0.4, 0.6]], [[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]])
    x = tk.tensor([[0, 1, 2]])
    np.testing.assert_allclose(m.log_prob(x).exp().item(), 0.033612, rtol=1e-12)
    path, score = m.viterbi(x)
    assert path.tolist() == [[1, 0, 0]]
    np.testing.assert_allclose(score.exp().item(), 0.01344, rtol=1e-12)
    last = np.array([0.02904, 0.004572]) / 0.033612
    np.testing.assert_allclose(m.posterior(x).exp().detach().numpy()[0, 2], last, rtol=1e-12)
    following = last @ [[0.7, 0.3], [0.4, 0.6]] @ [[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]]
    np.testing.assert_allclose(m(x).exp().detach().numpy()[0, 2], following, rtol=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
def test_all_paths(compiled):
    """Rows of several lengths, eagerly and as one graph."""
    decode = Decoder(model())
    decode = tk.compile(decode, fullgraph=True) if compiled else decode
    found = decode(tk.tensor(X), tk.tensor(MASK))
    for i, length in enumerate(LENGTHS):
        total, path, best, shares = brute_force(model(), X[i, :length])
        np.testing.assert_allclose(found["log_prob"][i].item(), total, rtol=1e-10)
        np.testing.assert_allclose(found["score"][i].item(), best, rtol=1e-10)
        assert found["states"][i].tolist() == [*path, *[-1] * (5 - length)]
        posterior = found["posterior"][i].exp().detach().numpy()
        np.testing.assert_allclose(posterior[:length], shares, rtol=1e-9)
    whole = model().log_prob(tk.tensor(X))
    np.testing.assert_allclose(whole[0].item(), found["log_prob"][0].item(), rtol=1e-12)
    assert (whole[1:].detach().numpy() < found["log_prob"][1:].detach().numpy()).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_the_gradient_of_the_likelihood(compiled):
    m = model(1)
    function = tk.compile(m.log_prob, fullgraph=True) if compiled else m.log_prob
    function(tk.tensor(X), tk.tensor(MASK)).sum().backward()
    h = 1e-5
    for p in m.parameters():
        got, flat = p.grad.numpy(), p.detach().numpy().ravel()
        want = np.empty(flat.size)
        for k, kept in enumerate(flat.copy()):
            ends = []
            for value in (kept + h, kept - h):
                flat[k] = value
                with tk.no_grad():
                    p.copy_(tk.tensor(flat.reshape(p.shape)))
                    ends.append(m.log_prob(tk.tensor(X), tk.tensor(MASK)).sum().item())
            flat[k] = kept
            want[k] = (ends[0] - ends[1]) / (2 * h)
        with tk.no_grad():
            p.copy_(tk.tensor(flat.reshape(p.shape)))
        np.testing.assert_allclose(got.ravel(), want, 1e-6, 1e-8)


def test_predictions_multiply_to_the_likelihood():
    m, x = model(2), tk.tensor(X)
    steps = m(x)[:, :-1].gather(-1, x[:, 1:].unsqueeze(-1)).sum((1, 2))
    close = m.log_prob(x) - m.log_prob(x[:, :1])
    np.testing.assert_allclose(steps.detach().numpy(), close.detach().numpy(), rtol=1e-10)


def test_samples_have_the_probabilities():
    m = model(3).float()
    tk.manual_seed(0)
    x, states = (y.numpy() for y in m.sample(4000, 4))
    initial, transition, emission = (p.exp().detach().numpy() for p in m.potentials())
    belief = initial
    for t in range(4):
        np.testing.assert_allclose(np.bincount(states[:, t], minlength=3) / 4000, belief, atol=0.03)
        seen = np.bincount(x[:, t], minlength=4) / 4000
        np.testing.assert_allclose(seen, belief @ emission, atol=0.03)
        belief = belief @ transition
    pairs = np.zeros((3, 3))
    np.add.at(pairs, (states[:, :-1].ravel(), states[:, 1:].ravel()), 1)
    np.testing.assert_allclose(pairs / pairs.sum(1, keepdims=True), transition, atol=0.04)
    tk.manual_seed(0)
    again = tk.compile(lambda: m.sample(4000, 4), fullgraph=True)()
    np.testing.assert_array_equal(again[0].numpy(), x)


def test_expectation_maximisation():
    """The likelihood never falls, and ends where the model that made the data is."""
    truth = with_probabilities(
        [0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]], [[0.8, 0.15, 0.05], [0.05, 0.15, 0.8]]
    )
    tk.manual_seed(0)
    x, _ = truth.sample(60, 25)
    mask = tk.arange(25) < tk.tensor(np.random.default_rng(0).integers(5, 26, (60, 1)))
    m = HMM(3, 2).double()
    history = m.fit(x, mask, steps=40, smoothing=0.0)
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(history))
    assert history[-1] >= truth.log_prob(x, mask).mean().item()
    want, got = (h.potentials().emission.exp().detach().numpy() for h in (truth, m))
    got = got[np.argsort(-got[:, 0])]
    np.testing.assert_allclose(got, want, atol=0.08)


def test_training_by_gradients_reaches_what_em_reaches():
    tk.manual_seed(0)
    truth = with_probabilities(
        [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.1, 0.9]]
    ).float()
    x, _ = truth.sample(40, 20)
    em, net = HMM(2, 2), HMM(2, 2)
    best = em.fit(x, steps=60)[-1]
    step = TrainStep(net, token_cross_entropy, tk.optim.Adam(net.parameters(), lr=0.1))
    for _ in range(150):
        step(x[:, :-1], x[:, 1:])
    assert net.log_prob(x).mean().item() > best - 0.5


def test_the_file_in_onnxruntime(tmp_path):
    """Log p(x), Viterbi and posterior of other sizes than it was exported with."""
    ort = pytest.importorskip("onnxruntime")
    decode = Decoder(model(4).float())
    path = tmp_path / "hmm.onnx"
    sizes = {0: "batch", 1: "length"}
    decode.save(path, (tk.tensor(X), tk.tensor(MASK)), dynamic={"x": sizes, "mask": sizes})
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert "Scan" in {n.op_type for n in onnx.load(path).graph.node}
    for session in (ort.InferenceSession(path), tk.runtime.InferenceSession(path)):
        for shape in ((4, 5), (2, 9), (3, 1)):
            x = np.random.default_rng(shape[1]).integers(0, SYMBOLS, shape)
            mask = np.arange(shape[1]) < np.arange(1, shape[0] + 1)[:, None]
            want = decode(tk.tensor(x), tk.tensor(mask))
            got = session.run(list(want), {"x": x, "mask": mask})
            for a, b in zip(got, want.values(), strict=True):
                np.testing.assert_allclose(a, b.detach().numpy(), 1e-5, 1e-6)


def test_refusals():
    with pytest.raises(InvalidArgumentError, match="a symbol and a state are required"):
        HMM(0, 2)
