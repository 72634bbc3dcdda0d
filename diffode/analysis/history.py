r"""The training of a generator seen as a flow of its samples: :math:`x_t = g_{\theta_t}(z)`.

A latent z that is kept follows a path as the generator learns. Where its weights are free enough
the path is that of the particles,

.. math:: g_{\theta_{t+1}}(z) - g_{\theta_t}(z) \approx \epsilon \, v(g_{\theta_t}(z)), \qquad
          v = \nabla h(d),

whose time runs by :math:`\epsilon` a step. `followed` measures how nearly it does.

Reference: MonoFlow (Yi et al., 2023), https://arxiv.org/abs/2302.01075.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Maker(Protocol):
    """What makes samples of latents, as `diffode.fields.generated.Generated` does."""

    def make(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The samples of latents."""
        ...


class GeneratorHistory:
    """Snapshots of a generator in training, and the paths of latents through them.

    Call `keep` in the loop over the trainer's states.

    >>> import torch
    >>> from diffode import Rng, build, train
    >>> objective, history = build("gan", (2,), width=8), GeneratorHistory()
    >>> for state in train(objective, Rng(0).normal("data", (64, 2)), steps=3, batch=16):
    ...     history.keep(state.step, objective.field)
    >>> history.steps, tuple(history.path(torch.randn(5, 2)).shape)
    ([1, 2, 3], (3, 5, 2))
    """

    def __init__(self) -> None:
        self._kept: list[tuple[int, Maker]] = []

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def steps(self) -> list[int]:
        """The steps at which snapshots were kept."""
        return [step for step, _ in self._kept]

    def keep(self, step: int, generator: Maker) -> None:
        """Keep a copy of a generator as it is after a step.

        Arguments:
            step: of training; each call's is beyond the last one's.
            generator: a `Generated` field, or any module with ``make(z, y)``.

        Raises:
            ValueError: a step that is not beyond the last.
        """
        if self._kept and step <= self._kept[-1][0]:
            raise ValueError(f"got step {step} after step {self._kept[-1][0]}; steps increase")
        self._kept.append((step, copy.deepcopy(generator)))

    @torch.no_grad()
    def path(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        r"""Where the samples of latents were at each snapshot, shape (K, B, \*event).

        Arguments:
            z: latents, shape (B, \*event).
            y: labels (B,) or None.

        Raises:
            ValueError: nothing was kept.
        """
        if not self._kept:
            raise ValueError("this history has no snapshots; call keep(step, generator) first")
        return torch.stack([generator.make(z, y) for _, generator in self._kept])


@dataclass(frozen=True)
class Followed:
    r"""How a displacement compares with :math:`\epsilon v`, over a batch as one vector.

    Attributes:
        cosine: of the angle between the two, 1 for the same direction.
        ratio: of their lengths, that of the displacement over that of :math:`\epsilon v`.
    """

    cosine: float
    ratio: float


def followed(before: Tensor, after: Tensor, velocity: Tensor, epsilon: float) -> Followed:
    r"""Compare where samples went with where the velocity would have taken them.

    .. math:: \cos = \frac{\langle \Delta, \epsilon v \rangle}{|\Delta| \, |\epsilon v|}, \qquad
              \frac{|\Delta|}{|\epsilon v|}, \qquad \Delta = x_{t+1} - x_t .

    Arguments:
        before, after: samples of the same latents, shape (B, \*event).
        velocity: v at ``before``.
        epsilon: the length of the step in the samples' time.

    Raises:
        ValueError: shapes that differ, or a velocity or a displacement of 0.
    """
    if not before.shape == after.shape == velocity.shape:
        raise ValueError(
            f"got shapes {tuple(before.shape)}, {tuple(after.shape)} and "
            f"{tuple(velocity.shape)}; wanted one shape"
        )
    moved, wanted = (
        part.detach().double().flatten() for part in (after - before, epsilon * velocity)
    )
    lengths = float(moved.norm()), float(wanted.norm())
    if not min(lengths) > 0:
        raise ValueError(f"got lengths {lengths}; a direction needs both to be positive")
    return Followed(float(moved @ wanted) / (lengths[0] * lengths[1]), lengths[0] / lengths[1])
