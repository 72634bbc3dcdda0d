"""Flow maps: two times, one evaluation a jump."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from diffode.options import Count, Fraction
from diffode.recipes.registry import find, recipe

if TYPE_CHECKING:
    from diffode.fields.affine import AffineField
    from diffode.fields.learned import Learned
    from diffode.recipes.compose import Given
    from diffode.training import Objective


@recipe(
    "flowmap",
    about="flow map: jumps of one evaluation, distilled from a run or from data alone",
    reference="Boffi et al. (2025), https://arxiv.org/abs/2505.18825",
)
def flowmap(
    given: Given,
    *,
    objective: Literal[
        "progressive", "pairs", "lagrangian", "meanflow", "consistency"
    ] = "progressive",
    of: str = "edm",
    settings: str = "{}",
    warm: bool = False,
    evaluations: Count = 1,
    full: Fraction = 0.25,
) -> Objective:
    """A map of the flow of another recipe; objectives: see `diffode.training.flowmaps`.

    ``diffode distil RUN`` sets all of these. By itself it learns from data, objective=progressive.

    Arguments:
        given: the data and the network.
        objective: how it learns: pairs from a run, the others from a run or from data alone.
        of: the recipe whose path, noise and prior it has.
        settings: that recipe's options as JSON, where they are not the usual ones.
        warm: whether the network is read as that recipe reads its own, to begin with its weights.
        evaluations: how many jumps it is sampled with where nothing else is said.
        full: the share of jumps in training that go all the way to the data.
    """
    from diffode.fields.learnedmap import LearnedMap, told
    from diffode.training.flowmaps import MapLearning

    learned, path = _of(given, of, settings)
    prediction = learned.prediction if warm else None
    if warm and prediction is not None and prediction.extra:
        raise ValueError(
            f"got of={of}, whose network has outputs beside the event; give warm=false"
        )
    flipped = given.flip_label and warm
    net = given.net(told(prediction, path, flipped))
    if getattr(net, "timesteps", False):
        raise ValueError("got network=unet2d, which is told one time; use mlp, unet or dit")
    field = LearnedMap(path, net, prediction, flipped, evaluations)
    field.lands_only = objective == "consistency"
    if field.lands_only and evaluations > 1:
        raise ValueError(
            f"got evaluations={evaluations} for a consistency model, which goes to the data "
            "alone; give 1, or another objective"
        )
    return MapLearning(field, objective, full, given.classes, given.label_drop)


def _of(given: Given, of: str, settings: str) -> tuple[Learned, AffineField]:
    """The learned field of a recipe, without a network, and its path."""
    from dataclasses import replace

    from diffode.fields.flowmap import Path
    from diffode.fields.learned import Learned
    from diffode.fields.poisson import PoissonField
    from diffode.options import validate
    from diffode.recipes.compose import Outline

    found = find(of)
    try:
        stated = json.loads(settings)
        if not isinstance(stated, dict):
            raise ValueError
    except ValueError:
        raise ValueError(f"got settings={settings!r:.80}; wanted a JSON object") from None
    options = validate(f"field {found.name!r}", stated, found.function)
    outline = Outline(**{**vars(given), "resolved": dict(given.resolved)})
    made = found.function(replace(outline), **options).field
    learned = made.inner if isinstance(made, PoissonField) else made
    if type(learned) is not Learned:
        raise ValueError(
            f"got of={of}, which is no path x_t = alpha x_0 + sigma n with one network; a flow "
            "map is of edm, vp, rectified, poisson or their like"
        )
    path: AffineField = Path(learned.schedule, learned.noise, *learned.moments)
    path.principal_std, path.classes = learned.principal_std, given.classes
    path.coupled = learned.coupled
    if isinstance(made, PoissonField):
        path = PoissonField(path, radius=made.radius, max_radius=made.max_radius)
    return learned, path
