"""Modules as functions of their parameters: `functional_call`, `stack_module_state`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from toolkit.errors import InvalidArgumentError


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Calls a module with other tensors in place of its parameters and buffers.

    Args:
        module: it is as before afterwards.
        parameter_and_buffer_dicts: tensors by the names of `state_dict`, in one dict or several.
        args: the arguments: a tuple, or one that is none.
        kwargs: keyword arguments.
        tie_weights: a tensor that the module holds under several names is replaced at all of them.
        strict: all parameters and buffers must be given, and nothing else.

    Raises:
        ValueError: a name is given twice, or tied names are given different tensors.
        InvalidArgumentError: with `strict`, names do not match; or a name is none of the module's.
    """
    given: dict[str, Any] = {}
    if isinstance(parameter_and_buffer_dicts, Mapping):
        given = dict(parameter_and_buffer_dicts)
    else:
        for part in parameter_and_buffer_dicts:
            for name, tensor in part.items():
                if name in given:
                    raise ValueError(
                        f"{name} appears in multiple dictionaries; behavior of functional call is "
                        "ambiguous"
                    )
                given[name] = tensor
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, given, tie_weights, strict):
        return module(*arguments, **(kwargs or {}))


def state_of(module: Any) -> list[tuple[dict[str, Any], str, Any]]:
    """What a module holds now, for `holding`: tables, keys and tensors."""
    return [(table, key, table[key]) for table, key in _slots(module).values()]


@contextmanager
def holding(state: Sequence[tuple[dict[str, Any], str, Any]]) -> Iterator[None]:
    """Modules hold these tensors inside the block."""
    before = [(table, key, table[key]) for table, key, _ in state]
    try:
        for table, key, tensor in state:
            table[key] = tensor
        yield
    finally:
        for table, key, tensor in before:
            table[key] = tensor


def _slots(module: Any) -> dict[str, tuple[dict[str, Any], str]]:
    """The table and key of each parameter and buffer, by its name."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for table in (part._parameters, part._buffers):
            for key, tensor in table.items():
                if tensor is not None:
                    found[f"{path}.{key}" if path else key] = (table, key)
    return found


@contextmanager
def _replaced(module: Any, given: dict[str, Any], tie: bool, strict: bool) -> Iterator[None]:
    slots = _slots(module)
    unknown = [name for name in given if name not in slots]
    if unknown:
        raise InvalidArgumentError(
            f"functional_call: names of parameters or buffers are required, got {unknown[:3]}."
        )
    if tie:
        given = _tied(slots, given)
    if strict:
        missing = [name for name in slots if name not in given]
        if missing:
            raise InvalidArgumentError(f"Missing key(s): {', '.join(missing)}.")
    with holding([(*slots[name], tensor) for name, tensor in given.items()]):
        yield


def _tied(slots: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is given under one name of a shared tensor, under all of its names."""
    names: dict[int, list[str]] = {}
    for name, (table, key) in slots.items():
        names.setdefault(id(table[key]), []).append(name)
    found = dict(given)
    for group in names.values():
        present = [n for n in group if n in given]
        if any(given[n] is not given[present[0]] for n in present[1:]):
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(group)}, which are tied. "
                "Consider using tie_weights=False"
            )
        if present:
            found.update((n, given[present[0]]) for n in group)
    return found


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Lets each BatchNorm of a module use the batch's statistics only, which `vmap` can batch.

    Returns:
        `root`, whose BatchNorms have no running statistics any more.
    """
    for module in root.modules():
        batch_norm = any(cls.__name__ == "_BatchNorm" for cls in type(module).__mro__)
        if batch_norm and module.track_running_stats:
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of equal modules, stacked along a new dimension 0.

    Raises:
        InvalidArgumentError: there are no modules, or they are not of one class and mode.
    """
    if not models:
        raise InvalidArgumentError("stack_module_state: Expected at least one model, got 0.")
    if len({m.training for m in models}) > 1:
        raise InvalidArgumentError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if any(type(m) is not type(models[0]) for m in models):
        raise InvalidArgumentError(
            "stack_module_state: Expected all models to be of the same class."
        )
    return (
        _stacked([dict(m.named_parameters()) for m in models]),
        _stacked([dict(m.named_buffers()) for m in models]),
    )


def _stacked(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    from toolkit._tensor.functions import find

    found = {}
    for name in tables[0]:
        tensors = [table[name] for table in tables]
        learned = {t.requires_grad for t in tensors}
        if len(learned) > 1:
            raise InvalidArgumentError(
                f"Expected {name} from each model to have the same .requires_grad"
            )
        stacked = find("stack")(tensors)
        found[name] = stacked.detach().requires_grad_() if learned == {True} else stacked
    return found
