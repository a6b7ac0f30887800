"""What all transforms are: modules that find a sample's images and change all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolkit import nn
from toolkit._tensor.base import TensorBase
from toolkit._tensor.state import STATE
from toolkit.data.transforms.kinds import is_pil
from toolkit.errors import DataDependentError, DTypeError, InvalidArgumentError


def uniform(low: float = 0.0, high: float = 1.0) -> float:
    """A number in [low, high) of the default generator."""
    from toolkit import random

    if STATE.trace is not None:
        raise DataDependentError(
            "transforms: random transforms outside a trace are required, they draw on the host. "
            "Put them into the data set and keep the others in the model."
        )
    return low + (high - low) * float(random.uniform((1,), 11).item())


def integer(low: int, high: int) -> int:
    """A whole number in [low, high) of the default generator."""
    return min(low + int(uniform() * (high - low)), high - 1)


def chance(p: float) -> bool:
    """True with probability p."""
    return uniform() < p


def order(n: int) -> list[int]:
    """A random order of range(n) (Fisher and Yates)."""
    found = list(range(n))
    for i in range(n - 1, 0, -1):
        j = integer(0, i + 1)
        found[i], found[j] = found[j], found[i]
    return found


class Transform(nn.Module):
    """Changes the images of a sample; what is no image passes.

    A sample is an image, several arguments, or tuples, lists and dictionaries of them. Pillow's
    images are images; where a sample has none, its first tensor is. Define
    `transform(image, params)`, and `make_params(images)` for what is drawn once for all images.
    """

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """What `transform` is given for all images of this sample."""
        return {}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The changed image."""
        raise NotImplementedError(f"{type(self).__name__} must define transform.")

    def wanted(self, flat: list[Any]) -> list[int]:
        """The places of what is changed."""
        found = [i for i, value in enumerate(flat) if is_pil(value)]
        if not found:
            found = [i for i, value in enumerate(flat) if isinstance(value, TensorBase)][:1]
        return found

    def forward(self, *inputs: Any) -> Any:
        """The sample with its images changed."""
        sample = inputs if len(inputs) > 1 else inputs[0]
        if not isinstance(sample, (tuple, list, Mapping)):
            if not self.wanted([sample]):
                raise DTypeError(
                    f"{type(self).__name__}: an image is required, got {type(sample).__name__}."
                )
            return self.transform(sample, self.make_params([sample]))
        flat: list[Any] = []
        _flatten(sample, flat)
        places = self.wanted(flat)
        params = self.make_params([flat[i] for i in places])
        for i in places:
            flat[i] = self.transform(flat[i], params)
        return _rebuild(sample, iter(flat))


def _flatten(sample: Any, into: list[Any]) -> None:
    if isinstance(sample, Mapping):
        for value in sample.values():
            _flatten(value, into)
    elif isinstance(sample, (tuple, list)):
        for value in sample:
            _flatten(value, into)
    else:
        into.append(sample)


def _rebuild(sample: Any, values: Any) -> Any:
    if isinstance(sample, Mapping):
        return {key: _rebuild(value, values) for key, value in sample.items()}
    if isinstance(sample, (tuple, list)):
        made = [_rebuild(value, values) for value in sample]
        return type(sample)(*made) if hasattr(sample, "_fields") else type(sample)(made)
    return next(values)


class Identity(Transform):
    """The sample itself."""

    def forward(self, *inputs: Any) -> Any:
        return inputs if len(inputs) > 1 else inputs[0]


class Lambda(Transform):
    """A function of one argument, applied to each member of a sample that is of one of `types`."""

    def __init__(self, lambd: Callable[[Any], Any], *types: type) -> None:
        super().__init__()
        self.lambd, self.types = lambd, types or (object,)

    def wanted(self, flat: list[Any]) -> list[int]:
        return [i for i, value in enumerate(flat) if isinstance(value, self.types)]

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self.lambd(inpt)


class _Several(nn.Module):
    """Holds transforms: modules or functions."""

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        super().__init__()
        name = type(self).__name__
        if isinstance(transforms, str) or not isinstance(transforms, (Sequence, nn.ModuleList)):
            raise DTypeError(
                f"{name}: a sequence of transforms is required, got {type(transforms).__name__}."
            )
        if not len(transforms) or not all(map(callable, transforms)):
            raise InvalidArgumentError(f"{name}: at least one transform is required, all callable.")
        self.transforms = list(transforms)
        for i, transform in enumerate(self.transforms):
            if isinstance(transform, nn.Module):
                self.add_module(str(i), transform)

    def _run(self, chosen: Sequence[int], inputs: tuple[Any, ...]) -> Any:
        sample: Any = inputs if len(inputs) > 1 else inputs[0]
        for i in chosen:
            transform = self.transforms[i]
            sample = transform(*sample) if len(inputs) > 1 else transform(sample)
        return sample

    def extra_repr(self) -> str:
        return ""


class Compose(_Several):
    """Transforms one after the other."""

    def forward(self, *inputs: Any) -> Any:
        return self._run(range(len(self.transforms)), inputs)


class RandomApply(_Several):
    """All transforms with probability p, or none."""

    def __init__(self, transforms: Sequence[Callable[..., Any]], p: float = 0.5) -> None:
        super().__init__(transforms)
        self.p = probability("RandomApply", p)

    def forward(self, *inputs: Any) -> Any:
        chosen = range(len(self.transforms)) if chance(self.p) else range(0)
        return self._run(chosen, inputs)


class RandomChoice(_Several):
    """One of the transforms, with probabilities proportional to p."""

    def __init__(
        self, transforms: Sequence[Callable[..., Any]], p: Sequence[float] | None = None
    ) -> None:
        super().__init__(transforms)
        p = [1.0] * len(self.transforms) if p is None else list(p)
        if len(p) != len(self.transforms) or min(p) < 0 or sum(p) <= 0:
            raise InvalidArgumentError(
                f"RandomChoice: {len(self.transforms)} probabilities are required, got {p}."
            )
        self.p = [share / sum(p) for share in p]

    def forward(self, *inputs: Any) -> Any:
        left = uniform()
        for i, share in enumerate(self.p):
            left -= share
            if left < 0:
                return self._run([i], inputs)
        return self._run([len(self.p) - 1], inputs)


class RandomOrder(_Several):
    """All transforms in a random order."""

    def forward(self, *inputs: Any) -> Any:
        return self._run(order(len(self.transforms)), inputs)


def probability(where: str, p: float) -> float:
    """p, if it is a probability."""
    if not 0.0 <= p <= 1.0:
        raise InvalidArgumentError(f"{where}: a probability in [0, 1] is required as p, got {p}.")
    return p


class RandomTransform(Transform):
    """A transform of all images of a sample with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = probability(type(self).__name__, p)

    def forward(self, *inputs: Any) -> Any:
        if not chance(self.p):
            return inputs if len(inputs) > 1 else inputs[0]
        return super().forward(*inputs)
