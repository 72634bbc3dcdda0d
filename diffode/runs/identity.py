"""What tells a TARGET from others, and from itself after a change: for keys of what it made."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from diffode import admission
from diffode.runs.keys import key_of_values
from diffode.runs.targets import Target
from diffode.solvers.fitted import PROBES, probe_of


def identity(
    target: Target, y: Tensor | None = None, others: Sequence[Target] = ()
) -> list[object]:
    """What decides a TARGET's samples, beside solver and seed.

    It is the field as it prints itself, its tensors, and the code that a run names. Where no
    checkpoint stands behind the field, its velocities at three points tell what no tensor shows,
    as the prediction type of a pipeline or a number in a file of code.

    Arguments:
        target: the field.
        y: labels that it is drawn with, shape (n,), or None.
        others: further TARGETs that take part in drawing.
    """
    field = target.field
    about: list[object] = [repr(field), key_of_values(*field.state_dict().values())]
    if target.plan is not None and (code := admission.origins(target.plan.named)):
        about.append(code)
    if any(t.checkpoint is None for t in (target, *others)):
        about.append(probe_of(field, None if y is None else y[:1].expand(PROBES)))
    return about
