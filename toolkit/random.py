"""Random numbers: one counter-based generator whose state is a tensor, and its draws.

The state is uint64 (seed, offset). A draw is a composite function `toolkit.random.*` of the state
(Philox4x32-10, Salmon et al. 2011) and moves the offset on by one, so that a traced program draws
the same numbers as eager code does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._tensor.base import TensorBase, wrap
from toolkit._tensor.consts import core_array
from toolkit._tensor.shapes import shape_operand
from toolkit._tensor.state import STATE
from toolkit.device import device as as_device
from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import apply1, apply2, apply_many, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


class Generator:
    """A stream of random numbers; `state` is a uint64 tensor (seed, offset).

    Args:
        device: "cpu", as all there is.
        seed: that it begins with.
    """

    def __init__(self, device: Any = "cpu", *, seed: int = 0) -> None:
        self.device = as_device(device)
        self._state: Any = None
        self._seed = seed
        self.calls = 0  # Draws inside the trace that records; the call index is static there.

    @property
    def state(self) -> Tensor:
        """The state as a tensor; traced programs update it."""
        if self._state is None:
            self._state = wrap(core_array(np.array([self._seed, 0], np.uint64)))
            self._state._born = None
        return self._state

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of a seed."""
        if STATE.trace is not None:
            raise InvalidArgumentError("manual_seed: outside a trace is required.")
        if not -(2**63) <= seed < 2**64:
            raise InvalidArgumentError(
                f"manual_seed: a seed of 64 bits, -2^63 to 2^64 - 1, is required, got {seed}."
            )
        value = core_array(np.array([seed & (2**64 - 1), 0], np.uint64))
        if self._state is None:
            self._seed = seed & (2**64 - 1)
        else:
            self.state._value.copy_from(value)
        return self

    def initial_seed(self) -> int:
        """The seed."""
        return int(self.get_state()._value.numpy()[0])

    def seed(self) -> int:
        """Takes a seed from the system and returns it."""
        import secrets

        value = secrets.randbits(63)
        self.manual_seed(value)
        return value

    def get_state(self) -> Tensor:
        """A copy of the state."""
        return wrap(self.state._value.clone())

    def set_state(self, state: Any) -> Generator:
        """Goes on from a state that `get_state` gave.

        Raises:
            TypeError: it is none.
        """
        if not isinstance(state, TensorBase) or state._value.numpy().dtype != np.uint64:
            raise TypeError("set_state: a uint64 tensor of get_state() is required.")
        if tuple(state.shape) != (2,):
            raise InvalidArgumentError(
                f"set_state: a state of 2 numbers is required, got shape {tuple(state.shape)}."
            )
        self.state._value.copy_from(state._value)
        return self

    def clone_state(self) -> Generator:
        """A generator that goes on where this one is."""
        return Generator(self.device).set_state(self.get_state())

    def set_offset(self, offset: int) -> None:
        """Goes to another place of the stream."""
        self.state._value.numpy()[1] = np.uint64(offset)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process goes on where this one is."""
        return _restored, tuple(map(int, self.get_state()._value.numpy()))

    def get_offset(self) -> int:
        """How many draws there were since the seed."""
        return int(self.state._value.numpy()[1])

    def advance(self, draws: int) -> None:
        """Passes over the numbers of as many draws."""
        self.state._value.numpy()[1] += np.uint64(draws)

    def draw(self) -> tuple[Tensor, int]:
        """The state for one draw, and its call index; the offset moves on.

        Eagerly the state is a copy with index 0; in a trace it is the traced state itself.
        """
        if STATE.trace is not None:
            return STATE.trace.draw(self)
        state = wrap(self.state._value.clone())
        self.state._value.numpy()[1] += np.uint64(1)
        return state, 0


def _restored(seed: int, offset: int) -> Generator:
    made = Generator(seed=seed)
    made.set_offset(offset)
    return made


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator."""
    return default_generator.manual_seed(int(seed))


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def seed() -> int:
    """Seeds the default generator from the system."""
    return default_generator.seed()


def get_rng_state() -> Tensor:
    """A copy of the default generator's state."""
    return default_generator.get_state()


def set_rng_state(state: Any) -> None:
    """Sets the default generator's state."""
    default_generator.set_state(state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **_: Any) -> Iterator[None]:
    """Random numbers drawn inside leave the default generator as it was."""
    before = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(before)


def uniform(shape: Any, code: int, generator: Generator | None = None) -> Tensor:
    """Numbers in [0, 1) of an ONNX element type (float32 or float64)."""
    return _draw("Uniform", shape, code, generator)


def normal(shape: Any, code: int, generator: Generator | None = None) -> Tensor:
    """Numbers of the standard normal distribution."""
    return _draw("Normal", shape, code, generator)


def _stream(generator: Generator | None) -> Generator:
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(
            f"generator: a toolkit.Generator is required, got {type(generator).__name__}."
        )
    return generator


def _draw(name: str, shape: Any, code: int, generator: Generator | None) -> Tensor:
    wide = code if code in (1, 11) else 1
    state, call = _stream(generator).draw()
    h = handle(name, "toolkit.random", call=call, dtype=int(wide))
    out = apply2(h, shape_operand(shape), state)
    return out if wide == code else apply1(handle("Cast", to=int(code)), out)


def dropout(x: Any, ratio: float, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
    """Zeroes elements with probability `ratio` and scales the rest; and the mask of those kept."""
    if not isinstance(x, TensorBase):
        raise InvalidArgumentError(f"dropout: a tensor is required, got {type(x).__name__}.")
    state, call = _stream(generator).draw()
    h = handle("Dropout", "toolkit.random", ratio=float(ratio), call=call)
    y, mask = apply_many(h, (x, state), 2)
    return y, mask
