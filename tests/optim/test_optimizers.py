"""Optimizers step by step against torch's."""

import copy

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn, optim
from toolkit.errors import InvalidArgumentError

torch = pytest.importorskip("torch")

SHAPES = [(4, 3), (7,), (), (2, 3, 5)]
CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3, "maximize": True}),
    ("NAdam", {"momentum_decay": 0.01, "maximize": True}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.8, 0.95)}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True, "eps": 1e-3}),
    ("Adamax", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adamax", {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "alpha": 0.9, "eps": 1e-3}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (1e-3, 0.2), "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.01, "alpha": 0.5, "t0": 20, "weight_decay": 0.1}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.5, "weight_decay": 0.1, "d": 2.0, "beta2_decay": -0.5}),
    ("Adafactor", {"eps": (1e-3, 1e-2), "maximize": True}),
    ("Muon", {}),
    ("Muon", {"lr": 0.01, "nesterov": False, "adjust_lr_fn": "match_rms_adamw"}),
    ("Muon", {"lr": 0.01, "weight_decay": 0.0, "momentum": 0.5, "ns_steps": 3}),
]
MATRICES = [(4, 3), (3, 5), (4, 4)]


def make(dtype="float64", seed=0, name=""):
    rng = np.random.default_rng(seed)
    shapes = MATRICES if name == "Muon" else SHAPES
    values = [rng.standard_normal(s).astype(dtype) for s in shapes]
    ours = [nn.Parameter(tk.tensor(v)) for v in values]
    theirs = [torch.nn.Parameter(torch.tensor(v)) for v in values]
    return ours, theirs, rng


def set_grads(ours, theirs, rng, skip=()):
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        if i in skip:
            p.grad = q.grad = None
            continue
        g = rng.standard_normal(p.shape).astype(p.dtype.numpy)
        p.grad, q.grad = tk.tensor(g), torch.tensor(g)


def assert_equal(ours, theirs, rtol=1e-12):
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol, rtol)


def assert_state(mine, other, rtol=1e-12):
    assert mine["state"].keys() == other["state"].keys()
    for i, state in other["state"].items():
        assert mine["state"][i].keys() == state.keys()
        for name, value in state.items():
            np.testing.assert_allclose(mine["state"][i][name].numpy(), value.numpy(), rtol, rtol)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_100_steps(name, options):
    ours, theirs, rng = make(name=name)
    mine, other = (
        getattr(optim, name)(ours, **options),
        getattr(torch.optim, name)(theirs, **options),
    )
    identities = [id(p) for p in ours]
    for i in range(100):
        set_grads(ours, theirs, rng, skip=(1,) if i in (0, 1, 2, 9) else ())
        mine.step()
        other.step()
    assert_equal(ours, theirs, 1e-10)
    assert_state(mine.state_dict(), other.state_dict(), 1e-10)
    assert mine.state_dict()["param_groups"] == other.state_dict()["param_groups"]
    assert identities == [id(p) for g in mine.param_groups for p in g["params"]]
    assert repr(mine) == repr(other)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_float32(name, options):
    ours, theirs, rng = make("float32", name=name)
    mine, other = (
        getattr(optim, name)(ours, **options),
        getattr(torch.optim, name)(theirs, **options),
    )
    for _ in range(20):
        set_grads(ours, theirs, rng)
        mine.step()
        other.step()
    assert_equal(ours, theirs, 2e-5)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("source", ["torch", "toolkit"])
def test_state_dict_goes_on(name, options, source):
    """A state of torch or of ours, loaded into a new optimizer, continues the same way."""
    ours, theirs, rng = make(name=name)
    mine, other = (
        getattr(optim, name)(ours, **options),
        getattr(torch.optim, name)(theirs, **options),
    )
    for _ in range(3):
        set_grads(ours, theirs, rng)
        mine.step()
        other.step()
    state = copy.deepcopy(mine.state_dict() if source == "toolkit" else other.state_dict())
    fresh = getattr(optim, name)(ours, lr=5.0)
    fresh.load_state_dict(state)
    for _ in range(3):
        set_grads(ours, theirs, rng)
        fresh.step()
        other.step()
    assert_equal(ours, theirs, 1e-10)


def test_groups_have_their_own_options():
    ours, theirs, rng = make()

    def groups(p):
        return [{"params": p[:2], "lr": 0.5}, {"params": p[2:], "momentum": 0.9}]

    mine = optim.SGD(groups(ours), lr=0.1)
    other = torch.optim.SGD(groups(theirs), lr=0.1)
    for i in range(5):
        set_grads(ours, theirs, rng)
        if i == 2:
            for o in (mine, other):
                o.param_groups[0]["lr"] = 0.05
                o.param_groups[1]["momentum"] = 0.5
        mine.step()
        other.step()
    assert_equal(ours, theirs)
    assert mine.state_dict()["param_groups"] == other.state_dict()["param_groups"]


def test_named_parameters():
    layer = nn.Linear(2, 2)
    optimizer = optim.SGD(layer.named_parameters(), lr=0.1)
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


def test_memory_and_views_follow():
    p = nn.Parameter(tk.ones(2, 3))
    array, turned, snapshot = p.detach().numpy(), p.detach().t(), p.detach().clone()
    p.grad = tk.ones(2, 3)
    address = p.data_ptr()
    optim.SGD([p], lr=0.25).step()
    assert p.data_ptr() == address
    assert (array == 0.75).all()
    assert (turned.numpy() == 0.75).all()
    assert (snapshot.numpy() == 1).all()


def test_copied_values_are_not_written():
    """A value taken over from another tensor stays that tensor's own."""
    source = tk.ones(3)
    p = nn.Parameter(tk.zeros(3))
    with tk.no_grad():
        p.copy_(source)
    p.grad = tk.ones(3)
    optim.SGD([p], lr=1.0).step()
    assert p.tolist() == [0, 0, 0] and source.tolist() == [1, 1, 1]
    plain = tk.zeros(3)
    plain.copy_(source)
    plain.requires_grad_()
    plain.grad = tk.ones(3)
    optim.SGD([plain], lr=1.0).step()
    assert plain.tolist() == [0, 0, 0] and source.tolist() == [1, 1, 1]


def test_a_copy_of_a_parameter_stays():
    p, snapshot = nn.Parameter(tk.zeros(3)), tk.ones(3)
    p.detach().numpy()
    p.grad = tk.ones(3)
    optimizer = optim.SGD([p], lr=1.0)
    optimizer.step()
    for source in (p, p.detach(), p.data):
        with tk.no_grad():
            snapshot.copy_(source)
        before = snapshot.tolist()
        optimizer.step()
        assert snapshot.tolist() == before != p.tolist()


def test_new_value_between_steps():
    p = nn.Parameter(tk.zeros(3))
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    for data in (tk.ones(3), tk.full((3,), 5.0)):
        p.data = data
        p.grad = tk.ones(3)
        optimizer.step()
    assert p.tolist() == [3.5, 3.5, 3.5]


def test_closure_and_zero_grad():
    p = nn.Parameter(tk.ones(2))
    optimizer = optim.SGD([p], lr=0.1)

    def closure():
        assert tk.is_grad_enabled()
        p.grad = tk.ones(2)
        return 7.0

    with tk.no_grad():
        assert optimizer.step(closure) == 7.0
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None
    before = p.tolist()
    optimizer.step()
    assert p.tolist() == before


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: optim.SGD([]), "empty parameter list"),
        (lambda p: optim.SGD([p, p]), "more than one parameter group"),
        (lambda p: optim.SGD([p], lr=-1), "Invalid learning rate: -1"),
        (lambda p: optim.SGD([p], momentum=-1), "Invalid momentum value"),
        (lambda p: optim.SGD([p], nesterov=True), "Nesterov momentum requires"),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), "Invalid beta parameter at index 0"),
        (lambda p: optim.Adam([p], eps=-1), "Invalid epsilon"),
        (lambda p: optim.AdamW([p], weight_decay=-1), "Invalid weight_decay"),
        (lambda p: optim.SGD([p * 2]), "non-leaf"),
        (lambda p: optim.SGD([p], differentiable=True), "differentiable=False"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(InvalidArgumentError, match=message):
        build(nn.Parameter(tk.ones(2)))


def test_wrong_types():
    with pytest.raises(TypeError, match="iterable of Tensors"):
        optim.SGD(nn.Parameter(tk.ones(2)))
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        optim.SGD([1.0])
    with pytest.raises(TypeError, match="ordered collections"):
        optim.SGD([{"params": {1}}])


def test_state_of_other_groups_is_refused():
    a = optim.SGD([nn.Parameter(tk.ones(2))])
    b = optim.SGD([nn.Parameter(tk.ones(2)), nn.Parameter(tk.ones(2))])
    with pytest.raises(InvalidArgumentError, match="doesn't match the size"):
        a.load_state_dict(b.state_dict())
    c = optim.SGD([{"params": [nn.Parameter(tk.ones(2))]}, {"params": [nn.Parameter(tk.ones(2))]}])
    with pytest.raises(InvalidArgumentError, match="different number of parameter groups"):
        a.load_state_dict(c.state_dict())


def test_torch_takes_our_state():
    for name, options in CASES:
        ours, theirs, rng = make(name=name)
        mine = getattr(optim, name)(ours, **options)
        for _ in range(3):
            set_grads(ours, theirs, rng)
            mine.step()
        state = mine.state_dict()
        state["state"] = {
            i: {k: torch.tensor(v.numpy()) for k, v in s.items()} for i, s in state["state"].items()
        }
        with torch.no_grad():
            for p, q in zip(ours, theirs, strict=True):
                q.copy_(torch.tensor(p.detach().numpy()))
        other = getattr(torch.optim, name)(theirs, lr=5.0)
        other.load_state_dict(state)
        for _ in range(3):
            set_grads(ours, theirs, rng)
            mine.step()
            other.step()
        assert_equal(ours, theirs, 1e-6)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_emitted_graph_is_the_eager_step(name, options):
    """`emit`'s node, run by its kernel, gives what `step` gives."""
    ir = pytest.importorskip("onnx_ir")
    from toolkit.graph.build import Builder
    from toolkit.runtime import _core

    if not _core.has_kernel("toolkit.optim", name):
        pytest.skip("its step is the emitted graph")
    p = nn.Parameter(tk.randn(3, 4))
    p.grad = tk.randn(3, 4)
    optimizer = getattr(optim, name)([p], **options)
    group = optimizer.param_groups[0]
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 21})

    def value(label, dtype=ir.DataType.FLOAT, shape=(3, 4)):
        if label in arrays:
            shape = arrays[label].shape
        return ir.Value(name=label, type=ir.TensorType(dtype), shape=ir.Shape(shape))

    arrays = optimizer.init_state(p)
    state = {key: value(key) for key in arrays}
    lr, step = value("lr", shape=()), value("step", ir.DataType.INT64, ())
    param, grad = value("p"), value("g")
    new, new_state = optimizer.emit(Builder(graph), param, grad, state, lr, step, group)
    assert new_state.keys() == arrays.keys()
    node = new.producer()
    feeds = {"p": p.detach().numpy().copy(), "g": p.grad.numpy().copy(), **arrays}
    feeds |= {"lr": np.float32(group["lr"]), "step": np.int64(1)}
    if options.get("maximize"):
        feeds[node.inputs[1].name] = -feeds["g"]
    attributes = {a.name: a.value for a in node.attributes.values()}
    op = _core.Op(node.domain, node.op_type, attributes)
    inputs = [
        None if v is None else _core.Tensor.from_array(np.asarray(feeds[v.name]))
        for v in node.inputs
    ]
    results = op.run(inputs, len(node.outputs))
    optimizer.step()
    np.testing.assert_allclose(results[0].numpy(), p.detach().numpy(), 1e-6, 1e-7)
    for key, result in zip(new_state, results[1:], strict=True):
        got = optimizer.state[p][key].numpy()
        np.testing.assert_allclose(result.numpy(), got, 1e-6, 1e-7)


def test_momentum_that_begins_later():
    rng = np.random.default_rng(0)
    start = rng.standard_normal(5).astype(np.float32)
    p, q = tk.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    mine, theirs = optim.SGD([p], lr=0.1), torch.optim.SGD([q], lr=0.1)
    for i in range(6):
        if i == 2:
            mine.param_groups[0]["momentum"] = theirs.param_groups[0]["momentum"] = 0.9
        grad = rng.standard_normal(5).astype(np.float32)
        p.grad, q.grad = tk.tensor(grad), torch.tensor(grad)
        mine.step()
        theirs.step()
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-6)
