r"""Preconditioning by the noise level that x and r reveal together.

In a Poisson flow the augmented radius r does not tell the noise scale s of a sample: x = y + s n
has r = s q with q of its own. But x itself shows it. Under a Gaussian model of the data with
principal variances :math:`e_j` the two together have the posterior, flat in log s,

.. math:: p(s | x, r) \propto s^{-D} e^{-r^2 / 2 s^2}
          \prod_j (e_j + s^2)^{-1/2} e^{-c_j^2 / 2 (e_j + s^2)},

with c the coordinates of x - m on the data's principal axes. EDM's preconditioning is averaged
over it: skip is the mean of EDM's c_skip, and c_out is the standard deviation that the model
leaves for x_0, so that inputs and targets have unit variance whatever s was. Any function of (x,
r) is allowed here: it conditions the network and changes no field.

The posterior is a softmax over a grid in log s. What depends on x enters through the sums of
c_j^2 over at most 64 groups of equal variance, so that the cost is one transform and one small
matmul.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffode.data.stats import Stats, spectral
from diffode.fields.precond import Coefficients, Prediction

_GROUPS = 64


def sums_of_columns(x: Tensor, members: Tensor) -> Tensor:
    """Sums over groups of columns, in a fixed order.

    Arguments:
        x: shape (B, N).
        members: the columns of each group, shape (M, G); N stands for none.

    Returns:
        Shape (B, G).
    """
    return pad(x, (0, 1))[:, members].sum(1)


class RevealedKarras(Prediction):
    r"""EDM's preconditioning averaged over p(s | x, r); the network is told E[log s] and r.

    Reference: the coefficients at known s are those of Karras et al. (2022),
    https://arxiv.org/abs/2206.00364, table 1.

    Arguments:
        stats: the data's mean, scale and principal variances.
        dof: degrees of freedom D of the noise, :math:`r = \sigma \sqrt{D}`.
        low, high: the range of s that the grid covers.
    """

    conditions = 2

    def __init__(self, stats: Stats, dof: float, low: float, high: float) -> None:
        super().__init__()
        self.dof, self.std = dof, stats.std
        self.register_buffer("basis", stats.basis, persistent=False)
        order = stats.spectrum.double().argsort(descending=True)
        groups = min(len(order), _GROUPS)
        group = torch.empty_like(order)
        group[order] = torch.arange(len(order)) * groups // len(order)
        counts = torch.bincount(group, minlength=groups).double()
        zeros = torch.zeros(groups, dtype=torch.float64)
        variances = zeros.index_add(0, group, stats.spectrum.double()) / counts
        width = 1 / math.sqrt(2 * (len(order) + dof))  # of the posterior, in log s
        log_s = torch.arange(math.log(low), math.log(high), min(0.2, 1.25 * width)).double()
        s2 = torch.exp(2 * log_s)
        total = variances[:, None] + s2
        members = torch.full((-(-len(order) // groups), groups), len(order))
        for k in range(groups):
            own = (group == k).nonzero().flatten()
            members[: len(own), k] = own
        self.register_buffer("group", group, persistent=False)
        self.register_buffer("members", members, persistent=False)
        self.register_buffer("log_s", log_s, persistent=False)
        self.register_buffer("precision", -0.5 / total, persistent=False)
        constant = -dof * log_s - counts @ total.log() / 2
        self.register_buffer("constant", constant, persistent=False)

    basis: Tensor | None
    group: Tensor
    members: Tensor  # of each group, a column; one that is smaller has N at its end
    log_s: Tensor
    precision: Tensor
    constant: Tensor

    def posterior(self, u: Tensor, sigma: Tensor) -> Tensor:
        """The weights of the grid's scales for each row, shape (B, K)."""
        c2 = spectral(u, self.basis).square()
        if c2.device.type == "cpu":
            sums = c2.new_zeros(len(u), len(self.precision)).index_add_(1, self.group, c2)
        else:  # where the order in which index_add_ adds is not fixed
            sums = sums_of_columns(c2, self.members)
        half_r2 = (sigma.square() * (-self.dof / 2)).expand(len(u))[:, None]
        logits = sums @ self.precision + self.constant + half_r2 * torch.exp(-2 * self.log_s)
        return torch.softmax(logits, 1)

    def log_square(self, u: Tensor, sigma: Tensor) -> Tensor:
        """The logarithm of E[s^2 | x, r], shape (B,)."""
        return (self.posterior(u, sigma) @ torch.exp(2 * self.log_s)).log()

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        p = self.posterior(u, sigma)
        s2, d2 = torch.exp(2 * self.log_s), self.std**2
        skips = d2 / (s2 + d2)
        log_level, skip = p @ self.log_s, p @ skips
        square = u.flatten(1).double().square().mean(1)
        out = (p @ (s2 * skips) + (p @ skips.square() - skip.square()) * square).sqrt()
        log_sigma = sigma.log().expand(len(u))
        return Coefficients(
            skip=skip,
            out=out,
            in_=(torch.exp(2 * log_level) + d2).rsqrt(),
            cond=torch.stack((log_level, log_sigma), 1) / 4,
            noise_skip=(1 - skip) / sigma,
            noise_out=-out / sigma,
        )
