r"""The law that guidance is believed to sample, drawn exactly.

.. math:: p_w(x) \propto p_{ref}(x)^{1-w} \, p(x | y)^w

The reference is the law of all classes, or a weaker law of the class (autoguidance). For w >= 1
this is the class weighted by :math:`(p(\cdot|y) / p_{ref})^{w-1}`, else the reference weighted by
:math:`(p(\cdot|y) / p_{ref})^w`. With all classes as the reference the ratio is the exact
classifier's :math:`P(y|x) / P(y)`, which is bounded; so proposals are accepted or rejected, and
what is accepted are independent draws of the law.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from diffode.doors import as_count
from diffode.fields.guidance import as_weight
from diffode.fields.labelled import Labelled
from diffode.rng import Rng, as_rng

_PROPOSALS = 40  # for each draw that is asked for


class Tilted(NamedTuple):
    """Draws of a tilted law: points x (n, *event), and the share of proposals accepted."""

    x: Tensor
    accepted: float


def tilted(
    law: Labelled, y: int, weight: float, n: int, rng: Rng, weak: Labelled | None = None
) -> Tilted:
    r"""Draw from :math:`p_{ref}^{1-w} \, p(\cdot | y)^w`, at the noise of the field's end.

    Arguments:
        law: an exact field with labels.
        y: the label.
        weight: w >= 0.
        n: how many draws.
        rng: of the proposals.
        weak: an exact field whose class y is the reference; None is ``law`` without a label.

    Raises:
        ValueError: a weight below 0, a label that the law has not, or so few proposals accepted
            that there are not n.
    """
    w, n, rng = as_weight(weight), as_count(n, "n", 1), as_rng(rng)
    reference, told = (law, None) if weak is None else (weak, y)
    count, t = _PROPOSALS * n, law.span[1]
    x = law.sample(count, rng, y) if w >= 1 else reference.sample(count, rng, told)
    log = law.log_marginal(x, t, y) - reference.log_marginal(x, t, told)
    log = (w - 1 if w >= 1 else w) * log.double()
    accept = rng.uniform("tilted/accept", (count,)).log() < log - log.max()
    accepted = float(accept.double().mean())
    if accepted * _PROPOSALS < 1:
        raise ValueError(
            f"{accepted:.2%} of {count} proposals were accepted as draws of the tilted law of "
            f"weight {w:g}, too few for n={n}; take a smaller weight"
        )
    return Tilted(x[accept][:n], accepted)
