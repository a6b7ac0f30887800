"""Shapes, views, diagonals, parts and joins: values, strides, gradients, writes, refusals."""

# ruff: noqa: E501
from __future__ import annotations

from tests.parity.core import ALL, FLOATS, Row, d, rows


def written(take, value=7):
    """The tensor after a write to a view of it, and the view."""

    def call(m, x):
        y = x * 1
        v = take(m, y)
        v.fill_(value)
        return y, v

    return call


def strides(take):
    """Shape, strides, offset and contiguity of a view, and its distance to the base."""

    def call(m, x):
        v = take(m, x)
        gap = v.data_ptr() - x.data_ptr()
        return list(v.shape), list(v.stride()), v.storage_offset(), v.is_contiguous(), gap

    return call


_VIEWS = {
    "diagonal": lambda m, x: x.diagonal(), "diagonal 1": lambda m, x: m.diagonal(x, 1),
    "diagonal -1": lambda m, x: x.diagonal(-1, 0, 1), "diagonal out": lambda m, x: x.diagonal(9),
    "as_strided": lambda m, x: m.as_strided(x, (2, 3), (4, 1), 1),
    "unfold": lambda m, x: x.unfold(1, 2, 2), "unfold 0": lambda m, x: x.unfold(0, 1, 1),
    "T": lambda m, x: x.T, "mT": lambda m, x: x.mT, "H": lambda m, x: x.H, "mH": lambda m, x: x.mH,
    "swapdims": lambda m, x: m.swapdims(x, 0, 1), "select": lambda m, x: x.select(1, -1),
    "narrow": lambda m, x: m.narrow(x, 1, 1, 2), "slice": lambda m, x: x[1:, ::2],
    "item": lambda m, x: x[1], "none": lambda m, x: x[:, None], "squeeze": lambda m, x: x[:, :1].squeeze(1),
    "unsqueeze": lambda m, x: x.unsqueeze(-1), "view": lambda m, x: x.view(4, -1) if x.is_contiguous() else x,
    "movedim": lambda m, x: m.movedim(x, 0, -1), "chunk": lambda m, x: x.chunk(2, 1)[1],
    "nested": lambda m, x: x[1:][:, 1:].t()[0], "diagonal of slice": lambda m, x: x[:, 1:].diagonal(),
    "unfold of t": lambda m, x: x.t().unfold(0, 3, 1), "split": lambda m, x: x.split([1, 3], 1)[1],
}  # fmt: skip
_COPIES = {
    "diag_embed": lambda m, x: m.diag_embed(x), "diag_embed 1": lambda m, x: x.diag_embed(1),
    "diag_embed -2": lambda m, x: m.diag_embed(x, -2, 0, 2), "diagflat": lambda m, x: m.diagflat(x, 1),
    "diag": lambda m, x: m.diag(x), "diag 1": lambda m, x: x.diag(1), "diag vector": lambda m, x: m.diag(x[0], -1),
    "rot90": lambda m, x: m.rot90(x), "rot90 2": lambda m, x: x.rot90(2), "rot90 -1": lambda m, x: m.rot90(x, -1, (1, 0)),
    "roll": lambda m, x: m.roll(x, 2, 1), "roll flat": lambda m, x: x.roll(3), "roll two": lambda m, x: x.roll((1, -1), (0, 1)),
    "flip": lambda m, x: m.flip(x, (0, 1)), "narrow_copy": lambda m, x: m.narrow_copy(x, 1, 1, 2),
    "repeat_interleave": lambda m, x: m.repeat_interleave(x, 2, 1),
    "repeat_interleave tensor": lambda m, x: x.repeat_interleave(m.tensor([1, 0, 2]), 0),
    "repeat_interleave flat": lambda m, x: x.repeat_interleave(2), "tile": lambda m, x: m.tile(x, (2, 1, 2)),
    "expand_copy": lambda m, x: m.expand_copy(x[:, None], (3, 2, 4)), "t_copy": lambda m, x: m.t_copy(x),
    "select_copy": lambda m, x: m.select_copy(x, 0, 1), "slice_copy": lambda m, x: m.slice_copy(x, 1, 1, 3),
    "permute_copy": lambda m, x: m.permute_copy(x, (1, 0)), "squeeze_copy": lambda m, x: m.squeeze_copy(x[:, :1], 1),
    "unbind_copy": lambda m, x: m.unbind_copy(x), "split_copy": lambda m, x: m.split_copy(x, 3, 1),
    "transpose_copy": lambda m, x: m.transpose_copy(x, 0, 1), "unsqueeze_copy": lambda m, x: m.unsqueeze_copy(x, 0),
    "diagonal_copy": lambda m, x: m.diagonal_copy(x), "view_copy": lambda m, x: m.view_copy(x.contiguous(), (2, 6)),
    "alias_copy": lambda m, x: m.alias_copy(x), "unfold_copy": lambda m, x: m.unfold_copy(x, 1, 2, 1),
    "split_with_sizes_copy": lambda m, x: m.split_with_sizes_copy(x, [1, 2]), "detach_copy": lambda m, x: m.detach_copy(x.detach()),
    "as_strided_copy": lambda m, x: m.as_strided_copy(x.contiguous(), (3,), (4,)),
    "dstack": lambda m, x: m.dstack((x, x)), "dstack 1": lambda m, x: m.dstack((x[0], x[1])),
    "column_stack": lambda m, x: m.column_stack((x[:, 0], x)), "row_stack": lambda m, x: m.row_stack((x, x[0])),
    "hstack": lambda m, x: m.hstack((x, x)), "vstack": lambda m, x: m.vstack((x[0], x)),
    "atleast_1d": lambda m, x: m.atleast_1d(x[0, 0], x), "atleast_2d": lambda m, x: m.atleast_2d(x[0]),
    "atleast_3d": lambda m, x: m.atleast_3d((x, x[0], x[0, 0])), "block_diag": lambda m, x: m.block_diag(x, x[0], x[0, 0]),
    "cartesian_prod": lambda m, x: m.cartesian_prod(x[0], x[1]), "cartesian_prod 1": lambda m, x: m.cartesian_prod(x[0]),
    "combinations": lambda m, x: m.combinations(x[0]), "combinations r": lambda m, x: m.combinations(x[0], 3, True),
    "meshgrid": lambda m, x: m.meshgrid(x[0], x[:, 0], indexing="xy"),
    "broadcast_tensors": lambda m, x: m.broadcast_tensors(x[:, :1], x[:1]),
    "hsplit": lambda m, x: m.hsplit(x, 2), "vsplit": lambda m, x: x.vsplit(3), "hsplit at": lambda m, x: x.hsplit((1, 3)),
    "dsplit": lambda m, x: m.dsplit(x[None], [1, 2]), "tensor_split": lambda m, x: m.tensor_split(x, 3, 1),
    "tensor_split at": lambda m, x: x.tensor_split((1, 9), dim=1), "tensor_split t": lambda m, x: m.tensor_split(x, m.tensor([2]), 1),
    "split_with_sizes": lambda m, x: m.split_with_sizes(x, [1, 2]), "unsafe_chunk": lambda m, x: m.unsafe_chunk(x, 2, 1),
    "unsafe_split": lambda m, x: m.unsafe_split(x, 3, 1), "chunk": lambda m, x: m.chunk(x, 3, 1),
    "squeeze dims": lambda m, x: x[None, :, None].squeeze((0, 2)), "squeeze kept": lambda m, x: x[None].squeeze((0, 1)),
    "movedim": lambda m, x: m.movedim(x[None], (0, 1), (2, 0)), "unflatten": lambda m, x: x.unflatten(1, (2, -1)),
    "expand_as": lambda m, x: x[:1].expand_as(x), "diagonal_scatter": lambda m, x: m.diagonal_scatter(x, x[0, :3]),
    "select_scatter": lambda m, x: m.select_scatter(x, x[:, 0], 1, 2), "slice_scatter": lambda m, x: m.slice_scatter(x, x[:, :2], 1, 0, 4, 2),
    "slice_scatter 0": lambda m, x: x.slice_scatter(x[:1], start=2),
    "as_strided_scatter": lambda m, x: m.as_strided_scatter(x.contiguous().detach(), x[0, :2], (2,), (5,), 1),
}  # fmt: skip
_INPLACE = {
    "t_": lambda m, x: (x * 1).t_(), "transpose_": lambda m, x: (x * 1).transpose_(0, 1),
    "squeeze_": lambda m, x: (x[None] * 1).squeeze_(0), "unsqueeze_": lambda m, x: (x * 1).unsqueeze_(1),
    "swapaxes_": lambda m, x: (x * 1).swapaxes_(0, 1), "as_strided_": lambda m, x: (x * 1).as_strided_((2, 2), (1, 2)),
    "t_ then": lambda m, x: (x * 1).t_().mul_(2).t(), "fill_diagonal_": lambda m, x: (x * 1).fill_diagonal_(5),
    "fill_diagonal_ wrap": lambda m, x: x.repeat(4, 1).fill_diagonal_(5, wrap=True),
    "fill_diagonal_ 3d": lambda m, x: x[:, :3].repeat(3, 1, 1).fill_diagonal_(5),
    "t_ strides": lambda m, x: [list((x * 1).t_().stride()), (x * 1).t_().is_contiguous()],
}  # fmt: skip
ROWS = [
    *rows("view", _VIEWS, d(3, 4), dtypes=("float32", "int32", "bool")),
    *rows("view strides", {k: strides(v) for k, v in _VIEWS.items() if k != "diagonal out"}, d(3, 4), grad=False),
    *rows("view strides t", {k: strides(v) for k, v in _VIEWS.items() if k not in ("view", "as_strided", "diagonal out")},
          d(4, 4, layout="transposed"), grad=False),
    *rows("view write", {k: written(v) for k, v in _VIEWS.items() if k not in ("unfold of t", "chunk", "split")}, d(3, 4)),
    *rows("view write t", {k: written(lambda m, y, v=v: v(m, y.t())) for k, v in _VIEWS.items()
                           if k not in ("view", "as_strided", "unfold of t", "chunk", "split")}, d(4, 4)),
    *rows("view t", _VIEWS, d(3, 4, layout="transposed")),
    *rows("shape", _COPIES, d(3, 4), dtypes=("float32", "int64", "bool")),
    *rows("shape t", {k: v for k, v in _COPIES.items() if k not in ("as_strided_copy",)}, d(3, 4, layout="transposed")),
    *rows("shape inplace", _INPLACE, d(3, 4)),
    *rows("shape empty", {
        "flip": lambda m, x: x.flip(0), "roll": lambda m, x: x.roll(1, 0), "diag_embed": lambda m, x: m.diag_embed(x),
        "diagonal": lambda m, x: x.diagonal(), "chunk": lambda m, x: x.chunk(2), "split": lambda m, x: x.split(2),
        "tensor_split": lambda m, x: x.tensor_split(2), "unfold": lambda m, x: x.unfold(1, 2, 1),
        "cat": lambda m, x: m.cat([x, x]), "block_diag": lambda m, x: m.block_diag(x, x), "rot90": lambda m, x: m.rot90(x),
        "repeat_interleave": lambda m, x: x.repeat_interleave(2, 0), "combinations": lambda m, x: m.combinations(x[:, 0]),
        "reshape": lambda m, x: x.reshape(3, 0), "expand": lambda m, x: x.expand(2, 0, 3), "unbind": lambda m, x: x.unbind(1)},
        d(0, 3)),
    *rows("shape scalar", {
        "flatten": lambda m, x: x.flatten(), "unsqueeze": lambda m, x: x.unsqueeze(-1), "squeeze": lambda m, x: x.squeeze(0),
        "permute": lambda m, x: x.permute(()), "expand": lambda m, x: x.expand(2, 3), "T": lambda m, x: x.t(),
        "ravel": lambda m, x: x.ravel(), "view": lambda m, x: x.view(1, 1), "repeat": lambda m, x: x.repeat(2),
        "transpose": lambda m, x: x.transpose(0, -1), "unfold": lambda m, x: x.unfold(0, 1, 1),
        "flip": lambda m, x: x.flip(()), "roll": lambda m, x: x.roll(1)}, d()),
    *rows("shape values", {
        "broadcast_shapes": lambda m: list(m.broadcast_shapes((2, 1), 3, (1, 1, 3))),
        "broadcast_shapes 0": lambda m: list(m.broadcast_shapes((0, 1), (1, 4))), "empty": lambda m: list(m.broadcast_shapes()),
        "atleast number": lambda m: m.atleast_2d(m.tensor(3)), "block_diag none": lambda m: m.block_diag(),
        "repeat_interleave": lambda m: m.repeat_interleave(m.tensor([2, 0, 1]))}, dtypes=("float32",)),
    *rows("shape errors", {
        "view": lambda m, x: x.view(5), "view t": lambda m, x: x.t().view(12), "view -1": lambda m, x: x.view(-1, -1),
        "reshape": lambda m, x: x.reshape(5, -1), "expand": lambda m, x: x.expand(3, 5), "permute": lambda m, x: x.permute(0, 0),
        "transpose": lambda m, x: x.transpose(0, 2), "squeeze": lambda m, x: x.squeeze(2), "select": lambda m, x: x.select(1, 4),
        "narrow": lambda m, x: x.narrow(1, 2, 3), "narrow length": lambda m, x: x.narrow(1, 0, -1), "split": lambda m, x: x.split([1, 1]),
        "split 0": lambda m, x: x.split(0), "chunk": lambda m, x: x.chunk(0), "hsplit": lambda m, x: x.hsplit(3),
        "vsplit": lambda m, x: x[0].vsplit(2), "dsplit": lambda m, x: x.dsplit(1), "tensor_split": lambda m, x: x.tensor_split(0),
        "stack": lambda m, x: m.stack([x, x[0]]), "cat": lambda m, x: m.cat([x, x[:, 0:2]]), "dstack": lambda m, x: m.dstack((x, x.t())),
        "mT": lambda m, x: x[0].mT, "diagonal": lambda m, x: x.diagonal(0, 1, 1), "diagonal 1d": lambda m, x: x[0].diagonal(),
        "diag_embed": lambda m, x: x.diag_embed(0, 1, 1), "diag": lambda m, x: x[None].diag(), "unfold": lambda m, x: x.unfold(1, 5, 1),
        "unfold step": lambda m, x: x.unfold(1, 2, 0), "as_strided": lambda m, x: x.as_strided((4, 4), (4, 1)),
        "as_strided length": lambda m, x: x.as_strided((2,), (1, 1)), "rot90": lambda m, x: x.rot90(1, (0, 0)),
        "rot90 1d": lambda m, x: x[0].rot90(), "roll": lambda m, x: x.roll((1, 2), 0), "flip": lambda m, x: x.flip(2),
        "unflatten": lambda m, x: x.unflatten(1, (3, 2)), "movedim": lambda m, x: x.movedim(0, 3), "flatten": lambda m, x: x.flatten(1, 0),
        "combinations": lambda m, x: m.combinations(x), "cartesian_prod": lambda m, x: m.cartesian_prod(x, x),
        "block_diag": lambda m, x: m.block_diag(x[None]), "broadcast": lambda m, x: m.broadcast_shapes((2,), (3,)),
        "meshgrid": lambda m, x: m.meshgrid(x[0], x[0], indexing="a"), "select_scatter": lambda m, x: m.select_scatter(x, x[0], 1, 0),
        "slice_scatter": lambda m, x: m.slice_scatter(x, x[:, :2], 1), "diagonal_scatter": lambda m, x: m.diagonal_scatter(x, x[0]),
        "write expanded": lambda m, x: x[:1].detach().expand(3, 4).add_(1), "repeat_interleave": lambda m, x: x.repeat_interleave(-1),
        "repeat_interleave size": lambda m, x: x.repeat_interleave(m.tensor([1, 2]), 0), "fill_diagonal_": lambda m, x: x[0].detach().fill_diagonal_(1),
        "t": lambda m, x: x[None].t(), "trace": lambda m, x: x[0].trace(), "leaf t_": lambda m, x: x.t_(),
        "repeat": lambda m, x: x.repeat(2)}, d(3, 4), error=True),
    *rows("view type", {
        "int32": lambda m, x: x.view(m.int32), "uint8": lambda m, x: x.view(m.uint8), "int64": lambda m, x: x.view(m.int64),
        "int16": lambda m, x: x.view(m.int16), "back": lambda m, x: x.view(m.uint8).view(x.dtype), "same": lambda m, x: x.view(x.dtype),
        "float64": lambda m, x: x.view(m.int64).view(m.float64)}, d(3, 4), dtypes=("float32", "int32", "float64", "int16"), grad=False),
    *rows("view type errors", {"odd": lambda m, x: x.view(m.int64), "scalar": lambda m, x: x[0, 0].view(m.uint8),
                               "stride": lambda m, x: x.t().view(m.uint8)}, d(4, 3), grad=False, error=True),
    Row("view type/write", lambda m, x: (lambda y: (y.view(m.int32).zero_(), y))(x * 1), [d(3, 4)], grad=False),
    Row("trace", lambda m, x: m.trace(x), [d(4, 3)], dtypes=(*FLOATS, "int32")),
    Row("cat/types", lambda m, x, y: m.cat([x, y]), [d(2, 3), d(1, 3, dtype="int64")], dtypes=ALL),
    Row("stack/negative", lambda m, x: m.stack([x, x], -1), [d(2, 3)], dtypes=ALL),
    Row("contiguous", lambda m, x: [x.t().contiguous().stride(), x.contiguous() is x], [d(2, 3)], grad=False),
    Row("unfold/3d", lambda m, x: x.unfold(0, 2, 1).unfold(1, 3, 2), [d(4, 5, 2)]),
    Row("diagonal/3d", lambda m, x: [x.diagonal(k, 2, 0) for k in (-1, 0, 1)], [d(3, 2, 4)]),
]  # fmt: skip
