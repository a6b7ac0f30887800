"""x[...] and x[...] = v in every form: slices, numbers, None, ellipsis, lists, masks, tensors."""

# ruff: noqa: E501
from __future__ import annotations

from tests.parity.core import Row, d, rows

_READ = """
    x[0] x[-1] x[1,2] x[...,0] x[...] x[None] x[:,None] x[0,...,None] x[1:] x[:-1] x[::2] x[:,1::2] x[5:] x[2:1] x[-2:,-3:-1]
    x[True] x[False] x[()] x[...,None,:] x[:,-1,None] x[[0,2]] x[:,[0,0,3]] x[[0,1],[1,2]] x[[-1]] x[[]] x[I] x[:,I] x[I,I] x[I,None]
    x[I,:2] x[1:,I] x[J] x[J,I] x[I[:,None],I] x[None,I] x[0,I] x[I,0] x[...,I] x[M] x[~M] x[M,] x[R] x[R,1] x[R,I2] x[:,C]
    x[R][:,C] x[x>0] x[m.tensor(1)] x[m.tensor([1])] x[m.tensor(True)] x[I,...] x[I.int()] x[R.byte()] x[C[:3],:2]
    x[slice(1,None)] x[(0,1)] x[[[0,1],[1,2]]] x[None,None,0] x[m.tensor([[0,1],[2,0]]),1] x[:2][M[:2]] x.t()[I] x.t()[:,0] x[1:2,None,I]
    x[m.zeros(0).long()] x[N] x[0][N] x[[True,False,True]] x[0:0] x[:,0:0,None]
"""
_READ_3D = """
    z[0,:,I] z[:,I,I] z[I,:,I] z[I,I] z[...,I,I] z[:,0,I] z[0,I] z[I,:,0] z[:,:,I] z[None,I,:,I] z[I,None,I] z[ZM] z[:,M2] z[M3,0]
    z[M3,:,1] z[0,...,I] z[I,...,0] z[1,1:,::2] z[:,[0,2],1] z[:,I[:,None],I] z[0:1,I,:1] z[...,None,I]
"""
_WRITE = """
    x[0]=5 x[-1]=0 x[1,2]=9 x[:,1]=4 x[1:]=2 x[:,::2]=3 x[...]=1 x[...,0]=7 x[0]=x[1] x[:,0]=y x[:,1:3]=y[:,None] x[None]=3 x[None,0]=2
    x[I]=0 x[I]=x[[2,0]] x[:,I]=1 x[I,I]=8 x[M]=0 x[M]=x[M]*2 x[~M]=3 x[R]=6 x[R,1]=5 x[:,C]=2 x[x>0]=0 x[[0,2]]=1 x[[0,1],[1,2]]=4 x[J]=9
    x[0,I]=2 x[I,0]=2 x[1:,I]=7 x[I,:2]=7 x[:,0]=m.tensor([1,2,3]) x[True]=2 x[False]=2 x[()]=3 x[m.tensor(1)]=4 x[0:0]=1
    x[1][2]=5 x[1:][:,1]=5 x.t()[0]=6 x.t()[1:,0]=y[0] x[:,1].mul_(3) x[1:,1:].zero_() x[0].add_(y[0]) x[:2][M[:2]]=1 x.view(-1)[3]=2
    x.view(2,6)[:,1]=3 x.diagonal()[1]=4 x[0]+=1 x[:,I]*=2 x[M]+=1 x[M]-=x[M] x[I,:]=y[:2,None] x[1:2,None]=3 x[-2:,-3:-1]=4 x[[]]=1
    x[I]=x[I] x[2,1:3]=y[:2] x[R]=x[R].flip(0) x[...,None]=2 x[:,:]=x.flip(0) x[0],x[1]=x[1],x[0] x[N]=3
"""
_BAD = """
    x[3] x[0,4] x[0,0,0] x[:,:,0] x[1.5] x["a"] x[::-1] x[::0] x[m.tensor([3])] x[m.tensor([-4])] x[m.tensor([0.5])] x[M[:2]] x[M.t()]
    x[I,m.tensor([0,1,2])] x[0,0][0] x[[0,5]] x[R,R]
"""
_BAD_WRITE = """
    x[3]=1 x[0]=y x[0]=m.ones(2,4) x[M]=y[:2] x[I]=m.ones(3,4) x[::-1]=1 x[:,5]=2 x[0]=m.ones(5) x[m.tensor([7])]=0
"""


def _names(m, x, y):
    mask = m.tensor([[True, False, True, False]] * 2 + [[False, True, True, True]])
    return {
        "m": m, "x": x, "y": y, "I": m.tensor([0, 2]), "I2": m.tensor([1, 0]), "J": m.tensor([[0, 1], [2, 2]]),
        "M": mask, "R": m.tensor([True, False, True]), "C": m.tensor([True, False, False, True]),
        "N": m.tensor([False, False, False]) if x.dim() and x.shape[0] == 3 else None,
    }  # fmt: skip


def _read(text):
    def call(m, x, y):
        names = _names(m, x, y)
        if "N]" in text and text.startswith("x[0]"):
            names["N"] = m.tensor([False] * 4)
        return eval(text, names)

    return call


def _read_3d(text):
    def call(m, z):
        mask = z > 0
        names = {
            "m": m,
            "z": z,
            "I": m.tensor([0, 1]),
            "ZM": mask,
            "M2": mask[0],
            "M3": m.tensor([True, False]),
        }
        return eval(text, names)

    return call


def _write(text):
    def call(m, x, y):
        names = _names(m, x * 1, y)
        exec(text, names)
        return names["x"]

    return call


X, Y = d(3, 4), d(3)
ROWS = [
    *rows("read", {t: _read(t) for t in _READ.split()}, X, Y, dtypes=("float32", "int64", "bool")),
    *rows("read 3d", {t: _read_3d(t) for t in _READ_3D.split()}, d(2, 3, 3)),
    *rows("read transposed", {t: _read(t) for t in _READ.split() if "view" not in t}, d(3, 4, layout="transposed"), Y),
    *rows("write", {t: _write(t) for t in _WRITE.split()}, X, Y, dtypes=("float32", "int32")),
    *rows("read errors", {t: _read(t) for t in _BAD.split()}, X, Y, error=True),
    *rows("write errors", {t: _write(t) for t in _BAD_WRITE.split()}, X, Y, error=True),
    Row("write float to int", lambda m, x: (lambda y: (y.__setitem__(0, 2.7), y))(x * 1), [X], dtypes=("int32", "uint8")),
    Row("write twice", lambda m, x: (lambda y: (y.index_put_((m.tensor([0, 0]),), m.ones(4), accumulate=True), y))(x * 1), [X]),
    Row("iterate", lambda m, x: list(x), [X]),
    Row("iterate scalar", lambda m, x: list(x.sum()), [X], error=True),
    Row("leaf", lambda m, x: x.__setitem__(0, 1.0), [X], error=True),
    Row("contains", lambda m, x: [0 in x * 0, 9.0 in x], [X], grad=False),
]  # fmt: skip
