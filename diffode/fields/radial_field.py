r"""The exact field of data under an isotropic law whose shape changes with time.

Such a path is no affine one: it has no :math:`x_t = \alpha x_0 + \sigma n`. Each data point has
the radial flow of `RadialPath`, and the field is its mean over the points,

.. math:: f_t(x) = \sum_j w_j \, h_t(\log r_j) \, (x - y_j), \qquad w_j \propto g_t(r_j), \quad
          r_j = |x - y_j|.

Reference: Su (2022), A ramble on generative diffusion models, part 14,
https://kexue.fm/archives/9370.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffode.doors import Numbers, as_count, as_state, as_time
from diffode.fields.base import Field
from diffode.fields.kernels import squared_distances
from diffode.fields.radial_path import RadialPath
from diffode.priors import Spherical
from diffode.rng import Rng


class EmpiricalRadial(Field):
    r"""The exact field of points y under a `RadialPath`, each point as likely.

    It starts from the path's law at t_prior about the mean of the points, and is computed in
    float64, all points at once.

    Arguments:
        data: the points y, shape (M, \*event), floating-point.
        path: the laws.

    Raises:
        ValueError: data that is no batch of points.
    """

    unconditional = True

    def __init__(self, data: Tensor, path: RadialPath) -> None:
        super().__init__()
        data = as_state(data, name="data")
        if data.ndim < 2 or not len(data):
            raise ValueError(f"got data of shape {tuple(data.shape)}; wanted (M, *event)")
        self.path, self.event_shape = path, tuple(data.shape[1:])
        self.register_buffer("points", data.detach().flatten(1).double())
        self.register_buffer("mean", self.points.mean(0).view(self.event_shape))

    points: Tensor
    mean: Tensor

    @property
    def span(self) -> tuple[float, float]:  # type: ignore[override]
        """The times (t_prior, t_data) of the path."""
        return self.path.span

    @property
    def prior(self) -> Spherical | None:  # type: ignore[override]
        """The path's law at t_prior, about the mean of the points."""
        law = self.path.law(self.span[0], self.mean.numel())
        return law.at(law.scale, self.mean)

    def as_labels(self, y: Numbers | int | None, rows: int) -> None:
        """None: the points have no labels.

        Raises:
            ValueError: some were given.
        """
        if y is not None:
            raise ValueError("got labels y, but this field was built without labels")

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The mean of the points' radial flows, shape (B, *event)."""
        x = self.as_state(x)
        self.as_labels(y, len(x))
        return self._by_time(x, as_time(t, x), self._velocity)

    def log_marginal(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The log-density of x_t in nats, shape (B,)."""
        x = self.as_state(x)
        return self._by_time(x, as_time(t, x), self._log_marginal)

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Draw n of the points, shape (n, *event)."""
        u = rng.uniform("exact", (as_count(n, "n"),), device=self.points.device)
        return self.points[(u * len(self.points)).long()].view(n, *self.event_shape)

    def corrupt(self, x0: Tensor, t: float, rng: Rng) -> Tensor:
        """Draw x_t given x_0 at one time."""
        x0 = as_state(x0, self.event_shape, "x0")
        noise = self.path.law(t, self.mean.numel())
        return x0 + noise.sample(x0.shape, rng, name="noise", dtype=x0.dtype, device=x0.device)

    def _velocity(self, x: Tensor, t: Tensor) -> Tensor:
        r2, weights = self._kernel(x, t)
        rate = self.path.rate(t, x.shape[1])(r2.log() / 2)
        pull = torch.softmax(weights, 1) * rate
        return pull.sum(1, keepdim=True) * x - pull @ self.points

    def _log_marginal(self, x: Tensor, t: Tensor) -> Tensor:
        norm = self.path.rate(t, x.shape[1]).log_norm.to(x) - math.log(len(self.points))
        return torch.logsumexp(self._kernel(x, t)[1], 1) + norm

    def _kernel(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distances and logarithms of the kernel, each (B, M)."""
        r2 = squared_distances(x, self.points).clamp_min(torch.finfo(torch.float64).tiny)
        return r2, self.path.log_g(r2.sqrt(), t, x.shape[1])

    def _by_time(self, x: Tensor, t: Tensor, answer: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The answers for rows x, those of each time together, in the type of x."""
        rows, t = x.double().flatten(1), t.double()
        if not t.ndim:
            out = answer(rows, t)
        else:
            times, which = t.unique(return_inverse=True)  # type: ignore[no-untyped-call]
            parts = [(which == k).nonzero().flatten() for k in range(len(times))]
            answers = [answer(rows[part], s) for part, s in zip(parts, times, strict=True)]
            out = torch.cat(answers)[torch.cat(parts).argsort()]
        return out.view(len(x), *self.event_shape).to(x) if out.ndim > 1 else out.to(x)

    def _describe(self) -> list[str]:
        return [repr(self.path)]
