"""Names, signatures, element types, inspection, and the table of exceptions."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import toolkit as tk
import toolkit.array_api as xp
from tests.array_api.exceptions import EXCEPTIONS
from toolkit.errors import ToolkitError

# Every function of the standard; `/` and `*` as it says.
SIGNATURES = (Path(__file__).parent / "signatures.txt").read_text().splitlines()


def plain(function) -> str:
    """A signature without defaults and annotations."""
    parameters = [
        p.replace(default=p.empty, annotation=p.empty)
        for p in inspect.signature(function).parameters.values()
    ]
    return str(inspect.Signature(parameters))


@pytest.mark.parametrize("line", SIGNATURES)
def test_signature(line):
    path, _, arguments = line.partition("(")
    found = xp
    for name in path.split("."):
        found = getattr(found, name)
    assert plain(found) == "(" + arguments
    assert found.__doc__


def test_constants_and_version():
    assert (xp.pi, xp.e, xp.inf, xp.newaxis) == (np.pi, np.e, np.inf, None) and xp.nan != xp.nan
    assert xp.__array_api_version__ == "2024.12"
    assert tk.ones(1).__array_namespace__() is xp
    for name in xp.__all__:
        assert hasattr(xp, name), name


def test_inspection():
    info = xp.__array_namespace_info__()
    assert info.capabilities() == {
        "boolean indexing": True, "data-dependent shapes": True, "max dimensions": 16}  # fmt: skip
    assert info.devices() == [info.default_device()] == ["cpu"]
    assert info.default_dtypes() == {
        "real floating": xp.float32, "integral": xp.int64, "indexing": xp.int64}  # fmt: skip
    numbers = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
               "float32", "float64"]  # fmt: skip
    kinds = {
        None: ["bool", *numbers], "bool": ["bool"], "signed integer": numbers[:4],
        "unsigned integer": numbers[4:8], "integral": numbers[:8], "real floating": numbers[8:],
        "complex floating": [], "numeric": numbers, ("bool", "real floating"): ["bool",
        *numbers[8:]], (): [],
    }  # fmt: skip
    for kind, names in kinds.items():
        found = info.dtypes(kind=kind)
        assert list(found) == names and all(found[n] is getattr(xp, n) for n in names)
        if isinstance(kind, str):
            for name in ["bool", *numbers]:
                assert xp.isdtype(getattr(xp, name), kind) == (name in names)
    with pytest.raises(ValueError, match="a kind among"):
        info.dtypes(kind="float")
    with pytest.raises(ValueError, match="a kind among"):
        xp.isdtype(xp.float32, "float")


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_finfo(name):
    ours, theirs = xp.finfo(getattr(xp, name)), np.finfo(name)
    for field in ("bits", "eps", "max", "min", "smallest_normal"):
        assert getattr(ours, field) == getattr(theirs, field)
        assert type(getattr(ours, field)) in (int, float)
    assert ours.dtype is getattr(xp, name) and xp.finfo(xp.ones(1, dtype=ours.dtype)) == ours
    with pytest.raises(TypeError, match="floating"):
        xp.finfo(xp.int8)


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
def test_iinfo(name):
    ours, theirs = xp.iinfo(getattr(xp, name)), np.iinfo(name)
    assert (ours.bits, ours.max, ours.min) == (theirs.bits, theirs.max, theirs.min)
    assert ours.dtype is getattr(xp, name)
    with pytest.raises(TypeError, match="integer"):
        xp.iinfo(xp.float32)


def raises(call) -> bool:
    try:
        call()
    except (ToolkitError, TypeError, ValueError, IndexError):
        return True
    return False


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exceptions_are_still_so(name):
    expression, wanted, reason = EXCEPTIONS[name]
    found = eval(expression, {"xp": xp, "tk": tk, "raises": raises})
    assert str(found) != wanted, f"{name} is as the standard says: take it off the table"
    assert len(reason) > 5
