"""MonoFlow, the GAN as an ODE: particles that climb a critic's log-ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Gt, Lt

from diffode.options import Count, NonNegative, Positive
from diffode.recipes.registry import recipe

if TYPE_CHECKING:
    from diffode.recipes.compose import Given
    from diffode.training import Objective

_MONOFLOW = "Yi et al. (2023), https://arxiv.org/abs/2302.01075"
_MARCH = {"steps": 8400, "batch": 128, "lr": 1e-3, "clip": 1e6, "save_every": 2100}


@recipe(
    "monoflow",
    about="MonoFlow: particles climb the log-ratio of a critic for each stage",
    reference=_MONOFLOW,
    training=_MARCH,
)
def monoflow(
    given: Given,
    *,
    h: str = "logit",
    check: bool = True,
    stages: Count = 80,
    step: Positive = 1.0,
    noise_first: Positive = 1.0,
    noise_last: Positive = 0.05,
    floor: NonNegative = 0.0,
    prior_std: Positive = 1.3,
    particles: Count = 8192,
    average: Annotated[float, Gt(0), Lt(1)] = 0.98,
    activation: Literal["leaky", "silu", "softplus", "tanh"] = "leaky",
) -> Objective:
    """A march: steps are of length ``step`` times the square of the noise.

    Arguments:
        given: the data and the critic.
        h: the function of the critic's log-ratio whose gradient moves the particles.
        check: refuse an h that is not monotone.
        stages: the number of steps from the prior to the data, each with a critic of its own.
        step: the length of a step, in units of the squared noise.
        noise_first, noise_last: the noise on data and particles when training a critic, in the
            first and in the last stage.
        floor: a noise level added, in squares, to the one that sets the speed.
        prior_std: the standard deviation of the normal prior about the data's mean.
        particles: the number of particles that move.
        average: the decay of the critic's moving average within a stage.
        activation: of the critic's hidden layers.
    """
    from diffode.fields.critics import CriticBank
    from diffode.fields.monoflow import Mobility, MonoFlow
    from diffode.nn.residual import ResidualCritic
    from diffode.training.particles import ParticleFlow

    rate = Mobility(noise_first, noise_last, step * stages, floor)
    critic = ResidualCritic(given.critic(activation))
    bank = CriticBank(critic, stages)
    field = MonoFlow(bank, h, given.gaussian(prior_std), rate=rate, check=check)
    return ParticleFlow(
        field,
        critic,
        particles,
        average,
        given.stats,
        given.classes,
        given.label_drop,
        given.seed,
    )


@recipe(
    "monoflow-pool",
    about="MonoFlow with one critic for all times, for any solver",
    reference=_MONOFLOW,
    training=_MARCH | {"ema": 0.99},
)
def monoflow_pool(
    given: Given,
    *,
    h: str = "logit",
    check: bool = True,
    stages: Count = 50,
    step: Positive = 1.0,
    noise_first: Positive = 1.0,
    noise_last: Positive = 0.05,
    floor: NonNegative = 0.0,
    prior_std: Positive = 1.3,
    particles: Count = 8192,
    moves: Count = 128,
    timed: bool = True,
    penalty: NonNegative = 0.0,
    activation: Literal["leaky", "silu", "softplus", "tanh"] = "silu",
) -> Objective:
    """A pool: steps are of length ``step`` times the square of the noise.

    ``timed=false`` is there to see that it fails.

    Arguments:
        given: the data and the critic.
        h: the function of the critic's log-ratio whose gradient moves the particles.
        check: refuse an h that is not monotone.
        stages: the number of steps from the prior to the data.
        step: the length of a step, in units of the squared noise.
        noise_first, noise_last: the noise on data and particles when training the critic, at the
            prior and at the data.
        floor: a noise level added, in squares, to the one that sets the speed.
        prior_std: the standard deviation of the normal prior about the data's mean.
        particles: the number of particles that move.
        moves: the particles that step after each update of the critic.
        timed: whether the critic is told the time.
        penalty: the weight of the critic's squared gradient in its loss.
        activation: of the critic's hidden layers.
    """
    from diffode.fields.monoflow import Mobility, MonoFlow
    from diffode.training.particles import PooledFlow

    rate = Mobility(noise_first, noise_last, step * stages, floor)
    critic = given.critic(activation, timed=timed)
    field = MonoFlow(critic, h, given.gaussian(prior_std), rate=rate, check=check)
    return PooledFlow(
        field, stages, moves, particles, penalty, given.classes, given.label_drop, given.seed
    )


@recipe(
    "gan",
    about="GAN: a generator that follows the flow, one step of it a sample",
    reference=f"Goodfellow et al. (2014), https://arxiv.org/abs/1406.2661; {_MONOFLOW}",
    training={"steps": 4000, "batch": 128, "lr": 1e-3, "clip": 1e6, "save_every": 1000},
)
def gan(
    given: Given,
    *,
    h: str = "logit",
    check: bool = True,
    critic_steps: Count = 1,
    generator_steps: Count = 1,
    noise: NonNegative = 0.1,
    penalty: NonNegative = 0.0,
    regression: bool = False,
    epsilon: Positive = 0.1,
    kappa: Positive = 1.0,
    activation: Literal["leaky", "silu", "softplus", "tanh"] = "leaky",
) -> Objective:
    """Critic and generator in turn.

    Arguments:
        given: the data and the networks.
        h: the function of the critic's log-ratio that samples climb, or hinge, wgan-gp or ipm.
        check: refuse an h that is not monotone.
        critic_steps, generator_steps: updates of each in a step of the training.
        noise: on data and samples when training, in units of the data's standard deviation.
        penalty: the weight of the critic's gradient penalty.
        regression: whether the generator is regressed on its samples moved by the field.
        epsilon: how far the samples are moved, for regression=true.
        kappa: the weight of the critic against its average, for regression=true; 1 is the critic.
        activation: of the critic's hidden layers.
    """
    from diffode.fields.generated import Generated
    from diffode.training.adversarial import AlternatingGAN, GeneratorRegression

    stats = given.stats
    field, critic = Generated(given.generator(), stats.mean, stats.std), given.critic(activation)
    common = (field, critic, h, critic_steps, generator_steps, noise * stats.std, penalty, check)
    labels = (given.classes, given.label_drop)
    if not regression:
        return AlternatingGAN(*common, *labels)
    return GeneratorRegression(*common, *labels, epsilon=epsilon, kappa=kappa)
