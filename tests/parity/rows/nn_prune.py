"""`nn.utils.prune` beside torch's: masks, one after another, globally, removed, refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.core import Row, d, fill


def pruned(note: str, *steps: Callable[[Any, Any], Any], remove: bool = False, **row: Any) -> Row:
    """A layer after some steps: keys, masks, weight, output, gradient of what is left."""

    def call(m: Any, x: Any) -> Any:
        import importlib

        space = "torch" if "torch" in m.__name__ else "toolkit"
        prune = importlib.import_module(f"{space}.nn.utils.prune")
        layer = m.nn.Linear(4, 5)
        fill(layer)
        for step in steps:
            step(prune, layer)
        y = layer(x)
        if remove:
            prune.remove(layer, "weight")
        call.parameters = list(layer.parameters())  # type: ignore[attr-defined]
        return [sorted(layer.state_dict()), layer.weight, y, layer(x), prune.is_pruned(layer)]

    call.parameters = []  # type: ignore[attr-defined]
    return Row(f"prune/{note}", call, [d(2, 4)], **row)


def rule(name: str, *args: Any, **options: Any) -> Callable[[Any, Any], Any]:
    """One step on the weight."""
    return lambda p, layer: getattr(p, name)(layer, "weight", *args, **options)


ROWS = [
    pruned("l1 part", rule("l1_unstructured", 0.3)),
    pruned("l1 number", rule("l1_unstructured", 7)),
    pruned("l1 removed", rule("l1_unstructured", 7), remove=True),
    pruned("l1 twice", rule("l1_unstructured", 0.3), rule("l1_unstructured", 0.5)),
    pruned("identity", rule("identity")),
    pruned("ln rows", rule("ln_structured", 2, 2, 0)),
    pruned("ln columns", rule("ln_structured", 0.5, float("inf"), 1)),
    pruned("ln and l1", rule("ln_structured", 1, 1, 0), rule("l1_unstructured", 4)),
    pruned("l1 and ln", rule("l1_unstructured", 4), rule("ln_structured", 1, 2, -1), remove=True),
    pruned("global", lambda p, layer: p.global_unstructured(
        [(layer, "weight"), (layer, "bias")], p.L1Unstructured, amount=9)),
    pruned("global again", rule("l1_unstructured", 4), lambda p, layer: p.global_unstructured(
        [(layer, "weight"), (layer, "bias")], p.L1Unstructured, amount=0.4)),
    pruned("mask", lambda p, layer: p.custom_from_mask(layer, "weight", layer.weight.detach() > 0)),
    pruned("amount", rule("l1_unstructured", 21), error=True),
    pruned("part", rule("l1_unstructured", 1.5), error=True),
    pruned("negative", rule("random_unstructured", -1), error=True),
    pruned("vector", lambda p, layer: p.ln_structured(layer, "bias", 1, 2, 0), error=True),
    pruned("none", remove=True, error=True),
]  # fmt: skip
