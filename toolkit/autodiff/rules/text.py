"""Operators on strings and images as files: no gradient exists."""

from toolkit.autodiff.registry import not_differentiable

not_differentiable(
    "StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch", "TfIdfVectorizer",
    reason="Takes strings or symbols.",
)  # fmt: skip
not_differentiable("ImageDecoder", reason="Takes the bytes of a file.")
