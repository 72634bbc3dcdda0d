"""A recipe."""

from diffode import recipe


@recipe(
    "quarter",
    about="v-prediction on the quarter circle",
    reference="Salimans and Ho (2022), https://arxiv.org/abs/2202.00512",
    training={"steps": 5},
)
def quarter(given, *, t_min: float = 1e-3):
    """The schedule cos, sin with the output alpha n - sigma x_0."""
    from diffode.fields import Cosine
    from diffode.fields.precond import VPrediction
    from diffode.training.denoising import Denoising, Uniform

    field = given.learned(Cosine(), VPrediction())
    return Denoising(field, Uniform(t_min, 1.0), given.classes, given.label_drop)
