"""Orders of samples: a permutation is a function of a seed, a stream and an epoch, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from toolkit.random import Generator

Seed: TypeAlias = "Generator | int | None"


def seed_of(generator: Seed) -> int:
    """The seed of a generator, a seed itself, or the default generator's seed for None."""
    if isinstance(generator, int):
        return generator
    if generator is None:
        from toolkit.random import initial_seed

        return initial_seed()
    return int(generator.initial_seed())


def rng(generator: Seed, stream: int = 0, epoch: int = 0) -> np.random.Generator:
    """A numpy generator whose numbers depend on (seed, stream, epoch) only."""
    key = [seed_of(generator) % 2**64, stream, epoch]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def permutation(
    n: int, generator: Seed = None, stream: int = 0, epoch: int = 0
) -> npt.NDArray[np.int64]:
    """A random order of `range(n)`."""
    return rng(generator, stream, epoch).permutation(n)
