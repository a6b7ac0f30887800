"""Many threads at once: one session or many, first runs, profiles, training, errors, the pool.

What they compute is right here; `make sanitize-thread` says whether they race.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from onnx import helper

import toolkit as tk
from tests.runtime.test_equal_plain import model_of
from toolkit import nn, optim
from toolkit.errors import ToolkitError
from toolkit.runtime import InferenceSession, SessionOptions, _core
from toolkit.train import TrainStep

THREADS, ROUNDS = 4, 6


def at_once(*work: Callable[[], None]) -> None:
    """Runs all of `work`, each on a thread of its own; raises what they raise."""
    barrier = threading.Barrier(len(work))
    raised: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        barrier.wait()
        try:
            function()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in work]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for error in raised:
        raise error


@pytest.fixture(params=[1, 2, 4], autouse=True)
def pool(request):
    """The size of the core's own pool; `_isolate` puts it back."""
    tk.set_num_threads(request.param)


def network(rng, channels: int = 24) -> tuple[bytes, dict[str, np.ndarray]]:
    """Convolutions by several algorithms, a product and an elementwise program."""
    weights = {
        "w3": rng.standard_normal((channels, channels, 3, 3)) / 15,
        "w1": rng.standard_normal((channels, channels, 1, 1)) / 5,
        "wd": rng.standard_normal((channels, 1, 3, 3)) / 3,
        "wt": rng.standard_normal((channels, 8, 4, 4)) / 8,
        "b": rng.standard_normal((24 * 8, 40)) / 14,
    }
    nodes = [
        helper.make_node("Conv", ["x", "w3"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w1"], ["p"]),
        helper.make_node("Conv", ["p", "wd"], ["d"], pads=[1] * 4, group=channels),
        helper.make_node("ConvTranspose", ["d", "wt"], ["t"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Sigmoid", ["t"], ["s"]),
        helper.make_node("Mul", ["t", "s"], ["m"]),
        helper.make_node("MaxPool", ["m"], ["q"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["q", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "b"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"]),
    ]
    feed = {"x": rng.standard_normal((2, channels, 12, 12)).astype(np.float32)}
    constants = {k: v.astype(np.float32) for k, v in weights.items()}
    constants["shape"] = np.array([-1, 24 * 8])
    model = model_of(nodes, feed, constants)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    return model.SerializeToString(), feed


def test_the_first_run_of_one_session(rng):
    """Constants are packed at their first use, by whoever comes first."""
    file, feed = network(rng)
    (want,) = InferenceSession(file).run(None, feed)
    for _ in range(ROUNDS):
        session = InferenceSession(file)

        def work(session=session):
            for _ in range(2):
                np.testing.assert_array_equal(session.run(None, feed)[0], want)

        at_once(*[work] * THREADS)


def test_sizes_that_change(rng):
    file, feed = network(rng)
    session = InferenceSession(file)
    x = feed["x"]
    feeds = [{"x": np.concatenate([x] * n)[: 2 * n - n % 2]} for n in (1, 2, 3)]
    wants = [InferenceSession(file).run(None, f)[0] for f in feeds]

    def work():
        for _ in range(ROUNDS):
            for f, want in zip(feeds, wants, strict=True):
                np.testing.assert_array_equal(session.run(None, f)[0], want)

    at_once(*[work] * THREADS)


def test_sessions_of_their_own_and_the_pool(rng):
    """Sessions are loaded and run while the pool changes its size."""
    file, feed = network(rng)
    (want,) = InferenceSession(file).run(None, feed)

    def work():
        session = InferenceSession(file)
        for _ in range(ROUNDS):
            np.testing.assert_array_equal(session.run(None, feed)[0], want)

    def resize():
        for i in range(ROUNDS):
            tk.set_num_threads(1 + i % 3)

    at_once(*[work] * (THREADS - 1), resize)


def test_profiles_and_memory_reports_of_a_session_that_runs(rng):
    file, feed = network(rng)
    session = InferenceSession(file)
    (want,) = session.run(None, feed)
    program = session.native_program()

    def work():
        for _ in range(ROUNDS):
            np.testing.assert_array_equal(session.run(None, feed)[0], want)

    def watch():
        for i in range(ROUNDS):
            program.enable_profile(i % 2 == 0)
            assert all(node["seconds"] >= 0 for node in program.profile()["nodes"])
            assert session.memory_report().arena > 0
            assert program.arena_bytes > 0

    at_once(*[work] * (THREADS - 1), watch)


def test_measured_choices(rng):
    file, feed = network(rng, 24)
    options = SessionOptions()
    (want,) = InferenceSession(file).run(None, feed)
    options.autotune = True
    session = InferenceSession(file, options)

    def work():
        for _ in range(2):
            got = session.run(None, feed)[0]
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
            _core.autotuned()

    at_once(*[work] * THREADS)


def test_errors_in_workers(rng):
    """An index out of range is found inside a parallel loop; others' results stay right."""
    table = {"t": rng.standard_normal((50, 64)).astype(np.float32)}
    indices = rng.integers(0, 50, (400,))
    feed = {"i": indices}
    nodes = [helper.make_node("Gather", ["t", "i"], ["y"])]
    session = InferenceSession(model_of(nodes, feed, table))
    wrong = {"i": np.where(np.arange(400) == 333, 99, indices)}

    def right():
        for _ in range(ROUNDS):
            np.testing.assert_array_equal(session.run(None, feed)[0], table["t"][indices])

    def fail():
        for _ in range(ROUNDS):
            with pytest.raises(ToolkitError, match="99"):
                session.run(None, wrong)

    at_once(right, fail, right, fail)


def test_strings(rng):
    words = np.array([[f"word {i}, {j}" for j in range(40)] for i in range(8)], object)
    nodes = [helper.make_node("StringConcat", ["x", "x"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 8, [8, 40])],
        [helper.make_tensor_value_info("y", 8, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    session = InferenceSession(model)

    def work():
        for _ in range(ROUNDS):
            assert (session.run(None, {"x": words})[0] == words + words).all()

    at_once(*[work] * THREADS)


def test_loops(rng):
    """Bodies are programs that all runs share."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["v", "w"], ["p"]),
            helper.make_node("Tanh", ["p"], ["v_next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", 7, []),
            helper.make_tensor_value_info("go", 9, []),
            helper.make_tensor_value_info("v", 1, None),
        ],
        [helper.make_tensor_value_info(n, t, None) for n, t in (("go_on", 9), ("v_next", 1))],
    )
    constants = {"w": (rng.standard_normal((33, 33)) / 6).astype(np.float32), "n": np.array(7)}
    feed = {"x": rng.standard_normal((5, 33)).astype(np.float32)}
    node = helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)
    session = InferenceSession(model_of([node], feed, constants))
    want = feed["x"]
    for _ in range(7):
        want = np.tanh(want @ constants["w"])

    def work():
        for _ in range(ROUNDS):
            np.testing.assert_allclose(session.run(None, feed)[0], want, rtol=1e-4, atol=1e-5)

    at_once(*[work] * THREADS)


def test_trainings_beside_each_other():
    """Weights are drawn one after the other: the generator is the process's."""
    lock = threading.Lock()
    steps = []
    for seed in range(3):
        tk.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 100, 5))
        step = TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((4, 3, 12, 12)).astype(np.float32), rng.integers(0, 5, 4)
        steps.append((step, x, y))
    found: dict[int, list[float]] = {}

    def work(i: int) -> None:
        step, x, y = steps[i]
        mine = [float(step(x, y)[0]) for _ in range(4)]
        with lock:
            found[i] = mine

    at_once(*[lambda i=i: work(i) for i in range(3)])
    for values in found.values():
        assert np.isfinite(values).all() and values[-1] < values[0]


def test_one_training_step_from_many_threads():
    """Steps of one program wait for each other: as many are done as were asked for."""
    tk.manual_seed(0)
    model = nn.Linear(40, 30)
    step = TrainStep(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.0))
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((16, n)).astype(np.float32) for n in (40, 30))
    want = float(step(x, y)[0])

    def work():
        for _ in range(ROUNDS):
            assert float(step(x, y)[0]) == want

    at_once(*[work] * THREADS)


def test_eager_operations_and_gradients(rng):
    x = rng.standard_normal((8, 3, 10, 10)).astype(np.float32)
    w = rng.standard_normal((6, 3, 3, 3)).astype(np.float32)

    def gradient() -> bytes:
        t = tk.tensor(w, requires_grad=True)
        nn.functional.conv2d(tk.tensor(x), t).relu().square().sum().backward()
        return t.grad.numpy().tobytes()

    want = gradient()

    def work():
        for _ in range(ROUNDS):
            assert gradient() == want

    at_once(*[work] * THREADS)
