r"""Training a classifier of noisy points, for guidance.

Under normal noise it is the cross-entropy of the classes at :math:`x_0 + \rho n`. Under Student-t
noise draws of (x, r) are those of `PoissonDenoising`, of the density :math:`\varrho^{-(N+D)}` with
:math:`\varrho^2 = |x - x_0|^2 + r^2`. The classifier that guides is that under the kernel
:math:`\varrho^{-(N+D-2)}`, so that a draw counts :math:`\varrho^2` in the cross-entropy, against
what a Gaussian with the data's moments expects of it at (x, r). The second number of a class is
regressed: :math:`\kappa_y = E[\varrho^2 | x, r, y] / (N + D - 2)` minimises the mean of

.. math:: \kappa - \frac{\varrho^2}{N + D - 2} \log \kappa,

in units of that Gaussian's :math:`\kappa`: no draw counts more than it does in the cross-entropy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.classified import classifier_of
from diffode.fields.noise_classifier import NoiseClassifier
from diffode.priors import is_student
from diffode.rng import Rng
from diffode.training.batches import Batch
from diffode.training.denoising import Logistic, perturbed
from diffode.training.objective import Objective

_FINE = 8.0
BANDS = (0.5, 2.0)  # levels in units of the data's std, between which accuracies are told apart


class Classification(Objective):
    """Train the classifier that guides a field.

    Arguments:
        field: guided by a `NoiseClassifier`.
        law: of the logarithm of the noise level.
    """

    comparable = True

    def __init__(self, field: AffineField, law: Logistic) -> None:
        super().__init__(field)
        classifier = classifier_of(field)
        assert isinstance(classifier, NoiseClassifier)
        self.classifier, self.law, self.std = classifier, law, field.moments[1]

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The cross-entropy, for Student-t noise with the regression of the second numbers."""
        x, y = batch.x, batch.y
        assert y is not None  # a recipe that learns labels is given them
        given = self._student if is_student(self.classifier.noise) else self._normal
        loss, logits, log_level = given(x, y, rng)
        return loss, self._accuracies(logits.detach().argmax(1) == y, log_level)

    def _normal(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, the logits and the levels' logarithms, at new draws of noise."""
        log_rho = self.law.icdf(rng.spread("time", len(x), x.device))
        noise = rng.normal("noise", x.shape, x.dtype, x.device)
        logits = self.classifier(x + expand_like(log_rho.exp(), x) * noise, log_rho.exp())
        return cross_entropy(logits, y), logits, log_rho

    def _student(self, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
        """The same under Student-t noise; a level is a scale of the noise."""
        assert is_student(self.classifier.noise)
        dof = self.classifier.noise.dof
        shift, r, log_s = perturbed(x, self.law, dof, rng)
        x_t, rho = x + shift.to(x), r / math.sqrt(dof)
        numbers, log_square = self.classifier.output(x_t, rho)
        logits, ratios = numbers.chunk(2, 1)
        logits = logits + self.classifier.bias
        excess = 2 * log_s + math.log1p(2 / (dof + x[0].numel() - 2)) - log_square
        wide, excess = excess.exp().to(numbers), excess.to(numbers)
        ratio = ratios.gather(1, y[:, None])[:, 0]
        spread = ratio.exp() - wide * (1 + ratio - excess)  # 0 where ratio = excess, else more
        rows = wide * cross_entropy(logits, y, reduction="none") + spread
        weight = self.law.ratio(log_square / 2, log_s) * self._damping(log_square)
        return (weight.to(rows) * rows).mean(), logits, log_s

    def _damping(self, log_square: Tensor) -> Tensor:
        """Less weight far below the data's std, where the Gaussian may expect far too little."""
        square = log_square.exp()
        return square / (square + (self.std / _FINE) ** 2)

    def _accuracies(self, right: Tensor, log_level: Tensor) -> dict[str, Tensor]:
        """The share of right answers, of all and by the noise level of the draws."""
        low, high = BANDS
        edges = torch.tensor(BANDS, dtype=log_level.dtype, device=log_level.device)
        band = torch.bucketize(log_level.exp() / self.std, edges)
        names = (f"below {low:g} std", f"{low:g} to {high:g} std", f"above {high:g} std")
        parts = {f"accuracy {name}": right[band == k] for k, name in enumerate(names)}
        return {k: v.double().mean() for k, v in {"accuracy": right, **parts}.items() if len(v)}
