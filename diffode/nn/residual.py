r"""A critic that knows the first two moments and learns the rest.

For two Gaussians the log-ratio is quadratic,

.. math:: d(x) = \tfrac12 (x - m_q)^\top C_q^{-1} (x - m_q)
          - \tfrac12 (x - m_p)^\top C_p^{-1} (x - m_p) + \tfrac12 \log |C_q| / |C_p| .

Added to a network, it gives the flow the mean and the covariance of the data from the moments,
and leaves to the network how the data differs from a Gaussian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffode.nn.critic import CriticNetwork

if TYPE_CHECKING:
    from diffode.data.stats import Stats

LARGEST = 256  # coordinates, beyond which the covariance is left to the network


class ResidualCritic(nn.Module):
    """A critic network on top of the Gaussian log-ratio of data and samples.

    Arguments:
        network: what learns the rest.
    """

    quadratic: Tensor
    linear: Tensor
    constant: Tensor

    def __init__(self, network: CriticNetwork) -> None:
        super().__init__()
        self.network = network
        self.event_shape, self.smooth = network.event_shape, network.smooth
        dim = torch.Size(self.event_shape).numel()
        self.known = dim <= LARGEST
        size = dim if self.known else 0
        self.register_buffer("quadratic", torch.zeros(size, size))
        self.register_buffer("linear", torch.zeros(size))
        self.register_buffer("constant", torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The log-ratio of each row, shape (B,)."""
        d: Tensor = self.network(x, t, y)
        if not self.known:
            return d
        u = x.flatten(1).to(d)
        return d + ((u @ self.quadratic) * u).sum(1) + u @ self.linear + self.constant

    @torch.no_grad()
    def aim(self, stats: Stats, samples: Tensor, sigma: float) -> None:
        """Take the moments of the data and of samples (P, *event), both seen through noise."""
        if not self.known:
            return
        assert stats.basis is not None
        u = samples.flatten(1).double()
        noise = sigma**2 * torch.eye(u.shape[1], dtype=torch.float64, device=u.device)
        basis, spectrum = stats.basis.to(u), stats.spectrum.to(u)
        p = torch.linalg.cholesky(basis @ torch.diag(spectrum) @ basis.T + noise)
        q = torch.linalg.cholesky(torch.cov(u.T) + noise)
        p_inverse, q_inverse = torch.cholesky_inverse(p), torch.cholesky_inverse(q)
        m_p, m_q = stats.mean.flatten().to(u), u.mean(0)
        self.quadratic.copy_((q_inverse - p_inverse) / 2)
        self.linear.copy_(p_inverse @ m_p - q_inverse @ m_q)
        logs = q.diagonal().log().sum() - p.diagonal().log().sum()
        self.constant.copy_(logs + (m_q @ q_inverse @ m_q - m_p @ p_inverse @ m_p) / 2)
