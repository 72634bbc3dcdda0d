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

from diffode.doors import Numbers, as_labels, as_time, transformed
from diffode.fields.base import AffineField, Field, expand_like
from diffode.fields.critics import is_smooth
from diffode.fields.guidance import as_weight, in_words, require_affine
from diffode.fields.guided import MAX_RHO
from diffode.fields.intervals import as_interval, inside, require_met
from diffode.fields.poisson import around_plane_form
from diffode.fields.wrapped import Wrapped
from diffode.priors import Spherical, is_normal, is_student


class ClassifierGuided(Wrapped):
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
        _require_fit(classifier, field)
        super().__init__(field)
        self.classifier = classifier
        self.weight, self.interval = as_weight(weight), as_interval(interval)
        self.smooth = field.smooth and is_smooth(classifier)
        self.unconditional = self.weight == 0
        self.classes = None if self.unconditional else getattr(classifier, "classes", None)

    @property
    def needs_labels(self) -> bool:
        """Whether it has nothing to draw without labels."""
        return not self.unconditional

    @property
    def calls_per_evaluation(self) -> int:  # type: ignore[override]
        """The most network calls of an evaluation, the classifier and its slope being one."""
        return self.inner.calls_per_evaluation + (self.weight != 0)

    def calls_at(self, t: Tensor) -> int:
        """The network calls of an evaluation at time t."""
        return self.inner.calls_at(t) + self._needed(self.guided_at(t))

    def _needed(self, on: Tensor) -> bool:
        return self.weight != 0 and (transformed() or bool(on.any()))

    def guided_at(self, t: Tensor) -> Tensor:
        """Whether guidance is on at time t, shape () or (B,)."""
        rho = self.schedule.rho(t)
        return inside(self.interval, rho) & (rho <= MAX_RHO)

    def as_labels(self, y: Numbers | int | None, rows: int) -> Tensor | None:
        """Labels that the classifier knows."""
        classes = getattr(self.classifier, "classes", None)
        return as_labels(y, rows, None if classes is None else classes - 1)

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
        own = log_squares.gather(1, y[:, None])[:, 0]  # of kappa_y
        kept = expand_like(1 - (own - log_mean).exp(), u) * rest
        return kept + expand_like(own.exp(), u) * slope.to(u)

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
            schedule with its noise law. What it states as ``event_shape``, ``classes`` and
            ``noise`` is held against the field and the labels, and ``smooth = True`` says that
            its second derivatives can be used. `classifier_of` takes the one that ``diffode train
            classifier`` learned from its field; an exact one is `ExactClassifier`.
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


def classifier_of(field: Field) -> nn.Module:
    """The classifier that guides a field, as of a run of ``diffode train classifier``.

    Raises:
        TypeError: no field, or one that no classifier guides.
    """
    require_affine(field)
    found: object = field
    while isinstance(found, Wrapped):
        if isinstance(found, ClassifierGuided):
            return found.classifier
        found = found.inner
    raise TypeError("no classifier guides this field; train one: diffode train classifier DATA")


def require_known(noise: Spherical, dim: int) -> None:
    """Refuse noise for which no rule is known.

    Raises:
        TypeError: noise that is neither normal nor Student-t.
        ValueError: Student-t noise with N + D of 2 or less.
    """
    if not (is_normal(noise) or is_student(noise)):
        raise TypeError(
            f"the noise is {noise}; guidance by a classifier is known for Normal and StudentT "
            "noise"
        )
    if is_student(noise) and noise.dof + dim <= 2:
        raise ValueError(
            f"the noise is {noise} in {dim} coordinate; guidance by a classifier is known where "
            "N + D is above 2"
        )


def answer(
    classifier: nn.Module, u: Tensor, rho: Tensor, noise: Spherical
) -> tuple[Tensor, Tensor]:
    """What a classifier says at u: the logs of P and of kappa, both (B, K).

    Raises:
        TypeError: no tensor for normal noise, or no pair of them for Student-t noise.
        ValueError: tensors of another shape.
    """
    said = classifier(u, rho)
    pair = said if is_student(noise) else (said, 2 * rho.log()[:, None])
    if not isinstance(pair, tuple) or not all(isinstance(v, Tensor) for v in pair):
        wanted = "the pair (logits, log kappa)" if is_student(noise) else "a tensor of logits"
        raise TypeError(
            f"the classifier gave a {type(said).__name__}; wanted {wanted} for {noise} noise"
        )
    logits, log_squares = pair
    if logits.ndim != 2 or len(logits) != len(u) or log_squares.shape[0] != len(u):
        shape = tuple(logits.shape)
        raise ValueError(f"the classifier gave logits of shape {shape}; wanted ({len(u)}, K)")
    if getattr(classifier, "classes", None) not in (None, logits.shape[1]):
        raise ValueError(
            f"the classifier gave logits of {logits.shape[1]} classes and states "
            f"{getattr(classifier, 'classes', None)}; wanted one for each"
        )
    return logits.log_softmax(1), log_squares.to(logits).expand_as(logits)


def _require_fit(classifier: nn.Module, field: AffineField) -> None:
    """Refuse what is no classifier, or says that it is for other events or another law of noise.

    Raises:
        TypeError: a field or a run, which is none.
        ValueError: one for something else.
    """
    field_of = getattr(classifier, "field", classifier)
    if isinstance(field_of, Field) or not callable(classifier):
        raise TypeError(
            f"got a {type(classifier).__name__} as the classifier; wanted a module called as "
            "classifier(u, rho), which classifier_of(run.field) is for a run of diffode train "
            "classifier"
        )
    event = tuple(getattr(classifier, "event_shape", field.event_shape))
    noise = getattr(classifier, "noise", field.noise)
    if event != field.event_shape or repr(noise) != repr(field.noise):
        raise ValueError(
            f"got a classifier of events {event} under {noise} noise; wanted one for the field's: "
            f"{field.event_shape}, {field.noise}"
        )
