"""What `autocast` casts: the element types of results, their values and gradients."""

from __future__ import annotations

from typing import Any

from tests.parity.core import Row, d, rows

# x (3, 4), w (4, 4), v (4,), b (2, 4, 4), img (2, 4, 6, 6), vol (1, 4, 4, 4, 4), seq (5, 2, 4).
INPUTS = (d(3, 4), d(4, 4), d(4), d(2, 4, 4), d(2, 4, 6, 6), d(1, 4, 4, 4, 4), d(5, 2, 4))
LOWER = """
x @ w | w @ v | x.mm(w) | b.bmm(b) | m.einsum('ij,jk->ik', x, w) | m.einsum('i,i->', v, v) | m.tensordot(x, w, 1)
m.inner(x, w) | m.linalg.multi_dot([x, w, w]) | m.chain_matmul(x, w, w) | m.matrix_power(w, 2) | m.linalg.vecdot(x, x)
m.baddbmm(b, b, b) | m.addbmm(w, b, b) | m.addmm(w, w, w) | F.linear(x, w, v) | F.linear(b, w) | F.prelu(x, v)
F.conv1d(b, b[:, :, :3].reshape(2, 4, 3)) | F.conv2d(img, img[:, :, :3, :3], v[:2]) | F.conv3d(vol, vol[:, :, :2, :2, :2])
F.conv_transpose2d(img, img[:1, :, :2, :2].reshape(4, 1, 2, 2)) | m.conv_tbc(seq, seq[:3, :, :1].reshape(3, 2, 1).expand(3, 2, 1).repeat(1, 2, 1), v[:1])
F.scaled_dot_product_attention(b, b, b) | F.scaled_dot_product_attention(b, b, b, attn_mask=w) | h(x) @ w | x.double() @ w.double()
"""
FLOAT32 = """
w.mv(v) | v.dot(v) | m.addmv(v, w, v) | v.outer(v) | m.einsum('ij,ij->ij', x, x) | m.kron(x, w) | F.bilinear(x, x, b)
h(x) + x | h(x).prod() | h(x).prod(1) | F.avg_pool3d(h(vol), 2) | F.max_pool3d(h(vol), 2) | F.adaptive_avg_pool3d(h(vol), 2)
F.adaptive_max_pool3d(h(vol), 2) | F.pad(h(img), (1, 1, 1, 1), 'reflect') | F.pad(h(img), (1, 1, 1, 1), 'replicate')
F.mse_loss(h(x), x) | F.l1_loss(h(x), h(w[:3])) | F.cross_entropy(h(x), t) | F.nll_loss(h(x), t) | F.kl_div(h(x), h(x).exp())
F.binary_cross_entropy(h(x).sigmoid(), h(x.detach()).sigmoid()) | F.binary_cross_entropy_with_logits(h(x), h(x.detach()))
F.huber_loss(h(x), h(w[:3])) | F.smooth_l1_loss(h(x), h(w[:3])) | F.cosine_embedding_loss(h(x), h(w[:3]), v[:3].detach().sign())
F.soft_margin_loss(h(x), h(x.detach()).sign()) | F.poisson_nll_loss(h(x), h(x.detach())) | F.triplet_margin_loss(h(x), h(w[:3]), h(b[0, :3]))
F.margin_ranking_loss(h(v), h(w[0]), h(v.detach()).sign()) | F.multi_margin_loss(h(x), t) | m.cdist(h(x), h(w)) | h(w).trace()
h(v).quantile(0.5) | m.inverse(h(w) + 5 * m.eye(4)) | m.linalg.cholesky(h(m.eye(3))) | m.linalg.svdvals(h(w.detach()))
m.linalg.solve(h(w) + 5 * m.eye(4), h(v)) | F.grid_sample(h(img), h(img[:, :2].permute(0, 2, 3, 1))) | m.cat([x, h(x)]) | m.stack([x, h(x)])
x.detach().index_copy(0, t[:1], h(x[:1])) | F.embedding(t, x) | F.mse_loss(x.double(), w[:3].double())
"""
SAME = """
h(x).softmax(1) | F.layer_norm(h(x), (4,)) | F.layer_norm(h(x), (4,), v) | F.rms_norm(h(x), (4,), v) | F.relu(h(x)) | h(x).sum()
F.group_norm(h(img), 2, v, v) | F.batch_norm(h(img), m.zeros(4), m.ones(4), v, v, True) | F.avg_pool2d(h(img), 2) | F.max_pool2d(h(img), 2)
F.pad(h(img), (1, 1)) | F.gelu(h(x)) | x.exp() | x.long() @ w.long() | F.cosine_similarity(h(x), h(w[:3]))
"""


def call(text: str) -> Any:
    code = compile(text, text, "eval")

    def run(m: Any, x: Any, w: Any, v: Any, b: Any, img: Any, vol: Any, seq: Any) -> Any:
        names = {"m": m, "F": m.nn.functional, "x": x, "w": w, "v": v, "b": b, "img": img, "vol": vol,
                 "seq": seq, "t": m.tensor([0, 2, 1]), "h": lambda y: y.to(m.bfloat16)}  # fmt: skip
        with m.autocast("cpu"):
            out = eval(code, names)
        return [out.dtype, out.float() if out.dtype.is_floating_point else out]

    return run


def texts(table: str) -> dict[str, Any]:
    return {t: call(t) for line in table.strip().splitlines() for t in line.split(" | ")}


# 1.5e-2 forward, two roundings to bfloat16 in a row, and four times as much backward.
ROUNDED = {
    "tolerance": 3000.0,
    "reason": "roundings of bfloat16 where sums are taken in another order",
}


def modes(m: Any) -> Any:
    return [m.is_autocast_enabled("cpu"), m.get_autocast_dtype("cpu"), m.is_autocast_cpu_enabled(),
            m.is_autocast_enabled(), m.is_autocast_cache_enabled()]  # fmt: skip


def nested(m: Any, x: Any) -> Any:
    seen = [modes(m)]
    with m.autocast(device_type="cpu", dtype=m.float16):
        seen += [modes(m), (x @ x).dtype]
        with m.autocast("cpu", enabled=False):
            seen += [modes(m), (x @ x).dtype]
        with m.amp.autocast("cpu", dtype=m.bfloat16, cache_enabled=False):
            seen += [modes(m), (x @ x).dtype]
        seen += [modes(m), (x @ x).dtype]
    return [*seen, modes(m)]


def decorated(m: Any, x: Any) -> Any:
    @m.autocast("cpu")
    def product(y: Any) -> Any:
        return y @ y

    return [product(x).float(), product(x).dtype, (x @ x).dtype]


def disabled(m: Any, x: Any) -> Any:
    with m.autocast("cuda"):
        first = (x @ x).dtype
    with m.autocast("cpu", dtype=m.float64):
        return [first, (x @ x).dtype, m.amp.is_autocast_available("cpu")]


def gradients(m: Any, x: Any) -> Any:
    """Parameters and their gradients stay float32; a parameter used twice is cast once."""
    layer = m.nn.Linear(4, 4)
    with m.no_grad():
        layer.weight.copy_(x)
        layer.bias.zero_()
    with m.autocast("cpu"):
        y = layer(layer(x).relu())
        loss = y.float().square().mean()
    loss.backward()
    return [
        y.dtype,
        y.detach().float(),
        loss.detach(),
        layer.weight.grad,
        layer.bias.grad,
        layer.weight.dtype,
    ]


def written(m: Any, x: Any) -> Any:
    """A parameter that is written to between two uses."""
    w = x.detach().clone().requires_grad_()
    with m.autocast("cpu"):
        first = w @ w
        with m.no_grad():
            second = (w @ w).detach()
    return [first.detach().float(), second.float()]


def custom(m: Any, x: Any) -> Any:
    seen: list[Any] = []

    class Product(m.autograd.Function):  # type: ignore[misc]
        @staticmethod
        @m.amp.custom_fwd(device_type="cpu")
        def forward(ctx: Any, a: Any) -> Any:
            ctx.save_for_backward(a)
            return a @ a

        @staticmethod
        @m.amp.custom_bwd(device_type="cpu")
        def backward(ctx: Any, g: Any) -> Any:
            seen.append(m.is_autocast_enabled("cpu"))
            return (g @ ctx.saved_tensors[0]).float()

    class Wide(m.autograd.Function):  # type: ignore[misc]
        @staticmethod
        @m.amp.custom_fwd(device_type="cpu", cast_inputs=m.float32)
        def forward(ctx: Any, a: Any) -> Any:
            seen.append([a.dtype, (a @ a).dtype])
            return a * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    y = x.detach().clone().requires_grad_()
    with m.autocast("cpu"):
        out = Product.apply(y)
        Wide.apply(y.bfloat16().detach().requires_grad_())
    out.float().sum().backward()
    return [out.dtype, y.grad.dtype, seen]


def scaler(m: Any, x: Any) -> Any:
    p = m.nn.Parameter(x.detach().clone())
    opt = m.optim.SGD([p], lr=0.1)
    made = m.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    seen = []
    for factor in (1.0, 1.0, float("inf"), 1.0):
        opt.zero_grad()
        made.scale((p * p).sum() * factor).backward()
        made.unscale_(opt)
        made.step(opt)
        made.update()
        seen.append([made.get_scale(), p.detach().clone()])
    other = m.GradScaler("cpu")
    other.load_state_dict(made.state_dict())
    return [seen, made.state_dict(), other.state_dict(), made.scale([x, (x,)]), made.is_enabled(),
            m.amp.GradScaler("cpu", enabled=False).scale(x)]  # fmt: skip


def wrong(m: Any, x: Any, what: str) -> Any:
    p = m.nn.Parameter(x.detach().clone())
    opt, made = m.optim.SGD([p], lr=0.1), m.amp.GradScaler("cpu")
    if what == "update first":
        return made.update()
    if what == "no gradients":
        return made.step(opt)
    made.scale(p.sum()).backward()
    made.unscale_(opt)
    if what == "unscale twice":
        return made.unscale_(opt)
    made.step(opt)
    return made.step(opt) if what == "step twice" else made.unscale_(opt)


REFUSED = ("update first", "no gradients", "unscale twice", "step twice", "unscale after step")
ROWS: list[Row] = [
    *rows("autocast lower", texts(LOWER), *INPUTS, **ROUNDED),
    *rows("autocast float32", texts(FLOAT32), *INPUTS, **ROUNDED),
    *rows("autocast same", texts(SAME), *INPUTS, **ROUNDED),
    *rows("autocast", {"nested": nested, "decorated": decorated, "disabled": disabled, "gradients": gradients,
                       "written": written, "custom_fwd": custom}, d(4, 4), **ROUNDED),
    *rows("GradScaler", {"steps": scaler}, d(3)),
    *rows("GradScaler refuses", {w: lambda m, x, w=w: wrong(m, x, w) for w in REFUSED}, d(3), error=True),
    *rows("autocast refuses", {
        "device": lambda m, x: m.autocast("toaster"), "no name": lambda m, x: m.autocast(3),
        "factors": lambda m, x: m.amp.GradScaler("cpu", growth_factor=1.0),
        "fp16 gradients": lambda m, x: wrong(m, x.half(), "unscale"),
    }, d(3), error=True),
]  # fmt: skip
