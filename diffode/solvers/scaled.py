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
        steps = [_scaled(own, self.scales, k) for k in range(len(own))]
        walk = Walk(steps, f.field.moments[0].to(x))
        yield from walk.through(f.posterior_at, x, not f.end_only)


def _scaled(
    steps: list[StepCoefficients], scales: Sequence[Sequence[float | Tensor]], k: int
) -> StepCoefficients:
    """The k-th step with its weights scaled; its correction ends where it would without."""
    step, before = steps[k], steps[k - 1].go if k else None
    if step.go is not None:
        weights = [(w * c).to(w) for w, c in zip(step.go.weights, scales[k], strict=False)]
        step = replace(step, go=replace(step.go, weights=weights), onwards=None)
    if step.correct is None or before is None:
        return step
    newest, *weights = step.correct.weights
    for j, (w, c) in enumerate(zip(before.weights, scales[k - 1], strict=False)):
        weights[j] = weights[j] + (w - w * c).to(w)
    return replace(step, correct=replace(step.correct, weights=[newest, *weights]))
