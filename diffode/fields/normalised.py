r"""The prediction of the PFGM paper: a normalised field direction with N + 1 components.

With :math:`v = (E[x_0|x] - x, -z)` the network's output stands for :math:`\sqrt N v / (|v| +
\gamma)`. The last component of v is known, so reading the output means solving for the length of
the other N.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.fields.base import expand_like
from diffode.fields.precond import Coefficients, Prediction


def invert_norm(n1: Tensor, z: Tensor, gamma: float) -> Tensor:
    r"""The length :math:`a = |v_x|` from :math:`n_1 = a / (\sqrt{a^2 + z^2} + \gamma)`.

    .. math:: a = n_1 \frac{\gamma + \sqrt{\gamma^2 - (1 - n_1^2)(\gamma^2 - z^2)}}{1 - n_1^2}.

    It exists for :math:`0 \le n_1 < 1`; the paper's code neglects z, which is off by 4 % at a =
    50, z = 4.9.

    Arguments:
        n1: the output's norm over sqrt(N), shape (B,).
        z: the height above the data, shape () or (B,).
        gamma: the constant of the normalisation.
    """
    rest = 1 - n1.square()
    return n1 * (gamma + (gamma**2 - rest * (gamma**2 - z.square())).sqrt()) / rest


class NormalisedField(Prediction):
    r"""The output is :math:`\sqrt N v / (|v| + \gamma)`, or with gamma = 0 any multiple of v.

    Below ``z_exact`` the length of :math:`v_x` is solved for; above, where the norm says little,
    and always for gamma = 0, it is the ratio of the two outputs times :math:`v_z = -z`.

    Reference: PFGM (Xu et al., 2022), https://arxiv.org/abs/2209.11178, section 3.2.

    Arguments:
        gamma: the constant of the normalisation, 0 for a direction of any length.
        std: the data's rms standard deviation, for the input's scale.
        z_exact: the height below which the norm is inverted.
    """

    conditions, extra = 2, 1

    def __init__(self, gamma: float, std: float, z_exact: float = 5.0) -> None:
        super().__init__()
        self.gamma, self.std, self.z_exact = gamma, std, z_exact

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The input's scale, from the distance of (x, z); skip and out are those of v."""
        flat = u.flatten(1).double()
        z2 = sigma.square().expand(len(u))
        scale2 = self.std**2 + (flat.square().sum(1) + z2) / (flat.shape[1] + 1)
        one = torch.ones_like(scale2)
        cond = torch.stack((scale2.log() / 2, z2.log() / 2), 1) / 4
        return Coefficients(one, one, scale2.rsqrt(), cond, 0 * one, -one / sigma)

    def decode(
        self, u: Tensor, out: Tensor, extra: Tensor | None, c: Coefficients, sigma: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The centred data estimate and the noise estimate from the network's output."""
        assert extra is not None
        flat, z = out.flatten(1), sigma.to(out).expand(len(out))
        length = flat.norm(dim=1)
        tiny = torch.finfo(out.dtype).tiny
        by_ratio = z * length / (-extra[:, 0]).clamp_min(1e-5)
        if self.gamma:
            n1 = (length / flat.shape[1] ** 0.5).clamp_max(1 - 1e-3)
            distance = torch.where(z < self.z_exact, invert_norm(n1, z, self.gamma), by_ratio)
        else:
            distance = by_ratio
        v = out * expand_like(distance / length.clamp_min(tiny), out)
        return u + v, expand_like(c.noise_out, u) * v
