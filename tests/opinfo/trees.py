"""Forests of ai.onnx.ml: random trees as the attributes of each version describe them."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import NUMBERS, S, Sample, by_onnxruntime
from tests.opinfo.ml import INTS, ML, TRANSFORMS, WORD_LABELS, row


def tree(rng, depth: int, modes) -> list[dict]:
    """The nodes of one random tree, numbered breadth first; a leaf has mode LEAF."""
    nodes = [{"depth": 0}]
    for node in nodes:
        if node["depth"] == depth or (node["depth"] and rng.random() < 0.2):
            node |= {"mode": "LEAF", "yes": 0, "no": 0, "feature": 0, "split": 0.0, "missing": 0}
            continue
        node |= {
            "mode": modes[rng.integers(len(modes))], "feature": int(rng.integers(5)),
            "split": float(np.float32(rng.integers(-9, 9) / 3)), "missing": int(rng.integers(2)),
            "yes": len(nodes), "no": len(nodes) + 1,
        }  # fmt: skip
        nodes += [{"depth": node["depth"] + 1}, {"depth": node["depth"] + 1}]
    return nodes


MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


def numbered(rng, trees: int, depth: int, votes: str, targets: int, *, modes=MODES[:1], missing=False, per_leaf=1,
             negative=True, ids=None) -> dict:  # fmt: skip
    """The attributes of opsets 1 to 3; each leaf votes for `per_leaf` targets."""
    nodes = [(t, i, n) for t in range(trees) for i, n in enumerate(tree(rng, depth, modes))]
    leaves = [(t, i) for t, i, n in nodes if n["mode"] == "LEAF" for _ in range(per_leaf)]
    low = -1 if negative else 0
    attributes = {
        "nodes_treeids": [t for t, _, _ in nodes], "nodes_nodeids": [i for _, i, _ in nodes],
        "nodes_modes": [n["mode"] for *_, n in nodes], "nodes_featureids": [n["feature"] for *_, n in nodes],
        "nodes_values": [n["split"] for *_, n in nodes], "nodes_truenodeids": [n["yes"] for *_, n in nodes],
        "nodes_falsenodeids": [n["no"] for *_, n in nodes],
        f"{votes}_treeids": [t for t, _ in leaves], f"{votes}_nodeids": [i for _, i in leaves],
        f"{votes}_ids": [int(ids if ids is not None else k % targets) for k in range(len(leaves))],
        f"{votes}_weights": [float(x) for x in rng.uniform(low, 1, len(leaves)).astype(np.float32)],
    }  # fmt: skip
    if missing:
        attributes["nodes_missing_value_tracks_true"] = [n["missing"] for *_, n in nodes]
    return attributes


def features(d, *shape: int) -> np.ndarray:
    """Values that meet the splits, and NaN."""
    x = d.index(9, *shape).astype(np.float32) / 3
    if d.floating:
        x.flat[::11] = np.nan
    return x.astype(d.dtype)


def tree_regressor_samples(d):
    rng = np.random.default_rng(3)
    for trees, depth, targets, rows in (
        (1, 1, 1, 3),
        (20, 6, 1, 70),
        (9, 4, 3, 17),
        (300, 3, 2, 2),
        (5, 12, 1, 9),
    ):
        for modes in (MODES[:1], MODES[1:2], MODES):
            more = {"missing": modes != MODES[1:2], "per_leaf": targets}
            yield S(features(d, rows, 5), n_targets=targets,
                    **numbered(rng, trees, depth, "target", targets, modes=modes, **more))  # fmt: skip
    for function in ("SUM", "AVERAGE", "MIN", "MAX"):
        for targets in (1, 3):
            base = {"base_values": [0.5, -1.0, 2.0][:targets]}
            # Every leaf votes for every target: without a vote onnxruntime forgets the base value.
            yield S(features(d, 9, 5), n_targets=targets, aggregate_function=function, **base,
                    **numbered(rng, 7, 3, "target", targets, per_leaf=targets))  # fmt: skip
    for transform in TRANSFORMS[:4]:
        yield S(
            features(d, 9, 5),
            n_targets=3,
            post_transform=transform,
            **numbered(rng, 3, 3, "target", 3, per_leaf=3),
        )


def tree_classifier_samples(d):
    rng = np.random.default_rng(4)
    for transform in TRANSFORMS[:4]:
        for labels in ({"classlabels_int64s": [3, 5, 9]}, WORD_LABELS):
            yield S(features(d, 17, 5), outputs=2, post_transform=transform, **labels,
                    **numbered(rng, 5, 4, "class", 3, per_leaf=3))  # fmt: skip
    for transform in ("NONE", "LOGISTIC"):  # Onnxruntime transforms one score by these two.
        for negative in (True, False):
            for known in (0, 1):
                for base in ({}, {"base_values": [0.25]} if known == 0 else {}):
                    yield S(features(d, 17, 5), outputs=2, post_transform=transform, classlabels_int64s=[3, 5], **base,
                            **numbered(rng, 2, 3, "class", 1, ids=known, negative=negative))  # fmt: skip
    yield S(features(d, 17, 5), outputs=2, **WORD_LABELS, base_values=[0.5, 1.0, -1.0],
            **numbered(rng, 40, 5, "class", 3))  # fmt: skip


def ensemble(
    rng, dtype, trees: int, depth: int, targets: int, members=False, missing=False
) -> dict:
    """The attributes of opset 5."""
    nodes, leaves, roots, sets = [], [], [], []
    for _ in range(trees):
        place = {}
        own = tree(rng, depth, MODES)
        for i, n in enumerate(own):
            place[i] = len(leaves) if n["mode"] == "LEAF" else len(nodes)
            (leaves if n["mode"] == "LEAF" else nodes).append(n)
        roots.append(place[0])
        for n in own:
            if n["mode"] != "LEAF":
                for side in ("yes", "no"):
                    child = own[n[side]]
                    n[f"{side}_leaf"] = int(child["mode"] == "LEAF")
                    n[side] = place[n[side]]
    codes = [MODES.index(n["mode"]) for n in nodes]
    if members:
        for i in range(0, len(codes), 3):
            codes[i] = 6
            sets += [*rng.choice(np.arange(-9, 9) / 3, 4), np.nan]
    attributes = {
        "tree_roots": roots, "n_targets": targets, "nodes_modes": np.array(codes, np.uint8),
        "nodes_featureids": [n["feature"] for n in nodes],
        "nodes_splits": np.array([n["split"] for n in nodes], dtype),
        "nodes_truenodeids": [n["yes"] for n in nodes], "nodes_falsenodeids": [n["no"] for n in nodes],
        "nodes_trueleafs": [n["yes_leaf"] for n in nodes], "nodes_falseleafs": [n["no_leaf"] for n in nodes],
        "leaf_targetids": [int(k % targets) for k in range(len(leaves))],
        "leaf_weights": rng.uniform(-1, 1, len(leaves)).astype(dtype),
    }  # fmt: skip
    if members:
        attributes["membership_values"] = np.array(sets, np.float32).astype(dtype)
    if missing:
        attributes["nodes_missing_value_tracks_true"] = [n["missing"] for n in nodes]
    return attributes


def ensemble_samples(d):
    rng = np.random.default_rng(6)
    for trees, depth, targets, rows in ((1, 1, 1, 3), (20, 5, 1, 70), (9, 4, 3, 17)):
        for more in ({}, {"missing": True}):
            yield S(features(d, rows, 5), **ensemble(rng, d.dtype, trees, depth, targets, **more))
    for function in range(4):
        yield S(features(d, 9, 5), aggregate_function=function, **ensemble(rng, d.dtype, 6, 3, 2))
    for transform in range(4):
        yield S(features(d, 9, 5), post_transform=transform, **ensemble(rng, d.dtype, 6, 3, 3))
    one = {"nodes_splits": np.zeros(1, d.dtype), "nodes_modes": np.zeros(1, np.uint8), "nodes_featureids": [0],
           "nodes_truenodeids": [0], "nodes_falsenodeids": [0], "nodes_trueleafs": [1], "nodes_falseleafs": [1],
           "leaf_targetids": [0], "leaf_weights": np.array([2.5], d.dtype), "tree_roots": [0], "n_targets": 1}  # fmt: skip
    yield S(features(d, 3, 1), **one)


def ensemble_reference(sample: Sample) -> list[np.ndarray]:
    """Onnxruntime, which has no float16; the transforms by hand: it takes one for another."""
    (x,) = sample.inputs
    kind = np.float32 if x.dtype == np.float16 else x.dtype
    a = {
        k: v.astype(kind) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v
        for k, v in sample.attributes.items()
    }
    transform = a.pop("post_transform", 0)
    (y,) = by_onnxruntime("TreeEnsemble", ML)(Sample((x.astype(kind),), a))
    if transform == 2:
        y = 1 / (1 + np.exp(-y))
    elif transform:  # SOFTMAX, or SOFTMAX_ZERO: a score of 0 stays 0.
        y = np.exp(y) * ((transform == 1) | (abs(y) > 1e-7))
        y /= y.sum(1, keepdims=True)
    return [y.astype(x.dtype)]


def member_samples(d):
    rng = np.random.default_rng(8)
    yield S(features(d, 70, 5), **ensemble(rng, d.dtype, 9, 4, 2, members=True))
    yield S(features(d, 5, 5), **ensemble(rng, d.dtype, 3, 3, 1, members=True, missing=True))


def member_reference(sample: Sample) -> list[np.ndarray]:
    """Each row by itself down each tree, by the specification."""
    a = sample.attributes
    (x,) = sample.inputs
    tests = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
    sets, rest = {}, list(a["membership_values"])
    for i in np.flatnonzero(a["nodes_modes"] == 6):
        end = next(k for k, v in enumerate(rest) if np.isnan(v))
        sets[i], rest = rest[:end], rest[end + 1 :]
    missing = a.get("nodes_missing_value_tracks_true", [0] * len(a["nodes_modes"]))
    y = np.zeros((len(x), a["n_targets"]))
    for features_, out in zip(x, y, strict=True):
        for at in a["tree_roots"]:
            leaf = False
            while not leaf:
                v = features_[a["nodes_featureids"][at]]
                mode = a["nodes_modes"][at]
                yes = v in sets[at] if mode == 6 else tests[mode](v, a["nodes_splits"][at])
                side = "true" if yes or (np.isnan(v) and missing[at]) else "false"
                leaf, at = a[f"nodes_{side}leafs"][at], a[f"nodes_{side}nodeids"][at]
            out[a["leaf_targetids"][at]] += a["leaf_weights"][at]
    return [y.astype(x.dtype)]


def big_trees(votes: str, targets: int, **labels):
    """Many rows for one forest, and one row for many trees."""

    def samples(d):
        rng = np.random.default_rng(9)
        forest = numbered(rng, 300, 3, votes, targets, per_leaf=targets) | labels
        return [S(d(rows, 5), outputs=1 + (votes == "class"), **forest) for rows in (1, 3001)]

    return samples


ROWS = [
    row("TreeEnsemble", ensemble_samples, ("float32", "float64"), reference=ensemble_reference, tolerance=4),
    row("TreeEnsemble", member_samples, ("float32", "float64"), variant="members", reference=member_reference),
    row("TreeEnsembleClassifier", tree_classifier_samples, NUMBERS, tolerance=4,
        big=big_trees("class", 3, classlabels_int64s=[1, 2, 3])),
    row("TreeEnsembleRegressor", tree_regressor_samples, NUMBERS, tolerance=4, big=big_trees("target", 2, n_targets=2),
        reference=by_onnxruntime("TreeEnsembleRegressor", ML, INTS)),
]  # fmt: skip
