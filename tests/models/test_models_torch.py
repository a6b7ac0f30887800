"""Every reference model beside a torch twin: one batch, and 20 training steps."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import models, nn, optim
from toolkit.models.char_gpt import token_cross_entropy
from toolkit.models.svm import hinge_loss

torch = pytest.importorskip("torch")

from tests.models import twins  # noqa: E402

TF = torch.nn.functional
LOSSES = {
    "ce": (nn.functional.cross_entropy, TF.cross_entropy),
    "nll": (nn.functional.nll_loss, TF.nll_loss),
    "token_ce": (token_cross_entropy, twins.token_cross_entropy),
    "hinge": (hinge_loss, twins.hinge_loss),
}
SMALL_GPT = {"layers": 2, "width": 48, "heads": 3, "block_size": 32, "vocab_size": 20}
# Name: options, torch's twin, samples.
MODELS = {
    "mlp": ({}, twins.MLP, 16),
    "digits_cnn": ({}, twins.DigitsCNN, 16),
    "mnist_cnn": ({}, twins.MnistCNN, 4),
    "resnet18_cifar": ({}, twins.ResNet18, 2),
    "char_gpt": ({}, twins.CharGPT, 2),
    "svm": ({}, twins.SVM, 16),
    "kernel_svm": ({}, twins.kernel_svm, 16),
    "hmm": ({}, twins.HMM, 2),
}
LENGTHS = {"char_gpt": 128, "hmm": 12}
TRAINED = {
    **MODELS,
    "resnet18_cifar": ({"width": 8}, twins.ResNet18, 8),
    "char_gpt": (SMALL_GPT, twins.CharGPT, 4),
    "char_gpt tied": ({**SMALL_GPT, "tied": True}, twins.CharGPT, 4),
}


def pair(name, options, twin, seed=0):
    """Both models in training mode with equal weights and without dropping."""
    tk.manual_seed(seed)
    ours, theirs = models.create(name.split()[0], **options), twin(**options)
    state = {k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    for module in (*ours.modules(), *theirs.modules()):
        if type(module).__name__ == "Dropout":
            module.p = 0.0
    return ours, theirs


def batch(name, options, n, seed=0):
    info, rng = models.info(name.split()[0]), np.random.default_rng(seed)
    if info.input_dtype == "int64":
        shape = (n, options.get("block_size", LENGTHS[name.split()[0]]))
        classes = options.get("vocab_size", 96)
        return rng.integers(0, classes, shape), rng.integers(0, classes, shape)
    x = rng.standard_normal((n, *info.input_shape)).astype(np.float32)
    return x, rng.integers(0, info.num_classes, n)


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_of_a_batch(name):
    options, twin, n = MODELS[name]
    ours, theirs = pair(name, options, twin)
    x, y = batch(name, options, n)
    our_loss, their_loss = LOSSES[models.default_loss(name)]
    a = our_loss(ours(tk.tensor(x)), tk.tensor(y))
    b = their_loss(theirs(torch.tensor(x)), torch.tensor(y))
    a.backward()
    b.backward()
    np.testing.assert_allclose(a.item(), b.item(), rtol=1e-5)
    for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        got, want = p.grad.numpy(), q.grad.numpy()
        np.testing.assert_allclose(got, want, 1e-4, 1e-4 * np.abs(want).max(), err_msg=key)
    for (key, p), q in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), 1e-4, 1e-6, err_msg=key)


def train_eager(ours, optimizer, loss_fn, x, y):
    optimizer.zero_grad()
    loss = loss_fn(ours(tk.tensor(x)), tk.tensor(y))
    loss.backward()
    optimizer.step()
    return loss.item()


def train_torch(theirs, optimizer, loss_fn, x, y):
    optimizer.zero_grad()
    loss = loss_fn(theirs(torch.tensor(x)), torch.tensor(y))
    loss.backward()
    optimizer.step()
    return loss.item()


# A ReLU or a maximum that rounding tips the other way makes a jump that grows from step to step. So
# the eager steps are compared in float64, where none tips; the rates are exact in float32.
@pytest.mark.parametrize("way", ["eager", "compiled"])
@pytest.mark.parametrize("name", TRAINED)
def test_20_steps_stay_together(name, way):
    options, twin, n = TRAINED[name]
    ours, theirs = pair(name, options, twin)
    if way == "eager":
        dtype, tolerance, kind = np.float64, 1e-7, "AdamW"
        rates = {"lr": 2**-9}
        ours.double()
        theirs.double()
    else:
        dtype, tolerance, kind = np.float32, 1e-2, "SGD"
        rates = {"lr": 2**-10, "momentum": 0.75, "nesterov": True}
    mine = getattr(optim, kind)(ours.parameters(), **rates)
    other = getattr(torch.optim, kind)(theirs.parameters(), **rates)
    our_loss, their_loss = LOSSES[models.default_loss(name.split()[0])]
    if way == "compiled":
        from toolkit.train import TrainStep

        step = TrainStep(ours, our_loss, mine)
    losses = []
    for i in range(20):
        x, y = batch(name, options, n, seed=i % 3)
        x = x.astype(dtype) if x.dtype.kind == "f" else x
        b = train_torch(theirs, other, their_loss, x, y)
        if way == "eager":
            a = train_eager(ours, mine, our_loss, x, y)
        else:
            a = step(tk.tensor(x), tk.tensor(y))[0].item()
        losses.append((a, b))
    got, want = np.array(losses).T
    np.testing.assert_allclose(got, want, rtol=tolerance)
    assert want[-3:].mean() < want[:3].mean()
    mine_now, theirs_now = (
        np.concatenate([t.numpy().ravel() for t in m.state_dict().values()]) for m in (ours, theirs)
    )
    assert np.linalg.norm(mine_now - theirs_now) <= tolerance * np.linalg.norm(theirs_now)


@pytest.mark.parametrize("name", MODELS)
def test_eval_mode_equals(name):
    options, twin, n = MODELS[name]
    ours, theirs = pair(name, options, twin, seed=1)
    x, _ = batch(name, options, n)
    a, b = ours.eval()(tk.tensor(x)), theirs.eval()(torch.tensor(x))
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-4, 1e-5)
