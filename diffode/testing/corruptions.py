"""The checks of a corruption's contract: it has no velocity, but a start, a guess and steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffode.fields.base import Field
from diffode.fields.corruption import Corrupting
from diffode.rng import Rng
from diffode.sampling.drawing import sample
from diffode.testing.contract import check_grid, check_repr

_ROWS, _MANY = 6, 2000


def _middle(field: Corrupting) -> float:
    return sum(field.span) / 2


def _data(field: Corrupting, n: int) -> Tensor:
    """Guesses from the start, which are data as far as the field knows."""
    start = field.start(n, Rng(7))
    return field.guess(start.x, field.span[0], Rng(7))


def check_states(field: Corrupting) -> None:
    """Starts, corruptions, guesses and steps are states, for t of shape () and (B,)."""
    x0, first, last = _data(field, _ROWS), *field.span
    for t in (_middle(field), torch.linspace(first, last, _ROWS + 2, dtype=torch.float64)[1:-1]):
        s = (t + last) / 2
        x = field.corruption.corrupt(x0, t, Rng(1))
        guessed = field.guess(x, t, Rng(2))
        for state in (x, guessed, field.corruption.step(x, guessed, t, s, Rng(3))):
            assert state.shape == x0.shape and state.dtype == x0.dtype, (
                f"a state is {tuple(state.shape)} of {state.dtype}, the data are "
                f"{tuple(x0.shape)} of {x0.dtype}"
            )
            field.as_state(state)


def check_rows_apart(field: Corrupting) -> None:
    """A guess acts on each row alone, with a time of its own."""
    first, last = field.span
    t = torch.linspace(0.4, 0.6, _ROWS, dtype=torch.float64) * (last - first) + first
    x = field.corruption.corrupt(_data(field, _ROWS), t, Rng(1))
    whole = field.guess(x, t, Rng(2))
    for i in range(_ROWS):
        rows = torch.tensor([i])
        alone = field.rows(rows)
        assert isinstance(alone, Corrupting)
        single = alone.guess(x[rows], t[rows], Rng(2).rows(rows))
        assert torch.allclose(single, whole[rows], rtol=1e-5, atol=1e-5), (
            f"row {i} alone differs from row {i} in its batch"
        )


def check_ends(field: Corrupting) -> None:
    """A step to t_data is the guess itself, and there is a guess at both ends."""
    x0, last = _data(field, _ROWS), field.span[1]
    field.guess(x0, last, Rng(2))
    t = _middle(field)
    x = field.corruption.corrupt(x0, t, Rng(1))
    gap = (field.corruption.step(x, x0, t, last, Rng(3)) - x0).abs().double().mean()
    assert gap < 0.05, f"a step to t_data misses the guess by {float(gap):.2g}"


def check_marginals(field: Corrupting) -> None:
    """A step from x_t keeps the law of x_s given x_0: its mean and mean square agree."""
    x0 = _data(field, 1).expand(_MANY, *field.event_shape)
    first, last = field.span
    t, s = 0.7 * first + 0.3 * last, 0.3 * first + 0.7 * last
    x = field.corruption.corrupt(x0, t, Rng(1))
    found = field.corruption.step(x, x0, t, s, Rng(2)).double()
    wanted = field.corruption.corrupt(x0, s, Rng(3)).double()
    for power in (1, 2):
        one, two = found**power, wanted**power
        error = ((one.var(0) + two.var(0)) / _MANY).sqrt() + 1e-9
        gap = float(((one.mean(0) - two.mean(0)).abs() / error).max())
        assert gap < 6, f"a step changes the law of x_s given x_0 by {gap:.1f} standard errors"


def check_seeds(field: Corrupting) -> None:
    """A seed fixes a sample and not its batch."""
    many = sample(field, _ROWS, steps=4, seed=3).x
    few = sample(field, _ROWS, steps=4, seed=3, batch=4).x
    assert torch.allclose(many, few, rtol=1e-4, atol=1e-4), "samples change with the batch"
    other = sample(field, _ROWS, steps=4, seed=4).x
    assert not torch.equal(many, other), "another seed gives the same samples"


def check_no_velocity(field: Corrupting) -> None:
    """It refuses to state a velocity."""
    try:
        field.velocity(_data(field, 2), _middle(field))
    except TypeError:
        return
    raise AssertionError("a corruption states a velocity; make it a Field, or refuse")


CORRUPTION_CHECKS: tuple[Callable[[Corrupting], None] | Callable[[Field], None], ...] = (
    check_states,
    check_rows_apart,
    check_ends,
    check_marginals,
    check_seeds,
    check_no_velocity,
    check_repr,
    check_grid,
)
