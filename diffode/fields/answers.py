"""What a classifier of noisy points is asked and answers, held to what guidance needs of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffode.data.scaling import require_units
from diffode.doors import needs_labels
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.reschedule import require_uncentred
from diffode.priors import Spherical, is_normal, is_student


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


def known_to(classifier: nn.Module, field: AffineField) -> int:
    """The number of classes that a classifier states, or else answers for one point.

    Raises:
        TypeError, ValueError: as `answer`.
    """
    stated = getattr(classifier, "classes", None)
    if stated is not None:
        return int(stated)
    weight = next(classifier.parameters(), None)  # in whose type it takes points
    dtype = torch.float32 if weight is None else weight.dtype
    u = torch.zeros(1, *field.event_shape, dtype=dtype, device=field.device)
    return answer(classifier, u, u.new_ones(1), field.noise)[0].shape[1]


def require_fit(classifier: nn.Module, field: AffineField) -> None:
    """Refuse what is no classifier, or is for other events, another law of noise or other units.

    Raises:
        TypeError: a field or a run, which is none.
        ValueError: one for something else, or a field that it cannot guide.
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
    if needs_labels(field):
        raise ValueError(
            "got a field that draws nothing without a label, as one trained with label_drop=0 or "
            "guided already; a classifier guides one that is asked without"
        )
    require_uncentred(field, "guide")
    require_units("a classifier", getattr(classifier, "scaling", field.scaling), field.scaling)
