"""Every step between two versions of an operator is known: the same, adapted, or harmless, and why.

A new onnx release that changes an operator fails here until somebody has looked at it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import onnx
import pytest

from tests.graph.upgrade_cases import CASES
from toolkit.graph import downgrade, upgrade
from toolkit.graph.downgrade.registry import rule_of
from toolkit.graph.upgrade.registry import adapted_versions

Schema = Any
LOOKED_AT = 28  # Above, an added attribute is to be listed with its operator.

# An attribute that a newer version added, and why its absence says what the older version did.
ADDED = {
    "allowzero": "0: a zero copies the dimension",
    "antialias": "0: no filter",
    "axes": "without: all axes",
    "axis": "quantization was per tensor before: a scalar scale does not look at it",
    "batch_dims": "0: no batch axes",
    "base_values_as_tensor": "one of two ways to say it",
    "block_size": "0: no blocks",
    "ceil_mode": "0: floor",
    "class_weights_as_tensor": "one of two ways to say it",
    "count_include_pad": "0: pads are not counted, as in opset 1",
    "default_tensor": "one of several ways to say it",
    "dilations": "without: 1",
    "end": "without: to the end",
    "keep_aspect_ratio_policy": "stretch: sizes as given",
    "keys_tensor": "one of several ways to say it",
    "largest": "1: the largest",
    "layout": "0: sequence first",
    "left_window_size": "-1: no bound",
    "linear_before_reset": "0: reset before the product, opset 1's formula",
    "mode": "DCR: the only order before",
    "nodes_hitrates_as_tensor": "one of two ways to say it",
    "nodes_values_as_tensor": "one of two ways to say it",
    "noop_with_empty_axes": "0: without axes all are reduced",
    "output_dtype": "0: the type of the zero point, or of the scale",
    "precision": "0: the type of the scale",
    "reduction": "none: the last one written",
    "right_window_size": "-1: no bound",
    "round_mode": "up: for a type that older versions lack",
    "saturate": "1: for types that older versions lack",
    "seed": "without: chosen anew",
    "select_last_index": "0: the first",
    "sorted": "1: in order",
    "sparse_value": "one of several ways to say it",
    "start": "0: from the beginning",
    "storage_order": "0: row major",
    "target_weights_as_tensor": "one of two ways to say it",
    "training_mode": "0: says it where an adapter has not",
    "value_float": "one of several ways to say it",
    "value_floats": "one of several ways to say it",
    "value_int": "one of several ways to say it",
    "value_ints": "one of several ways to say it",
    "value_string": "one of several ways to say it",
    "value_strings": "one of several ways to say it",
    "values_tensor": "one of several ways to say it",
}
# Attributes that the same name gives another meaning elsewhere; there an adapter is asked for.
NOT_HARMLESS = {
    ("GroupNormalization", "stash_type"),
    ("RoiAlign", "coordinate_transformation_mode"),
}
ADDED_BY_OPERATOR = {
    ("Range", "stash_type"): "only types that older versions lack are computed in another",
    ("Resize", "coordinate_transformation_mode"): "the adapter says asymmetric",
}
# Steps that neither an adapter nor the rules of this file explain: (operator, version).
REASONS = {
    ("Attention", 24): "input nonpad_kv_seqlen: without, all keys are valid",
    ("Clip", 6): "the new defaults are the bounds of float32: no bounds",
    ("Constant", 11): "value is no longer the only way to say it",
    ("GRU", 3): "output Y_h may be left out; the adapter is for the misspelt direction",
    ("GRU", 7): "see recurrent_7",
    ("Gemm", 11): "input C may be left out",
    ("LpPool", 2): "kernel_shape must be given, and was by every runtime's rule",
    ("MaxPool", 8): "the second output is new",
    ("OptionalHasElement", 18): "its input may be left out",
    ("Pad", 18): "input axes: without, pads are of all axes",
    ("ai.onnx.ml.TreeEnsembleClassifier", 5): "stays an operator of its own",
    ("ai.onnx.ml.TreeEnsembleRegressor", 5): "stays an operator of its own",
}  # fmt: skip


def steps() -> Iterator[tuple[str, Schema, Schema]]:
    """Each two neighbouring versions of an operator, under its name with the domain."""
    versions: dict[tuple[str, str], list[Schema]] = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        versions[schema.domain, schema.name].append(schema)
    for (domain, name), schemas in sorted(versions.items()):
        schemas.sort(key=lambda s: s.since_version)
        for old, new in pairwise(schemas):
            yield (f"{domain}.{name}" if domain else name), old, new


STEPS = list(steps())


def default_of(attr: Any) -> Any:
    return onnx.helper.get_attribute_value(attr.default_value) if attr.default_value.name else None


def differences(name: str, old: Schema, new: Schema) -> list[str]:
    """What a node written for `old` may meet in `new` that is not the same."""
    found = []
    for key in sorted(set(old.attributes) | set(new.attributes)):
        a, b = old.attributes.get(key), new.attributes.get(key)
        if key == "consumed_inputs":  # Dropped from every node before opset 6.
            assert b is None
        elif b is None:
            found.append(f"attribute {key} is gone")
        elif a is None:
            looked_at = new.since_version <= LOOKED_AT
            known = (looked_at and key in ADDED) or (name, key) in ADDED_BY_OPERATOR
            if b.required or not known:
                found.append(f"attribute {key} is new")
        elif a.type != b.type or default_of(a) != default_of(b) or (b.required and not a.required):
            found.append(f"attribute {key} changed")
    for what in ("inputs", "outputs"):
        found += parameter_differences(what, getattr(old, what), getattr(new, what))
    if new.deprecated and not old.deprecated:
        found.append("deprecated")
    return found


def parameter_differences(what: str, old: Any, new: Any) -> Iterator[str]:
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    if len(new) < len(old):
        yield f"{what} are gone"
    for a, b in zip(old, new, strict=False):
        if a.option != b.option:
            yield f"{what} {a.name}: {a.option} -> {b.option}"
        lost = set(a.types) - set(b.types)
        if lost:
            yield f"{what} {a.name} no longer takes {', '.join(sorted(lost))}"
    for b in new[len(old) :]:
        if what == "inputs" or b.option != optional:
            yield f"{what} {b.name} is new"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    STEPS,
    ids=[f"{n}-{a.since_version}-{b.since_version}" for n, a, b in STEPS],
)
def test_every_version_step_is_known(name: str, old: Schema, new: Schema) -> None:
    found = differences(name, old, new)
    adapted = new.since_version in adapted_versions(new.name, new.domain)
    reason = REASONS.get((name, new.since_version))
    if found and not adapted:
        assert reason, f"{name} {old.since_version} -> {new.since_version}: {found}"


def test_no_reason_is_stale() -> None:
    known = {(name, new.since_version) for name, _, new in STEPS}
    assert set(REASONS) <= known
    assert set(NO_RULE) <= known
    added = {key for _, old, new in STEPS for key in set(new.attributes) - set(old.attributes)}
    assert set(ADDED) <= added


def test_every_adapter_leads_to_a_version_and_has_a_case() -> None:
    from toolkit.graph.upgrade.registry import _ADAPTERS

    versions = {
        (s.domain, s.name, s.since_version) for s in onnx.defs.get_all_schemas_with_history()
    }
    operators = {s.name for s in onnx.defs.get_all_schemas()}
    cases = {(c.op, c.opset) for c in CASES}
    elsewhere = {"LabelEncoder", "Scan"}  # test_upgrade_models.py
    for (domain, name), adapters in _ADAPTERS.items():
        for to in adapters:
            exists = (domain, name, to) in versions
            assert exists or name not in operators or name == "Upsample", (name, to)
            if name not in elsewhere:
                assert any(c[0] == name and c[1] < to for c in cases), f"{name} below {to}: no case"


def needs_rule(old: Schema, new: Schema) -> list[str]:
    """What a node of `new` may say that the general checks of a downgrade do not see in `old`."""
    found = []
    for key, a in old.attributes.items():
        b = new.attributes.get(key)
        if b is None and key not in ("consumed_inputs", "broadcast"):
            found.append(f"attribute {key}")
        elif b is not None and (default_of(a) != default_of(b) or (a.required and not b.required)):
            found.append(f"default of {key}")
    for a, b in zip(old.inputs, new.inputs, strict=False):
        if a.option != b.option:
            found.append(f"input {a.name}")
    if len(old.outputs) > len(new.outputs):
        found.append("outputs")
    return found


NO_RULE = {
    ("BatchNormalization", 9): "attribute spatial of opset 7 holds its default",
    ("Constant", 11): "the rule to opset 11 writes value; sparse_value is refused",
    ("OptionalHasElement", 18): "without its input it is refused: too few inputs",
}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [s for s in STEPS if s[2].since_version > downgrade.MIN_EXPORT_OPSET and not s[2].domain],
    ids=lambda v: v if isinstance(v, str) else str(v.since_version),
)
def test_every_step_back_is_known(name: str, old: Schema, new: Schema) -> None:
    if new.deprecated or old.deprecated:
        return
    found = needs_rule(old, new)
    if found and rule_of(name, new.since_version) is None:
        assert (name, new.since_version) in NO_RULE, found


def test_canonical_versions_are_the_newest() -> None:
    assert upgrade.CANONICAL[""] == onnx.defs.onnx_opset_version()
    assert upgrade.CANONICAL["ai.onnx.ml"] == onnx.defs.onnx_ml_opset_version()
