"""Values, shapes and element types of every method, against torch."""

import pytest
from against import compare, data

# (what, expression of m, x (3, 4) float32, y (3, 4) float32, i (3, 4) int64, b (3, 4) bool)
EXPRESSIONS = """
x + y; x - y; x * y; x / y; x // y; x % y; x ** 2; x.abs() ** y; x ** 3; 2 ** x; x ** 0.5
x + 1; 1 + x; x - 1; 1 - x; x * 2; 2 * x; x / 2; 2 / x; x // 2; 2 // x; x % 2; 2 % x; -x; +x
abs(x)
i + 1; i + 1.5; i * 2; i / 2; i // 3; i % 3; -i; i - 7; i ** 2; 7 // (i + 10); -7 % (i * 2 + 21)
i + x; x + i; i * b; b + b; b * b; b & b; b | ~b; b ^ b; ~b; i & 3; i | 3; i ^ 3; ~i; b + 1
b + 1.5; b * x
x == y; x != y; x < y; x > y; x <= y; x >= y; x == 0; i == 2; b == True; x < 1; i < 2; i > x
x + m.tensor(2); x + m.tensor(2.0, dtype=m.float64); i + m.tensor(2.5)
i + m.tensor(2, dtype=m.int32)
x.double() + x; i.int() + i; b + i.int(); x.double() * 2; i.int() * 2.5
i.int() / i.int().abs().clamp(min=1)
x.exp(); x.abs().log(); x.abs().sqrt(); x.sin(); x.cos(); x.tan(); x.tanh(); x.sigmoid()
x.erf(); x.reciprocal()
(x / 3).asin(); (x / 3).acos(); x.atan(); x.sinh(); x.cosh(); x.asinh(); (x.abs() + 1).acosh()
(x / 3).atanh()
x.relu(); x.sign(); x.floor(); x.ceil(); x.round(); x.trunc(); x.frac(); x.square()
x.abs().rsqrt(); x.neg()
x.abs().log1p(); (x * 0.001).log1p(); x.expm1(); (x * 0.001).expm1(); x.abs().log2()
x.abs().log10(); x.exp2(); x.erfc()
i.exp(); i.float().sqrt(); i.abs(); i.neg(); i.sign(); i.floor(); b.float(); b.long(); x.int()
x.long(); x.bool(); i.bool(); x.double(); i.to(m.float64)
x.clamp(-1, 1); x.clamp(min=0); x.clamp(max=0.5); i.clamp(0, 2); i.clamp(max=1.5)
x.clamp(y - 1, y + 1); x.clamp_min(0.1); x.clip(-1, 1)
x.atan2(y); x.maximum(y); x.minimum(y); x.fmod(y); x.fmod(0.7); x.lerp(y, 0.3)
x.addcmul(x, y, value=2); x.addcdiv(x, y); x.isnan(); x.isinf(); x.isfinite()
m.where(b, x, y); m.where(b, x, 0.0); m.where(b, 1.0, x); x.where(b, y); x.masked_fill(b, 5.0)
i.masked_fill(b, 7); m.where(b, i, x)
x.logical_and(y); i.logical_or(b); b.logical_xor(b); i.logical_not(); x.logit(eps=1e-3)
x.nan_to_num(); x.isclose(y); x.heaviside(y)
x.sum(); x.sum(0); x.sum(1, keepdim=True); x.sum((0, 1)); x.sum(-1); i.sum(); b.sum(); b.sum(0)
i.int().sum(); x.sum(dtype=m.float64)
x.mean(); x.mean(0); x.mean((0, 1), keepdim=True); x.prod(); x.prod(1); i.prod(); x.max()
x.min(); i.max(); x.amax(1); x.amin((0, 1)); x.amax()
list(x.max(0)); list(x.min(1, keepdim=True)); list(i.max(1)); x.argmax(); x.argmax(1)
x.argmin(0, keepdim=True); i.argmax(1)
x.std(); x.std(0); x.var(1); x.var(unbiased=False); x.var(0, unbiased=False)
x.std((0, 1), keepdim=True); x.var(dim=1, correction=0)
b.any(); b.all(); b.any(1); b.all(0, keepdim=True); x.any(); i.all(); x.norm(); x.norm(1, 1)
x.norm(float('inf')); x.norm(3, 0); x.norm(dim=1); x.norm(0)
x.logsumexp(1); x.cumsum(0); x.cumsum(1); i.cumsum(1); b.cumsum(0); x.softmax(1)
x.log_softmax(0); x.softmax(-1); x.count_nonzero(); i.count_nonzero(1)
x.view(4, 3); x.reshape(-1); x.reshape(2, -1); x.permute(1, 0); x.transpose(0, 1); x.t(); x.T
x.mT; x.flatten(); x[None].flatten(1); x.ravel()
x.unflatten(1, (2, 2)); x.unflatten(1, (-1, 2)); x.squeeze(); x[:1].squeeze(); x[:1].squeeze(0)
x[:1].squeeze(1); x.unsqueeze(0); x.unsqueeze(-1); x.unsqueeze(1)
x.expand(2, 3, 4); x[:1].expand(3, -1); x[:, :1].expand(3, 4); x.repeat(2, 1); x.repeat(2, 1, 2)
x.tile(2); x.repeat_interleave(2, 1); x.repeat_interleave(2)
list(x.chunk(2)); list(x.chunk(3, 1)); list(x.split(2)); list(x.split([1, 3], 1))
list(x.unbind()); list(x.unbind(1)); x.narrow(1, 1, 2); x.select(0, 1)
list(x.tensor_split(2, 1))
x.flip(0); x.flip(0, 1); x.roll(1); x.roll(1, 0); x.roll((1, -1), (0, 1)); x.tril(); x.triu(1)
x.tril(-1); x.diagonal(); x.diagonal(1); x.diagonal(-1); x.diag(); x[0].diag(); x[0].diag(1)
x[0].diag(-1); x[:3, :3].trace()
m.cat([x, y]); m.cat([x, y], 1); m.cat([x, i]); m.stack([x, y]); m.stack([x, y], -1)
m.stack([x[0], y[0]], 1); m.vstack([x, y]); m.hstack([x, y])
x.gather(1, i.abs() % 4); x.gather(0, i.abs() % 3); x.index_select(1, m.tensor([3, 0]))
x.take(m.tensor([0, 5])); x.masked_select(b)
x.scatter(1, i.abs() % 4, y); x.scatter_add(1, i.abs() % 4, y)
x.scatter(1, i.abs() % 4, 9.0) * 0 + 1; x.index_add(0, m.tensor([0, 2]), y[:2])
x.index_copy(1, m.tensor([3, 0]), y[:, :2]); x.index_fill(0, m.tensor([1]), 3.0)
x.scatter_reduce(1, i.abs() % 4, y, 'amax'); x.scatter_reduce(1, i.abs() % 4, y, 'sum')
list(x.topk(2)); list(x.topk(2, 0, largest=False)); list(x.sort())
list(x.sort(0, descending=True)); x.argsort(1); x.median(); list(x.median(1)); i.nonzero()
list(b.nonzero(as_tuple=True)); x.argwhere()
x @ y.t(); x.mm(y.t()); x.matmul(y[0]); x[0] @ y[0]; x.mv(y[0]); x[0].dot(y[0])
x[0].outer(y[1]); x[None] @ y.t()[None]; m.addmm(x[:, :3], x, y.t()); i @ i.t()
x[0].matmul(y.t())
m.einsum('ij,kj->ik', x, y); m.einsum('ij->ji', x); m.einsum('ij->', x)
m.einsum('ij,ij->i', x, y); m.einsum('i,j->ij', x[0], y[0]); m.einsum('ij,jk', x, y.t())
m.einsum('...i,...i->...', x, y); m.einsum('bij,bjk->bik', x[None], y.t()[None])
m.einsum('ii->i', x[:3, :3]); m.einsum('ij,j,i->', x, y[0], y[:, 0])
x[0]; x[-1]; x[1, 2]; x[:, 1]; x[1:]; x[:, ::2]; x[..., 0]; x[None]; x[:, None]; x[0, None, 1:3]
x[1:1]; x[2, ...]; x[...]; x[()]
x[m.tensor([0, 2])]; x[:, m.tensor([0, 2])]; x[m.tensor([0, 2]), m.tensor([1, 3])]; x[b]
x[b[:, 0]]; x[[0, 2]]; x[m.tensor([[0, 1], [2, 0]])]; x[m.tensor([0, 1]), 1:]
x[1, m.tensor([0, 1])]; x[:, None, m.tensor([1, 1])]; x[m.tensor(1)]
x[m.tensor([[0], [1]]), m.tensor([1, 2, 3])]
x.tolist(); x[0, 0].item(); x.numel(); x.dim(); x.size(0); x.size(-1); len(x); x.stride()
x.t().stride(); x[:, 1:].stride(); x.t().is_contiguous(); x.is_contiguous()
x[1:].is_contiguous(); x[:, 1:].is_contiguous(); x.element_size(); x.is_floating_point()
m.zeros(2, 3); m.ones((2, 3)); m.full((2,), 3); m.full((2,), 3.5); m.zeros(2, dtype=m.int64)
m.arange(5); m.arange(1, 2, 0.25); m.arange(5, dtype=m.float32); m.arange(10, 0, -3)
m.linspace(0, 1, 5); m.eye(3); m.eye(2, 3); m.zeros_like(x); m.ones_like(i); m.full_like(x, 2)
x.new_zeros(2); x.new_ones(2, 2); x.new_full((2,), 3); x.new_tensor([1, 2])
m.tensor(1); m.tensor(1.5); m.tensor([1, 2]); m.tensor([1.0, 2]); m.tensor([True])
m.tensor([[1], [2]]); m.tensor([]); m.tensor([1, 2], dtype=m.float32); m.as_tensor([1.0])
m.tensor([x[0, 0].item()])
m.result_type(x, i); m.result_type(i, 1.5); m.promote_types(m.int32, m.float32); x.type_as(i)
x.allclose(x); x.equal(x); m.equal(x, y)
m.broadcast_to(x[0], (2, 4)); list(m.meshgrid(x[0], y[:, 0], indexing='ij'))
list(m.meshgrid(x[0], y[:, 0], indexing='xy')); list(m.broadcast_tensors(x[0], y))
m.movedim(x, 0, 1); x[None].movedim(0, -1)
x.bincount() if False else i.abs().flatten().bincount(); x.contiguous(); x.t().contiguous()
x.clone(); x.detach(); x.data; x.cpu(); x.view_as(y); x.reshape_as(y.t())
m.silu if False else x.softmax(0); m.exp(x); m.add(x, y, alpha=2); m.sub(x, y, alpha=3)
m.sum(x, 1); m.max(x); m.maximum(x, y); m.clamp(x, 0, 1); m.is_tensor(x); m.numel(x)
float(x[0, 0]); int(i[0, 0]); bool(b[0, 0]); [v.item() for v in x[0]]; x.sum().item()
x.shape.numel(); tuple(x.shape); x.ndim; 2.0 in m.tensor([2.0])
"""
CASES = [
    e.strip() for line in EXPRESSIONS.strip().splitlines() for e in line.split(";") if e.strip()
]


def inputs(m):
    x, y = m.tensor(data(3, 4, seed=1)), m.tensor(data(3, 4, seed=2))
    i = m.tensor(data(3, 4, seed=3, low=-5, high=5).astype("int64"))
    b = m.tensor(data(3, 4, seed=4) > 0)
    return {"m": m, "x": x, "y": y, "i": i, "b": b}


@pytest.mark.parametrize("expression", CASES)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_value(expression):
    compare(lambda m: eval(expression, inputs(m)))
