r"""The divergence of a velocity: exact, or estimated from random directions.

For a velocity v that treats rows apart, :math:`\nabla \cdot v = \mathrm{tr}\, A` with the Jacobian
:math:`A = \partial v / \partial x`, of which only the products :math:`A^\top u` are formed (one
backward pass each, many at once):

* exact: :math:`\sum_i e_i^\top A^\top e_i`, N products;
* Hutchinson: :math:`u_k^\top A^\top u_k` for random :math:`u_k` with :math:`E[u u^\top] = I`, K
  products; for signs the variance is :math:`2 \sum_{i \ne j} A_{s,ij}^2 / K` with the symmetric
  part :math:`A_s`: the diagonal costs nothing;
* Hutch++: the trace on the range Q of R further products is taken exactly and only the rest is
  estimated, :math:`\mathrm{tr}(Q^\top A^\top Q) + g_k^\top A^\top g_k` with :math:`g_k` uniform on
  the sphere of radius :math:`\sqrt{N - R}` that is orthogonal to Q: far less variance where A is
  close to a multiple of I and a matrix of rank R, more where it is close to another diagonal.

References: Hutchinson (1990), A stochastic estimator of the trace; Meyer et al. (2021), Hutch++,
https://arxiv.org/abs/2010.09649, algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from diffode.doors import as_count
from diffode.fields.base import Field
from diffode.likelihood.products import Known, Linearised
from diffode.rng import Rng

Trace = Literal["exact", "hutchinson", "hutch++"]
Law = Literal["signs", "sphere"]
PROBES = 20
FEWEST = 10  # estimates whose spread states an error
_HELD = 2**20  # numbers in one tensor of products held at once


class DivergenceEstimate(NamedTuple):
    """A velocity and its divergence.

    Attributes:
        velocity: v, shape (B, *event).
        value: the divergence at each row, shape (B,): the mean of the estimates.
        estimates: one of each probe, shape (B, K), each unbiased, independent of the others given
            the range; the exact value alone, K = 1, where nothing is estimated.
    """

    velocity: Tensor
    value: Tensor
    estimates: Tensor


class Probes(NamedTuple):
    """The directions of an estimate.

    Attributes:
        known: an orthonormal basis of the range on which the trace is exact, shape (B, R, N).
        test: the directions of the K estimates, orthogonal to it, shape (B, K, N).
    """

    known: Tensor
    test: Tensor

    def rows(self, index: Tensor) -> Probes:
        """The directions of these rows of the batch."""
        return Probes(self.known[index], self.test[index])

    def beyond(self, sketch: Tensor, pulled: Tensor) -> Probes:
        """The range of A^T taken exactly, and these directions, best spherical, beside it.

        A multiple of I is free on the sphere, so it is taken off before the range is found: the
        median eigenvalue of what A is on the sketch.

        Arguments:
            sketch: random directions S, shape (B, R, N).
            pulled: the products A^T S, shape (B, R, N).
        """
        sketch, pulled = sketch.detach().mT, pulled.detach().mT
        orthonormal, mixing = torch.linalg.qr(sketch)
        on_it = torch.linalg.solve_triangular(
            mixing, orthonormal.mT @ pulled, upper=True, left=False
        )
        multiple = torch.linalg.eigvalsh((on_it + on_it.mT) / 2).median(1).values
        basis = torch.linalg.qr(pulled - multiple[:, None, None] * sketch)[0].mT
        rest = self.test - (self.test @ basis.mT) @ basis
        return Probes(basis, _resized(rest, rest.shape[2] - basis.shape[1]))


def random_directions(
    rng: Rng, name: str, x: Tensor, count: int = PROBES, law: Law = "signs"
) -> Tensor:
    """Random directions for the rows of x, shape (B, count, N).

    Row i depends on (seed, i) alone, and the first directions do not depend on how many follow.

    Raises:
        ValueError: an unknown law, or fewer than one direction.
    """
    if law not in get_args(Law):
        raise ValueError(f"got probes of law {law!r}; wanted {', '.join(get_args(Law))}")
    count = as_count(count, "probes")
    if count < 1:
        raise ValueError(f"got {count} probes; an estimate needs at least 1")
    dim = x[0].numel()
    if law == "sphere":
        u = rng.normal(name, (len(x), count * dim), torch.float64, x.device)
        return _resized(u.view(len(x), count, dim), dim).to(x.dtype)
    u = 2.0 * (rng.bits(name, len(x), count * dim, x.device) & 1).double() - 1
    return u.to(x.dtype).view(len(x), count, dim)


def plain(rng: Rng, x: Tensor, count: int = PROBES, law: Law = "signs") -> Probes:
    """The directions of Hutchinson's estimate for the rows of x: no range is known."""
    test = random_directions(rng, "divergence/test", x, count, law)
    return Probes(test[:, :0], test)


def sketch(rng: Rng, x: Tensor, count: int = PROBES) -> Tensor:
    """The directions whose products span the range of Hutch++, shape (B, R, N), R <= N."""
    return random_directions(rng, "divergence/sketch", x, min(count, x[0].numel()), "sphere")


def divergence(
    field: Field,
    x: Tensor,
    t: Tensor | float,
    y: Tensor | None = None,
    method: Trace = "exact",
    rng: Rng | None = None,
    probes: int = PROBES,
    law: Law = "signs",
) -> DivergenceEstimate:
    """The velocity of a field and its divergence.

    The field is called outside of ``torch.vmap``, so its code may branch on values; its backward
    pass is vectorised by ``torch.vmap`` where the network allows it
    (`diffode.likelihood.products`), in chunks that bound the memory. Everything that torch
    differentiates will do. The result can be differentiated in its turn, the range of Hutch++
    counting as given.

    Arguments:
        field: its velocity must treat rows apart.
        x: points, shape (B, *event).
        t: time, shape () or (B,).
        y: labels, shape (B,).
        method: "exact" (N products), "hutchinson" (K) or "hutch++" (up to 3 K).
        rng: where the directions come from; seed 0 if None.
        probes: K, the number of independent estimates.
        law: of Hutchinson's directions: random signs, or uniform on the sphere of radius
            sqrt(N), which is what Hutch++ takes.

    Raises:
        ValueError: an unknown method or law, or no probes.
        TypeError: a field whose derivatives do not tell its divergence (``Field.smooth``).
    """
    check(method, field)
    x = field.as_state(x)
    y = field.as_labels(y, len(x))

    def velocity(z: Tensor) -> Tensor:
        return field.velocity(z, t, y)

    if method == "exact":
        return trace(velocity, x, None)
    rng = rng or Rng()
    if method == "hutchinson":
        return trace(velocity, x, plain(rng, x, probes, law))
    directions = sketch(rng, x, probes)
    pulled = products(velocity, x, directions)[1]
    return trace(velocity, x, plain(rng, x, probes, "sphere").beyond(directions, pulled))


def check(method: Trace, field: Field | None = None) -> None:
    """Refuse an unknown way to take the trace, and a field that has none to take.

    Raises:
        ValueError: naming the known ways.
        TypeError: a field that is not smooth.
    """
    if method not in get_args(Trace):
        raise ValueError(f"got trace {method!r}; wanted {', '.join(get_args(Trace))}")
    if field is not None and not field.smooth:
        raise TypeError(
            f"{type(field).__name__} states no divergence of its samples' law: a piecewise-linear "
            "critic has a Laplacian of 0 almost everywhere (take silu, softplus or tanh), a "
            "network given an observation may lack second derivatives, noise with an edge (Ball) "
            "makes a velocity jump, and a generator is one step and no flow"
        )


def trace(
    velocity: Callable[[Tensor], Tensor],
    x: Tensor,
    probes: Probes | None,
    known: Known | None = None,
) -> DivergenceEstimate:
    """The velocity at x and its divergence: exact where no directions are given.

    Arguments:
        velocity: of points, its rows apart.
        x: points, shape (B, *event).
        probes: the directions.
        known: the way that its products take; None finds it out.
    """
    at = Linearised(velocity, x, known or Known())
    if probes is None:
        estimates = _exact(at)[:, None]
    else:
        u = torch.cat(probes, dim=1).to(at.value)
        each = (_pulled(at, u) * u).sum(2)
        rank = probes.known.shape[1]
        estimates = each[:, :rank].sum(1, keepdim=True) + each[:, rank:]
    return DivergenceEstimate(at.value.view_as(x), estimates.mean(1), estimates)


def products(
    velocity: Callable[[Tensor], Tensor], x: Tensor, u: Tensor, known: Known | None = None
) -> tuple[Tensor, Tensor]:
    """The velocity at x, and its transposed Jacobian times the directions u, shape (B, K, N)."""
    at = Linearised(velocity, x, known or Known())
    return at.value.view_as(x), _pulled(at, u.to(at.value))


def stated_error(estimates: Tensor) -> Tensor:
    r"""The error s of a mean of K independent estimates: it is within 1.96 s in 95 % of cases.

    For many estimates s is their standard deviation over :math:`\sqrt K`. For few it is wider, by
    Student's quantile over 1.96 (1.07 for 20), and where they are skewed by the mean width of the
    interval that is corrected for their skewness :math:`\gamma` (if they have more than two
    values),

    .. math:: h(x) = \frac{3}{\gamma} \left[ \left(1 + \gamma \left(x - \frac{\gamma}{6 K}
              \right) \right)^{1/3} - 1 \right], \qquad x = \pm q_{K - 1} / \sqrt K.

    It is infinite, which states none, for fewer than 10 estimates (`FEWEST`). Their spread says
    too little then: where two coordinates are coupled and no others, an estimate from signs has
    two values, and K of them are equal, at whatever error, with probability :math:`2^{1-K}`.

    Reference: Hall (1992), On the removal of skewness by transformation, J. R. Stat. Soc. B 54.

    Arguments:
        estimates: shape (B, K).
    """
    from scipy.special import stdtrit

    count = estimates.shape[1]
    if count < FEWEST:
        return torch.full_like(estimates[:, 0], math.inf)
    variance, mean = torch.var_mean(estimates, 1, correction=0, keepdim=True)
    z = (estimates - mean) / variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()
    skew, kurtosis = z.pow(3).mean(1), z.pow(4).mean(1)
    two_values = kurtosis < skew.square() + 1.05  # equal to skew^2 + 1 for these alone
    straight = (skew.abs() < 1e-3) | two_values
    g = skew.where(~straight, 1.0)

    def h(x: float) -> Tensor:
        base = 1 + g * (x - g / (6 * count))
        return torch.where(straight, x, 3 / g * (base.sign() * base.abs().pow(1 / 3) - 1))

    x = float(stdtrit(count - 1, 0.975)) / math.sqrt(count)
    std = (variance[:, 0] * (count / (count - 1))).sqrt()
    return std * (h(x) - h(-x)) / (2 * 1.96)


def _resized(u: Tensor, square: int) -> Tensor:
    length = u.square().sum(-1, keepdim=True).clamp_min(torch.finfo(u.dtype).tiny)
    return u * (square / length).sqrt()


def _pulled(at: Linearised, u: Tensor) -> Tensor:
    size = max(1, _HELD // (u.shape[0] * u.shape[2]))
    parts = [at.pull(part) for part in torch.split(u.transpose(0, 1), size)]
    return torch.cat(parts).transpose(0, 1)


def _exact(at: Linearised) -> Tensor:
    v = at.value
    rows, dim = v.shape
    size = max(1, _HELD // v.numel())
    total = v.new_zeros(rows)
    for first in range(0, dim, size):
        i = torch.arange(first, min(dim, first + size), device=v.device)
        basis = v.new_zeros(len(i), rows, dim)
        basis[i - first, :, i] = 1
        total = total + at.pull(basis)[i - first, :, i].sum(0)
    return total
