"""The TARGET of a command that takes ``--guidance``, and the labels that guidance needs."""

from __future__ import annotations

from diffode.cli.shared import Guided, OnTarget, OnWeights
from diffode.doors import needs_labels
from diffode.runs.guiding import Guidance, guidance_of
from diffode.runs.targets import Target, resolve


def target_of(asked: OnTarget, weights: str | None = None) -> Target:
    """The TARGET of a command, as its options say.

    Arguments:
        asked: the command.
        weights: "ema" or "raw", where the command has them under another name.

    Raises:
        TypeError, ValueError: as `diffode.runs.targets.resolve`.
    """
    kind = weights or (asked.weights if isinstance(asked, OnWeights) else "ema")
    null = asked.null_label
    return resolve(asked.target, kind, asked.device, trust=asked.trust, null_label=null)


def guidance_in(asked: Guided) -> Guidance | None:
    """The guidance that a command asks for.

    Raises:
        ValueError: one that means nothing, see `diffode.runs.guiding.guidance_of`.
    """
    return guidance_of(asked.guidance, asked.interval, asked.weak, asked.trust, asked.classifier)


def guided_target(asked: Guided) -> tuple[Target, Guidance | None]:
    """The TARGET of a command, guided if it asks for that, and how.

    Raises:
        TypeError, ValueError: a TARGET that is none, or guidance that does not fit it.
    """
    guidance = guidance_in(asked)
    target = target_of(asked)
    return target if guidance is None else guidance.of(target), guidance


def require_labels(target: Target, guidance: Guidance | None, known: bool, advice: str) -> None:
    """Refuse to go without labels where guidance or the field needs them.

    Arguments:
        target: what is drawn from.
        guidance: how it is guided, if it is.
        known: whether there are labels.
        advice: what to do.

    Raises:
        ValueError: no labels, and a need of them.
    """
    if known:
        return
    if guidance is not None:
        guidance.require_labels(target.field, advice)
    if needs_labels(target.field):
        raise ValueError(f"{target.name} draws nothing without a label; {advice}")
