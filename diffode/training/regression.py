r"""The PFGM paper's own objective: regress a normalised field that a batch of charges makes.

Charges are the training batch. A point near charge y is drawn as

.. math:: x = y + |\epsilon_x| (1 + \tau)^m u, \quad z = |\epsilon_z| (1 + \tau)^m, \quad
          \epsilon \sim N(0, \sigma^2 I_{N+1}), \quad m \sim U[0, M],

and the network regresses the direction there of the field of all charges of the batch. The target
is biased (it normalises a batch mean, and the drawn law is only nearly the Poisson kernel);
`PoissonDenoising` is neither. It is here to reproduce the paper, and to be compared.

With ``restrict``, :math:`m \sim U[0, 0.7 M]` where :math:`|\epsilon_z| < \sigma / 2`, which is
38.3 % of the draws. So does the authors' published code, https://github.com/Newbeeer/Poisson_flow:
it tests :math:`z < 0.005`, at :math:`\sigma = 0.01`, *after* taking the absolute value. Its
versions before the end of October 2022 tested the signed z, which restricts 69.1 % of the draws;
that is not built here.

Reference: PFGM (Xu et al., 2022), https://arxiv.org/abs/2209.11178, section 3 and appendix B.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.fields.base import expand_like
from diffode.fields.kernels import Points, Queries, centred_squares, kernel_means
from diffode.fields.learned import Learned
from diffode.fields.poisson import PoissonField
from diffode.priors import StudentT
from diffode.processes import rows_of_all
from diffode.rng import Rng
from diffode.training.batches import Batch
from diffode.training.denoising import drop_labels
from diffode.training.objective import Objective


class Extent(NamedTuple):
    """How far the perturbation reaches: its largest exponent M, z_max and the norm cap."""

    m: int
    z_max: float
    norm_cap: float


def extent(norm: float, dim: int, sigma: float = 0.01, tau: float = 0.03) -> Extent:
    r"""The paper's rule for data of mean norm in N coordinates.

    .. math:: M = \left\lfloor \tfrac34 \frac{\ln (\bar{|y|}^2 / 2 \sqrt N \sigma^2)}
              {\ln (1 + \tau)} \right\rfloor + 1, \quad
              z_{max} = \sqrt{2/\pi}\, \sigma (1+\tau)^M, \quad
              R_{max} = \sqrt N \sigma (1+\tau)^M.

    Arguments:
        norm: the mean norm of the data.
        dim: N.
        sigma, tau: of the perturbation.

    Raises:
        ValueError: data too small for this sigma.
    """
    ratio = norm**2 / (2 * math.sqrt(dim) * sigma**2)
    if ratio <= 1:
        raise ValueError(
            f"got data of norm {norm:g}, too small for sigma {sigma:g}; choose a smaller one"
        )
    m = int(0.75 * math.log(ratio) / math.log1p(tau)) + 1
    top = sigma * (1 + tau) ** m
    return Extent(m, math.sqrt(2 / math.pi) * top, math.sqrt(dim) * top)


def field_target(x: Tensor, z: Tensor, charges: Tensor, gamma: float) -> Tensor:
    r"""The normalised field :math:`\sqrt N v / (|v| + \gamma)` of charges, shape (B, N + 1).

    With :math:`v = (\sum_j w_j y_j - x, -z)`, :math:`w_j \propto (|x - y_j|^2 + z^2)^{-(N+1)/2}`.

    Arguments:
        x: points, shape (B, N).
        z: their heights, shape (B,).
        charges: shape (M, N).
        gamma: the constant of the normalisation.
    """
    x, z = x.double(), z.double()
    one, equal = x.new_ones(()), x.new_full((len(charges),), 1 / len(charges))
    _, centre, squares = centred_squares(charges, equal)
    points = Points(charges, squares, equal.log(), centre)
    mean = kernel_means(points, Queries(x, one, z, StudentT(1.0)))
    v = torch.cat((mean - x, -z[:, None]), 1)
    length: Tensor = v.norm(dim=1, keepdim=True)
    return math.sqrt(x.shape[1]) * v / (length + gamma)


class PoissonRegression(Objective):
    """The paper's regression of the normalised field.

    Arguments:
        field: a Poisson field around a learned field with a `NormalisedField` prediction.
        reach: M, z_max and the norm cap.
        sigma, tau: of the perturbation.
        gamma: of the normalisation.
        restrict: draw m from [0, 0.7 M] where |eps_z| < sigma / 2, as the published code does.
        points: how many of the rows at hand (of a process, of a piece when accumulating) are
            perturbed; None perturbs all. The rows at hand of all processes are charges.
        classes, label_drop: as for `Denoising`.
    """

    comparable = True

    def __init__(
        self,
        field: PoissonField,
        reach: Extent,
        *,
        sigma: float = 0.01,
        tau: float = 0.03,
        gamma: float = 5.0,
        restrict: bool = True,
        points: int | None = None,
        classes: int | None = None,
        label_drop: float = 0.0,
    ) -> None:
        super().__init__(field)
        assert isinstance(field.inner, Learned)
        self.learned, self.reach = field.inner, reach
        self.sigma, self.tau, self.gamma = sigma, tau, gamma
        self.restrict, self.points = restrict, points
        self.classes, self.label_drop = classes, label_drop

    def perturb(self, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Points x (B, *event) and heights z (B,) near the charges y, float64."""
        normal = rng.normal("noise", y.shape, torch.float64, y.device) * self.sigma
        eps_z = rng.normal("noise/z", (len(y),), torch.float64, y.device).abs() * self.sigma
        top = torch.full_like(eps_z, self.reach.m)
        if self.restrict:
            top = torch.where(eps_z < self.sigma / 2, 0.7 * top, top)
        growth = (1 + self.tau) ** (top * rng.spread("time", len(y), y.device))
        return y.double() + normal * expand_like(growth, normal), (eps_z * growth).clamp_min(1e-10)

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of the N + 1 outputs."""
        x = batch.x
        n = len(x) if self.points is None else min(self.points, len(x))
        point, z = (part[:n] for part in self.perturb(x, rng))
        y = None if batch.y is None else batch.y[:n]
        y = drop_labels(y, self.classes, self.label_drop, rng.rows(torch.arange(n)))
        flipped = None if batch.flipped is None else batch.flipped[:n]
        o = self.learned.output(point.to(x), z, y, flipped)
        assert o.extra is not None
        output = torch.cat((o.out.flatten(1), o.extra), 1)
        target = field_target(point.flatten(1), z, rows_of_all(x).flatten(1), self.gamma)
        return (output - target.to(output)).square().mean(), {}
