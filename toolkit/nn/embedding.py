"""Tables that are looked up by integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from toolkit._tensor.initial import initial_of, note
from toolkit.autograd import no_grad
from toolkit.errors import InvalidArgumentError
from toolkit.nn import functional as F
from toolkit.nn import init
from toolkit.nn.functional.embedding import padding_row
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.tensor import Tensor, empty

E = TypeVar("E", bound="_Table")


class _Table(Module):
    """A trained table (num_embeddings, embedding_dim) and how its rows are limited."""

    def _build(
        self,
        shape: tuple[int, int],
        padding_idx: int | None,
        limits: tuple[float | None, float, bool, bool],
        weight: Tensor | None,
        freeze: bool,
        options: dict[str, Any],
    ) -> None:
        name = type(self).__name__
        self.num_embeddings, self.embedding_dim = shape
        if padding_idx is not None:
            padding_idx = padding_row(name, padding_idx, shape[0])
        self.padding_idx = padding_idx
        self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse = limits
        if self.sparse:
            raise InvalidArgumentError(
                f"{name}: sparse=False is required, as gradients are dense tensors here, got True."
            )
        if weight is None:
            self.weight = Parameter(empty(*shape, **options), requires_grad=not freeze)
            self.reset_parameters()
            return
        if tuple(weight.shape) != shape:
            raise InvalidArgumentError(
                f"{name}: a weight {list(shape)} is required, got {list(weight.shape)}."
            )
        self.weight = Parameter(weight, requires_grad=not freeze)

    def reset_parameters(self) -> None:
        """N(0, 1), the padding row zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            initial = initial_of(self.weight)
            with no_grad():
                self.weight[self.padding_idx] = 0.0
            note(self.weight, initial and replace(initial, zero_row=self.padding_idx))

    def _limits_repr(self) -> str:
        text = "" if self.max_norm is None else f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return text

    @classmethod
    def _of(cls: type[E], embeddings: Tensor, freeze: bool, options: dict[str, Any]) -> E:
        if embeddings.dim() != 2:
            raise InvalidArgumentError(
                "Embeddings parameter is expected to be 2-dimensional, got "
                f"{embeddings.dim()} dimensions."
            )
        rows, columns = embeddings.shape
        make: Any = cls
        made = make(rows, columns, _weight=embeddings, **options)
        made.weight.requires_grad = not freeze
        return made  # type: ignore[no-any-return]


class Embedding(_Table):
    """Rows of a trained table (num_embeddings, embedding_dim), N(0, 1) at first.

    Args:
        num_embeddings: rows.
        embedding_dim: columns.
        padding_idx: a row that is zero at first and gets no gradient.
        max_norm: rows that are looked up and larger are scaled down to it, in the table itself.
        norm_type: of that norm.
        scale_grad_by_freq: divide gradients by how often their row was looked up.
        sparse: must be False: gradients are dense.
        device: where the table is.
        dtype: its element type.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._build(
            (num_embeddings, embedding_dim), padding_idx,
            (max_norm, norm_type, scale_grad_by_freq, sparse),
            _weight, _freeze, {"device": device, "dtype": dtype},
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.sparse,
        )  # fmt: skip

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        return text + self._limits_repr()

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An embedding over a given table (rows, columns)."""
        return cls._of(embeddings, freeze, {
            "padding_idx": padding_idx, "max_norm": max_norm, "norm_type": norm_type,
            "scale_grad_by_freq": scale_grad_by_freq, "sparse": sparse,
        })  # fmt: skip


class EmbeddingBag(_Table):
    """Sums, means or maxima of bags of rows of a trained table, see `functional.embedding_bag`.

    Args:
        num_embeddings: rows.
        embedding_dim: columns.
        max_norm: as `Embedding`.
        norm_type: as `Embedding`.
        scale_grad_by_freq: as `Embedding`; not with "max".
        mode: "sum", "mean" or "max".
        sparse: must be False: gradients are dense.
        include_last_offset: offsets end with the length of the input.
        padding_idx: a row that does not count.
        device: where the table is.
        dtype: its element type.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._build(
            (num_embeddings, embedding_dim), padding_idx,
            (max_norm, norm_type, scale_grad_by_freq, sparse),
            _weight, False, {"device": device, "dtype": dtype},
        )  # fmt: skip
        self.mode = mode
        self.include_last_offset = include_last_offset

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}{self._limits_repr()}"
        text += f", mode={self.mode!r}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """Bags over a given table (rows, columns)."""
        return cls._of(embeddings, freeze, {
            "max_norm": max_norm, "norm_type": norm_type, "scale_grad_by_freq": scale_grad_by_freq,
            "mode": mode, "sparse": sparse, "include_last_offset": include_last_offset,
            "padding_idx": padding_idx,
        })  # fmt: skip
