r"""Embedded Runge-Kutta pairs: one set of slopes, two orders, and so an estimate of the error.

.. math:: k_i = f(t + c_i h, \; x + h \textstyle\sum_j a_{ij} k_j), \qquad
          x' = x + h \textstyle\sum_i b_i k_i, \qquad e = h \textstyle\sum_i (b_i - \hat b_i) k_i.

The last row of a is b, so that the last slope of a step is the first of the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Tableau:
    r"""The coefficients of an embedded pair.

    Attributes:
        order: of x', the solution that is carried on; its partner's is one less.
        c: the nodes, without the first, which is 0.
        a: the row of each node; the last one is b.
        error: :math:`b - \hat b`, one for each slope, that at the new point included.
    """

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]

    @property
    def evaluations(self) -> int:
        """Evaluations of the field that a step spends."""
        return len(self.c)

    @cached_property
    def rough(self) -> tuple[tuple[float, ...], ...]:
        r"""The combinations of slopes that vanish to third order in h, orthonormal.

        Those w with :math:`w \cdot 1 = w \cdot c = w \cdot c^2 = w \cdot a c = 0`; the error's is
        among their sums.
        """
        size = len(self.error)
        c = torch.tensor((0.0, *self.c), dtype=torch.float64)
        a = torch.zeros(size, size, dtype=torch.float64)
        for i, row in enumerate(self.a):
            a[i + 1, : len(row)] = torch.tensor(row, dtype=torch.float64)
        _, values, vectors = torch.linalg.svd(torch.stack([c**0, c, c**2, a @ c]))
        null = vectors[int((values > 1e-12).sum()) :]
        return tuple(tuple(w if abs(w) > 1e-12 else 0.0 for w in row) for row in null.tolist())


DOPRI5 = Tableau(
    5,
    (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)
"""Dormand and Prince (1980), A family of embedded Runge-Kutta formulae, RK5(4)7M."""

TSIT5 = Tableau(
    5,
    (0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    (
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (
            5.86145544294642,
            -12.92096931784711,
            8.159367898576159,
            -0.071584973281401,
            -0.028269050394068383,
        ),
        (
            0.09646076681806523,
            0.01,
            0.4798896504144996,
            1.379008574103742,
            -3.290069515436081,
            2.324710524099774,
        ),
    ),
    (
        -0.001780011052225777,
        -0.0008164344596567469,
        0.007880878010261995,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918697,
        1 / 66,
    ),
)
"""Tsitouras (2011), https://doi.org/10.1016/j.camwa.2011.06.002, table 1."""
