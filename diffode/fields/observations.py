r"""What was observed, :math:`y = H x_0 + s_y e`, in the data's units and in a field's."""

from __future__ import annotations

import sys
from typing import NamedTuple

from torch import Tensor

from diffode.data.scaling import Scaling
from diffode.doors import Numbers, as_positive, as_state
from diffode.fields.affine import AffineField
from diffode.fields.linear import LinearOperator
from diffode.fields.reschedule import require_uncentred
from diffode.options import counted

_MEANING = "the observation's standard deviation; for an exact one take a small number"


class Observation(NamedTuple):
    """What is known, in the units of a field.

    Attributes:
        operator: H, of points in the field's units.
        target: y less H of the units' shift, shape (*observed) or (B, *observed), float64.
        noise: s_y.
    """

    operator: LinearOperator
    target: Tensor
    noise: float


def observed(
    field: AffineField, operator: LinearOperator, observation: Numbers, noise: float
) -> Observation:
    r"""An observation in the units of a field, from one in those of the data.

    Arguments:
        field, operator, observation, noise: as for `conditioned`.

    Raises:
        ValueError: shapes that do not fit, an observation that is not finite, noise that is not
            positive, or a field in a state that is not the data's.
        TypeError: no linear operator.
    """
    if not isinstance(operator, LinearOperator):
        raise TypeError(
            f"got an operator of type {type(operator).__name__}; wanted a LinearOperator, see "
            "diffode.fields.operators; operator(function, event_shape) makes one of a function"
        )
    if operator.event_shape != field.event_shape:
        raise ValueError(
            f"got an operator of points of shape {operator.event_shape} for a field of points of "
            f"shape {field.event_shape}"
        )
    require_uncentred(field, "condition")
    y = _as_observation(observation, operator).double().to(field.device)
    std = _as_noise(noise)
    operator = operator.to(field.device)
    if field.scaling is None:
        return Observation(operator, y, std)
    return Observation(*_in_model_units(operator, y, field.scaling), std)


def one_observation(
    field: AffineField, operator: LinearOperator, observation: Numbers, noise: float
) -> Observation:
    """The same of one observation, not one for each row.

    Raises:
        ValueError: what does not fit, or several observations.
    """
    seen = observed(field, operator, observation, noise)
    if seen.target.shape != operator.observed_shape:
        raise ValueError(
            f"got {counted(len(seen.target), 'observation')}; wanted one, of the shape of "
            "what is observed"
        )
    return seen


def _in_model_units(
    operator: LinearOperator, y: Tensor, scaling: Scaling
) -> tuple[LinearOperator, Tensor]:
    """With x = w u + b, y = H(w u) + H b + noise: the operator of u, and y less H b."""
    shift = scaling.shift.to(y).expand(1, *operator.event_shape)
    return operator.scaled(scaling.width), y - operator(shift)[0]


def _as_observation(observation: Numbers, operator: LinearOperator) -> Tensor:
    y, shape = as_state(observation, name="observation"), operator.observed_shape
    if y.shape != shape and y.shape[1:] != shape:
        wanted = ", ".join(map(str, shape))
        raise ValueError(
            f"got an observation of shape {tuple(y.shape)}; wanted ({wanted}), what the operator "
            f"{operator} gives, or (B, {wanted})"
        )
    if not bool(y.isfinite().all()):
        raise ValueError("got an observation that is not finite; leave unseen numbers out")
    return y


def _as_noise(noise: float) -> float:
    std = as_positive(noise, "noise", _MEANING)
    if not sys.float_info.min <= std * std < sys.float_info.max / 8:
        raise ValueError(f"got noise {std:g}, whose square is out of range; wanted {_MEANING}")
    return std
