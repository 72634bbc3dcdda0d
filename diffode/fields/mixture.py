r"""The exact field of a mixture of Gaussians, for normal and Student-t noise.

Divided by alpha every affine path is the one path :math:`x = x_0 + \rho n`, :math:`\rho = \sigma /
\alpha`, and given the component and the scale :math:`\lambda` of the noise, :math:`n = \lambda z`,
everything is Gaussian. Student-t noise is a mixture over :math:`\lambda = \sqrt{D} / \chi_D`: an
integral over :math:`w = \log \rho \lambda` for each point and component, done by the trapezoid
rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from diffode.doors import Numbers, as_count, as_state
from diffode.fields.labelled import Labelled, normalised_log
from diffode.fields.scales import Scales
from diffode.fields.schedules import Schedule
from diffode.priors import Normal, Spherical, is_normal, is_student
from diffode.rng import Rng

_MEMORY = 2**24  # bytes that tables, coordinates and four times the logits may each take
_FLOOR = -64.0  # of logits under their largest: smaller weights make slow denormal numbers
_TINY = 1e-13  # alpha / sigma and sigma / alpha below it change nothing in float64


class Mixture(Labelled):
    r"""The exact field of a mixture of Gaussians, :math:`x_0 \sim \sum_k w_k N(m_k, \Sigma_k)`.

    With Student-t noise the integral over the noise's scale is exact to about 1e-13. Draws of
    x_t are ``field.corrupt(field.sample(n, rng), t, rng)``.

    Arguments:
        weights: shape (M,).
        means: shape (M, \*event).
        stds: shape (M,) isotropic, (M, \*event) diagonal, or (M, N, N) covariance matrices.
        schedule: alpha, sigma and the span.
        noise: `Normal()` or `StudentT(dof)`.
        labels: a class for each component, shape (M,); then y selects the components of its class.

    Raises:
        TypeError: noise of another law.
        ValueError: shapes or labels that do not fit, or a covariance that is not positive
            semi-definite.
    """

    def __init__(
        self,
        weights: Tensor,
        means: Tensor,
        stds: Tensor,
        schedule: Schedule,
        noise: Spherical | None = None,
        labels: Numbers | None = None,
    ) -> None:
        means, stds = as_state(means, name="means"), as_state(stds, name="stds")
        if means.ndim < 2:
            raise ValueError(f"got means of shape {tuple(means.shape)}; wanted (M, *event)")
        if not bool(means.isfinite().all()):
            raise ValueError("got means that are not finite")
        count, event, dim = len(means), means.shape[1:], means[0].numel()
        noise = noise or Normal()
        if not (is_normal(noise) or is_student(noise)):
            raise TypeError(
                f"the noise is {noise}; a Mixture is exact for Normal and StudentT noise: use "
                "Empirical, which takes any spherical law"
            )
        log_w = normalised_log(weights, count)
        flat = means.flatten(1).double()
        basis, variances = _principal(stds.double(), means)
        log_w = log_w.to(means.device)
        mean = log_w.exp() @ flat
        spread = (flat - mean).square().mean(1) + variances.mean(1)
        std = float((log_w.exp() @ spread).sqrt())
        super().__init__(schedule, noise, mean.to(means).view(event), std, log_w, labels)
        self.register_buffer("means", flat)
        self.register_buffer("variances", variances)
        self.register_buffer("basis", basis)
        self._times = dim // variances.shape[1]  # coordinates that share a variance
        self._widest = float(variances.max())
        self._reach = float(flat.norm(dim=1).max())
        self._scales = Scales(noise.dof, dim) if is_student(noise) else None

    means: Tensor
    variances: Tensor
    basis: Tensor | None

    _parts = "components"

    @property
    def _numbers_a_draw(self) -> int:
        size = self.mean.numel()
        return size if self.basis is None else size * size

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x]."""
        x = self.as_state(x)
        parts = [p[1:] for p in self._by_rows(x, t, self.as_labels(y, len(x)))]
        x0, n = (torch.cat(v).to(x).view_as(x) for v in zip(*parts, strict=True))
        return x0, n

    def log_marginal(self, x: Tensor, t: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """The log-density of x_t, given its class y if labels are given, in nats, shape (B,)."""
        x = self.as_state(x)
        labels = self.as_labels(y, len(x))
        log = torch.cat([p[0] for p in self._by_rows(x, t, labels)])
        return (log - self._log_share(labels)).to(x)

    def sample(self, n: int, rng: Rng, y: Numbers | int | None = None) -> Tensor:
        """Draw n points of the law, or of the class of each label, shape (n, *event)."""
        n = as_count(n, "n")
        k = self._draw(n, rng, y)
        z = rng.normal("exact/normal", (n, self.means.shape[1]), torch.float64, self.means.device)
        z = z * self.variances[k].sqrt()
        if self.basis is not None:
            z = torch.einsum("bij,bj->bi", self.basis[k], z)
        return (self.means[k] + z).to(self.mean).view(n, *self.event_shape)

    def _by_rows(
        self, x: Tensor, t: Tensor | float, y: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The log-density (b,) and the means of x_0 and n (b, N), by blocks of rows.

        With labels the density is that of the row's class, times the weight of the class.
        """
        alpha, sigma = (v.reshape(-1, 1).expand(len(x), 1) for v in self.level(t, x))
        alpha = torch.maximum(alpha, _TINY * sigma)
        u, rho = x.flatten(1).double() / alpha, (sigma / alpha).clamp_min(_TINY)
        count, dim = self.means.shape
        rows = max(1, _MEMORY // (8 * count * dim))
        blocks, tables = [], None
        if self._scales is not None:
            far = (u.square().sum(1, keepdim=True).sqrt() + self._reach).square()
            nodes = self._scales.nodes(rho, far, self._widest)
            size = min(len(nodes), max(1, _MEMORY // (24 * self.variances.numel())))
            blocks = [nodes[i : i + size] for i in range(0, len(nodes), size)]
            tables = [self._table(blocks[0])] if len(blocks) == 1 else None
            rows = max(1, min(rows, _MEMORY // (32 * count * size)))
        for i in range(0, len(x), rows):
            k = slice(i, i + rows)
            c = u[k] - self.means[:, None]  # components, rows, coordinates
            if self.basis is not None:
                c = c @ self.basis
            others = None if y is None else self._others(y[k])
            if self._scales is None:
                log, weights, pull, push = self._given_normal(c, rho[k], others)
            else:
                parts = tables or map(self._table, blocks)
                log, weights, pull, push = self._given_scales(
                    c, rho[k], self._scales, parts, others
                )
            x0 = weights.T @ self.means + self._back(pull * self.variances[:, None] * c)
            log = log - dim * (alpha[k, 0].log() + math.log(2 * math.pi) / 2)
            yield log, x0, self._back(push / rho[k] * c)

    def _given_normal(
        self, c: Tensor, rho: Tensor, others: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `_given_scales` returns, for noise of one scale."""
        noise = rho.square()
        inverse = 1 / (self.variances[:, None] + noise)
        fit = (self._times * inverse.log() - self._squares(c) * inverse).sum(2)
        logits = fit / 2 + self.log_weights[:, None]
        if others is not None:
            logits = logits.masked_fill(others, -math.inf)
        log = torch.logsumexp(logits, 0)
        weights = (logits - log).exp()
        pull = weights[:, :, None] * inverse
        return log, weights, pull, pull * noise

    def _table(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What does not depend on x at nodes w = log(rho lambda), shape (J,).

        Returns:
            The nodes, half the log-determinants of 1 / (var + e^2w) with the log-weights (M, J),
            and 1 / (var + e^2w) beside e^2w / (var + e^2w), (M, J, 2 N), N = 1 if isotropic.
        """
        noise = (2 * w).exp()[:, None]
        inverse = 1 / (self.variances[:, None] + noise)
        fixed = self._times / 2 * inverse.log().sum(2) + self.log_weights[:, None]
        return w, fixed, torch.cat((inverse, noise * inverse), 2)

    def _given_scales(
        self,
        c: Tensor,
        rho: Tensor,
        scales: Scales,
        tables: Iterable[tuple[Tensor, Tensor, Tensor]],
        others: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums over the noise's scale, node block by node block.

        Arguments:
            c: x / alpha - m_k on the principal axes, shape (M, b, N).
            rho: sigma / alpha, shape (b, 1).
            scales: the law of the scale.
            tables: of each block of nodes.
            others: the components that are not of the row's class, shape (M, b).

        Returns:
            The log-density of x / alpha (b,) up to its power of 2 pi, the components' weights
            (M, b), and the means of 1 / (var + e^2w) and e^2w / (var + e^2w) times these
            weights, (M, b, N), N = 1 if isotropic.
        """
        squares, top = self._squares(c), torch.full_like(rho, -math.inf)
        total, sums = torch.zeros_like(c[:, :, :1]), torch.zeros_like(torch.cat((squares,) * 2, 2))
        for w, fixed, factors in tables:
            inverse = factors[:, :, : squares.shape[2]]
            logits = torch.baddbmm(fixed[:, None], squares, inverse.mT, alpha=-0.5)
            logits = logits.add_(scales.log_density(rho.log() - w))
            if others is not None:
                logits = logits.masked_fill_(others[:, :, None], -math.inf)
            new_top = torch.maximum(top, logits.detach().amax((0, 2))[:, None])
            weights = logits.sub_(new_top).clamp_min_(_FLOOR).exp_()
            decay = (top - new_top).exp()
            total = total * decay + weights.sum(2, keepdim=True)
            sums = sums * decay + weights @ factors
            top = new_top
        whole = total.sum(0)
        pull, push = (sums / whole).chunk(2, 2)
        return (top + whole.log())[:, 0] + scales.log_norm, (total / whole)[:, :, 0], pull, push

    def _squares(self, c: Tensor) -> Tensor:
        """The squares of c, (M, b, N), or their sums (M, b, 1) if isotropic."""
        return c.square() if self._times == 1 else c.square().sum(2, keepdim=True)

    def _back(self, c: Tensor) -> Tensor:
        """The sum of the components' c (M, b, N) in the coordinates of x."""
        return (c if self.basis is None else c @ self.basis.mT).sum(0)


def _principal(stds: Tensor, means: Tensor) -> tuple[Tensor | None, Tensor]:
    """The principal axes (M, N, N), None for the coordinate axes, and variances (M, N or 1)."""
    count, dim = len(means), means[0].numel()
    if not bool(stds.isfinite().all()):
        raise ValueError("got stds that are not finite")
    if stds.shape in ((count,), means.shape) and not bool((stds >= 0).all()):
        raise ValueError("got negative stds; a standard deviation is at least 0")
    if stds.shape == (count,):
        return None, stds.square()[:, None]
    if stds.shape == means.shape:
        return None, stds.flatten(1).square()
    if stds.shape == (count, dim, dim):
        variances, basis = torch.linalg.eigh(stds)
        if float(variances.min()) < -1e-9 * float(variances.max()):
            raise ValueError("got a covariance with a negative eigenvalue")
        return basis, variances.clamp_min(0)
    raise ValueError(
        f"got stds of shape {tuple(stds.shape)} for means of shape {tuple(means.shape)}; wanted "
        f"({count},), {tuple(means.shape)} or covariances ({count}, {dim}, {dim})"
    )
