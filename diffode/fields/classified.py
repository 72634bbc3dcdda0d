r"""Guidance by a classifier: an affine field without labels is led to the points of a class.

Given x at noise level :math:`\rho`, in units of :math:`\alpha = 1`, a classifier tells the
probability P(y | x) of each class. Under normal noise its slope is all that is needed,

.. math:: E[x_0 | x, y] - E[x_0 | x] = \rho^2 \, \nabla \log P(y | x).

Student-t noise is normal noise of a random scale s, of which x shows a part: the mean square
:math:`\kappa = E[s^2 | x] = E[|x - x_0|^2 + r^2 | x] / (N + D - 2)`, with :math:`r = \rho
\sqrt{D}`. The density with every scale weighted by its square is a potential :math:`\Phi` of the
flow, :math:`x - E[x_0 | x] = -\kappa \, \nabla \log \Phi`: the kernel's exponent is
:math:`-(N + D - 2) / 2`, not :math:`-(N + D) / 2`. Let P be the classifier *under this kernel*,
and :math:`\kappa_y = E[s^2 | x, y]`. Then :math:`\Phi_y \propto \Phi P` gives the exact rule

.. math:: x - E[x_0 | x, y] = \frac{\kappa_y}{\kappa} \,
          \big( x - E[x_0 | x] - \kappa \, \nabla \log P(y | x) \big), \qquad
          \frac1\kappa = \sum_k \frac{P(k | x)}{\kappa_k}.

Under normal noise all :math:`\kappa` are :math:`\rho^2`, and this is the first rule. Since
:math:`\kappa / \kappa_y = 1 - (\kappa / r) \, \partial_r \log P`, the slope of P in r could take
the place of :math:`\kappa_y`; but a trained P may make that 0 or less.

Both terms of this rule may be far larger than their sum, and a trained P is not exact: what is
wrong with its slope counts :math:`\kappa_y` times. But the points of a class k are, in the mean
square, at a distance :math:`d_k` from x, :math:`d_k^2 = (N + D - 2) \kappa_k - r^2`, and have the
probability :math:`p_k = P(k | x) \, \kappa / \kappa_k` under the density. So every exact
classifier has

.. math:: |x - E[x_0 | x, y]| \le d_y, \qquad
          |E[x_0 | x, y] - E[x_0 | x]| \le (1 - p_y) (d_y + d_o), \qquad
          (1 - p_y) \, d_o^2 = \sum_{k \ne y} p_k d_k^2,

and a trained one is held to both: to the first where it leads further from x than the field
without it, to the second with the :math:`r^2` left out of :math:`d^2`.

The weight w counts what the label changes, as in `diffode.fields.guidance`,

.. math:: E[x_0|x] \leftarrow E[x_0|x] + w \, (E[x_0|x, y] - E[x_0|x]),

so that both kinds of guidance are one where both are exact. For normal noise it is the field of
:math:`p_t P^w` at each level. For Student-t noise the field of the potential :math:`\Phi P^w` is
another one unless w is 0 or 1: it has :math:`1 - w + w \kappa / \kappa_y` for a divisor, which for
w > 1 is 0 somewhere near the points of other classes. In the plane at D = 1 it led 3 and 6 of 100
samples to a wrong class at w = 2 and 4, where this rule led none.

References: Dhariwal and Nichol (2021), https://arxiv.org/abs/2105.05233, eq. 12 (normal noise);
Xu et al. (2023), https://arxiv.org/abs/2302.04265 (the Student-t kernel).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffode.doors import Numbers, as_labels, as_time
from diffode.fields.affine import AffineField
from diffode.fields.answers import answer, known_to, require_fit, require_known
from diffode.fields.base import Field, expand_like
from diffode.fields.critics import is_smooth
from diffode.fields.guidance import as_weight, require_affine
from diffode.fields.guided import MAX_RHO, Led
from diffode.fields.intervals import as_interval, inside, require_met
from diffode.fields.noise import require_independent
from diffode.fields.poisson import around_plane_form
from diffode.fields.strength import edges, in_words, reach
from diffode.fields.wrapped import Wrapped
from diffode.priors import is_student


class ClassifierGuided(Led):
    """An affine field guided by a classifier; `classifier_guided` builds it.

    Arguments:
        field: the field without labels.
        classifier: see `classifier_guided`.
        weight: w >= 0; 0 is the field as it is, in which no label plays a part.
        interval: (lo, hi): guidance is on where lo <= sigma / alpha <= hi; None is everywhere. It
            is off where sigma / alpha is above 999, as at an alpha of 0: what a label still
            changes there is less than a thousandth of the noise.

    Raises:
        ValueError: a weight or an interval that are no numbers to use, a classifier of other
            events or another noise law, or Student-t noise with N + D of 2 or less.
        TypeError: noise that is neither normal nor Student-t.
    """

    def __init__(
        self,
        field: AffineField,
        classifier: nn.Module,
        weight: float = 1.0,
        interval: tuple[float, float] | None = None,
    ) -> None:
        require_known(field.noise, field.mean.numel())
        require_independent(field.coupled, "guidance by a classifier")
        require_fit(classifier, field)
        super().__init__(field, as_weight(weight))
        self.classifier, self.interval = classifier, as_interval(interval)
        self.smooth = field.smooth and is_smooth(classifier)
        self.unconditional = self.weight == 0
        self._known = known_to(classifier, field)
        self.classes = None if self.unconditional else self._known

    @property
    def needs_labels(self) -> bool:
        """Whether it has nothing to draw without labels."""
        return not self.unconditional

    @property
    def guidance(self) -> float:  # type: ignore[override]
        """The weight, where that is above 1."""
        return reach(self.inner, self.weight)

    @property
    def jumps(self) -> tuple[float, ...] | None:  # type: ignore[override]
        """The ends of the interval, where guidance changes anything."""
        return edges(self.inner, None if self.weight == 0 else self.interval)

    def guided_at(self, t: Tensor) -> Tensor:
        """Whether guidance is on at time t, shape () or (B,)."""
        rho = self.schedule.rho(t)
        return inside(self.interval, rho) & (rho <= MAX_RHO)

    def as_labels(self, y: Numbers | int | None, rows: int) -> Tensor | None:
        """Labels that the classifier knows."""
        return as_labels(y, rows, self._known - 1)

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x], both guided."""
        x = self.as_state(x)
        t = as_time(t, x)
        y = self.as_labels(y, len(x))
        if y is None and self.needs_labels:
            raise ValueError(
                "got no labels y for a field that a classifier guides; pass the class to guide "
                "to, or take the field without guidance"
            )
        on = self.guided_at(t)
        x0, n = self.inner.posterior(x, t)
        if y is None or not self._needed(on):
            return x0, n
        alpha, sigma = self.level(t, x)
        alpha, rho = torch.where(on, alpha, 1.0), torch.where(on, sigma / alpha, 1.0)
        u = x / expand_like(alpha, x)
        step = self._step(u, u - x0, rho.expand(len(x)), y)
        step = torch.where(expand_like(on, x).bool(), self.weight * step, 0.0)
        return x0 + step, n - step / expand_like(rho, x)

    def _step(self, u: Tensor, rest: Tensor, rho: Tensor, y: Tensor) -> Tensor:
        """E[x_0 | x, y] - E[x_0 | x] at u = x / alpha, from rest = u - E[x_0 | x]."""

        def log_of_class(z: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            log_p, log_squares = answer(self.classifier, z, rho, self.noise)
            return log_p.gather(1, y[:, None]).sum(), (log_p, log_squares)

        slope: Tensor
        slope, (log_p, log_squares) = torch.func.grad(log_of_class, has_aux=True)(u)
        log_mean = -torch.logsumexp(log_p - log_squares, 1)  # of kappa
        own, log_p = (v.gather(1, y[:, None])[:, 0] for v in (log_squares, log_p))  # of y
        kept = expand_like(1 - (own - log_mean).exp(), u) * rest
        step = kept + expand_like(own.exp(), u) * slope.to(u)
        if not is_student(self.noise):  # then it is normal
            return step
        dof, spread = self.noise.dof, u[0].numel() + self.noise.dof - 2
        square = (spread * own.exp() - dof * rho.square()).to(u)  # of the distance of class y
        least = rest.flatten(1).square().sum(1)
        away = rest - step
        step = step + (away - _held(away, torch.maximum(square, least)))
        return _held(step, spread * _apart(log_p, own, log_mean).to(u))

    def changes(self) -> list[str]:
        """What this field and those inside it change, in words, the innermost first."""
        by = type(self.classifier).__name__
        return [*super().changes(), in_words(self.weight, self.interval, None, by)]


def classifier_guided(
    field: AffineField,
    classifier: nn.Module,
    weight: float = 1.0,
    interval: tuple[float, float] | None = None,
) -> AffineField:
    r"""A field guided to labels by a classifier that knows noise.

    .. math:: E[x_0|x] \leftarrow E[x_0|x] + w \, (E[x_0|x, y] - E[x_0|x])

    Arguments:
        field: an affine field; it is asked without labels. In a `PoissonField`, each row is
            guided at its own noise level.
        classifier: a module called as ``classifier(u, rho)`` with u = x / alpha of shape
            (B, \*event) and rho = sigma / alpha of shape (B,); it treats rows apart. For normal
            noise it returns logits of the classes, (B, K). For Student-t noise it returns a pair:
            logits under the kernel of the potential, and :math:`\log \kappa_k` of each class,
            (B, K) both (this module's formulas say what they are). One classifier guides every
            schedule with its noise law. What it states as ``event_shape``, ``classes``, ``noise``
            and ``scaling`` (its units) is held against the field and the labels, and ``smooth =
            True`` says that its second derivatives can be used. `classifier_of` takes the one
            that ``diffode train classifier`` learned from its field; an exact one is
            `ExactClassifier`.
        weight: w >= 0; 1 is exact where the classifier is, 0 the field as it is.
        interval: (lo, hi): guidance for lo <= sigma / alpha <= hi alone.

    An evaluation counts as one network call more than one of the field: the call of the
    classifier with its slope. Where guidance is off the classifier is not called.

    Raises:
        TypeError: a field without E[x_0 | x], a classifier that is none, such as a field, or noise
            that is neither normal nor Student-t.
        ValueError: a weight or an interval that are no numbers to use, an interval outside of the
            field's levels up to 999, a classifier that does not fit the field, or Student-t noise
            with N + D of 2 or less.
    """
    require_affine(field)
    least, most = field.levels
    require_met(interval, (least, min(most, MAX_RHO)))
    return around_plane_form(
        field, lambda inner: ClassifierGuided(inner, classifier, weight, interval)
    )


def _held(vector: Tensor, square: Tensor) -> Tensor:
    """A vector (B, *event), no longer than the root of a square (B,)."""
    tiny = torch.finfo(vector.dtype).tiny  # the root of 0 has no slope
    length = vector.flatten(1).square().sum(1).clamp_min(tiny)
    return expand_like((square / length).clamp(tiny, 1).sqrt(), vector) * vector


def _apart(log_p: Tensor, own: Tensor, log_mean: Tensor) -> Tensor:
    """The square of (1 - p_y)(d_y + d_o) / sqrt(N + D - 2), from logs of P, kappa_y and kappa."""
    tiny = torch.finfo(log_p.dtype).tiny
    others, unlikely = -torch.expm1(log_p + log_mean - own), -torch.expm1(log_p)
    mixed = (others * unlikely * log_mean.exp()).clamp_min(tiny).sqrt()
    return (others * (own / 2).exp() + mixed).square()


def classifier_of(field: Field) -> nn.Module:
    """The classifier that guides a field, as of a run of ``diffode train classifier``.

    It states the field's units from then on.

    Raises:
        TypeError: no field, or one that no classifier guides.
    """
    require_affine(field)
    found: object = field
    while isinstance(found, Wrapped):
        if isinstance(found, ClassifierGuided):
            found.classifier.scaling = found.scaling  # type: ignore[assignment]
            return found.classifier
        found = found.inner
    raise TypeError("no classifier guides this field; train one: diffode train classifier DATA")
