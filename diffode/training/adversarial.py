r"""The GAN in its own time: a generator that follows the particles' velocity.

Samples of a generator would move by :math:`\epsilon v`, :math:`v = \nabla h(d)`. The generator can
only move its weights, and takes them along by regression,

.. math:: \min_\theta E \, | g_\theta(z) - g_{\theta_t}(z) - \epsilon \, v(g_{\theta_t}(z)) |^2 .

Its gradient at :math:`\theta_t` is :math:`-2 \epsilon` times that of :math:`E \,
h(d(g_\theta(z)))`: one step on the usual loss -h(d) is one step of the regression. Several steps
are not the same: the loss runs beyond the reach of the critic, the regression stops at
:math:`\epsilon v`.

WGAN, hinge and IPM losses make the critic a function other than the log-ratio, so that their
generators follow no MonoFlow. That of the IPM with a penalty on :math:`E_q |\nabla d|^2 \lambda
/ 2` is :math:`\partial_t q = (p - q) / \lambda`, a flow of its own (Sobolev descent).

References: MonoFlow (Yi et al., 2023), https://arxiv.org/abs/2302.01075; Gulrajani et al. (2017),
https://arxiv.org/abs/1704.00028, eq. 3 (the WGAN's penalty); Mroueh et al. (2019),
https://arxiv.org/abs/1805.12062 (Sobolev descent).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from diffode.fields.base import expand_like
from diffode.fields.critics import ascent
from diffode.fields.divergences import DIVERGENCES, get_divergence
from diffode.fields.generated import Generated
from diffode.nn import CriticNetwork
from diffode.nn.embeddings import without_null
from diffode.options import suggest
from diffode.rng import Rng
from diffode.training.batches import Batch
from diffode.training.denoising import drop_labels
from diffode.training.objective import Objective, Phase
from diffode.training.particles import BETAS, constant

Loss = Callable[[Tensor, Tensor], Tensor]


def _logistic(real: Tensor, fake: Tensor) -> Tensor:
    return (softplus(-real) + softplus(fake)).mean()


def _hinge(real: Tensor, fake: Tensor) -> Tensor:
    return ((1 - real).relu() + (1 + fake).relu()).mean()


def _difference(real: Tensor, fake: Tensor) -> Tensor:
    return (fake - real).mean()


# losses that are no function of the log-ratio: the critic's loss; the samples climb d itself
OTHERS: dict[str, Loss] = {"hinge": _hinge, "wgan-gp": _difference, "ipm": _difference}


class AlternatingGAN(Objective):
    r"""Updates of a critic and of a generator in turn.

    Arguments:
        field: the generator's.
        critic: the discriminator.
        h: a name of `diffode.fields.divergences`, or "hinge", "wgan-gp" or "ipm".
        critic_steps, generator_steps: updates of each in a step.
        noise: instance noise on data and samples, in units of the data.
        penalty: the weight of the critic's gradient penalty: on :math:`(|\nabla d| - 1)^2` between
            data and samples for "wgan-gp", else on :math:`|\nabla d|^2 / 2` at the samples.
        check: refuse an h that is not monotone.
        classes, label_drop: as for `Denoising`.

    Raises:
        ValueError: an unknown h, or one that is not monotone.
    """

    def __init__(
        self,
        field: Generated,
        critic: CriticNetwork,
        h: str = "logit",
        critic_steps: int = 1,
        generator_steps: int = 1,
        noise: float = 0.0,
        penalty: float = 0.0,
        check: bool = True,
        classes: int | None = None,
        label_drop: float = 0.0,
    ) -> None:
        super().__init__(field)
        self.classes, self.label_drop = classes, label_drop
        self.generated, self.critic, self.name = field, critic, h
        known = [*DIVERGENCES, *OTHERS]
        if h not in known:
            raise ValueError(f"no h named {h!r}; {suggest(h, known)}h: {', '.join(known)}")
        self.loss = OTHERS.get(h, _logistic)
        self.h = get_divergence("logit" if h in OTHERS else h, check)
        self.repeats = (critic_steps, generator_steps)
        self.noise, self.penalty = noise, penalty
        self._old = False

    def phases(self) -> list[Phase]:
        """The critic's updates, then the generator's."""
        modules = {"critic": self.critic, "generator": self.generated.generator}
        return [
            Phase(name, module.parameters(), repeat, schedule=constant, betas=BETAS)
            for (name, module), repeat in zip(modules.items(), self.repeats, strict=True)
        ]

    def extra_state(self) -> dict[str, Tensor]:
        """That the null label is trained, if it is."""
        trained = self.classes is not None and self.label_drop > 0 and not self._old
        return {"null_label": torch.ones(())} if trained else {}

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        """A run from before labels were dropped here never trained its null label: refuse it."""
        if "null_label" not in state:
            self._old = True
            without_null(self)

    def critic_values(self, x: Tensor, y: Tensor | None, name: str, rng: Rng) -> Tensor:
        """The critic's d of points seen through the instance noise, shape (B,)."""
        if self.noise:
            x = x + self.noise * rng.normal(name, x.shape, device=x.device)
        d: Tensor = self.critic(x, 0.0, y)
        return d

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the critic or of the generator."""
        x = batch.x
        z = rng.normal("latent", x.shape, device=x.device)
        y = drop_labels(batch.y, self.classes, self.label_drop, rng)
        if phase == "generator":
            return self.generator_loss(z, y, rng), {}
        with torch.no_grad():
            made = self.generated.make(z, y)
        real = self.critic_values(x, y, "data", rng)
        fake = self.critic_values(made, y, "samples", rng)
        loss = self.loss(real, fake) + self.gradient_penalty(x, made, y, rng)
        return loss, {"d_data": real.detach().mean(), "d_samples": fake.detach().mean()}

    def generator_loss(self, z: Tensor, y: Tensor | None, rng: Rng) -> Tensor:
        """The generator's loss, -h(d)."""
        d = self.critic_values(self.generated.make(z, y), y, "samples", rng)
        return -self.h.h(d).mean()

    def gradient_penalty(self, x: Tensor, made: Tensor, y: Tensor | None, rng: Rng) -> Tensor:
        """The penalty on the critic's gradient, at samples or between them and the data."""
        if not self.penalty:
            return x.new_zeros(())
        at = made
        if self.name == "wgan-gp":
            weight = expand_like(rng.uniform("between", (len(x),), device=x.device), x).to(x)
            at = weight * x + (1 - weight) * made
        at = at.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(at, 0.0, y).sum(), at, create_graph=True)
        square = slope.flatten(1).square().sum(1)
        if self.name == "wgan-gp":
            return self.penalty * (square.clamp_min(1e-12).sqrt() - 1).square().mean()
        return self.penalty * square.mean() / 2


class GeneratorRegression(AlternatingGAN):
    r"""The generator regressed on its own samples, moved by the velocity: several steps allowed.

    With an average :math:`\bar d` of the critic the velocity may be filtered, :math:`v = \nabla
    \bar d + \kappa (\nabla d - \nabla \bar d)`; :math:`\kappa = 1` is the critic alone.

    Arguments:
        epsilon: the length of the samples' step in time.
        kappa: the gain of the filter.
        decay: of the critic's average.
        others: see `AlternatingGAN`.
    """

    def __init__(
        self,
        field: Generated,
        critic: CriticNetwork,
        h: str = "logit",
        critic_steps: int = 1,
        generator_steps: int = 1,
        noise: float = 0.0,
        penalty: float = 0.0,
        check: bool = True,
        classes: int | None = None,
        label_drop: float = 0.0,
        epsilon: float = 0.1,
        kappa: float = 1.0,
        decay: float = 0.95,
    ) -> None:
        repeats = (critic_steps, generator_steps)
        super().__init__(field, critic, h, *repeats, noise, penalty, check, classes, label_drop)
        self.epsilon, self.kappa, self.decay = epsilon, kappa, decay
        self.before = copy.deepcopy(field).requires_grad_(False)
        self.slow = copy.deepcopy(critic).requires_grad_(False)

    def velocity(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The velocity of samples x, shape (B, \\*event)."""
        t = torch.zeros((), dtype=torch.float64, device=x.device)
        d = self.critic(x, t, y)
        v = ascent(self.critic, x, t, y)
        if self.kappa != 1:
            slow = ascent(self.slow, x, t, y)
            v = slow + self.kappa * (v - slow)
        return expand_like(self.h.slope(d), x) * v

    def generator_loss(self, z: Tensor, y: Tensor | None, rng: Rng) -> Tensor:
        """The squared distance from where the samples are to where they should have moved."""
        with torch.no_grad():
            x = self.before.make(z, y)
            target = x + self.epsilon * self.velocity(x, y)
        made = self.generated.make(z, y)
        return (made - target).flatten(1).square().sum(1).mean()

    @torch.no_grad()
    def advance(self, step: int, rng: Rng) -> None:
        """The generator of this step is where the next one starts."""
        self.before.load_state_dict(self.generated.state_dict())
        for a, p in zip(self.slow.parameters(), self.critic.parameters(), strict=True):
            a.lerp_(p, 1 - self.decay)
