"""The limits: what is counted of each algorithm, and the table of a small network."""

from __future__ import annotations

import numpy as np
import pytest

import toolkit as tk
from benchmarks import inference, roofline
from benchmarks.roofline import Work, limit_of, work_of
from benchmarks.zoo import Network, small, vision

FLOAT = 1


@pytest.fixture(autouse=True)
def _threads():
    """The tables set how many there are."""
    before = tk.get_num_threads()
    yield
    tk.set_num_threads(before)


def node(op_type: str, algorithm: str, inputs: list, outputs: list) -> dict:
    """As `Program.profile` tells it; inputs after the first are constants."""
    given = [(FLOAT, list(s), i > 0) for i, s in enumerate(inputs)]
    made = [(FLOAT, list(s), False) for s in outputs]
    return {
        "op_type": op_type, "algorithm": algorithm, "inputs": given, "outputs": made, "bodies": []
    }  # fmt: skip


def test_work_of_convolutions():
    """Winograd multiplies (m + 2)^2 numbers for m^2 results; 7 is no multiple of m."""
    shapes = [(1, 8, 7, 7), (16, 8, 3, 3), (16,)], [(1, 16, 7, 7)]
    assert work_of(node("FusedConv", "direct", *shapes)) == Work(
        2 * 49 * 9 * 8 * 16, 4 * (9 * 8 * 16 + 16)
    )
    for m, tiles in ((2, 16), (4, 4), (6, 4)):
        points = (m + 2) ** 2
        assert work_of(node("FusedConv", f"winograd{m}", *shapes)) == Work(
            2 * tiles * points * 8 * 16, 4 * (points * 8 * 16 + 16)
        )


def test_work_of_other_nodes():
    assert work_of(node("MatMul", "", [(4, 8), (8, 16)], [(4, 16)])) == Work(1024, 512)
    # Three rows of the table are read, and their numbers.
    assert work_of(node("Gather", "", [(9, 4), (3,)], [(3, 4)])).bytes == 12
    table = node("Gather", "", [(3,), (9, 4)], [(3, 4)])
    table["inputs"].reverse()
    assert work_of(table).bytes == 3 * 4 * 4


def test_a_node_that_did_not_run_has_no_work():
    assert work_of(node("Gather", "", [], [])) == Work(0, 0)


def test_limit_takes_the_slower_of_each_node():
    works = [Work(operations=1000, bytes=10), Work(operations=100, bytes=50)]
    limit = limit_of(works, passed=20, peak=100.0, bandwidth=10.0)
    assert (limit.seconds, limit.memory) == (2 + 10 + 5, 2 + 5)
    assert (limit.executed, limit.constants, limit.passed) == (1100, 60, 20)


def test_chains_of_convolutions_count_all_stages(tmp_path, rng):
    """What is fused executes what the model writes, but for its normalizations."""
    network = Network(
        vision.mobilenet_v2, lambda rng: (rng.standard_normal((1, 3, 64, 64), np.float32),)
    )
    network.save(tmp_path / "m.onnx")
    (x,) = network.example()
    case = inference.Case("m", tmp_path / "m.onnx", {"input_0": x}, network)
    names = inference._input_names(case.path)
    case = inference.Case("m", case.path, {names[0]: x}, network)
    limit, _ = roofline.measured_limit(case, 1)
    assert 0.95 * case.operations < limit.executed <= case.operations
    assert limit.constants > 0.95 * sum(p.nbytes for p in network_constants(case))


def network_constants(case: inference.Case) -> list[np.ndarray]:
    import onnx

    return [onnx.numpy_helper.to_array(t) for t in onnx.load(case.path).graph.initializer]


@pytest.mark.parametrize("table", ["limit", "gaps", "memory"])
def test_tables(table, monkeypatch, capsys):
    network = Network(small.mlp, lambda rng: (rng.standard_normal((1, 784), np.float32),))
    monkeypatch.setattr(inference, "NETWORKS", {"mlp, batch 1": network})
    monkeypatch.setattr(inference, "FILES", {})
    arguments = ["--tables", table, "--threads", "1", "--seconds", "0", "--peers"]
    roofline.main(arguments)
    row = capsys.readouterr().out.splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "mlp, batch 1"
    if table == "limit":
        assert cells[3] == "2.6"  # MiB: 784 x 512 + 512 x 512 + 512 x 10 numbers and biases.
        assert cells[-2:] == ["1.5", "nan"]  # No peer was measured.
    elif table == "gaps":
        assert cells[1:3] == ["Gemm", "3"]
        assert float(cells[4]) >= float(cells[5])
    else:
        first, third, held = map(float, cells[-1].split(","))
        assert held <= third >= first > 10
