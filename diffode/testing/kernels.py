r"""Kernels and schedules that are taken for others.

The exact field of data weighs each point by a kernel of its distance. For Student-t noise of D
degrees of freedom, in N coordinates, it is

.. math:: w_i \propto (|x - \alpha y_i|^2 + r^2)^{-(N + D) / 2}, \qquad r = \sigma \sqrt{D},

and a field with a kernel of another power or radius, or at the noise levels of another schedule,
still leads to the data, by another law than theirs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.fields.schedules import VP, Cosine, Rectified, Schedule, SubVP
from diffode.priors import Normal, Spherical, StudentT, is_normal, is_student

_DOFS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)


class PowerLaw(Spherical):
    r"""A kernel alone, :math:`(1 + |u|^2 / w)^{-p/2}`; nothing can be drawn from it.

    Arguments:
        power: p.
        width: w.
    """

    def __init__(self, power: float, width: float) -> None:
        super().__init__()
        self.power, self.width = power, width

    def log_radial(self, r2: Tensor, dim: int) -> Tensor:
        """The kernel's logarithm at squared radius ``r2``."""
        return torch.log1p(r2 / self.width) * (-self.power / 2)


class OtherKernel(NamedTuple):
    """A kernel that is taken for that of the noise: the mistake, how it comes about, the law."""

    name: str
    form: str
    law: Spherical


class OtherSchedule(NamedTuple):
    """A schedule that is taken for the stated one: the mistake, how it comes about, it itself."""

    name: str
    form: str
    schedule: Schedule


def other_kernels(noise: Spherical, dim: int) -> list[OtherKernel]:
    """The kernels that are taken for that of a noise in so many coordinates."""
    if is_normal(noise):
        return [OtherKernel("Poisson kernel", f"D = {d:g}", StudentT(d)) for d in _DOFS[:8]]
    if not is_student(noise):
        return []
    dof, total = noise.dof, dim + noise.dof
    found = [OtherKernel("Gaussian kernel", "", Normal())]
    powers = [total - 1, total - 2, total + 1, total + 2, dof, 2 * total, total / 2]
    for power in dict.fromkeys(powers):
        if power > 0:
            form = f"{power:g} in place of N + D = {total:g}"
            found.append(OtherKernel("kernel exponent", form, PowerLaw(power, dof)))
    radii = (("r = sigma", 1.0), ("r = sigma D", dof**2), ("r = sigma / sqrt(D)", 1 / dof))
    for form, width in radii if not math.isclose(dof, 1) else ():
        found.append(OtherKernel("kernel radius", form, PowerLaw(total, width)))
    for d in _DOFS:
        if d != dof:
            found.append(OtherKernel("kernel D", f"D = {d:g}", StudentT(d)))
    return found


def other_schedules(schedule: Schedule) -> list[OtherSchedule]:
    """The schedules of the same clock, 1 at the prior and 0 at the data, by which it is read."""
    first, last = schedule.span
    if first != 1 or not 0 <= last < 0.1:
        return []
    found = []
    if type(schedule) is VP:
        other: Schedule = SubVP(schedule.beta_min, schedule.beta_max)
        found.append(OtherSchedule("sub-VP as VP", repr(other), other))
    if type(schedule) is SubVP:
        other = VP(schedule.beta_min, schedule.beta_max)
        found.append(OtherSchedule("VP as sub-VP", repr(other), other))
    for other in (VP(), SubVP(), Cosine(), Rectified()):
        if type(other) is not type(schedule) and not any(type(other) is type(f[2]) for f in found):
            found.append(OtherSchedule("other schedule", repr(other), other))
    return found
