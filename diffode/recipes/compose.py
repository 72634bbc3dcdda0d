"""What every recipe is given, and the step that all share: a network behind a prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar

import torch
from annotated_types import Ge
from torch import nn

from diffode import registry
from diffode.data.levels import Levels
from diffode.data.stats import Stats
from diffode.fields.decay import Decay
from diffode.fields.discrete import DiscreteBetas
from diffode.fields.learned import Learned
from diffode.fields.learned_tokens import LearnedTokens, network_shape
from diffode.fields.mixture import Mixture
from diffode.fields.precond import Prediction, Timesteps
from diffode.fields.schedules import Schedule
from diffode.fields.starting import StartingPoints
from diffode.fields.tokens import Tokens
from diffode.inputs import quoted
from diffode.nn import (
    CriticNetwork,
    Generator,
    critic_network,
    generator_network,
    kind_for,
    options_for,
)
from diffode.nn import network as make_network
from diffode.nn.classifier import ClassifierNetwork, classifier_network
from diffode.nn.critic import Activation
from diffode.nn.embeddings import without_null
from diffode.options import Counts, Depth, Fraction, Size
from diffode.priors import Normal, Spherical

Value = TypeVar("Value")
_CRITICS: dict[str, Literal["auto", "mlp", "conv"]] = {
    "auto": "auto",
    "mlp": "mlp",
    "unet": "conv",
}


@dataclass(frozen=True)
class Given:
    """The data and the network that a recipe builds its field for.

    Attributes:
        shape: of one event.
        classes: the number of labels, None for unconditional.
        stats: the data's statistics.
        network: as for `make_given`.
        sizes: the network's options by name, None where they are left open.
        label_drop, flip_label: as for `make_given`.
        seed: of the network's initial weights.
        resolved: what was chosen where an option was left open, and the networks that were made.
        starting: the points that flows start from, where they are data; None for noise.
    """

    shape: tuple[int, ...]
    classes: int | None
    stats: Stats
    network: str
    sizes: Mapping[str, Any]
    label_drop: float
    flip_label: bool
    seed: int
    resolved: dict[str, Any] = field(default_factory=dict)
    starting: StartingPoints | None = None

    def choose(self, name: str, value: Value | None, usual: Value) -> Value:
        """The value of an option, or the usual one where it was left open; the run notes it."""
        self.resolved[name] = usual if value is None else value
        return usual if value is None else value

    def net(
        self, conditions: int, extra: int = 0, name: str = "network", seed: int = 0
    ) -> nn.Module:
        """A network for these events that is told so many numbers; the run notes it.

        Arguments:
            conditions, extra: as for `diffode.nn.network`.
            name: what the run notes its size as.
            seed: beside that of the run, for a second network.
        """
        net = make_network(
            self.shape,
            self.network,
            conditions=conditions,
            classes=self.classes,
            extra=extra,
            seed=self.seed + seed,
            **self.sizes,
        )
        self._note(name, net)
        return net

    def learned(
        self,
        schedule: Schedule,
        prediction: Prediction,
        noise: Spherical | None = None,
        decay: Decay | None = None,
    ) -> Learned:
        """A learned field with a network for these events; noise None is `Normal()`.

        With a decay its points are in the decay's basis, and those of the network pixels.
        """
        net = self.net(prediction.conditions + self.flip_label, prediction.extra)
        if getattr(net, "timesteps", False):
            prediction = Timesteps(prediction, isinstance(schedule, DiscreteBetas))
        stats = self.stats
        mean = stats.mean if decay is None else decay.to_basis(stats.mean[None])[0]
        moments = mean, stats.std
        noise = noise or Normal()
        field = Learned(net, schedule, prediction, noise, *moments, self.flip_label, decay)
        field.principal_std = stats.principal_std
        return field

    def tokens(self, corruption: Tokens, levels: Levels) -> LearnedTokens:
        """A learned field of tokens with a network for these events."""
        net = make_network(
            network_shape(self.shape, levels.count),
            kind_for(self.shape, self.network),
            conditions=1 + self.flip_label,
            classes=self.classes,
            seed=self.seed,
            **self.sizes,
        )
        self._note("network", net)
        return LearnedTokens(net, corruption, levels, self.flip_label)

    def classifier(self, conditions: int, outputs: int) -> ClassifierNetwork:
        """A classifier's network for these events; it is told no flips and drops no labels."""
        net = classifier_network(
            self.shape,
            self.network,
            conditions=conditions,
            outputs=outputs,
            seed=self.seed,
            **self.sizes,
        )
        self._note("network", net)
        return net

    def critic(self, activation: Activation, timed: bool = False) -> CriticNetwork:
        """A critic for these events."""
        critic = critic_network(
            self.shape,
            self._critic_kind(),
            activation=activation,
            timed=timed,
            classes=self.classes,
            seed=self.seed,
            **options_for("a critic", critic_network, self.sizes),
        )
        self._note("critic", critic)
        return critic

    def generator(self) -> Generator:
        """A generator of these events, its latents of their size."""
        generator = generator_network(
            self.shape,
            math.prod(self.shape),
            self._critic_kind(),
            classes=self.classes,
            seed=self.seed + 1,
            **options_for("a generator", generator_network, self.sizes),
        )
        self._note("generator", generator)
        return generator

    def _critic_kind(self) -> Literal["auto", "mlp", "conv"]:
        if self.flip_label:
            raise ValueError("got flip_label=True; critics and generators are told no flips")
        if self.network not in _CRITICS:
            raise ValueError(
                f"got network={quoted(self.network)}, which makes no critic or generator; those "
                f"take {', '.join(_CRITICS)}"
            )
        return _CRITICS[self.network]

    def gaussian(self, scale: float) -> Normal:
        """The normal law of this scale about the data's mean."""
        return Normal(scale=scale, loc=self.stats.mean)

    def gaussian_fit(self, schedule: Schedule, noise: Spherical) -> Mixture:
        """The exact field of the Gaussian with the data's moments, all known covariances."""
        mean, spectrum, basis = self.stats.mean[None], self.stats.spectrum, self.stats.basis
        std = torch.tensor([self.stats.std]) if basis is None else (basis * spectrum) @ basis.T
        covariance = std if basis is None else std[None]
        return Mixture(torch.ones(1), mean, covariance, schedule, noise)

    def _note(self, name: str, network: nn.Module) -> None:
        """Note the size of a network, and that it learns no null label where none is drawn."""
        size = {k: v for k in self.sizes if (v := _plain(getattr(network, k, None))) is not None}
        parameters = sum(parameter.numel() for parameter in network.parameters())
        self.resolved[name] = {"kind": type(network).__name__, **size, "parameters": parameters}
        if self.classes is not None and self.label_drop == 0:
            without_null(network)


class Outline(Given):
    """The same, for who wants a recipe's path and prediction without its network."""

    def net(
        self, conditions: int, extra: int = 0, name: str = "network", seed: int = 0
    ) -> nn.Module:
        """No network."""
        return nn.Identity()


def make_given(
    shape: tuple[int, ...],
    classes: int | None = None,
    stats: Stats | None = None,
    seed: int = 0,
    starting: StartingPoints | None = None,
    *,
    network: str = "auto",
    width: Size | None = None,
    depth: Depth | None = None,
    multipliers: Counts | None = None,
    attention: Annotated[int, Ge(0)] | None = None,
    patch: Size | None = None,
    dropout: Fraction | None = None,
    label_drop: Fraction = 0.1,
    flip_label: bool = False,
    centre: bool = True,
) -> Given:
    """What a recipe is given; its keyword-only parameters are options of every recipe.

    Arguments:
        shape, classes, stats, seed, starting: as in `Given`; without statistics, those of unit
            data.
        network: mlp, unet, dit, unet2d, another registered name, or ``mine.py:Net``; auto is unet
            for images of more than 256 values, else mlp.
        width: hidden size of an mlp or dit, or the channels that the multipliers of a unet
            multiply.
        depth: residual blocks of an mlp, of each stage of a unet, or blocks of a dit.
        multipliers: channels of a unet at each resolution, the finest first, as multiples of the
            width: 1,2,2 has three resolutions, each half as fine as the one before.
        attention: at how many of the coarsest resolutions of a unet pixels attend to each other;
            0 is at none.
        patch: side of a dit's patches in pixels.
        dropout: the share of values that training drops in each block of a unet or dit.
        label_drop: the share of labels that training replaces by "no label"; with 0 sampling
            without labels is never trained, and is refused.
        flip_label: whether the network is told which images training has mirrored, with
            ``flip=true``: it learns from them, and draws none.
        centre: whether the network is given states less the data's mean; plain diffusers knows no
            mean, so false is for a run to be exported there.

    Raises:
        ValueError: an unknown network, statistics of another shape, or flips of no images.
    """
    if flip_label and len(shape) != 3:
        raise ValueError(f"got flip_label for events of shape {shape}; it is for images (C, H, W)")
    if network != "auto":
        network = registry.find("network", network).key
    stats = stats or Stats.unit(shape)
    if tuple(stats.mean.shape) != tuple(shape):
        raise ValueError(
            f"got statistics of shape {tuple(stats.mean.shape)} for events of shape {tuple(shape)}"
        )
    if not centre:
        stats = stats.about_zero()
    sizes = {
        "width": width,
        "depth": depth,
        "multipliers": multipliers,
        "attention": attention,
        "patch": patch,
        "dropout": dropout,
    }
    given = Given(tuple(shape), classes, stats, network, sizes, label_drop, flip_label, seed)
    return given if starting is None else replace(given, starting=starting)


def _plain(value: object) -> int | float | str | None:
    """A size as an option states it; None for what is none, as a layer of that name."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, int | float) else None
