"""The exact field of a mixture of Gaussians, for normal and Student-t noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.fields.base import AffineField
from diffode.fields.exact import choose, normalised_log
from diffode.fields.schedules import Schedule
from diffode.priors import Normal, Spherical, StudentT
from diffode.rng import Rng


class Mixture(AffineField):
    r"""The exact field of a mixture of Gaussians, :math:`x_0 \sim \sum_k w_k N(m_k, \Sigma_k)`.

    Given the component and the noise's scale :math:`\lambda` all is Gaussian; Student-t noise is
    a mixture over :math:`\lambda = \sqrt{D}/\chi_D`, summed by the trapezoid rule in :math:`\log
    \chi`.

    Arguments:
        weights: shape (M,).
        means: shape (M, \*event).
        stds: shape (M,) isotropic, (M, \*event) diagonal, or (M, N, N) covariance matrices.
        schedule: alpha, sigma and the span.
        noise: `Normal()` or `StudentT(dof)`.

    Raises:
        ValueError: shapes that do not fit, or a covariance that is not positive semi-definite.
    """

    def __init__(
        self,
        weights: Tensor,
        means: Tensor,
        stds: Tensor,
        schedule: Schedule,
        noise: Spherical | None = None,
    ) -> None:
        count, event = len(means), means.shape[1:]
        log_w = normalised_log(weights, count)
        flat = means.flatten(1).double()
        basis, variances = _principal(stds.double(), means)
        w = log_w.exp().to(means.device)
        mean = w @ flat
        spread = (flat - mean).square().mean(1) + variances.mean(1)
        super().__init__(
            schedule, noise or Normal(), mean.to(means).view(event), float((w @ spread).sqrt())
        )
        self.register_buffer("means", flat)
        self.register_buffer("variances", variances)
        self.register_buffer("basis", basis)
        self.register_buffer("log_weights", log_w.to(means.device))
        scales, log_scale_weights = _scale_nodes(self.noise, flat.shape[1])
        self.register_buffer("scales", scales.to(means.device))
        self.register_buffer("log_scale_weights", log_scale_weights.to(means.device))

    means: Tensor
    variances: Tensor
    basis: Tensor | None
    log_weights: Tensor
    scales: Tensor
    log_scale_weights: Tensor

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x]."""
        if y is not None:
            raise ValueError("got labels y, but a Mixture has none")
        alpha, sigma, c, var, logits = self._terms(x, t)
        w = torch.softmax(logits.flatten(1), 1).view_as(logits)
        # over components k, scales j, coordinates n
        pull = torch.einsum("bkj,bkjn->bkn", w, (1 / var).expand(len(x), -1, -1, -1)) * c
        lift = (self.scales.square() / var.movedim(2, -1)).movedim(-1, 2)
        push = torch.einsum("bkj,bkjn->bkn", w, lift.expand(len(x), -1, -1, -1)) * c
        x0 = self._back(pull * self.variances * alpha[:, None, None])
        x0 = x0 + w.sum(2) @ self.means
        n = self._back(push * sigma[:, None, None])
        return x0.to(x).view_as(x), n.to(x).view_as(x)

    def log_marginal(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The log-density of x_t at each row of x, in nats, shape (B,)."""
        logits = self._terms(x, t)[-1]
        constant = self.means.shape[1] / 2 * math.log(2 * math.pi)
        return (torch.logsumexp(logits.flatten(1), 1) - constant).to(x)

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Draw n points of the law, shape (n, *event)."""
        k = choose(self.log_weights, n, rng)
        z = rng.normal("exact/normal", (n, self.means.shape[1]), torch.float64, self.means.device)
        z = z * self.variances[k].sqrt()
        if self.basis is not None:
            z = torch.einsum("bij,bj->bi", self.basis[k], z)
        return (self.means[k] + z).to(self.mean).view(n, *self.event_shape)

    def _terms(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, ...]:
        """Alpha, sigma (b,), coordinates c (B, M, N), variances (b, M, J, N), logits (B, M, J)."""
        alpha, sigma = (v.reshape(-1) for v in self.level(t, x))
        c = x.flatten(1).double()[:, None] - alpha[:, None, None] * self.means
        if self.basis is not None:
            c = torch.einsum("kij,bki->bkj", self.basis, c)
        noise = (sigma[:, None] * self.scales).square()[:, None, :, None]
        var = alpha.square()[:, None, None, None] * self.variances[:, None] + noise
        square = torch.einsum("bkn,bkjn->bkj", c.square(), (1 / var).expand(len(x), -1, -1, -1))
        logits = -(square + var.log().sum(-1)) / 2
        return alpha, sigma, c, var, logits + self.log_weights[:, None] + self.log_scale_weights

    def _back(self, c: Tensor) -> Tensor:
        if self.basis is not None:
            c = torch.einsum("kij,bkj->bki", self.basis, c)
        return c.sum(1)


def _principal(stds: Tensor, means: Tensor) -> tuple[Tensor | None, Tensor]:
    """The principal axes (M, N, N), or None for the coordinate axes, and variances (M, N)."""
    count, dim = len(means), means[0].numel()
    if stds.shape == (count,):
        return None, stds.square()[:, None].expand(count, dim).clone()
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


def _scale_nodes(noise: Spherical, dim: int) -> tuple[Tensor, Tensor]:
    r"""The noise's scale mixture: nodes :math:`\lambda_j` and log-weights (one if normal)."""
    if not isinstance(noise, StudentT):
        return torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    dof = noise.dof
    step = min(0.04, 0.35 / math.sqrt(2 * (dim + dof)))
    middle = math.log(dof) / 2
    low = middle - (37 / dof + 9 / math.sqrt(2 * dof) + 7)  # the last for points far from the mode
    high = math.log(math.sqrt(dim + dof) + 9)
    v = torch.arange(low, high, step, dtype=torch.float64)
    log_density = dof * v - torch.exp(2 * v) / 2
    return math.sqrt(dof) * torch.exp(-v), log_density - torch.logsumexp(log_density, 0)
