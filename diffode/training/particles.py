r"""Training of MonoFlow by moving particles: a GAN whose generator is the record of its critics.

The discriminator of a GAN learns :math:`d = \log p / q_t` by the logistic loss

.. math:: E_{x \sim p} \log(1 + e^{-d(x + \sigma n)})
          + E_{x \sim q_t} \log(1 + e^{d(x + \sigma n)}),

and its samples move by :math:`\Delta t \, \eta \, \nabla h(d)`. Only the ratio at the current t is
known, so the particles of a pool march: some updates of the critic, one move of all particles,
and so on. Noise of one level on data and particles keeps p the fixed point and d smooth.

Reference: MonoFlow (Yi et al., 2023), https://arxiv.org/abs/2302.01075, section 3.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from diffode.data.stats import Stats
from diffode.fields.base import expand_like
from diffode.fields.critics import CriticBank, ascent
from diffode.fields.monoflow import Mobility, MonoFlow
from diffode.nn.residual import ResidualCritic
from diffode.rng import Rng
from diffode.training.batches import Batch
from diffode.training.denoising import drop_labels
from diffode.training.objective import Objective, Phase

BETAS = (0.5, 0.99)  # of Adam: what a critic sees changes as it learns
_FIRST = 4  # shares of the updates that the first stage gets: its critic starts from nothing
_CHUNK = 1024  # particles moved at once


def constant(step: int, steps: int) -> float:
    """The factor of a learning rate that stays."""
    return 1.0


class Particles(Objective):
    """What the ways to move a pool share: the pool, the critic and its loss.

    Arguments:
        field: with its mobility.
        critic: what is trained.
        particles: the size P of the pool.
        classes, label_drop: as for `Denoising`.
        seed: of the pool's start.
    """

    pool: Tensor
    pool_labels: Tensor | None

    def __init__(
        self,
        field: MonoFlow,
        critic: nn.Module,
        particles: int,
        classes: int | None = None,
        label_drop: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(field)
        assert isinstance(field.rate, Mobility) and field.prior is not None
        self.flow, self.mobility, self.critic = field, field.rate, critic
        self.classes, self.label_drop = classes, label_drop
        rng = Rng(seed)
        x = field.prior.sample((particles, *field.event_shape), rng)
        self.register_buffer("pool", x.float())
        labels = None
        if classes is not None:
            labels = (rng.uniform("labels", (particles,)) * classes).long()
        self.register_buffer("pool_labels", labels)

    def phases(self) -> list[Phase]:
        """One update of the critic."""
        return [Phase("critic", self.critic.parameters(), schedule=constant, betas=BETAS)]

    def random_particles(self, n: int, rng: Rng) -> Tensor:
        """Indices of particles for n rows."""
        u = rng.uniform("particle", (n,), device=self.pool.device)
        return (u * len(self.pool)).long()

    def critic_loss(
        self, batch: Batch, t: Tensor, index: Tensor, rng: Rng
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss on data and on these particles, at times t of shape (B,)."""
        x, y = batch.x, batch.y
        sigma = self.mobility.sigma(t / self.flow.span[1])
        labels = None if self.pool_labels is None else self.pool_labels[index]
        n = rng.normal("noise", (len(x), 2, *x.shape[1:]), device=x.device)
        points = torch.stack((x, self.pool[index]), 1) + expand_like(sigma, n) * n
        both = None
        if y is not None and labels is not None:
            kept = [drop_labels(of, self.classes, self.label_drop, rng) for of in (y, labels)]
            both = torch.stack([of for of in kept if of is not None], 1).flatten()
        d = self.critic(points.flatten(0, 1), t.repeat_interleave(2), both).view(-1, 2).T
        loss = softplus(-d[0]).mean() + softplus(d[1]).mean()
        return loss, {"d_data": d[0].detach().mean(), "d_pool": d[1].detach().mean()}

    @torch.no_grad()
    def euler_step(self, index: Tensor, t: Tensor, step: float) -> Tensor:
        """Where particles of these indices are after an Euler step, by the field."""
        parts = []
        for rows in torch.split(index, _CHUNK):
            y = None if self.pool_labels is None else self.pool_labels[rows]
            x = self.pool[rows]
            at = t if t.ndim == 0 else t[rows]
            parts.append(x + step * self.flow.velocity(x, at, y))
        return torch.cat(parts)


class ParticleFlow(Particles):
    r"""The march: all particles take the Euler steps of a bank, whose stages are trained in turn.

    Stage k trains the critic between the data and the pool at :math:`t_k`, records the average of
    its last weights in the bank, and moves the pool by it. Fresh particles then follow the bank.
    The critic is a residual on the log-ratio of the Gaussians with the moments of data and pool.

    Arguments:
        field: with a `CriticBank` and a mobility.
        critic: what is trained.
        particles: the size of the pool.
        ema: the decay of the average within a stage.
        stats: the data's moments.
        classes, label_drop, seed: see `Particles`.
    """

    def __init__(
        self,
        field: MonoFlow,
        critic: ResidualCritic,
        particles: int,
        ema: float,
        stats: Stats,
        classes: int | None = None,
        label_drop: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(field, critic, particles, classes, label_drop, seed)
        assert isinstance(field.critic, CriticBank)
        self.bank, self.ema, self._moments = field.critic, ema, (stats,)
        self.residual, self.average = critic, copy.deepcopy(critic).requires_grad_(False)
        self.stage, self.updates = 0, 0
        self.ends: list[int] = []
        self._aim()

    def begin(self, steps: int) -> None:
        """Share the updates among the stages."""
        shares = self.bank.stages + _FIRST - 1
        self.ends = [steps * (k + _FIRST) // shares for k in range(self.bank.stages)]

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss at the current stage."""
        t = self.bank.edges[min(self.stage, self.bank.stages - 1)].expand(len(batch))
        return self.critic_loss(batch, t, self.random_particles(len(batch), rng), rng)

    @torch.no_grad()
    def advance(self, step: int, rng: Rng) -> None:
        """Average the critic; at the end of a stage record it and move the pool."""
        self.updates += 1
        weight = max(1 - self.ema, 1 / self.updates)
        for a, p in zip(self.average.parameters(), self.critic.parameters(), strict=True):
            a.lerp_(p, weight)
        while self.ends and self.stage < self.bank.stages and step + 1 >= self.ends[self.stage]:
            self._close()

    def _close(self) -> None:
        k = self.stage
        self.bank.record(k, self.average)
        t, step = self.bank.edges[k], float(self.bank.edges[k + 1] - self.bank.edges[k])
        every = torch.arange(len(self.pool), device=self.pool.device)
        self.pool.copy_(self.euler_step(every, t, step))
        self.stage, self.updates = k + 1, 0
        if self.stage < self.bank.stages:
            self._aim()

    def _aim(self) -> None:
        """Give the critic the moments of data and pool as they are seen through the noise."""
        t = self.bank.edges[self.stage]
        sigma = float(self.mobility.sigma(t / self.flow.span[1]))
        self.residual.aim(self._moments[0], self.pool, sigma)
        self.average.load_state_dict(self.residual.state_dict())

    @property
    def averaged(self) -> None:
        """Nothing: the bank holds averages already."""
        return None

    def extra_state(self) -> dict[str, Tensor]:
        """Where in the march it is."""
        numbers = {"stage": self.stage, "updates": self.updates, "ends": self.ends}
        return {name: torch.tensor(value) for name, value in numbers.items()}

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        """Go on from there.

        Raises:
            ValueError: a march that was planned for another number of steps.
        """
        ends = [int(end) for end in state["ends"]]
        if self.ends and ends != self.ends:
            raise ValueError(
                f"this march has its stages in {ends[-1]} steps, not {self.ends[-1]}; resume it "
                f"with --steps {ends[-1]}, or start a new run"
            )
        self.ends, self.stage, self.updates = ends, int(state["stage"]), int(state["updates"])


class PooledFlow(Particles):
    """One critic d(x, t) for all times, and a pool whose particles have times of their own.

    After every update some particles take an Euler step, in turn; one that has arrived starts
    again from the prior. Any solver can follow the field, which is continuous in t.

    Arguments:
        field: with a timed critic and a mobility.
        stages: the number of Euler steps from the prior to the data.
        moves: particles that step after each update.
        penalty: the weight of :math:`|\\nabla d|^2` at the particles. It smooths d, and
            flattens it where the laws lie apart.
        particles, classes, label_drop, seed: see `Particles`.
    """

    places: Tensor

    def __init__(
        self,
        field: MonoFlow,
        stages: int,
        moves: int,
        particles: int,
        penalty: float = 0.0,
        classes: int | None = None,
        label_drop: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(field, field.critic, particles, classes, label_drop, seed)
        self.stages, self.moves, self.penalty = stages, min(moves, particles), penalty
        places = (Rng(seed).uniform("places", (particles,)) * stages).long()
        self.register_buffer("places", places)

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss, data and particle at the particle's time."""
        index = self.random_particles(len(batch), rng)
        t = self._times(index)
        loss, logs = self.critic_loss(batch, t, index, rng)
        if self.penalty:
            slope = ascent(self.critic, self.pool[index], t, None)
            loss = loss + self.penalty * slope.flatten(1).square().sum(1).mean()
        return loss, logs

    @torch.no_grad()
    def advance(self, step: int, rng: Rng) -> None:
        """Move the next particles; those that have arrived start again."""
        size = len(self.pool)
        index = (step * self.moves + torch.arange(self.moves, device=self.pool.device)) % size
        t = torch.zeros(size, dtype=torch.float64, device=self.pool.device)
        t[index] = self._times(index)
        x = self.euler_step(index, t, self.flow.span[1] / self.stages)
        place = self.places[index] + 1
        assert self.flow.prior is not None
        fresh = self.flow.prior.sample(x.shape, rng, device=x.device).to(x)
        arrived = place == self.stages
        self.pool[index] = torch.where(expand_like(arrived, x) > 0, fresh, x)
        self.places[index] = place.masked_fill(arrived, 0)

    def _times(self, index: Tensor) -> Tensor:
        return self.places[index].double() * (self.flow.span[1] / self.stages)
