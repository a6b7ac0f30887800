"""Options that say what a model is fed with."""

from __future__ import annotations

from typing import Any

import click


def split(text: str, option: str) -> tuple[str, str]:
    """The two halves of NAME=VALUE."""
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise click.BadParameter(f"{option}: NAME=VALUE is required, got '{text}'")
    return name, value


def feed_of(
    session: Any, inputs: tuple[str, ...], dims: tuple[str, ...], batch: int | None, seed: int
) -> dict[str, Any]:
    """Arrays for a session from --input, --dim and --batch; random where nothing is given."""
    from toolkit.convert.arrays import read_inputs

    specs = dict(split(text, "--input") for text in inputs)
    return read_inputs(session.get_inputs(), specs, seed, sizes_of(dims), batch)


def sizes_of(dims: tuple[str, ...]) -> dict[str, int]:
    """Sizes by name from --dim."""
    sizes = {}
    for name, value in (split(text, "--dim") for text in dims):
        if not value.isdecimal() or int(value) < 1:
            raise click.BadParameter(f"--dim: a positive size is required, got '{name}={value}'")
        sizes[name] = int(value)
    return sizes


def shapes_of(texts: tuple[str, ...]) -> dict[str, list[int]]:
    """Shapes by name from --shape."""
    shapes = {}
    for name, value in (split(text, "--shape") for text in texts):
        parts = value.split(",")
        if not all(p.isdecimal() and int(p) > 0 for p in parts):
            raise click.BadParameter(f"--shape: positive sizes are required, got '{name}={value}'")
        shapes[name] = [int(p) for p in parts]
    return shapes
