"""Linear algebra: the functions of `toolkit.linalg`, `toolkit.*` and `Tensor`'s methods.

Factorisations are operators of the domain toolkit.linalg (`toolkit/graph/functions/linalg*.py`), so
they differentiate, trace and export like any other. Eigenvalues of general matrices, and
`ldl_factor`, run eagerly only (`general.py`).
"""

from __future__ import annotations

from typing import Any

from toolkit._tensor.autocast import ruled
from toolkit._tensor.linalg import distance, eigen, factor, lowrank, norms, products, systems
from toolkit._tensor.linalg.lobpcg import lobpcg
from toolkit._tensor.linalg.removed import REMOVED

# toolkit.name: the function.
TOP: dict[str, Any] = {
    **{name: getattr(products, name) for name in (
        "addbmm", "addmm", "addmv", "addr", "baddbmm", "block_diag", "chain_matmul", "inner",
        "kron", "matrix_exp", "matrix_power", "tensordot", "vdot")},
    "cross": products.old_cross, "vander": products.old_vander,
    **{name: getattr(norms, name) for name in ("frobenius_norm", "nuclear_norm", "renorm")},
    "dist": distance.dist, "cdist": distance.cdist, "pdist": distance.pdist,
    "norm": norms.old_norm,
    "svd": eigen.old_svd, "pinverse": eigen.pinverse,
    **{name: getattr(systems, name) for name in (
        "cholesky_inverse", "cholesky_solve", "logdet", "slogdet", "triangular_solve")},
    "inverse": systems.inv, "lu_solve": systems.old_lu_solve,
    "cholesky": factor.old_cholesky, "qr": factor.old_qr, "lu": factor.old_lu,
    "lu_unpack": factor.lu_unpack, "geqrf": factor.geqrf, "ormqr": factor.ormqr,
    "orgqr": factor.householder_product,
    "svd_lowrank": lowrank.svd_lowrank, "pca_lowrank": lowrank.pca_lowrank,
    "lobpcg": lobpcg,
    **{name: REMOVED[name] for name in ("eig", "lstsq", "matrix_rank", "solve", "symeig")},
}  # fmt: skip

TOP = {name: ruled(name, function) for name, function in TOP.items()}
_METHODS = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "inner", "kron", "matrix_exp", "matrix_power",
    "vdot", "cross", "renorm", "dist", "norm", "svd", "pinverse", "cholesky_inverse",
    "cholesky_solve", "logdet", "slogdet", "triangular_solve", "inverse", "lu_solve", "cholesky",
    "qr", "lu", "geqrf", "ormqr", "orgqr", "eig", "lstsq", "solve", "symeig",
]  # fmt: skip


class LinearAlgebra:
    """Methods of linear algebra: the functions of the same names."""


for _name in _METHODS:
    setattr(LinearAlgebra, _name, TOP[_name])
for _name in ("addbmm", "addmm", "addmv", "addr", "baddbmm", "renorm"):

    def _inplace(self: Any, *args: Any, _function: Any = TOP[_name], **kwargs: Any) -> Any:
        """The function's result written into this tensor."""
        return self.copy_(_function(self, *args, **kwargs))

    _inplace.__name__ = f"{_name}_"
    setattr(LinearAlgebra, f"{_name}_", _inplace)
