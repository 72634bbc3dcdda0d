r"""The objective of fields of tokens: cross-entropy with the ELBO's weight."""

from __future__ import annotations

from torch import Tensor

from diffode.fields.learned_tokens import LearnedTokens
from diffode.rng import Rng
from diffode.training.batches import Batch
from diffode.training.denoising import drop_labels
from diffode.training.objective import Objective


class Revealing(Objective):
    r"""Learn the posterior of the tokens by the negative ELBO, in nats per position.

    .. math:: \frac1L \, E_{t, x_t} \, \mathrm{cost}(x_0, x_t, t), \qquad t \sim U(0, 1).

    For masks the cost is :math:`-\frac1t \sum_{i \text{ hidden}} \log q(x_0^i | x_t)`, for
    replaced tokens that of their jumps, see `diffode.fields.tokens.Tokens.cost`.

    Arguments:
        field: a learned field of tokens.
        classes: the number of labels, None for unconditional.
        label_drop: the fraction of labels replaced by "no label".
    """

    comparable = True

    def __init__(
        self, field: LearnedTokens, classes: int | None = None, label_drop: float = 0.0
    ) -> None:
        super().__init__(field)
        self.learned, self.classes, self.label_drop = field, classes, label_drop

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cost of the tokens at random times, per position."""
        corruption, x0 = self.learned.corruption, self.learned.levels.tokens(batch.x)
        t = rng.spread("time", len(x0), x0.device)
        x = corruption.corrupt(x0, t, rng)
        y = drop_labels(batch.y, self.classes, self.label_drop, rng)
        log_q = self.learned.log_posterior(x, t, y, batch.flipped)
        cost = corruption.cost(log_q, x0, x, t)
        return cost.mean().float() / x0[0].numel(), {}
