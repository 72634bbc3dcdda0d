r"""The exact field of tokens: a law on few samples, each with its probability.

By Bayes' rule the posterior of the data is

.. math:: p(x_0 = X_m | x_t) \propto p_m \prod_i p(x_t^i | X_m^i).

It is the oracle of `diffode.fields.tokens`: of networks, whose guess draws each position alone,
and of the sampler, which is exact with guesses of x_0 as a whole.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from diffode.data.levels import Levels
from diffode.doors import as_state
from diffode.fields.tokens import TokenField, Tokens, drawn
from diffode.rng import Rng

_NEVER = -1e30  # the log of a probability 0 that may be multiplied by 0


class Enumerated(TokenField):
    r"""The exact field of a law on M samples.

    A state that no sample explains has the posterior of those that explain most of its positions.

    Arguments:
        samples: X, whole numbers 0 to V - 1, shape (M, \*event), each once.
        probabilities: p, shape (M,), positive; their sum is made 1.
        corruption: of the tokens.
        joint: whether x_0 is guessed as a whole, from its exact posterior; if not, each position
            alone, as a network guesses.
        levels: the values that the tokens stand for; None is 0 to V - 1.

    Raises:
        ValueError: samples that are no tokens, or probabilities that do not fit them.
    """

    samples: Tensor
    log_p: Tensor

    def __init__(
        self,
        samples: Tensor,
        probabilities: Tensor,
        corruption: Tokens,
        joint: bool = True,
        levels: Levels | None = None,
    ) -> None:
        super().__init__(corruption, levels)
        samples, p = corruption.as_state(samples), as_state(probabilities, ()).double()
        if len(p) != len(samples) or not bool((p > 0).all() & p.isfinite().all()):
            raise ValueError(
                f"got {len(p)} probabilities for {len(samples)} samples; wanted one positive "
                "number for each"
            )
        if int(samples.max()) >= corruption.count:
            raise ValueError("got samples with masks; a sample has none")
        self.joint, self.unconditional = joint, True
        self.register_buffer("samples", samples)
        self.register_buffer("log_p", (p / p.sum()).log())

    @property
    def entropy(self) -> float:
        r""":math:`H = -\sum_m p_m \log p_m`, in nats."""
        return -float((self.log_p.exp() * self.log_p).sum())

    def weights(self, x: Tensor, t: Tensor | float) -> Tensor:
        r"""The posterior :math:`p(x_0 = X_m | x_t = x)`, float64, shape (B, M)."""
        evidence = self.corruption.log_evidence(x, t).clamp_min(_NEVER).flatten(1)
        return torch.softmax(self.log_p + evidence @ self._hot.flatten(1).T, 1)

    def log_posterior(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The exact log q of each position alone, shape (B, *event, V)."""
        p = self.weights(self.as_state(x), t) @ self._hot.flatten(1)
        return p.view(*x.shape, self.corruption.count).log()

    def guess(self, x: Tensor, t: Tensor | float, rng: Rng, y: Tensor | None = None) -> Tensor:
        """Draw x_0 as a whole, or each position alone."""
        if not self.joint:
            return super().guess(x, t, rng, y)
        weights = self.weights(self.as_state(x), t)
        return self.samples[drawn(weights, rng.uniform("guess", (len(x),), x.device))]

    @property
    def _hot(self) -> Tensor:
        return one_hot(self.samples, self.corruption.count).double()
