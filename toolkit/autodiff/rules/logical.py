"""Operators whose results are truth values, positions or counts: no gradient exists."""

from toolkit.autodiff.registry import not_differentiable

not_differentiable(
    "And", "Or", "Xor", "Not", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    "IsInf", "IsNaN", reason="Gives truth values.",
)  # fmt: skip
not_differentiable(
    "ArgMax", "ArgMin", "NonZero", "Shape", "Size", "NonMaxSuppression",
    reason="Gives positions or counts.",
)  # fmt: skip
not_differentiable(
    "Constant", "ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike",
    "RandomNormal", "RandomUniform", "Multinomial", "Bernoulli",
    reason="Its values do not depend on its inputs' values.",
)  # fmt: skip
not_differentiable(
    "Scatter", "Upsample", reason="Deprecated: loading turns it into the operator that replaced it."
)
