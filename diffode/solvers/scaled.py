"""A multistep method with its weights scaled, as a fit leaves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.rng import Rng
from diffode.solvers.coefficients import MultistepRule, StepCoefficients
from diffode.solvers.counted import CountedField
from diffode.solvers.multistep import Multistep, Walk, nodes_of, steps_of


class Scaled(Multistep):
    """A multistep method whose predictor weights are multiplied by factors.

    Arguments:
        solver: the method.
        scales: the factors of each step's weights, a row a step; numbers, or 0-d tensors that
            gradients are wanted of.
    """

    def __init__(self, solver: Multistep, scales: Sequence[Sequence[float | Tensor]]) -> None:
        self.solver, self.scales = solver, scales
        self.per_coordinate = solver.per_coordinate
        self.name, self.reaches_zero_noise, self.grid = (
            solver.name,
            solver.reaches_zero_noise,
            solver.grid,
        )

    def rule(self, steps: int, field: AffineField | None = None) -> MultistepRule:
        """The rule for this many steps, on a field of this kind."""
        return self.solver.rule(steps, field)

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:].

        Raises:
            ValueError: another number of steps than there are factors for.
        """
        assert isinstance(f.field, AffineField)
        if len(self.scales) != len(times) - 1:
            raise ValueError(
                f"got {len(times) - 1} steps for weights fitted to {len(self.scales)} steps"
            )
        rule = self.rule(len(times) - 1, f.field)
        own = steps_of(rule, nodes_of(rule, f.field, times, f.to_zero_noise), x)
        steps = [_scaled(*row) for row in zip(own, self.scales, strict=True)]
        yield from Walk(steps, f.field.moments[0].to(x)).through(f.posterior_at, x)


def _scaled(step: StepCoefficients, factors: Sequence[float | Tensor]) -> StepCoefficients:
    if step.go is None:
        return step
    weights = [(w * c).to(w) for w, c in zip(step.go.weights, factors, strict=False)]
    return replace(step, go=replace(step.go, weights=weights))
