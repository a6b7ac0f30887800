"""Shape functions of the domain toolkit.linalg."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from toolkit.graph.shapes.registry import Dim, NodeCall, TypeInfo, shape_function, tensor_info

_LINALG = "toolkit.linalg"
_INT32, _INT64 = ir.DataType.INT32, ir.DataType.INT64


def _matrices(call: NodeCall, square: bool = False) -> tuple[tuple[Dim, ...], Dim, Dim] | None:
    """Batch, rows and columns of the first input; None of an unknown rank."""
    dims = call.input(0).dims
    if dims is None:
        return None
    if len(dims) < 2:
        raise call.fail("matrices are required", f"the shape {call.input(0)}")
    m, n = dims[-2:]
    if square and isinstance(m, int) and isinstance(n, int) and m != n:
        raise call.fail("square matrices are required", f"the shape {call.input(0)}")
    return dims[:-2], m, n


def _least(m: Dim, n: Dim) -> Dim:
    if isinstance(m, int) and isinstance(n, int):
        return min(m, n)
    return m if m == n else ir.SymbolicDim(None)


@shape_function(_LINALG, "Cholesky")
def _cholesky(call: NodeCall) -> Sequence[TypeInfo]:
    found = _matrices(call, square=True)
    return [call.input(0), tensor_info(_INT32, found and found[0])][: call.outputs]


@shape_function(_LINALG, "Lu")
def _lu(call: NodeCall) -> Sequence[TypeInfo]:
    found = _matrices(call)
    pivots = None if found is None else (*found[0], _least(*found[1:]))
    info = tensor_info(_INT32, found and found[0])
    return [call.input(0), tensor_info(_INT32, pivots), info][: call.outputs]


@shape_function(_LINALG, "LuPermutation")
def _lu_permutation(call: NodeCall) -> Sequence[TypeInfo]:
    found = _matrices(call)
    return [tensor_info(_INT64, None if found is None else (*found[0], found[1]))]


@shape_function(_LINALG, "Solve")
def _solve(call: NodeCall) -> Sequence[TypeInfo]:
    found = _matrices(call, square=True)
    pivots = None if found is None else (*found[0], found[2])
    infos = [tensor_info(_INT32, pivots), tensor_info(_INT32, found and found[0])]
    return [call.input(1), call.input(0), *infos][: call.outputs]


@shape_function(_LINALG, "SolveTriangular")
def _solve_triangular(call: NodeCall) -> Sequence[TypeInfo]:
    _matrices(call, square=True)
    return [call.input(1)]


@shape_function(_LINALG, "LuSolve")
def _lu_solve(call: NodeCall) -> Sequence[TypeInfo]:
    _matrices(call, square=True)
    return [call.input(2)]


@shape_function(_LINALG, "HouseholderProduct", "MatrixExp")
def _same(call: NodeCall) -> Sequence[TypeInfo]:
    _matrices(call, square=call.op_type.startswith("MatrixExp"))
    return [call.input(0)]


@shape_function(_LINALG, "PinvOf")
def _pinv_of(call: NodeCall) -> Sequence[TypeInfo]:
    return [call.input(1)]


@shape_function(_LINALG, "Geqrf")
def _geqrf(call: NodeCall) -> Sequence[TypeInfo]:
    found, dtype = _matrices(call), call.input(0).dtype
    tau = None if found is None else (*found[0], _least(*found[1:]))
    return [call.input(0), tensor_info(dtype, tau)][: call.outputs]


@shape_function(_LINALG, "Qr")
def _qr(call: NodeCall) -> Sequence[TypeInfo]:
    found, dtype = _matrices(call), call.input(0).dtype
    mode = call.attr("mode", "reduced")
    if found is None:
        return [tensor_info(dtype, None)] * call.outputs
    batch, m, n = found
    columns = m if mode == "complete" else _least(m, n)
    q = (0,) if mode == "r" else (*batch, m, columns)
    return [tensor_info(dtype, q), tensor_info(dtype, (*batch, columns, n))][: call.outputs]


@shape_function(_LINALG, "Eigh")
def _eigh(call: NodeCall) -> Sequence[TypeInfo]:
    found, dtype = _matrices(call, square=True), call.input(0).dtype
    w = None if found is None else (*found[0], found[2])
    v = call.input(0) if call.attr("vectors", 1) else tensor_info(dtype, (0,))
    return [tensor_info(dtype, w), v][: call.outputs]


@shape_function(_LINALG, "Svd")
def _svd(call: NodeCall) -> Sequence[TypeInfo]:
    found, dtype = _matrices(call), call.input(0).dtype
    if found is None:
        return [tensor_info(dtype, None)] * call.outputs
    batch, m, n = found
    k, full = _least(m, n), call.attr("full_matrices", 0)
    u = (*batch, m, m if full else k)
    vh = (*batch, n if full else k, n)
    if not call.attr("vectors", 1):
        u = vh = (0,)
    return [tensor_info(dtype, dims) for dims in (u, (*batch, k), vh)][: call.outputs]
