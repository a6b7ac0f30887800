"""Function transforms by torch.func's names: gradients, Jacobians, batching, modules as functions.

They nest in any order. Eagerly they run at once; inside a trace they write into its graph, so that
an export holds a transformed function as standard operators.
"""

from toolkit.func.jacobian import hessian, hvp, jacfwd, jacrev
from toolkit.func.modules import (
    functional_call,
    replace_all_batch_norm_modules_,
    stack_module_state,
)
from toolkit.func.staging import cache_clear, cache_info
from toolkit.func.transforms import grad, grad_and_value, jvp, linearize, value_and_grad, vjp
from toolkit.func.vectorize import vmap

__all__ = [
    "cache_clear", "cache_info", "functional_call", "grad", "grad_and_value", "hessian", "hvp",
    "jacfwd", "jacrev", "jvp", "linearize", "replace_all_batch_norm_modules_",
    "stack_module_state", "value_and_grad", "vjp", "vmap",
]  # fmt: skip
