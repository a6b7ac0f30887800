"""A hidden Markov model of symbols, in log space; its recursions are Scans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from toolkit import nn
from toolkit._tensor.elementwise import where
from toolkit.autograd import grad, no_grad
from toolkit.compiler import compile, scan
from toolkit.distributions.utils import tiny
from toolkit.errors import InvalidArgumentError
from toolkit.nn import init
from toolkit.tensor import Tensor, arange, empty, rand, zeros

Slice = tuple[Tensor, ...]


class Potentials(NamedTuple):
    """Logarithms of probabilities: of the first state (K), of the next one (K, K), of symbols."""

    initial: Tensor
    transition: Tensor
    emission: Tensor  # (K, V)


class HMM(nn.Module):
    """Hidden states that follow one another, each of which gives a symbol.

    As a module it predicts: `forward` gives log-probabilities of the next symbol, so that it trains
    as language models do. Batches of sequences (N, L) are int64; where their lengths differ, `mask`
    (N, L) says which positions hold a symbol: some at the beginning of each row, one at least.

    Args:
        vocab_size: how many symbols there are (V).
        states: how many hidden states (K).
        spread: of the parameters drawn; without any, all states are the same and stay it.
    """

    def __init__(self, vocab_size: int = 96, states: int = 16, spread: float = 1.0) -> None:
        super().__init__()
        if vocab_size < 1 or states < 1:
            raise InvalidArgumentError(
                f"HMM: a symbol and a state are required, got {vocab_size} and {states}."
            )
        self.initial = nn.Parameter(empty(states))
        self.transition = nn.Parameter(empty(states, states))
        self.emission = nn.Parameter(empty(states, vocab_size))
        for p in self.parameters():
            init.normal_(p, std=spread)

    def potentials(self) -> Potentials:
        """The parameters, normalised."""
        return Potentials(*(p.log_softmax(-1) for p in self.parameters()))

    def forward(self, x: Tensor) -> Tensor:
        """Symbols (N, L) to log p(next symbol | those so far) (N, L, V)."""
        p = self.potentials()
        belief = _filter(p, x)[1].softmax(-1)  # (N, L, K): of the states so far.
        following: Any = belief @ p.transition.exp() @ p.emission.exp()
        return following.clamp(min=tiny(following)).log()  # type: ignore[no-any-return]

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log p(x) of each sequence (N,): the forward algorithm."""
        return _log_prob(self.potentials(), x, mask)

    def posterior(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log p(state | x) (N, L, K): forward and backward; at padding that of the last symbol."""
        p = self.potentials()

        def back(beta: Tensor, now: Slice) -> tuple[Tensor, Tensor]:
            before = (p.transition + (now[0] + beta).unsqueeze(-2)).logsumexp(-1)
            return _chosen(now, before, beta), beta

        last, ahead = _filter(p, x, mask)
        _, behind = scan(back, last * 0, _slices(p, x, mask), dim=1, reverse=True)
        return (ahead + behind).log_softmax(-1)  # type: ignore[no-any-return]

    def viterbi(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The likeliest states (N, L), -1 at padding, and log p(x, states) (N,)."""
        p = self.potentials()
        stay = arange(p.initial.shape[0])

        def ahead(score: Tensor, now: Slice) -> tuple[Tensor, Tensor]:
            best, source = (score.unsqueeze(-1) + p.transition).max(-2)
            new = where(now[1], p.initial, best) + now[0]
            return _chosen(now, new, score), _chosen(now, source, stay)

        def back(state: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
            return source.gather(-1, state.unsqueeze(-1)).squeeze(-1), state

        with no_grad():
            score, sources = scan(ahead, _nothing(p, x), _slices(p, x, mask), dim=1)
            best, last = score.max(-1)
            _, path = scan(back, last, sources, dim=1, reverse=True)
            return (path if mask is None else where(mask, path, -1)), best

    def sample(self, count: int, length: int) -> tuple[Tensor, Tensor]:
        """Sequences of symbols and of their states, both (count, length)."""

        def draw(edges: Tensor, u: Tensor) -> Tensor:
            """The part of a row, between edges, where u falls."""
            found = (u.unsqueeze(-1) * edges[..., -1:] >= edges).sum(-1)
            return found.clamp(max=edges.shape[-1] - 1)  # type: ignore[no-any-return]

        def follow(state: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
            return draw(transition[state], u), state

        with no_grad():
            initial, transition, emission = (x.exp().cumsum(-1) for x in self.potentials())
            u = rand(count, length, 2)
            begin = draw(initial, rand(count))
            _, states = scan(follow, begin, u[..., 0], dim=1)
            return draw(emission[states], u[..., 1]), states

    def fit(
        self, x: Tensor, mask: Tensor | None = None, steps: int = 50, smoothing: float = 1e-3
    ) -> list[float]:
        """Expectation-maximisation (Baum and Welch); the mean log p(x) before each step.

        The expected counts of starts, transitions and emissions are the derivatives of log p(x) by
        their log-probabilities.

        Args:
            x: (N, L) symbols.
            mask: see the class.
            steps: how many.
            smoothing: added to every count, so that nothing becomes impossible.
        """
        likelihood = compile(_total, fullgraph=True)
        history = []
        for _ in range(steps):
            given = [p.detach().requires_grad_() for p in self.potentials()]
            total = likelihood(given, x, mask)
            history.append(total.item() / x.shape[0])
            counts: Sequence[Tensor] = grad(total, given)
            with no_grad():
                for p, count in zip(self.parameters(), counts, strict=True):
                    p.copy_((count + smoothing).log().log_softmax(-1))
        return history


class Decoder(nn.Module):
    """What an HMM says of sequences (N, L) and their mask, to be saved as a file of its own."""

    def __init__(self, hmm: HMM) -> None:
        super().__init__()
        self.hmm = hmm

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Log p(x), the likeliest states with their log-probability, and log p(state | x)."""
        states, score = self.hmm.viterbi(x, mask)
        return {
            "log_prob": self.hmm.log_prob(x, mask),
            "states": states,
            "score": score,
            "posterior": self.hmm.posterior(x, mask),
        }


def _nothing(p: Potentials, x: Tensor) -> Tensor:
    """What stands before the first symbol (N, K); it is not read."""
    return zeros(x.shape[0], p.initial.shape[0], dtype=p.initial.dtype)


def _slices(p: Potentials, x: Tensor, mask: Tensor | None) -> Slice:
    """What a recursion reads: log p(symbol | state) (N, L, K), whether it begins, and the mask."""
    first = (arange(x.shape[1]) == 0).reshape(1, -1, 1)
    emitted = p.emission.mT[x]
    return (emitted, first) if mask is None else (emitted, first, mask.unsqueeze(-1))


def _chosen(now: Slice, new: Tensor, old: Tensor) -> Tensor:
    """The new value where there is a symbol, the old one at padding."""
    return where(now[2], new, old) if len(now) > 2 else new


def _filter(p: Potentials, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log p(state, symbols so far), of the last symbol (N, K) and of all positions (N, L, K)."""

    def ahead(alpha: Tensor, now: Slice) -> tuple[Tensor, Tensor]:
        come = (alpha.unsqueeze(-1) + p.transition).logsumexp(-2)
        alpha = _chosen(now, where(now[1], p.initial, come) + now[0], alpha)
        return alpha, alpha

    found: tuple[Tensor, Tensor] = scan(ahead, _nothing(p, x), _slices(p, x, mask), dim=1)
    return found


def _log_prob(p: Potentials, x: Tensor, mask: Tensor | None) -> Tensor:
    return _filter(p, x, mask)[0].logsumexp(-1)


def _total(given: list[Tensor], x: Tensor, mask: Tensor | None) -> Tensor:
    return _log_prob(Potentials(*given), x, mask).sum()
