"""Operators of ai.onnx.ml. Onnxruntime is the reference: onnx.reference lacks several of them."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import NUMBERS, WORDS, OpInfo, S, Sample, by_onnxruntime

ML = "ai.onnx.ml"
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
WORD_LABELS = {"classlabels_strings": ["no", "yes", "maybe"]}
RNG = np.random.default_rng(5)


def floats(*shape: int) -> list[float]:
    return [float(x) for x in RNG.uniform(-1, 1, shape).astype(np.float32).ravel()]


def extractor_samples(d):
    for shape, at in (
        ((7,), [1, 6]),
        ((3, 5), [4, 0, 0]),
        ((2, 3, 4), [2]),
        ((65, 17), list(range(17))),
    ):
        yield S(d(*shape), np.array(at, np.int64))
    yield S(d(3, 5), np.array([[1, 2]], np.int64))


def binarizer_samples(d):
    for shape in ((), (0,), (65,), (2, 3, 5)):
        yield S(single(d(*shape)))
        yield S(single(d(*shape)), threshold=0.5)
        yield S(single(d(*shape)), threshold=-1.0)


def vectorizer_samples(d):
    yield S(d(3, 2), d(3, 1), inputdimensions=[2, 1])
    yield S(d(7), inputdimensions=[7])
    yield S(d(65, 3), d(65, 4), d(65, 2), inputdimensions=[2, 5, 0])
    yield S(d(2), d(3), inputdimensions=[2, 3])


def imputer_samples(d):
    if d.floating:
        x = single(d(5, 3))
        x[1, 2] = x[4, 0] = np.nan
        x[0, 0] = 1.5
        for values in ([9.0], [7.0, 8.0, 9.5]):
            yield S(x, imputed_value_floats=values, replaced_value_float=float("nan"))
            yield S(x, imputed_value_floats=values, replaced_value_float=1.5)
        yield S(x[0], imputed_value_floats=[0.25])
    else:
        for values in ([9], [7, 8, 9]):
            yield S(d(5, 3), imputed_value_int64s=values, replaced_value_int64=2)
        yield S(d(4), imputed_value_int64s=[5])


def normalizer_samples(d):
    for norm in ("MAX", "L1", "L2"):
        for shape in ((5,), (7, 3), (65, 17), (1, 1)):
            yield S(d(*shape), norm=norm)
        yield S(d(2, 3) * d.scalar(0), norm=norm)
    yield S(d(3, 4))


def scaler_samples(d):
    for shape in ((5, 3), (3,), (65, 3)):
        yield S(d(*shape), offset=[0.5], scale=[2.0])
        yield S(d(*shape), offset=[0.5, -1.0, 3.0], scale=[2.0, 0.25, -3.0])


PAIRS = {
    "string": ("keys_strings", ["a", "B", "é", "", "B"]),
    "int64": ("keys_int64s", [1, -2, 3, 0, 3]),
    "float32": ("keys_floats", [1.0, -2.0, float("nan"), 0.0, 1.0]),
}
VALUES = (
    {"values_strings": ["v", "", "w", "x", "y"], "default_string": "other"},
    {"values_int64s": [5, 4, 3, 2, 1], "default_int64": -7},
    {"values_floats": [0.5, 1.5, 2.5, 3.5, 4.5], "default_float": -0.5},
    {"values_strings": ["v", "", "w", "x", "y"]},
    {"values_int64s": [5, 4, 3, 2, 1]},
    {"values_floats": [0.5, 1.5, 2.5, 3.5, 4.5]},
)


def keyed(d) -> np.ndarray:
    if d.dtype == object:
        return d(3, 17)
    x = d.index(4, 3, 17).astype(d.dtype)
    if d.floating:
        x[0, :3] = np.nan
    return x


def label_samples(d):
    x = keyed(d)
    if d.dtype.name in PAIRS or d.dtype == object:
        name, keys = PAIRS["string" if d.dtype == object else d.dtype.name]
        for values in VALUES:
            yield S(x, **{name: keys}, **values)
    keys = np.array(PAIRS["string"][1] if d.dtype == object else [1, -2, 3, 0, 3]).astype(d.dtype)
    for dtype in ("float64", "int16", "int32", "int64", "float32"):
        values = np.arange(5).astype(dtype)
        yield S(x, keys_tensor=keys, values_tensor=values)
        yield S(x, keys_tensor=keys, values_tensor=values, default_tensor=np.array([9], dtype))
    texts = np.array(["p", "q", "r", "s", ""], object)
    yield S(x, keys_tensor=keys, values_tensor=texts, default_tensor=np.array(["none"], object))


def label_reference(sample: Sample) -> list[np.ndarray]:
    """The specification by hand, in a dict: the last of equal keys counts."""
    (x,) = sample.inputs
    a = sample.attributes
    keys = next(v for k, v in a.items() if k.startswith("keys"))
    name, values = next((k, v) for k, v in a.items() if k.startswith("values"))
    defaults = {"strings": "_Unused", "int64s": -1, "floats": -0.0}
    kind = name.rpartition("_")[2]
    if kind == "tensor":
        dtype = values.dtype
        fallback = {"f": -0.0, "i": -1, "O": "_Unused"}[dtype.kind]
        fallback = a["default_tensor"][0] if "default_tensor" in a else fallback
    else:
        dtype = np.dtype({"strings": object, "int64s": np.int64, "floats": np.float32}[kind])
        fallback = a.get(f"default_{kind[:-1]}", defaults[kind])

    def key(v):
        return "nan" if v != v else v

    table = {key(k): v for k, v in zip(list(keys), list(values), strict=True)}
    y = np.empty(x.size, dtype)
    y[:] = [table.get(key(v), fallback) for v in x.ravel().tolist()]
    return [y.reshape(x.shape)]


def category_samples(d):
    x = keyed(d)
    maps = {"cats_strings": ["a", "B", "é", ""], "cats_int64s": [1, -2, 3, 0]}
    yield S(x, **maps)
    yield S(x, **maps, default_string="none", default_int64=-9)


def one_hot_samples(d):
    x = keyed(d)
    if d.dtype == object:
        yield S(x, cats_strings=["a", "B", "é"])
        yield S(x, cats_strings=WORDS.tolist(), zeros=0)
        return
    yield S(x, cats_int64s=[1, -2, 3])
    yield S(d.index(4, 65).astype(d.dtype), cats_int64s=[1, 0, 2, 3, -1, -2, -3, -4], zeros=0)
    if d.floating:
        yield S(np.array([1.9, -1.9, 1e30, np.inf], d.dtype), cats_int64s=[1, -1])


def classifier_samples(d):
    for transform in TRANSFORMS:
        for labels in ({"classlabels_ints": [3, 5, 9]}, WORD_LABELS):
            yield S(d(17, 4), outputs=2, coefficients=floats(3, 4), intercepts=floats(3), post_transform=transform,
                    **labels)  # fmt: skip
    for transform in ("NONE", "LOGISTIC"):  # Onnxruntime transforms one score by these two.
        yield S(d(17, 4), outputs=2, coefficients=floats(4), intercepts=[0.1], post_transform=transform,
                classlabels_ints=[3, 5])  # fmt: skip
    yield S(
        d(4),
        outputs=2,
        coefficients=floats(3, 4),
        intercepts=floats(3),
        multi_class=1,
        **WORD_LABELS,
    )


def regressor_samples(d):
    yield S(d(17, 4), coefficients=floats(4), intercepts=[0.25])
    yield S(d(4), coefficients=floats(4))
    for transform in TRANSFORMS:
        yield S(
            d(65, 3),
            coefficients=floats(5, 3),
            intercepts=floats(5),
            targets=5,
            post_transform=transform,
        )


KERNELS = (
    ("LINEAR", [0.0, 0.0, 0.0]),
    ("POLY", [0.3, 0.5, 3.0]),
    ("RBF", [0.4, 0.0, 0.0]),
    ("SIGMOID", [0.2, 0.1, 0.0]),
)


def svm_attributes(classes: int, labels, kind="RBF", params=(0.4, 0.0, 0.0), proba=False):
    counts = [2, 3, 1][:classes]
    total, pairs = sum(counts), classes * (classes - 1) // 2
    attributes = {
        "coefficients": floats(classes - 1, total), "support_vectors": floats(total, 4), "rho": floats(pairs),
        "vectors_per_class": counts, "kernel_type": kind, "kernel_params": list(params), **labels,
    }  # fmt: skip
    if proba:
        attributes |= {"prob_a": floats(pairs), "prob_b": floats(pairs)}
    return attributes


def svc_samples(d):
    ints = {"classlabels_ints": [3, 5, 9]}
    for kind, params in KERNELS:
        yield S(d(17, 4), outputs=2, **svm_attributes(3, ints, kind, params))
    for transform in TRANSFORMS[:4]:
        yield S(
            d(17, 4),
            outputs=2,
            **svm_attributes(3, WORD_LABELS, proba=True),
            post_transform=transform,
        )
        yield S(d(17, 4), outputs=2, **svm_attributes(3, ints), post_transform=transform)
    two = {"classlabels_ints": [3, 5]}
    for transform in ("NONE", "LOGISTIC"):  # Onnxruntime transforms one score by these two.
        yield S(d(17, 4), outputs=2, **svm_attributes(2, two), post_transform=transform)
    yield S(d(17, 4), outputs=2, **svm_attributes(2, two, proba=True))
    yield S(d(4), outputs=2, **svm_attributes(2, two))
    yield S(d(17, 4), outputs=2, coefficients=floats(3, 4), rho=[0.25], kernel_params=[0.0, 0.0, 0.0],
            kernel_type="LINEAR", **ints)  # fmt: skip


def svr_samples(d):
    for kind, params in KERNELS:
        for one_class in (0, 1):
            yield S(d(17, 4), coefficients=floats(6), support_vectors=floats(6, 4), rho=[0.3], n_supports=6,
                    one_class=one_class, kernel_type=kind, kernel_params=params)  # fmt: skip
    yield S(d(5, 4), coefficients=floats(4), rho=[0.3], kernel_params=[0.0, 0.0, 0.0])


def zip_samples(d):
    yield S(d(3, 2), classlabels_int64s=[10, 20])
    yield S(d(1, 3), **WORD_LABELS)
    yield S(d(2), classlabels_strings=["a", ""])


def cast_map_samples(d):
    numbers, texts = {5: 1.5, 1: -2.5, 3: 0.0}, {5: "1.5", 1: "-2", 3: "7"}
    for to in ("TO_FLOAT", "TO_INT64", "TO_STRING"):
        yield S(numbers, cast_to=to)
        yield S(texts, cast_to=to)
        if to != "TO_STRING":
            yield S(numbers, cast_to=to, map_form="SPARSE", max_map=7)
            yield S(texts, cast_to=to, map_form="SPARSE", max_map=6)


def vectorized(sample: Sample) -> list[np.ndarray]:
    """By hand: onnxruntime's Python interface takes few maps."""
    (x,) = sample.inputs
    words = next(iter(sample.attributes.values()))
    dtype = np.array(list(x.values())).dtype
    return [np.array([[x.get(word, 0) for word in words]], dtype)]


def cast_map(sample: Sample) -> list[np.ndarray]:
    """By hand: onnxruntime's Python interface takes no maps of strings."""
    a = sample.attributes
    (x,) = sample.inputs
    dtype, cast = {
        "TO_FLOAT": (np.float32, float),
        "TO_INT64": (np.int64, lambda v: int(float(v))),
        "TO_STRING": (object, lambda v: v if isinstance(v, str) else f"{v:f}"),
    }[a["cast_to"]]
    if a.get("map_form") == "SPARSE":
        y = np.zeros((1, a["max_map"]), dtype)
        for key, value in x.items():
            y[0, key] = cast(value)
        return [y]
    return [np.array([[cast(x[key]) for key in sorted(x)]], dtype)]


def dictionary_samples(d):
    four, eight = np.float32(4), np.float32(8)
    yield S({"a": four, "z": eight}, string_vocabulary=["a", "c", "b", "z"])
    yield S({1: four, 3: eight}, int64_vocabulary=[3, 2, 1])
    yield S({"a": 4, "z": 8}, string_vocabulary=["a", "c", "b", "z"])


# For types that onnxruntime lacks, those to ask it in.
FLOAT = dict.fromkeys(("float64", "int32", "int64"), "float32")
INTS = dict.fromkeys(("int32", "int64"), "float32")
SAME = {"float64": "float32", "int32": "int64"}


def single(x: np.ndarray) -> np.ndarray:
    """Values that float32 holds too."""
    return x.astype(np.float32).astype(x.dtype)


def row(op_type: str, samples, dtypes, **more) -> OpInfo:
    more = {"reference": by_onnxruntime(op_type, ML), "why": "it lacks or alters parts"} | more
    return OpInfo(op_type, samples, ML, dtypes=dtypes, grad=(), **more)


def big_machine(d):
    attributes = svm_attributes(3, {"classlabels_ints": [3, 5, 9]}, proba=True)
    return [S(d(5001, 4), outputs=2, **attributes)]


ROWS = [
    row("ArrayFeatureExtractor", extractor_samples, (*NUMBERS, "string")),
    row("Binarizer", binarizer_samples, NUMBERS, reference=by_onnxruntime("Binarizer", ML, FLOAT, keeps=True)),
    row("CastMap", cast_map_samples, ("float32",), typed_by=None, reference=cast_map),
    row("CategoryMapper", category_samples, ("int64", "string")),
    row("DictVectorizer", dictionary_samples, ("float32",), typed_by=None, reference=vectorized),
    row("FeatureVectorizer", vectorizer_samples, NUMBERS),
    row("Imputer", imputer_samples, NUMBERS, reference=by_onnxruntime("Imputer", ML, SAME, keeps=True)),
    row("LabelEncoder", label_samples, ("int64", "float32", "string"), reference=label_reference,
        why="equal keys, types that onnxruntime lacks"),
    row("LinearClassifier", classifier_samples, NUMBERS, tolerance=40),
    row("LinearRegressor", regressor_samples, NUMBERS, reference=by_onnxruntime("LinearRegressor", ML, FLOAT), tolerance=40),
    row("Normalizer", normalizer_samples, NUMBERS),
    row("OneHotEncoder", one_hot_samples, (*NUMBERS, "string"), reference=by_onnxruntime("OneHotEncoder", ML, {"int32": "int64"})),
    row("SVMClassifier", svc_samples, NUMBERS, tolerance=40, big=big_machine),
    row("SVMRegressor", svr_samples, NUMBERS, reference=by_onnxruntime("SVMRegressor", ML, FLOAT), tolerance=40),
    row("Scaler", scaler_samples, NUMBERS,
        big=lambda d: [S(d(50_001, 3), offset=[0.5, 1.0, 2.0], scale=[2.0])]),
    row("ZipMap", zip_samples, ("float32",)),
]  # fmt: skip
