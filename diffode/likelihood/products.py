r"""Products with the transposed Jacobian of a velocity, for any network that torch differentiates.

All products :math:`A^\top c` of one point share its forward pass. They are formed at once by
``torch.vmap`` over the backward pass, or in the first of these ways that a network takes:

* "together": as it is;
* "recorded": with the backward pass recorded, as layers want whose derivative is another formula
  without a record than with one (in the UNet of diffusers);
* "apart": one product after the other by plain differentiation, which takes layers that
  ``torch.func`` refuses, as an ``autograd.Function`` without ``setup_context``.

The numbers are the same; the second way takes more memory, the third more time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor

from diffode.compiled import differentiable

Way = Literal["together", "recorded", "apart"]
WAYS: tuple[Way, ...] = get_args(Way)
MEANT = {
    "recorded": "the network refuses torch.vmap unless its backward pass is recorded",
    "apart": "the network refuses torch.vmap, so one product followed the other",
}
Result = TypeVar("Result")


class Known:
    """The way that a network takes, once it is known.

    Attributes:
        way: the first that was not refused.
    """

    way: Way = WAYS[0]

    def first(self, work: Callable[[], Result]) -> Result:
        """The result of some work in the first way that it does not fail in.

        Raises:
            RuntimeError: it fails in every way.
        """
        while True:
            try:
                return work()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # what torch.func and torch.vmap refuse with
                if self.way == WAYS[-1]:
                    raise
                self.way = WAYS[WAYS.index(self.way) + 1]


class Linearised:
    r"""A velocity at points, and the products of its transposed Jacobian there.

    Arguments:
        velocity: (B, \*event) -> (B, \*event), its rows apart.
        x: the points.
        known: the way that it takes, found out here where it is not known.

    Attributes:
        value: the velocity at x, shape (B, N).
    """

    def __init__(self, velocity: Callable[[Tensor], Tensor], x: Tensor, known: Known) -> None:
        self._velocity, self._x, self._known = velocity, x, known
        self.value = known.first(self._open)

    def pull(self, c: Tensor) -> Tensor:
        """The products with directions c, shape (K, B, N)."""

        def work() -> Tensor:
            if self._way != self._known.way:
                self._open()
            return self._pull(c)

        return self._known.first(work)

    def _open(self) -> Tensor:
        self._way, keep = self._known.way, torch.is_grad_enabled()
        if self._way == "apart":
            return self._plainly(keep)
        value: Tensor
        value, vjp = torch.func.vjp(self._flat, self._x.flatten(1))  # type: ignore[misc]
        together = torch.vmap(lambda c: vjp(c)[0])

        def pull(c: Tensor) -> Tensor:
            with torch.set_grad_enabled(keep or self._way == "recorded"):
                found: Tensor = together(c)
            return found if keep else found.detach()

        self._pull: Callable[[Tensor], Tensor] = pull
        return value

    def _plainly(self, keep: bool) -> Tensor:
        """The velocity by plain differentiation, which is kept where the caller records too."""
        x = self._x.flatten(1)
        with torch.enable_grad():
            z = x if keep and x.requires_grad else x.detach().requires_grad_()
            value = self._flat(z)

        def pull(c: Tensor) -> Tensor:
            if not value.requires_grad:  # it does not depend on the points
                return torch.zeros_like(c)
            each = [
                torch.autograd.grad(
                    value, z, one, retain_graph=True, create_graph=keep, materialize_grads=True
                )[0]
                for one in c
            ]
            return torch.stack(each)

        self._pull = pull
        return value if keep else value.detach()

    def _flat(self, z: Tensor) -> Tensor:
        with differentiable():
            return self._velocity(z.view_as(self._x)).flatten(1)
