r"""What a generative ODE is: a prior moved by a velocity.

A `Field` states a velocity :math:`f_t(x)`, a prior and a span of time. Those of noisy paths are
`AffineField` (`diffode.fields.affine`).

Shapes, everywhere: x is (B, \*event); t is () or (B,); y is (B,) integer labels or None; scalar
    fields return (B,).
Whole numbers as x or y are converted, other shapes refused (`diffode.doors`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffode.compiled import SeenThrough
from diffode.data.scaling import Scaling, data_units, model_units
from diffode.doors import Numbers, as_labels, as_state, unwritten
from diffode.fields.tables import Tables
from diffode.priors import Spherical
from diffode.rng import Rng


def expand_like(t: Tensor, like: Tensor) -> Tensor:
    """A scalar of each row, shape () or (B,), typed and shaped to broadcast with ``like``.

    A factor of each coordinate, with as many axes as ``like``, does so already.
    """
    t = t.to(like)
    return t if t.ndim in (0, like.ndim) else t.reshape(-1, *[1] * (like.ndim - 1))


class SamplingDefaults(NamedTuple):
    """How a field is sampled if nothing else is asked for.

    Attributes:
        solver: the solver's name.
        times: the times of its steps, from t_prior to t_data: the grid "own".
    """

    solver: str
    times: tuple[float, ...]


class Start(NamedTuple):
    """Where a flow starts: points x at ``field.span[0]``, and the field that moves these rows."""

    x: Tensor
    field: Field


class Latent(NamedTuple):
    """What a flow starts from: points x (B, *event), and q (B,) for a bound Poisson field."""

    x: Tensor
    q: Tensor | None = None


class Field(Tables, metaclass=SeenThrough):
    """A velocity, a prior and a span; write ``velocity`` and set the other three.

    Cast to another type, its networks change and its own buffers do not (`Tables`).

    Attributes:
        prior: the law of x at ``span[0]``; None where it has no density that is known: that of a
            bound Poisson field, and that of starting points drawn from a set.
        span: the times (t_prior, t_data); either may be the larger.
        event_shape: the shape of one sample.
        sampling_defaults: the solver and the times that it was made for, if it was.
        smooth: whether differentiating the velocity gives its divergence, which a likelihood
            needs. It does not where a network inside is linear piece by piece and the velocity is
            its gradient: the second derivative is then 0 almost everywhere.
        classes: the number of labels, 0 to classes - 1; None where the field does not say. A
            network is trained with ``classes`` itself as the null label. `as_labels`, and with it
            `diffode.sample` and all else that moves points, refuses that: no label is y = None.
        unconditional: whether no label plays a part; False where the field does not say.
        scaling: from the data's units to the field's, None for the same; see also `from_data`.
        calls_per_evaluation: the most calls of a network that an evaluation takes: 1, and 2 under
            guidance. `calls_at` says it for a time.
        usual: the name of the solver that moves a field of its kind where none is asked for.
    """

    prior: Spherical | None
    span: tuple[float, float]
    event_shape: tuple[int, ...]
    sampling_defaults: SamplingDefaults | None = None
    smooth: bool = True
    classes: int | None = None
    unconditional: bool = False
    scaling: Scaling | None = None
    calls_per_evaluation: int = 1
    usual: str = "heun"

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The rate of change of x at time t, shape (B, *event)."""
        raise unwritten(self, "velocity")

    def start(self, n: int, rng: Rng, y: Tensor | None = None) -> Start:
        """Draw n starting points, and the field that moves them: the prior's draw, and itself."""
        prior = self.prior
        if prior is None:
            raise ValueError(f"{type(self).__name__} has no prior to start from")
        return Start(prior.sample((n, *self.event_shape), rng, device=self.device), self)

    def calls_at(self, t: Tensor) -> int:
        """The calls of a network that an evaluation at time t, shape () or (B,), takes."""
        return self.calls_per_evaluation

    def require_rows(self, count: int) -> None:
        """Refuse another number of rows than the field holds values for.

        Raises:
            ValueError: it holds some, for more rows or for fewer.
        """

    def rows(self, index: Tensor) -> Field:
        """The field of these rows of the batch: itself, unless it holds per-row values."""
        return self

    def as_state(self, x: Tensor) -> Tensor:
        """Points for this field, see `diffode.doors.as_state`."""
        return as_state(x, self.event_shape)

    def as_labels(self, y: Numbers | int | None, rows: int) -> Tensor | None:
        """Labels that this field knows for so many rows, see `diffode.doors.as_labels`.

        Solvers call it once, before they start: under ``torch.func`` no value can be looked at.
        """
        return as_labels(y, rows, None if self.classes is None else self.classes - 1)

    def from_data(self, x: Tensor) -> Tensor:
        r"""The states at t_data of points x in the units of the data, shape (B, \*event)."""
        return model_units(x, self.scaling)

    def to_data(self, x: Tensor, t: Tensor | float) -> Tensor:
        r"""States x at time t, shape () or (B,), in the units of the data, shape (B, \*event)."""
        return data_units(x, self.scaling)

    @property
    def log_volume(self) -> float:
        """The log of the volume of states at t_data for a unit of the data's volume."""
        return 0.0 if self.scaling is None else -self.scaling.log_volume(self.event_shape)

    def latent(self, x: Tensor) -> Latent:
        """The latent that starts at points x, with the values that this field is bound to."""
        return Latent(x)

    @property
    def is_bound(self) -> bool:
        """Whether it holds the values q of rows that it was bound for, as a Poisson field may."""
        return self.latent(torch.empty(0)).q is not None

    def bind(self, q: Tensor) -> Field:
        """The field of rows with these q, shape (B,).

        Raises:
            TypeError: a field that has none.
        """
        raise TypeError(f"got q for a {type(self).__name__}; q belongs to an unbound PoissonField")

    @property
    def device(self) -> torch.device:
        """Where the field's tensors live."""
        tensors = [*self.parameters(), *self.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        end = f"{self.span[0]:g} -> {self.span[1]:g}"
        event = "x".join(map(str, self.event_shape))
        parts = [f"event {event}", f"span {end}", *self._describe(), f"prior {self.prior}"]
        parts += [] if self.scaling is None else [f"units {self.scaling}"]
        return f"{type(self).__name__}({', '.join(parts)}, {count:,} parameters)"

    def _describe(self) -> list[str]:
        return []
