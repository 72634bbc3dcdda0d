r"""The objectives of flow maps: regress F of two times on a target, in the angle.

Each draws a jump from the angle s to a smaller one, t, with d = s - t, and a state z of s. Data X
and noise n of unit scale make z = cos s X + sin s n, unless z lies on a saved path.

* pairs: the chord of a path of the field that is distilled, :math:`(z_t - z_s \cos d) / \sin d`.
* lagrangian: the map's own points are carried on by that field, or by the velocity of the map's
  average: :math:`Z_{s \to t}` is regressed on a step of Heun's method from
  :math:`Z_{s \to t + h}`, h falling from .4 to .1, or from .5 to .2 with its own velocity, whose
  diagonal learns that of the data. Half of the jumps begin at the prior, as those of sampling do.
* progressive: the chord of the map's averaged half steps, and on the diagonal s = t the velocity,
  the field's or the data's :math:`\cos s \, n - \sin s \, X` (shortcut models).
* meanflow: :math:`d Z_{s \to t}(z_s) / ds = 0` along the flow, by forward mode.
* consistency: :math:`Z_{s \to 0}` regressed on :math:`Z_{s' \to 0}`, s' a little below s.

References: Boffi et al. (2025), https://arxiv.org/abs/2505.18825 (lagrangian, eulerian); Frans et
al. (2024), https://arxiv.org/abs/2410.12557 (shortcut models); Geng et al. (2025),
https://arxiv.org/abs/2505.13447 (mean flows); Song et al. (2023),
https://arxiv.org/abs/2303.01469 (consistency).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.learnedmap import LearnedMap
from diffode.rng import Rng
from diffode.training.batches import Batch
from diffode.training.denoising import drop_labels
from diffode.training.eulerian import Jumps, consistency_loss, mean_flow_loss
from diffode.training.jumps import Drawn, Paths, Teacher, chord, squared_error
from diffode.training.objective import Objective, Phase

Kind = Literal["pairs", "lagrangian", "progressive", "meanflow", "consistency"]
LEAST = 1e-3  # of a jump: below it is the diagonal
SLOW = 0.998  # the decay of the average that targets are made of


class MapLearning(Objective):
    """A flow map with a loss; `follow` gives it what it is distilled from.

    Arguments:
        field: the map.
        kind: the objective, see the module.
        full: the share of jumps that go all the way to the data.
        classes, label_drop: as for `Denoising`.
    """

    def __init__(
        self,
        field: LearnedMap,
        kind: Kind,
        full: float = 0.25,
        classes: int | None = None,
        label_drop: float = 0.0,
    ) -> None:
        super().__init__(field)
        self.map, self.kind, self.full = field, kind, full
        self.classes, self.label_drop = classes, label_drop
        self.slow: nn.Module | None = None  # the average that targets are made of
        if kind in ("progressive", "lagrangian"):
            self.slow = copy.deepcopy(field.network).requires_grad_(False)
        self._teacher: tuple[Teacher, ...] = ()  # in a tuple: no part of the module
        self._steps = 1

    def follow(self, teacher: Teacher) -> None:
        """Distil this field from now on."""
        self._teacher = (teacher,)

    @property
    def teacher(self) -> Teacher | None:
        """What is distilled, or None."""
        return self._teacher[0] if self._teacher else None

    def begin(self, steps: int) -> None:
        """Note how many steps there will be, and bring the teacher to the map."""
        self._steps = steps
        if self.teacher is not None:
            self.teacher.field.to(self.map.device).eval().requires_grad_(False)
        if self.slow is not None:  # the weights to begin with may have come since
            self.slow.load_state_dict(self.map.network.state_dict())

    @torch.no_grad()
    def advance(self, step: int, rng: Rng) -> None:
        """Let the average that targets are made of follow the weights."""
        if self.slow is not None:
            decay = min(SLOW, (1 + step) / (10 + step))
            for slow, now in zip(
                self.slow.parameters(), self.map.network.parameters(), strict=True
            ):
                slow.lerp_(now, 1 - decay)

    def phases(self) -> list[Phase]:
        """The one phase of it.

        Raises:
            ValueError: an objective that distils, with nothing to distil.
        """
        if self.teacher is None and self.kind == "pairs":
            raise ValueError(
                f"got objective={self.kind}, which distils a run: diffode distil RUN; a run of it "
                "goes on with diffode distil RUN --resume OUT, and from data alone a flow map "
                "learns with objective=progressive"
            )
        return [Phase("map", self.map.parameters(), betas=(0.9, 0.99))]

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of F."""
        losses: dict[str, Callable[[Batch, Rng], Tensor]] = {
            "pairs": self._pairs,
            "lagrangian": self._lagrangian,
            "progressive": self._progressive,
            "meanflow": self._mean_flow,
            "consistency": self._consistency,
        }
        return losses[self.kind](batch, rng), {}

    def _pairs(self, batch: Batch, rng: Rng) -> Tensor:
        assert isinstance(batch, Paths) and self.teacher is not None
        assert self.teacher.angles is not None
        angles, rows = self.teacher.angles.to(batch.path.device), len(batch)
        last = len(angles) - 1
        u = rng.uniform("pair", (rows, 4), batch.path.device)
        first, second = (u[:, 0] * (last + 1)).long(), (u[:, 1] * last).long()
        second = second + (second >= first)
        i, j = torch.minimum(first, second), torch.maximum(first, second)
        j = torch.where(u[:, 2] < self.full, last, j)
        i = torch.where((u[:, 2] < self.full / 2) | (i == j), 0, i)
        index = torch.arange(rows, device=i.device)
        z, end, s, t = batch.path[index, i], batch.path[index, j], angles[i], angles[j]
        map_ = self.map if batch.q is None else self.map.bind(batch.q)
        y = batch.y
        if y is not None and batch.told is not None and self.classes is not None:
            y = torch.where(batch.told, y, self.classes)
        return squared_error(map_, z, s, t, y, chord(z, end, s - t))

    def _lagrangian(self, batch: Batch, rng: Rng) -> Tensor:
        drawn = self._drawn(batch, rng)
        alone = self.teacher is None
        s, t = self._angles(len(batch), rng, diagonal=0.25 if alone else 0.0)
        s, t = self._from_prior(s, t, rng)
        first, last = (0.5, 0.2) if alone else (0.4, 0.1)
        h = first * (last / first) ** self._done(rng)
        wide = h * (0.5 + rng.uniform("step", (len(batch),), s.device))
        before = torch.minimum(s, t + wide)
        z = drawn.at(s)
        with torch.no_grad():
            here = drawn.map.turned(z, s, before, drawn.y)
            gap = expand_like(t - before, z)
            rate = self._velocity(drawn, here, before)
            end = here + gap / 2 * (rate + self._velocity(drawn, here + gap * rate, t))
        f, gain = drawn.map.turn(z, s, t, drawn.y)
        d = expand_like(s - t, z)
        sine = torch.sin(d)
        far = (torch.cos(d) * z + sine * f - end) / sine.clamp_min(0.05)
        error = torch.where(d < LEAST, f + drawn.rate(s), far) if alone else far
        return (error / expand_like(gain.clamp_min(1), z)).square().mean()

    def _progressive(self, batch: Batch, rng: Rng) -> Tensor:
        drawn = self._drawn(batch, rng)
        s, t = self._angles(len(batch), rng, diagonal=0.4)
        z = drawn.at(s)
        rate = self._rate(drawn, z, s)
        with torch.no_grad():
            half = (s + t) / 2
            slow = self._averaged(drawn)
            end = slow.turned(slow.turned(z, s, half, drawn.y), half, t, drawn.y)
            short = expand_like(s - t, z) < LEAST
            target = torch.where(short, -rate, chord(z, end, (s - t).clamp_min(LEAST)))
        return squared_error(drawn.map, z, s, t, drawn.y, target)

    def _mean_flow(self, batch: Batch, rng: Rng) -> Tensor:
        drawn = self._drawn(batch, rng)
        s, t = self._angles(len(batch), rng, diagonal=0.5)
        z, done = drawn.at(s), self._done(rng)
        rate = self._rate(drawn, z, s)
        along = None if self.teacher is None else rate
        reach = min(1.0, 2 * done)
        t = s - (s - t) * reach  # jumps grow, from the velocity alone
        return mean_flow_loss(Jumps(drawn.map, z, s, t, drawn.y, rate), along, reach)

    def _consistency(self, batch: Batch, rng: Rng) -> Tensor:
        drawn = self._drawn(batch, rng)
        s, t = self._angles(len(batch), rng, diagonal=0.25)
        t = torch.where(t == s, s, 0.0)
        z = drawn.at(s)
        rate = self._rate(drawn, z, s)
        share = 0.9 * (1 / 6) ** self._done(rng)  # of the way to the data: from .9 to .15
        before = s * (1 - share)
        earlier = drawn.at(before)
        if self.teacher is not None:
            gap = expand_like(before - s, z)
            earlier = z + gap / 2 * (rate + self._velocity(drawn, z + gap * rate, before))
        return consistency_loss(Jumps(drawn.map, z, s, t, drawn.y, rate), before, earlier)

    def _rate(self, drawn: Drawn, z: Tensor, s: Tensor) -> Tensor:
        """The teacher's velocity, or that of data and noise."""
        return drawn.rate(s) if self.teacher is None else self._velocity(drawn, z, s)

    def _done(self, rng: Rng) -> float:
        """The share of the training that is over."""
        return min(1.0, rng.step / self._steps)

    def _drawn(self, batch: Batch, rng: Rng) -> Drawn:
        """Data and noise for the rows of a batch."""
        x = batch.x
        y = drop_labels(batch.y, self.classes, self.label_drop, rng)
        start = self.map.start(len(x), rng)
        moved, (mean, std) = start.field, self.map.moments
        assert isinstance(moved, LearnedMap)
        alpha, sigma = self.map.level(self.map.span[0], x)
        n = (start.x.to(x.device).double() - alpha * mean.double()) / sigma
        return Drawn((x - mean.to(x)) / std, n.to(x), moved, y)

    def _averaged(self, drawn: Drawn) -> LearnedMap:
        """The map with the weights that targets are made of."""
        if self.slow is None:
            return drawn.map
        slow = drawn.map.copied()
        slow.network = self.slow
        return slow

    def _angles(self, rows: int, rng: Rng, diagonal: float = 0.0) -> tuple[Tensor, Tensor]:
        """Angles s > t, uniform on the triangle; shares start at the prior and end at the data."""
        mean = self.map.moments[0]
        high = float(self.map.angle(self.map.span[0], mean[None]))
        u = rng.uniform("angles", (rows, 4), mean.device)
        s, t = torch.maximum(u[:, 0], u[:, 1]), torch.minimum(u[:, 0], u[:, 1])
        t = torch.where(u[:, 2] < self.full, 0.0, t)
        t = torch.where(u[:, 2] > 1 - diagonal, s, t)
        prior = (u[:, 3] < 0.1) | (u[:, 2] < self.full / 2)  # half of these go the whole way
        short = t == s
        s = torch.where(prior, 1.0, s)
        return high * s, high * torch.where(short, s, t)

    def _from_prior(self, s: Tensor, t: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Half of these jumps from the prior instead, to the data as before or to anywhere."""
        high = self.map.angle(self.map.span[0], self.map.moments[0][None])
        u = rng.uniform("prior", (len(s), 2), s.device)
        begun = (u[:, 0] < 0.5) & (t < s)
        return torch.where(begun, high, s), torch.where(begun & (t > 0), high * u[:, 1], t)

    def _velocity(self, drawn: Drawn, z: Tensor, angle: Tensor) -> Tensor:
        """The teacher's dz/d(angle) at states z, or without one the average's; no gradient."""
        if self.teacher is None:
            with torch.no_grad():
                return -self._averaged(drawn).direction(z, angle, angle, drawn.y)
        field = self.teacher.field
        q = drawn.map.latent(drawn.x).q
        field = field if q is None else _affine(field.bind(q))
        low = float(self.map.angle(self.map.span[1], z[:1]))
        angle = angle.clamp_min(max(low, 2e-3 if q is not None else 0.0))
        time = self.map.time(angle)
        y = None if drawn.y is None else drawn.y
        with torch.no_grad():
            x0, n = field.posterior(self.map.from_angle(z, time), time, y)
        mean, std = self.map.moments
        sine, cosine = expand_like(angle.sin(), z), expand_like(angle.cos(), z)
        return cosine * n - sine * (x0 - mean.to(x0)) / std


def _affine(field: object) -> AffineField:
    assert isinstance(field, AffineField)
    return field
