"""Mutants that compute the same, each with the reason."""

from __future__ import annotations

from tests.mutation.mutants import Mutant

# (module and function, before, after): reason.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("image.py doffset", "space - 1", "-1"): "a start counted from the end of `space` columns",
}


def reason(mutant: Mutant) -> str:
    """Why a mutant is no mistake; empty if it is one."""
    name = f"{mutant.file.rpartition('/')[2]} {mutant.function}"
    return EQUIVALENT.get((name, mutant.before, mutant.after), "")
