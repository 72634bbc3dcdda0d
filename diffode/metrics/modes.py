"""Modes of mixtures in the plane: which are drawn, in which shares, and what lies between them."""

from __future__ import annotations

from torch import Tensor

from diffode.data.laws import Gaussians
from diffode.doors import as_state
from diffode.metrics.estimates import Estimate, mean_share

NEAR = 3.0  # standard deviations from a centre within which a sample is of high quality
COVERED = 0.2  # of its weight that a mode must have


def modes(x: Tensor, law: Gaussians) -> dict[str, Estimate]:
    """What samples make of a mixture.

    * modes: how many have at least a fifth of their weight in samples of high quality;
    * least share: the smallest share of such samples of a mode, over its weight: 1 is right;
    * high quality: the share of samples within three standard deviations of a centre, .989 for
      the law itself where its modes are apart.

    Reference: the counts of Unrolled GANs (Metz et al., 2017), https://arxiv.org/abs/1611.02163,
    with shares.

    Arguments:
        x: samples, shape (n, 2).
        law: the mixture.
    """
    x = as_state(x, (2,))
    mode, distance = law.nearest_mode(x)
    good = distance < NEAR * law.std
    weights = law.mode_weights
    shares = mode[good].bincount(minlength=len(weights)).double() / len(x)
    k = int((shares / weights).argmin())
    least, w = mean_share(good & (mode == k)), float(weights[k])
    return {
        "modes": Estimate(float((shares >= COVERED * weights).sum())),
        "least share": Estimate(least.value / w, least.stderr / w),
        "high quality": mean_share(good),
    }
