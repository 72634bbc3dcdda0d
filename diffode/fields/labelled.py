"""Exact fields in parts, points or components, of which some may belong to one class."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.data.principal import principal_std, rows_for
from diffode.doors import Numbers, as_labels, as_state, transformed, unwritten
from diffode.fields.affine import AffineField
from diffode.fields.decay import Decay
from diffode.fields.schedules import Schedule
from diffode.priors import Spherical
from diffode.rng import Rng


class Labelled(AffineField):
    r"""An exact field in parts with weights and, if labels are given, classes.

    Arguments:
        schedule: alpha, sigma and the span.
        noise: the law of n at unit scale.
        mean: the data's mean m, shape (\*event).
        std: the data's rms standard deviation about m.
        log_weights: the logarithm of each part's probability, shape (M,).
        labels: the class of each part, shape (M,); None where there are no classes.
        decay: as for `AffineField`.

    Raises:
        TypeError: labels that are no numbers.
        ValueError: labels that do not fit the parts.
    """

    _parts = "points"

    def __init__(
        self,
        schedule: Schedule,
        noise: Spherical,
        mean: Tensor,
        std: float,
        log_weights: Tensor,
        labels: Numbers | None,
        decay: Decay | None = None,
    ) -> None:
        super().__init__(schedule, noise, mean, std, decay)
        labels = as_labels(labels, len(log_weights), name=self._parts)
        self.unconditional = labels is None
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("labels", labels)
        known = shares = None
        if labels is not None:
            known, index = labels.unique(return_inverse=True)  # type: ignore[no-untyped-call]
            w = log_weights.new_zeros(len(known))
            w = w.index_add(0, index.to(w.device), log_weights.exp())
            known, shares = known[w > 0], w[w > 0].log()
        self.register_buffer("_known", known, persistent=False)
        self.register_buffer("_log_shares", shares, persistent=False)

    log_weights: Tensor
    labels: Tensor | None
    _known: Tensor | None
    _log_shares: Tensor | None

    _principal: float | None = None

    @property
    def principal_std(self) -> float:  # type: ignore[override]
        """The law's standard deviation along its main axes, by draws of it when first asked."""
        if self._principal is None:
            mean, std = self.moments
            with torch.no_grad():
                x = self.sample(rows_for(self._numbers_a_draw), Rng()).flatten(1)
                self._principal = principal_std(x, mean.flatten(), std)
        return self._principal

    @property
    def _numbers_a_draw(self) -> int:
        return self.mean.numel()

    def sample(self, n: int, rng: Rng, y: Numbers | int | None = None) -> Tensor:
        """Draw n points of the law, or of the class of each label, shape (n, *event)."""
        raise unwritten(self, "sample")

    def log_marginal(self, x: Tensor, t: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """The log-density of x_t, given its class y if labels are given, in nats, shape (B,)."""
        raise unwritten(self, "log_marginal")

    def log_potential(self, x: Tensor, t: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        r"""The log of the potential of x_t, given its class, in nats, shape (B,).

        It is the density of x_t with each scale s of the noise weighted by its square,

        .. math:: \Phi(x) = p(x) \, E[s^2 | x], \qquad
                  x - \alpha E[x_0 | x] = - E[s^2 | x] \, \nabla \log \Phi(x).

        Normal noise has the scale sigma alone; Student-t noise is a mixture over scales.

        Raises:
            TypeError: a field that does not know it for its noise.
        """
        raise TypeError(
            f"the potential of a {type(self).__name__} under {self.noise} noise is not known; use "
            "Empirical"
        )

    @property
    def class_log_weights(self) -> Tensor:
        """The log-probability of each label, shape (K,).

        Raises:
            ValueError: no labels, or one of 0 to K - 1 that no part of any weight has.
        """
        if self._known is None or self._log_shares is None:
            raise ValueError("this field was built without labels")
        missing = torch.arange(int(self._known[-1]) + 1, device=self._known.device)
        missing = missing[~torch.isin(missing, self._known)]
        if len(missing):
            raise ValueError(
                f"label {int(missing[0])} has no {self._parts} of any weight; number those that "
                "have from 0"
            )
        return self._log_shares

    def as_labels(self, y: Numbers | int | None, rows: int) -> Tensor | None:
        """Labels of classes that have a weight above 0."""
        y = as_labels(y, rows)
        if y is None:
            return None
        if self._known is None:
            raise ValueError("got labels y, but this field was built without labels")
        y = y.to(self._known.device)
        if not transformed():
            known = torch.isin(y, self._known)
            if not bool(known.all()):
                raise ValueError(
                    f"label {int(y[~known][0])} has no {self._parts} of any weight in this field; "
                    f"its labels are {', '.join(map(str, self._known[:20].tolist()))}"
                )
        return y

    def _log_share(self, y: Tensor | None) -> Tensor:
        """The log-probability of the class of each label, shape (B,); 0 without labels."""
        if y is None:
            return self.log_weights.new_zeros(())
        assert self._known is not None and self._log_shares is not None  # by as_labels
        return self._log_shares[torch.searchsorted(self._known, y)]

    def _others(self, y: Tensor) -> Tensor:
        """Whether a part is not of the class of each label, shape (M, B)."""
        assert self.labels is not None  # by as_labels
        return self.labels[:, None] != y

    def _draw(self, n: int, rng: Rng, y: Numbers | int | None) -> Tensor:
        """Draw n parts, those of the class of each label if there are labels, shape (n,)."""
        labels = self.as_labels(y, n)
        u = rng.uniform("exact/component", (n,), device=self.log_weights.device)
        if labels is None:
            return _at(self.log_weights, u)
        assert self.labels is not None  # by as_labels
        drawn = torch.empty_like(u, dtype=torch.int64)
        for label in labels.unique():  # type: ignore[no-untyped-call]
            own, rows = (self.labels == label).nonzero()[:, 0], labels == label
            drawn[rows] = own[_at(self.log_weights[own], u[rows])]
        return drawn


def normalised_log(weights: Tensor | None, count: int) -> Tensor:
    """The logarithms of weights scaled to sum to 1 (equal if None), shape (count,), float64."""
    if weights is None:
        return torch.full((count,), -math.log(count), dtype=torch.float64)
    as_state(weights, name="weights")  # refuses what is no numbers
    w = torch.as_tensor(weights, dtype=torch.float64)
    if w.shape != (count,) or not bool((w >= 0).all()) or not 0 < float(w.sum()) < math.inf:
        raise ValueError(
            f"got weights of shape {tuple(w.shape)}; wanted {count} non-negative numbers, finite "
            "and not all 0"
        )
    return (w / w.sum()).log()


def _at(log_weights: Tensor, u: Tensor) -> Tensor:
    """The index at which the weights, summed, reach the fraction u of all, shape (B,)."""
    edges = log_weights.exp().cumsum(0)
    return torch.searchsorted(edges, u * edges[-1]).clamp_max(len(edges) - 1)
